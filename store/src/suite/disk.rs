//! What every disk must do.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::{Check, Failure, Medium, Outcome, because, holds, same};
use crate::disk::{Disk, DiskFile};

/// The checks.
pub fn checks() -> Vec<Check> {
    vec![
        Check { name: "a created file is allocated and blank", run: a_created_file_is_allocated_and_blank },
        Check { name: "parts are written one after the other", run: parts_are_written_one_after_the_other },
        Check { name: "thousands of parts are one write", run: thousands_of_parts_are_one_write },
        Check { name: "reading past the end is an error", run: reading_past_the_end_is_an_error },
        Check { name: "a slice outlives file and handle", run: a_slice_outlives_file_and_handle },
        Check { name: "a slice sees what was written before it", run: a_slice_sees_what_was_written_before_it },
        Check { name: "data is found behind what was never written", run: data_is_found_behind_what_was_never_written },
        Check { name: "a set length takes no room", run: a_set_length_takes_no_room },
        Check { name: "allocating grows and never shrinks", run: allocating_grows_and_never_shrinks },
        Check { name: "entries are listed in order", run: entries_are_listed_in_order },
        Check { name: "a rename replaces its target", run: a_rename_replaces_its_target },
        Check { name: "removing is final and repeatable for trees", run: removing_is_final_and_repeatable_for_trees },
        Check { name: "a lock has one holder", run: a_lock_has_one_holder },
        Check { name: "written bytes survive the process", run: written_bytes_survive_the_process },
        Check { name: "only synced bytes survive a power loss", run: only_synced_bytes_survive_a_power_loss },
        Check { name: "only synced entries survive a power loss", run: only_synced_entries_survive_a_power_loss },
        Check { name: "handles of before a power loss are inert", run: handles_of_before_a_power_loss_are_inert },
    ]
}

fn setup(medium: &dyn Medium) -> Result<(std::sync::Arc<dyn Disk>, PathBuf), Failure> {
    let (disk, dir) = (medium.mount(), medium.root());
    because(disk.create_dir_all(&dir), "create directory")?;
    Ok((disk, dir))
}

fn content(file: &dyn DiskFile) -> Result<Vec<u8>, Failure> {
    let mut bytes = vec![0xEE; because(file.len(), "length")? as usize];
    because(file.read_at(0, &mut bytes), "read")?;
    Ok(bytes)
}

fn refused<T>(result: std::io::Result<T>, kind: ErrorKind, what: &str) -> Outcome {
    match result {
        Err(e) if e.kind() == kind => Ok(()),
        Err(e) => Err(format!("{what}: got {e}, want {kind:?}")),
        Ok(_) => Err(format!("{what}: succeeded, want {kind:?}")),
    }
}

fn a_created_file_is_allocated_and_blank(medium: &dyn Medium) -> Outcome {
    let (disk, dir) = setup(medium)?;
    let path = dir.join("file");
    let file = because(disk.create(&path, 10_000), "create")?;
    same(content(&*file)?, vec![0; 10_000], "content")?;
    refused(disk.create(&path, 1), ErrorKind::AlreadyExists, "create again")?;
    refused(disk.open(&dir.join("other")), ErrorKind::NotFound, "open nothing")?;
    refused(disk.create(&dir.join("no/where"), 1), ErrorKind::NotFound, "create in no directory")?;
    same(because(disk.exists(&path), "exists")?, true, "exists")?;
    same(because(disk.exists(&dir), "exists")?, true, "directory exists")?;
    same(because(disk.exists(&dir.join("other")), "exists")?, false, "other exists")?;
    let space = because(disk.space(&dir), "space")?;
    holds(space.available <= space.total && space.total > 0, "space must be within the volume")
}

fn parts_are_written_one_after_the_other(medium: &dyn Medium) -> Outcome {
    let (disk, dir) = setup(medium)?;
    let file = because(disk.create(&dir.join("file"), 8), "create")?;
    because(file.write_at(3, &[b"ab", b"", b"cde", b""]), "write")?;
    same(content(&*file)?, b"\0\0\0abcde".to_vec(), "content")?;
    because(file.write_at(0, &[]), "write nothing")?;
    because(file.write_at(1, &[b""]), "write nothing")?;
    because(file.write_at(7, &[b"xyz"]), "write past the end")?;
    same(content(&*file)?, b"\0\0\0abcdxyz".to_vec(), "content")
}

