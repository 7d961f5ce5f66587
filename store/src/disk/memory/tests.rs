use std::path::Path;

use super::*;
use crate::disk::DiskFile;

const FILE: &str = "/d/file";
const PAGE: u64 = 4096;

/// A medium with one durable file of `pages` pages, each filled with its number + 1.
fn medium(pages: u64) -> (MemoryDisk, Arc<dyn DiskFile>) {
    let medium = MemoryDisk::new();
    let disk = medium.mount();
    disk.create_dir_all(Path::new("/d")).unwrap();
    let file = disk.create(Path::new(FILE), pages * PAGE).unwrap();
    for page in 0..pages {
        file.write_at(page * PAGE, &[&[page as u8 + 1; PAGE as usize]]).unwrap();
    }
    file.sync_data().unwrap();
    disk.sync_dir(Path::new("/d")).unwrap();
    (medium, file)
}

fn content(medium: &MemoryDisk) -> Vec<u8> {
    medium.content(Path::new(FILE)).unwrap()
}

#[test]
fn a_power_loss_keeps_drops_and_tears_pages_and_counts_them() {
    let (medium, file) = medium(3);
    for page in 0..3 {
        file.write_at(page * PAGE, &[&[0xEE; PAGE as usize]]).unwrap();
    }
    let mut fates = [0xFF, 0b0000_0011, 0].into_iter();
    let losses = medium.lose_power(&mut || fates.next().unwrap());
    assert_eq!(losses, Losses { pages_lost: 1, pages_torn: 1, entries: 0 });
    let found = content(&medium);
    assert!(found[..4096 + 1024].iter().all(|byte| *byte == 0xEE));
    assert!(found[4096 + 1024..8192].iter().all(|byte| *byte == 2));
    assert!(found[8192..].iter().all(|byte| *byte == 3));
}

#[test]
fn a_page_that_was_written_as_it_was_is_not_counted_as_lost() {
    let (medium, file) = medium(1);
    file.write_at(10, &[&[1; 100]]).unwrap();
    assert_eq!(medium.lose_power(&mut || 0), Losses::default());
}

#[test]
fn a_power_loss_undoes_and_counts_unsynced_entries_and_lengths() {
    let (medium, file) = medium(1);
    let disk = medium.mount();
    disk.create(Path::new("/d/made"), 10).unwrap();
    disk.rename(Path::new(FILE), Path::new("/d/renamed")).unwrap();
    file.write_at(PAGE, &[b"longer"]).unwrap();
    // The new entry, the entry under the new name, and the one under the old name.
    assert_eq!(medium.lose_power(&mut || 0xFF), Losses { pages_lost: 1, pages_torn: 0, entries: 3 });
    assert_eq!(medium.paths(), [Path::new(FILE)]);
    assert_eq!(content(&medium), [1; PAGE as usize]);
}

#[test]
fn pages_whose_sync_failed_are_gone_whatever_a_later_sync_says() {
    let (medium, file) = medium(2);
    file.write_at(0, &[b"lost"]).unwrap();
    medium.fail(Operation::Sync, 0, 5);
    assert_eq!(file.sync_data().unwrap_err().raw_os_error(), Some(5));
    file.write_at(PAGE, &[b"kept"]).unwrap();
    file.sync_data().unwrap();
    assert_eq!(&content(&medium)[..4], b"lost");
    assert!(!medium.is_durable(Path::new(FILE), 0..4));
    assert_eq!(medium.lose_power(&mut || 0xFF), Losses { pages_lost: 1, ..Losses::default() });
    assert_eq!((&content(&medium)[..4], &content(&medium)[4096..4100]), (&[1; 4][..], &b"kept"[..]));
}

