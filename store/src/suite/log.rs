//! What every log must do, on every disk.

use std::ops::Range;
use std::sync::Arc;

use super::rig::{Rig, SMALL, body, entry, id, identity, vote};
use super::{Check, Medium, Outcome, because, holds, same};
use crate::commit_log::segment_path;
use crate::commit_log::verify::verify;
use crate::frame::Kind;
use crate::identity::{GroupConstants, Identity};
use crate::log_store::{FlushMode, LogStore, NewEntry, Options, SnapshotPosition, StoreTimes};
use crate::{LogId, LogIndex, PhysicalOffset, StoreError};

/// The checks.
pub fn checks() -> Vec<Check> {
    vec![
        Check { name: "entries, vote and committed survive a restart", run: everything_survives_a_restart },
        Check { name: "positions are assigned at once", run: positions_are_assigned_at_once },
        Check { name: "an append that does not continue the log is refused", run: a_bad_append_is_refused },
        Check { name: "a vote is done after earlier appends", run: a_vote_is_done_after_earlier_appends },
        Check { name: "entries roll exactly where no filler would fit", run: entries_roll_at_exact_boundaries },
        Check { name: "truncated entries never come back", run: truncated_entries_never_come_back },
        Check { name: "the layout does not depend on history", run: the_layout_does_not_depend_on_history },
        Check { name: "a purge drops whole segments", run: a_purge_drops_whole_segments },
        Check { name: "an installed log starts behind its snapshot", run: an_installed_log_starts_behind_its_snapshot },
        Check { name: "a snapshot position is known before it is written", run: a_snapshot_position_is_known_early },
        Check { name: "old entries are found through the sparse table", run: old_entries_are_found },
        Check { name: "reads stop at their budget", run: reads_stop_at_their_budget },
        Check { name: "record bytes are read from memory and file alike", run: record_bytes_are_read_alike },
        Check { name: "a closed store takes no writes and can be opened", run: a_closed_store_takes_no_writes },
        Check { name: "a store in use is refused", run: a_store_in_use_is_refused },
        Check { name: "a store of other constants is refused", run: a_store_of_other_constants_is_refused },
        Check { name: "a directory that is no store is refused", run: a_directory_that_is_no_store_is_refused },
        Check { name: "zeroes are written ahead while the load is light", run: zeroes_are_written_ahead },
        Check { name: "the checkpoint file holds the timestamps", run: the_checkpoint_file_holds_the_timestamps },
    ]
}

pub(super) fn ids(term: u64, range: Range<u64>) -> Vec<LogId> {
    range.map(|index| id(term, index)).collect()
}

fn is_contract<T>(result: Result<T, StoreError>, what: &str) -> Outcome {
    match result {
        Err(StoreError::Contract(_)) => Ok(()),
        Err(e) => Err(format!("{what}: {e}")),
        Ok(_) => Err(format!("{what} was not refused")),
    }
}

fn everything_survives_a_restart(medium: &dyn Medium) -> Outcome {
    let rig = Rig::small(medium)?;
    rig.fill(1, 20, 500)?;
    rig.save_vote(vote(3))?;
    rig.log.save_committed(id(1, 9));
    rig.sync()?;
    rig.must_hold(&ids(1, 0..20))?;
    let rig = rig.kill(medium)?;
    rig.must_hold(&ids(1, 0..20))?;
    same(rig.recovered.vote, Some(vote(3)), "vote")?;
    same(rig.log.vote(), Some(vote(3)), "vote")?;
    same(rig.recovered.committed, Some(id(1, 9)), "committed")?;
    same(rig.log.positions().committed, Some(id(1, 9)), "committed")?;
    same(rig.log.positions().synced, Some(id(1, 19)), "synced")?;
    same(rig.recovered.clean, false, "clean")?;
    rig.close()?;
    let rig = Rig::small(medium)?;
    same(rig.recovered.clean, true, "clean")?;
    same(rig.recovered.torn_tail, None, "torn tail")?;
    rig.must_hold(&ids(1, 0..20))
}