fn thousands_of_parts_are_one_write(medium: &dyn Medium) -> Outcome {
    let (disk, dir) = setup(medium)?;
    let file = because(disk.create(&dir.join("file"), 0), "create")?;
    let parts: Vec<Vec<u8>> = (0..5000u32).map(|i| i.to_be_bytes()[..(i % 5) as usize].to_vec()).collect();
    let slices: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    because(file.write_at(4090, &slices), "write")?;
    let mut want = vec![0; 4090];
    want.extend(parts.concat());
    same(content(&*file)?, want, "content")
}

fn reading_past_the_end_is_an_error(medium: &dyn Medium) -> Outcome {
    let (disk, dir) = setup(medium)?;
    let file = because(disk.create(&dir.join("file"), 100), "create")?;
    refused(file.read_at(90, &mut [0; 11]), ErrorKind::UnexpectedEof, "read")?;
    refused(file.slice(90, 11), ErrorKind::UnexpectedEof, "slice")?;
    because(file.read_at(100, &mut []), "read nothing at the end")?;
    same(because(file.slice(90, 10), "slice")?.len(), 10, "slice up to the end")
}

fn a_slice_outlives_file_and_handle(medium: &dyn Medium) -> Outcome {
    let (disk, dir) = setup(medium)?;
    let path = dir.join("file");
    let file = because(disk.create(&path, 8192), "create")?;
    because(file.write_at(4000, &[b"hello world"]), "write")?;
    let slice = because(file.slice(4000, 11), "slice")?;
    because(disk.remove(&path), "remove")?;
    let mut copy = [0; 5];
    because(file.read_at(4000, &mut copy), "read a removed file")?;
    same(&copy, b"hello", "a removed file's bytes")?;
    drop(file);
    same(&slice[..], b"hello world".as_slice(), "slice")
}

fn a_slice_sees_what_was_written_before_it(medium: &dyn Medium) -> Outcome {
    let (disk, dir) = setup(medium)?;
    let file = because(disk.create(&dir.join("file"), 4096), "create")?;
    because(file.slice(0, 10), "slice")?;
    because(file.write_at(100, &[b"later"]), "write")?;
    same(&because(file.slice(100, 5), "slice")?[..], b"later".as_slice(), "slice")?;
    because(file.allocate(12_288), "allocate")?;
    because(file.write_at(12_000, &[b"grown"]), "write")?;
    same(&because(file.slice(12_000, 5), "slice")?[..], b"grown".as_slice(), "slice of what has grown")
}

fn data_is_found_behind_what_was_never_written(medium: &dyn Medium) -> Outcome {
    let (disk, dir) = setup(medium)?;
    let file = because(disk.create(&dir.join("file"), 1 << 20), "create")?;
    let at = 700_001;
    because(file.write_at(at, &[b"x"]), "write")?;
    for synced in [false, true] {
        for offset in [0, 4096, at - 1, at, at + 1, (1 << 20) - 1, 1 << 20] {
            let ranges = because(file.data_ranges(offset), "data ranges")?;
            let found = ranges.iter().any(|range| range.contains(&at));
            let what = format!("from {offset} (synced: {synced}): {ranges:?}");
            same(found, offset <= at, &what)?;
            let ordered = ranges.windows(2).all(|pair| pair[0].end <= pair[1].start);
            let inside = ranges.iter().all(|r| offset <= r.start && r.start < r.end && r.end <= 1 << 20);
            holds(ordered && inside, &what)?;
        }
        because(file.sync_data(), "sync")?;
    }
    Ok(())
}