#[test]
fn what_is_durable_is_known_without_a_crash() {
    let (medium, file) = medium(2);
    let path = Path::new(FILE);
    file.write_at(100, &[b"unsynced"]).unwrap();
    assert!(medium.is_durable(path, 0..100), "the same page, but bytes that did not change");
    assert!(medium.is_durable(path, 108..2 * PAGE) && medium.is_durable(path, 5..5));
    assert!(!medium.is_durable(path, 0..101) && !medium.is_durable(path, 107..200));
    assert!(!medium.is_durable(path, 0..2 * PAGE + 1), "beyond the end");
    let durable = medium.durable(path).unwrap();
    assert_eq!(medium.durable_range(path, 90..120).unwrap(), [1; 30]);
    assert_eq!(durable[..4096], [1; 4096]);
    file.sync_data().unwrap();
    assert!(medium.is_durable(path, 0..2 * PAGE));
    assert_eq!(medium.durable_range(path, 100..108).unwrap(), b"unsynced");
    medium.mount().create(Path::new("/d/new"), 4).unwrap().sync_data().unwrap();
    assert!(!medium.is_durable(Path::new("/d/new"), 0..4), "its entry is not");
    assert_eq!(medium.durable(Path::new("/d/new")).unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[test]
fn what_is_durable_is_what_a_power_loss_without_luck_leaves() {
    let (medium, file) = medium(4);
    file.write_at(3000, &[&[9; 5000]]).unwrap();
    file.sync_data().unwrap();
    file.write_at(8000, &[&[8; 5000]]).unwrap();
    file.set_len(9000).unwrap();
    let durable = medium.durable(Path::new(FILE)).unwrap();
    medium.crash();
    assert_eq!(content(&medium), durable);
}

#[test]
fn a_flipped_bit_is_met_by_readers_until_it_is_written_over() {
    let (medium, file) = medium(2);
    let path = Path::new(FILE);
    medium.flip_bit(path, 50, 3).unwrap();
    let mut buf = [0; 50];
    file.read_at(0, &mut buf).unwrap();
    assert_eq!(medium.take_rot_met(), 0);
    assert_eq!(file.slice(50, 1).unwrap()[0], 1 ^ 8);
    assert_eq!((medium.take_rot_met(), medium.take_rot_met()), (1, 0));
    assert_eq!(medium.rotten(), [(path.to_owned(), 50)]);
    file.write_at(40, &[&[7; 20]]).unwrap();
    file.slice(50, 1).unwrap();
    assert_eq!((medium.take_rot_met(), medium.rotten().len()), (0, 0));
    medium.lose_power(&mut || 0);
    assert_eq!(medium.rotten().len(), 1, "what wrote it over is lost");
    assert_eq!(content(&medium)[50], 1 ^ 8);
}

#[test]
fn flipped_bits_are_mended_and_what_was_written_over_is_left_alone() {
    let (medium, file) = medium(2);
    for offset in [50, 60, PAGE + 1] {
        medium.flip_bit(Path::new(FILE), offset, 0).unwrap();
    }
    file.write_at(60, &[b"!"]).unwrap();
    file.sync_data().unwrap();
    medium.mend();
    let mut want = [[1; PAGE as usize], [2; PAGE as usize]].concat();
    want[60] = b'!';
    assert_eq!((content(&medium), medium.rotten()), (want, Vec::new()));
}

#[test]
fn a_flip_behind_a_length_that_a_power_loss_takes_back_is_gone() {
    let (medium, file) = medium(1);
    file.write_at(PAGE, &[&[5; 10]]).unwrap();
    medium.flip_bit(Path::new(FILE), PAGE + 1, 0).unwrap();
    medium.crash();
    assert!(medium.rotten().is_empty());
}

#[test]
fn zeroes_written_ahead_take_no_memory_and_read_as_zeroes() {
    let (medium, file) = medium(1);
    file.write_at(PAGE, &[&[0; 8192]]).unwrap();
    assert_eq!(file.data_ranges(PAGE).unwrap(), []);
    assert_eq!(file.len().unwrap(), 3 * PAGE);
    file.write_at(PAGE + 10, &[b"x"]).unwrap();
    file.write_at(PAGE, &[&[0; 8192]]).unwrap();
    assert_eq!(content(&medium)[4096..], [0; 8192]);
}

#[test]
fn holes_take_no_room_and_what_is_written_into_them_does() {
    let medium = MemoryDisk::new();
    medium.set_capacity(Some(5 * PAGE));
    let disk = medium.mount();
    disk.create_dir_all(Path::new("/d")).unwrap();
    let file = disk.create(Path::new(FILE), 0).unwrap();
    file.set_len(1 << 30).unwrap();
    assert_eq!(medium.used(), 0);
    file.write_at(10 * PAGE + 1, &[b"x"]).unwrap();
    file.write_at(10 * PAGE + 9, &[b"x"]).unwrap();
    assert_eq!(medium.used(), PAGE);
    file.write_at(0, &[&[1; 2 * PAGE as usize]]).unwrap();
    file.write_at(PAGE, &[&[1; 2 * PAGE as usize]]).unwrap();
    assert_eq!(medium.used(), 4 * PAGE);
    let full = |done: std::io::Result<()>| assert_eq!(done.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    full(file.write_at(20 * PAGE - 1, &[b"xx"]));
    full(file.allocate(5 * PAGE));
    file.write_at(20 * PAGE, &[b"x"]).unwrap();
    assert_eq!(medium.used(), 5 * PAGE);
    medium.set_capacity(None);
    file.allocate(15 * PAGE).unwrap();
    assert_eq!(medium.used(), 16 * PAGE, "the page at 10 counts once");
    file.set_len(12 * PAGE).unwrap();
    assert_eq!(medium.used(), 12 * PAGE);
    medium.crash();
    assert_eq!(medium.used(), 0);
}