fn positions_are_assigned_at_once(medium: &dyn Medium) -> Outcome {
    let rig = Rig::small(medium)?;
    let batch = (0..4).map(|index| entry(id(1, index), 1000)).collect();
    let positions = because(rig.log.append(batch, rig.finished.done("append")), "append")?;
    same(positions, [0, 1048, 2096, 4096].map(PhysicalOffset).to_vec(), "positions")?;
    rig.must_hold(&ids(1, 0..4))?;
    same(rig.log.positions().pending_bytes, 4 * 1048, "pending bytes")?;
    same(rig.log.positions().synced, None, "synced")?;
    same(rig.finished.take(), Vec::new(), "nothing is done yet")?;
    rig.run()?;
    same(rig.log.positions().pending_bytes, 0, "pending bytes")?;
    same(rig.log.positions().synced, Some(id(1, 3)), "synced")
}

fn a_bad_append_is_refused(medium: &dyn Medium) -> Outcome {
    let rig = Rig::small(medium)?;
    rig.fill(2, 3, 10)?;
    let append = |entry: NewEntry| rig.log.append(vec![entry], rig.finished.done("refused"));
    is_contract(append(entry(id(2, 4), 10)), "a gap")?;
    is_contract(append(entry(id(2, 2), 10)), "an index twice")?;
    is_contract(append(entry(id(1, 3), 10)), "a lower term")?;
    is_contract(append(entry(id(2, 3), 1025)), "a too large entry")?;
    is_contract(append(NewEntry { kind: Kind::Filler, ..entry(id(2, 3), 10) }), "a filler")?;
    let second_bad = vec![entry(id(2, 3), 10), entry(id(2, 5), 10)];
    is_contract(rig.log.append(second_bad, rig.finished.done("refused")), "a gap inside")?;
    rig.log.run_pending();
    same(rig.finished.take(), Vec::new(), "finished")?;
    rig.append(vec![entry(id(2, 3), 1024)])?;
    rig.must_hold(&ids(2, 0..4))
}

fn a_vote_is_done_after_earlier_appends(medium: &dyn Medium) -> Outcome {
    let rig = Rig::small(medium)?;
    for index in 0..3 {
        because(rig.log.append(vec![entry(id(1, index), 10)], rig.finished.done(format!("append {index}"))), "append")?;
    }
    rig.log.save_vote(vote(2), rig.finished.done("vote"));
    because(rig.log.append(vec![entry(id(1, 3), 10)], rig.finished.done("append 3")), "append")?;
    because(rig.log.truncate_after(Some(id(1, 2)), rig.finished.done("truncate")), "truncate")?;
    let (finished, name) = (rig.finished.clone(), "job");
    rig.log.enqueue(Box::new(move || finished.done(name)(Ok(()))));
    rig.log.sync(rig.finished.done("sync"));
    rig.log.run_pending();
    let want = ["append 0", "append 1", "append 2", "vote", "append 3", "truncate", "job", "sync"];
    same(rig.finished.names()?, want.map(str::to_owned).to_vec(), "order")
}

fn entries_roll_at_exact_boundaries(medium: &dyn Medium) -> Outcome {
    // What is left of a 4096-byte segment behind three frames of 1024, less the last entry's header.
    for (len, rolls) in [(4096 - 3072 - 48 - 48, false), (4096 - 3072 - 48 - 47, true), (0, false), (976, true)] {
        let medium = medium.fresh();
        let rig = Rig::small(&*medium)?;
        rig.fill(1, 3, 976)?;
        let positions = rig.append(vec![entry(id(1, 3), len)])?;
        let want = if rolls { 4096 } else { 3072 };
        same(positions, vec![PhysicalOffset(want)], &format!("position of {len} bytes"))?;
        // The next one rolls in any case, over a filler of 48 bytes or more.
        let positions = rig.append(vec![entry(id(1, 4), 1024)])?;
        let want = if rolls { 4096 + 48 + len as u64 } else { 4096 };
        same(positions, vec![PhysicalOffset(want)], "position of the next")?;
        let rig = rig.kill(&*medium)?;
        rig.must_hold(&ids(1, 0..5))?;
        drop(rig);
        because(verify(&medium.mount(), &medium.root(), &mut |_| Ok(())), "verify")?;
    }
    Ok(())
}