fn a_set_length_takes_no_room(medium: &dyn Medium) -> Outcome {
    // More than a test's volume has to spare.
    const LEN: u64 = 1 << 40;
    let (disk, dir) = setup(medium)?;
    let file = because(disk.create(&dir.join("file"), 0), "create")?;
    because(file.set_len(LEN), "set length")?;
    same(because(file.len(), "length")?, LEN, "length")?;
    because(file.write_at(LEN / 2, &[b"x"]), "write")?;
    let mut read = [1; 3];
    because(file.read_at(LEN / 2 - 1, &mut read), "read")?;
    same(&read[..], &b"\0x\0"[..], "what is read around it")?;
    let ranges = because(file.data_ranges(0), "data ranges")?;
    let data: u64 = ranges.iter().map(|range| range.end - range.start).sum();
    holds(data < 1 << 24, &format!("holes must be told from data: {ranges:?}"))
}

fn allocating_grows_and_never_shrinks(medium: &dyn Medium) -> Outcome {
    let (disk, dir) = setup(medium)?;
    let file = because(disk.create(&dir.join("file"), 10), "create")?;
    because(file.write_at(0, &[b"0123456789"]), "write")?;
    because(file.allocate(20), "allocate")?;
    because(file.allocate(5), "allocate less")?;
    same(content(&*file)?, b"0123456789\0\0\0\0\0\0\0\0\0\0".to_vec(), "content")?;
    because(file.set_len(4), "cut")?;
    because(file.set_len(6), "grow")?;
    same(content(&*file)?, b"0123\0\0".to_vec(), "content")
}

fn entries_are_listed_in_order(medium: &dyn Medium) -> Outcome {
    let (disk, dir) = setup(medium)?;
    for name in ["b", "a", "10", "9"] {
        because(disk.create(&dir.join(name), 0), "create")?;
    }
    because(disk.create_dir_all(&dir.join("c/d")), "create directory")?;
    let names = ["10", "9", "a", "b", "c"].map(str::to_owned).to_vec();
    same(because(disk.list(&dir), "list")?, names, "names")?;
    same(because(disk.list(&dir.join("c")), "list")?, vec!["d".to_owned()], "names below")?;
    same(because(disk.list(&dir.join("none")), "list")?, Vec::new(), "names of nothing")
}

fn a_rename_replaces_its_target(medium: &dyn Medium) -> Outcome {
    let (disk, dir) = setup(medium)?;
    let (from, to) = (dir.join("from"), dir.join("to"));
    because(because(disk.create(&from, 0), "create")?.write_at(0, &[b"new"]), "write")?;
    because(because(disk.create(&to, 0), "create")?.write_at(0, &[b"old"]), "write")?;
    because(disk.rename(&from, &to), "rename")?;
    same(because(disk.list(&dir), "list")?, vec!["to".to_owned()], "names")?;
    same(content(&*because(disk.open(&to), "open")?)?, b"new".to_vec(), "content")?;
    refused(disk.rename(&from, &to), ErrorKind::NotFound, "rename nothing")
}

fn removing_is_final_and_repeatable_for_trees(medium: &dyn Medium) -> Outcome {
    let (disk, dir) = setup(medium)?;
    let path = dir.join("file");
    because(disk.create(&path, 10), "create")?;
    because(disk.remove(&path), "remove")?;
    refused(disk.remove(&path), ErrorKind::NotFound, "remove again")?;
    let tree = dir.join("tree");
    because(disk.create_dir_all(&tree.join("a/b")), "create directory")?;
    because(disk.create(&tree.join("a/b/file"), 10), "create")?;
    because(disk.remove_dir_all(&tree), "remove tree")?;
    because(disk.remove_dir_all(&tree), "remove tree again")?;
    same(because(disk.exists(&tree), "exists")?, false, "tree exists")?;
    same(because(disk.list(&dir), "list")?, Vec::new(), "names")
}

fn a_lock_has_one_holder(medium: &dyn Medium) -> Outcome {
    let (disk, dir) = setup(medium)?;
    let path = dir.join("lock");
    let guard = because(disk.lock(&path), "lock")?;
    refused(disk.lock(&path), ErrorKind::WouldBlock, "lock again")?;
    refused(medium.mount().lock(&path), ErrorKind::WouldBlock, "lock through another mount")?;
    drop(guard);
    because(disk.lock(&path), "lock once free").map(drop)
}