fn truncated_entries_never_come_back(medium: &dyn Medium) -> Outcome {
    let rig = Rig::small(medium)?;
    rig.fill(1, 12, 700)?;
    rig.log.save_committed(id(1, 1));
    rig.truncate(Some(id(1, 4)))?;
    rig.must_hold(&ids(1, 0..5))?;
    same(rig.log.positions().synced, Some(id(1, 4)), "synced")?;
    is_contract(rig.log.truncate_after(Some(id(1, 0)), rig.finished.done("below")), "truncating committed entries")?;
    is_contract(rig.log.truncate_after(None, rig.finished.done("all")), "truncating committed entries")?;
    is_contract(rig.log.truncate_after(Some(id(2, 3)), rig.finished.done("other")), "truncating behind a stranger")?;
    let rig = rig.kill(medium)?;
    rig.must_hold(&ids(1, 0..5))?;
    // Shorter and longer entries end in the middle of what stood there; none of it may show.
    rig.fill(2, 2, 100)?;
    let rig = rig.kill(medium)?;
    rig.must_hold(&[ids(1, 0..5), ids(2, 5..7)].concat())?;
    rig.truncate(Some(id(1, 4)))?;
    rig.fill(3, 1, 700)?;
    let rig = rig.kill(medium)?;
    same(rig.recovered.torn_tail, None, "torn tail")?;
    rig.must_hold(&[ids(1, 0..5), ids(3, 5..6)].concat())?;
    // Nothing committed was persisted before the first kill: all may still go.
    rig.truncate(None)?;
    rig.must_hold(&[])?;
    rig.fill(4, 1, 10)?;
    rig.kill(medium)?.must_hold(&ids(4, 0..1))
}

fn the_layout_does_not_depend_on_history(medium: &dyn Medium) -> Outcome {
    let other = medium.fresh();
    let (a, b) = (Rig::small(medium)?, Rig::small(&*other)?);
    // One is given everything at once, the other one by one, with dead ends, restarts and syncs in between.
    let lengths = [1000, 976, 928, 3, 1024, 0, 500, 77, 1024, 1024, 880, 929, 40];
    let all = lengths.iter().enumerate().map(|(i, len)| entry(id(5, i as u64), *len)).collect();
    a.append(all)?;
    let mut b = b;
    for (i, len) in lengths.iter().enumerate() {
        b.append(vec![entry(id(5, i as u64), *len)])?;
        b.fill(6, 3, 1024 - i * 70)?;
        b.truncate(Some(id(5, i as u64)))?;
        if i % 4 == 3 {
            b = b.kill(&*other)?;
        }
    }
    same(a.files()?, b.files()?, "segment files")
}

fn a_purge_drops_whole_segments(medium: &dyn Medium) -> Outcome {
    let rig = Rig::small(medium)?;
    // Four entries a segment: 0-3, 4-7, 8-11, 12-13.
    rig.fill(1, 14, 900)?;
    let purge = |upto| rig.log.purge(upto, rig.finished.done("purge"));
    is_contract(purge(id(1, 3)), "purging above committed")?;
    rig.log.save_committed(id(1, 12));
    is_contract(purge(id(1, 14)), "purging above the last entry")?;
    rig.purge(id(1, 2))?;
    same(rig.log.positions().first, PhysicalOffset(0), "first, as no whole segment went")?;
    rig.purge(id(1, 9))?;
    let positions = rig.log.positions();
    same((positions.purged, positions.first), (Some(id(1, 7)), PhysicalOffset(8192)), "purged")?;
    rig.must_hold(&ids(1, 8..14))?;
    rig.purge(id(1, 7))?;
    is_contract(rig.log.purge(id(2, 7), rig.finished.done("purge")), "purging another entry of that index")?;
    let below = rig.log.entries(LogIndex(7)..LogIndex(9), 1 << 20);
    holds(matches!(below, Err(StoreError::NoEntry { .. })), "a purged entry must not be read")?;
    holds(rig.log.bytes(PhysicalOffset(48), 10).is_err(), "purged bytes must not be read")?;
    let rig = rig.kill(medium)?;
    let positions = rig.log.positions();
    same((positions.purged, positions.first), (Some(id(1, 7)), PhysicalOffset(8192)), "purged")?;
    rig.must_hold(&ids(1, 8..14))?;
    // The last segment stays, whatever is asked.
    rig.log.save_committed(id(1, 13));
    rig.purge(id(1, 13))?;
    same(rig.log.positions().purged, Some(id(1, 11)), "purged")?;
    rig.truncate(Some(id(1, 13)))?;
    rig.kill(medium)?.must_hold(&ids(1, 12..14))
}

/// A snapshot position in another member's log, and what follows it there.
pub(super) fn foreign_position(medium: &dyn Medium) -> Result<(SnapshotPosition, Vec<NewEntry>), super::Failure> {
    let rig = Rig::small(&*medium.fresh())?;
    rig.fill(3, 14, 900)?;
    let at = rig.log.snapshot_position(PhysicalOffset(8192)).ok_or("no snapshot position")?;
    same(at.last, id(3, 7), "last")?;
    let entries = rig.all()?.into_iter().skip(8);
    Ok((at, entries.map(|e| NewEntry { id: e.id, kind: e.kind, body: e.body }).collect()))
}

fn an_installed_log_starts_behind_its_snapshot(medium: &dyn Medium) -> Outcome {
    let (at, following) = foreign_position(medium)?;
    let rig = Rig::small(medium)?;
    rig.fill(1, 6, 600)?;
    rig.log.save_committed(id(1, 2));
    rig.log.install(at, rig.finished.done("install"));
    // What openraft does next.
    because(rig.log.purge(at.last, rig.finished.done("purge")), "purge")?;
    because(rig.log.append(following.clone(), rig.finished.done("append")), "append")?;
    rig.must_hold(&ids(3, 8..14))?;
    rig.run()?;
    rig.must_hold(&ids(3, 8..14))?;
    let positions = rig.log.positions();
    same((positions.purged, positions.first), (Some(at.last), at.next), "purged")?;
    same(positions.committed, Some(at.last), "committed")?;
    same(rig.log.segments(), vec![PhysicalOffset(8192), PhysicalOffset(12_288)], "segments")?;
    let back = SnapshotPosition { last: id(3, 5), next: PhysicalOffset(4096), chain: 0 };
    rig.log.install(back, rig.finished.done("back"));
    holds(matches!(&rig.finished.take()[..], [(_, Err(_))]), "an install that takes entries back must be refused")?;
    let rig = rig.kill(medium)?;
    rig.must_hold(&ids(3, 8..14))?;
    same(rig.log.snapshot_position(at.next), Some(at), "snapshot position")?;
    drop(rig);
    let verified = because(verify(&medium.mount(), &medium.root(), &mut |_| Ok(())), "verify")?;
    same((verified.purged, verified.entries), (Some(at.last), 6), "verified")?;
    // The same on an empty store, which knows the position before any entry follows.
    let medium = medium.fresh();
    let rig = Rig::small(&*medium)?;
    rig.log.install(at, rig.finished.done("install"));
    rig.run()?;
    same(rig.log.snapshot_position(at.next), Some(at), "snapshot position")?;
    let rig = rig.kill(&*medium)?;
    same(rig.log.positions().last, Some(at.last), "last")?;
    same(rig.log.snapshot_position(at.next), Some(at), "snapshot position")?;
    rig.append(following)?;
    rig.must_hold(&ids(3, 8..14))
}