fn written_bytes_survive_the_process(medium: &dyn Medium) -> Outcome {
    let (disk, dir) = setup(medium)?;
    let path = dir.join("file");
    let lock = because(disk.lock(&dir.join("lock")), "lock")?;
    let file = because(disk.create(&path, 10), "create")?;
    because(file.write_at(0, &[b"written"]), "write")?;
    drop((disk, file, lock));
    medium.kill();
    let disk = medium.mount();
    same(content(&*because(disk.open(&path), "open")?)?, b"written\0\0\0".to_vec(), "content")?;
    because(disk.lock(&dir.join("lock")), "the lock died with its process").map(drop)
}

fn only_synced_bytes_survive_a_power_loss(medium: &dyn Medium) -> Outcome {
    let (disk, dir) = setup(medium)?;
    let path = dir.join("file");
    let file = because(disk.create(&path, 20_000), "create")?;
    because(file.write_at(100, &[&[1; 10_000]]), "write")?;
    because(file.sync_data(), "sync")?;
    because(disk.sync_dir(&dir), "sync directory")?;
    because(file.write_at(200, &[&[2; 3000]]), "write unsynced")?;
    because(file.write_at(15_000, &[&[2; 10]]), "write unsynced")?;
    if !medium.power_loss() {
        return Ok(());
    }
    let found = content(&*because(medium.mount().open(&path), "open")?)?;
    same(found.len(), 20_000, "length")?;
    // What was not synced may survive, sector by sector; what was synced and not touched must.
    let mut want = vec![0; 20_000];
    want[100..10_100].fill(1);
    let touched = |i: usize| (200..3200).contains(&i) || (15_000..15_010).contains(&i);
    let wrong = (0..20_000).find(|i| found[*i] != want[*i] && !(touched(*i) && found[*i] == 2));
    same(wrong, None, "first wrong byte")
}

fn only_synced_entries_survive_a_power_loss(medium: &dyn Medium) -> Outcome {
    let (disk, dir) = setup(medium)?;
    let make = |name: &str| -> Result<PathBuf, Failure> {
        let path = dir.join(name);
        let file = because(disk.create(&path, 4), "create")?;
        because(file.write_at(0, &[name.as_bytes()]), "write")?;
        because(file.sync_data(), "sync")?;
        Ok(path)
    };
    let (kept, renamed, removed) = (make("kept")?, make("from")?, make("gone")?);
    because(disk.sync_dir(&dir), "sync directory")?;
    because(disk.rename(&renamed, &dir.join("to")), "rename")?;
    because(disk.sync_dir(&dir), "sync directory")?;
    let unsynced = make("new")?;
    because(disk.remove(&removed), "remove")?;
    let below = dir.join("made/durable");
    because(disk.create_dir_all(&below), "create directory")?;
    if !medium.power_loss() {
        return Ok(());
    }
    let disk = medium.mount();
    let there = |path: &Path| because(disk.exists(path), "exists");
    holds(there(&kept)? && there(&dir.join("to"))? && !there(&renamed)?, "synced entries must be as synced")?;
    holds(there(&below)?, "created directories are durable")?;
    // An unsynced entry may have become durable or not; if it is there, it is whole.
    if there(&unsynced)? {
        same(content(&*because(disk.open(&unsynced), "open")?)?, b"new\0".to_vec(), "content")?;
    }
    Ok(())
}

fn handles_of_before_a_power_loss_are_inert(medium: &dyn Medium) -> Outcome {
    let (disk, dir) = setup(medium)?;
    let path = dir.join("file");
    let file = because(disk.create(&path, 4), "create")?;
    because(file.sync_data(), "sync")?;
    because(disk.sync_dir(&dir), "sync directory")?;
    if !medium.power_loss() {
        return Ok(());
    }
    holds(file.write_at(0, &[b"late"]).is_err(), "a late write must fail")?;
    holds(file.sync_data().is_err(), "a late sync must fail")?;
    holds(disk.create(&dir.join("late"), 1).is_err(), "a late create must fail")?;
    holds(disk.remove(&path).is_err(), "a late removal must fail")?;
    let disk = medium.mount();
    same(content(&*because(disk.open(&path), "open")?)?, vec![0; 4], "content")?;
    same(because(disk.exists(&dir.join("late")), "exists")?, false, "late file exists")
}