fn a_snapshot_position_is_known_early(medium: &dyn Medium) -> Outcome {
    let rig = Rig::small(medium)?;
    rig.fill(1, 2, 900)?;
    same(rig.log.snapshot_position(PhysicalOffset(0)), None, "at the very start")?;
    same(rig.log.snapshot_position(PhysicalOffset(4096)), None, "where no entry is")?;
    let batch = (2..20).map(|index| entry(id(1, index), 900)).collect();
    because(rig.log.append(batch, rig.finished.done("append")), "append")?;
    let starts = [4096, 8192, 12_288, 16_384].map(PhysicalOffset);
    let early = starts.map(|start| rig.log.snapshot_position(start));
    holds(early.iter().all(Option::is_some), "known before it is written")?;
    same(early.map(|at| at.map(|at| at.last)), [3, 7, 11, 15].map(|i| Some(id(1, i))), "last")?;
    rig.run()?;
    same(starts.map(|start| rig.log.snapshot_position(start)), early, "once written")?;
    let rig = rig.kill(medium)?;
    same(starts.map(|start| rig.log.snapshot_position(start)), early, "after a restart")
}

fn old_entries_are_found(medium: &dyn Medium) -> Outcome {
    let constants = GroupConstants { segment_size: 256 << 10, max_entry: 16 << 10, ..SMALL };
    // A tail of no bytes: whatever is committed is read from the files.
    let options = Options { tail_bytes: 0, ..Options::default() };
    let open = || because(Rig::open(medium, constants, options.clone()), "open");
    let rig = open()?;
    for first in (0..600).step_by(50) {
        let batch = (first..first + 50).map(|i| entry(id(1, i), (i as usize * 37) % 4096)).collect();
        rig.append(batch)?;
    }
    rig.log.save_committed(id(1, 599));
    rig.sync()?;
    let check = |rig: &Rig| -> Outcome {
        for from in [599, 0, 300, 299, 42, 598, 1, 455] {
            let read = because(rig.log.entries(LogIndex(from)..LogIndex(from + 3), 1 << 20), "read")?;
            let want = ids(1, from..600.min(from + 3));
            same(read.iter().map(|e| e.id).collect::<Vec<_>>(), want, &format!("entries from {from}"))?;
            holds(read.iter().all(|e| e.body == body(e.id, e.body.len())), "bodies")?;
            same(because(rig.log.id_at(LogIndex(from)), "id")?, id(1, from), "id")?;
        }
        holds(rig.log.segments().len() >= 4, "the log must span some segments")
    };
    check(&rig)?;
    rig.must_hold(&ids(1, 0..600))?;
    drop(rig);
    medium.kill();
    let rig = open()?;
    same(rig.log.in_memory(LogIndex(599)), false, "in memory")?;
    check(&rig)?;
    rig.must_hold(&ids(1, 0..600))
}

fn reads_stop_at_their_budget(medium: &dyn Medium) -> Outcome {
    let options = Options { tail_bytes: 4000, ..Options::default() };
    let rig = because(Rig::open(medium, SMALL, options), "open")?;
    rig.fill(1, 30, 500)?;
    rig.log.save_committed(id(1, 29));
    let read = |range: Range<u64>, max| {
        let read = because(rig.log.entries(LogIndex(range.start)..LogIndex(range.end), max), "read")?;
        Ok::<_, super::Failure>(read.iter().map(|e| e.id.index.0).collect::<Vec<_>>())
    };
    for start in [0, 3, 25] {
        same(read(start..30, 1)?, vec![start], "the first entry always comes")?;
        same(read(start..30, 1000)?, vec![start, start + 1], "two fit")?;
        same(read(start..30, 1499)?, vec![start, start + 1], "two fit")?;
        same(read(start..start + 1, 1 << 20)?, vec![start], "one is asked")?;
        same(read(start..start, 1 << 20)?, vec![], "none is asked")?;
    }
    same(read(20..1000, 1 << 20)?, (20..30).collect(), "up to the end, over file and memory")?;
    same(read(30..40, 1 << 20)?, vec![], "behind the end")
}

fn record_bytes_are_read_alike(medium: &dyn Medium) -> Outcome {
    let options = Options { tail_bytes: 3000, ..Options::default() };
    let rig = because(Rig::open(medium, SMALL, options), "open")?;
    rig.fill(1, 30, 900)?;
    rig.log.save_committed(id(1, 29));
    for e in rig.all()? {
        let at = e.position + 48 + 100;
        let bytes = because(rig.log.bytes(at, 200), "bytes")?;
        same(&bytes[..], &e.body[100..300], &format!("bytes of {}", e.id))?;
    }
    holds(!rig.log.is_hot(PhysicalOffset(0)) && rig.log.is_hot(rig.log.positions().end), "the last segments are hot")?;
    let end = rig.log.positions().end;
    for (at, len) in [(end, 1), (end + 100_000, 10), (PhysicalOffset(end.0 - 10), 11), (PhysicalOffset(4000), 200)] {
        let bytes = rig.log.bytes(at, len);
        holds(matches!(bytes, Err(StoreError::OutOfRange { .. })), &format!("{len} bytes at {at} are not there"))?;
    }
    Ok(())
}

fn a_closed_store_takes_no_writes(medium: &dyn Medium) -> Outcome {
    let rig = Rig::small(medium)?;
    rig.fill(1, 3, 100)?;
    let abort = rig.dir.join("abort");
    same(because(rig.disk.exists(&abort), "exists")?, true, "abort while open")?;
    let log = Arc::clone(&rig.log);
    let (disk, dir) = (Arc::clone(&rig.disk), rig.dir.clone());
    let finished = rig.finished.clone();
    rig.close()?;
    same(because(disk.exists(&abort), "exists")?, false, "abort once closed")?;
    let append = log.append(vec![entry(id(1, 3), 10)], finished.done("late"));
    holds(matches!(append, Err(StoreError::Closed)), "a late append must be refused")?;
    log.save_vote(vote(9), finished.done("late vote"));
    log.run_pending();
    holds(matches!(&finished.take()[..], [(_, Err(_))]), "a late vote must be refused")?;
    // Whoever still holds the closed store holds no lock.
    let (again, recovered) = because(LogStore::open(disk, &dir, SMALL, FlushMode::Sync, Box::new(|| {})), "open")?;
    same((recovered.clean, recovered.vote), (true, None), "recovered")?;
    same(again.positions().last, Some(id(1, 2)), "last")
}

fn a_store_in_use_is_refused(medium: &dyn Medium) -> Outcome {
    let rig = Rig::small(medium)?;
    let second = Rig::open(medium, SMALL, FlushMode::Sync);
    holds(matches!(second, Err(StoreError::Locked { .. })), "a second open must be refused")?;
    let verified = verify(&rig.disk, &rig.dir, &mut |_| Ok(()));
    holds(matches!(verified, Err(StoreError::Locked { .. })), "verify must not run beside a broker")?;
    rig.fill(1, 1, 10)?;
    rig.kill(medium)?.must_hold(&ids(1, 0..1))
}

fn a_store_of_other_constants_is_refused(medium: &dyn Medium) -> Outcome {
    drop(Rig::small(medium)?);
    let other = GroupConstants { segment_size: 8192, ..SMALL };
    match LogStore::open(medium.mount(), &medium.root(), other, FlushMode::Sync, Box::new(|| {})) {
        Err(StoreError::Differs { stored: 4096, asked: 8192, .. }) => {}
        Err(e) => return Err(format!("another segment size: {e}")),
        Ok(_) => return Err("another segment size was not refused".to_owned()),
    }
    let odd = GroupConstants { segment_size: 5000, ..SMALL };
    is_contract(identity(odd).format(&*medium.mount(), &medium.root().join("odd")), "an odd segment size")?;
    let large = GroupConstants { max_entry: 1025, ..SMALL };
    is_contract(identity(large).format(&*medium.mount(), &medium.root().join("large")), "a too large entry")
}

fn a_directory_that_is_no_store_is_refused(medium: &dyn Medium) -> Outcome {
    let (disk, dir) = (medium.mount(), medium.root());
    let open = || LogStore::open(Arc::clone(&disk), &dir, SMALL, FlushMode::Sync, Box::new(|| {}));
    holds(matches!(open(), Err(StoreError::Unformatted { .. })), "a missing directory must be refused")?;
    because(identity(SMALL).format(&*disk, &dir), "format")?;
    is_contract(identity(SMALL).format(&*disk, &dir), "formatting a store")?;
    same(because(Identity::read(&*disk, &dir), "read")?, Some(identity(SMALL)), "identity")?;
    because(disk.remove(&dir.join("hardstate")), "remove")?;
    match open() {
        Err(StoreError::Corrupt { what, .. }) if what.starts_with("hard state") => {}
        other => return Err(format!("a lost hard state: {:?}", other.map(|_| ()))),
    }
    // A CommitLog of another origin is not formatted over.
    let foreign = medium.root().join("foreign");
    because(disk.create_dir_all(&foreign.join("commitlog")), "create directory")?;
    because(disk.create(&segment_path(&foreign, PhysicalOffset(0)), 4096), "create")?;
    let formatted = identity(SMALL).format(&*disk, &foreign);
    holds(matches!(formatted, Err(StoreError::Unformatted { .. })), "a foreign CommitLog must be refused")
}

fn zeroes_are_written_ahead(medium: &dyn Medium) -> Outcome {
    let constants = GroupConstants { segment_size: 1 << 20, max_entry: 64 << 10, ..SMALL };
    let options = Options { prewrite_bytes: 512 << 10, ..Options::default() };
    let rig = because(Rig::open(medium, constants, options), "open")?;
    // Small entries, over a roll: zeroes ahead must never cover what was written.
    for i in 0..40 {
        rig.append(vec![entry(id(1, i), 30 << 10)])?;
    }
    holds(rig.log.segments().len() == 2, "the log must roll")?;
    rig.must_hold(&ids(1, 0..40))?;
    rig.truncate(Some(id(1, 33)))?;
    rig.must_hold(&ids(1, 0..34))?;
    for i in 34..40 {
        rig.append(vec![entry(id(2, i), 10)])?;
    }
    drop(rig);
    medium.kill();
    let rig = because(Rig::open(medium, constants, FlushMode::Sync), "open")?;
    rig.must_hold(&[ids(1, 0..34), ids(2, 34..40)].concat())?;
    drop(rig);
    let verified = because(verify(&medium.mount(), &medium.root(), &mut |_| Ok(())), "verify")?;
    same((verified.entries, verified.torn_tail), (40, None), "verified")
}

fn the_checkpoint_file_holds_the_timestamps(medium: &dyn Medium) -> Outcome {
    let rig = Rig::small(medium)?;
    rig.log.note_times(StoreTimes { physic_ms: 1, logics_ms: 2, index_ms: -3 });
    rig.sync()?;
    let bytes = super::rig::read(&*rig.disk, &rig.dir.join("checkpoint"))?;
    same(bytes.len(), 4096, "length")?;
    let times = [1i64, 2, -3].map(i64::to_be_bytes).concat();
    same(&bytes[..24], &times[..], "timestamps")
}
