//! When a store may say "done": on a memory disk whose syncs can be held, failed and counted.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;

use quorumq_store::{LogIndex, StoreError};

use quorumq_store::disk::memory::{MemoryDisk, Operation};
use quorumq_store::log_store::{FlushMode, LogStore, Options};
use quorumq_store::suite::MemoryMedium;
use quorumq_store::suite::rig::{Rig, SMALL, entry, id, identity, vote};
use std::path::Path;

const EIO: i32 = 5;

fn open(medium: &MemoryMedium, mode: FlushMode) -> Rig {
    Rig::open(medium, SMALL, mode).unwrap()
}

fn append(rig: &Rig, index: u64) {
    rig.log.append(vec![entry(id(1, index), 100)], rig.finished.done(format!("append {index}"))).unwrap();
}

#[test]
fn nothing_is_acknowledged_while_its_sync_is_held() {
    let medium = MemoryMedium::default();
    let rig = open(&medium, FlushMode::Sync);
    medium.disk.hold_syncs();
    append(&rig, 0);
    rig.log.save_vote(vote(2), rig.finished.done("vote"));
    let log = Arc::clone(&rig.log);
    let disk_thread = std::thread::spawn(move || log.run_pending());
    while medium.disk.held_syncs() == 0 {
        std::thread::yield_now();
    }
    // Appends go on meanwhile, readable at once, and wait for the next group.
    append(&rig, 1);
    assert_eq!(rig.log.positions().last, Some(id(1, 1)));
    assert_eq!(rig.log.positions().synced, None);
    assert_eq!(rig.log.positions().pending_bytes, 2 * 148);
    assert_eq!(rig.finished.take(), []);
    medium.disk.release_syncs();
    disk_thread.join().unwrap();
    assert_eq!(rig.finished.names().unwrap(), ["append 0", "vote", "append 1"]);
    assert_eq!(rig.log.positions().synced, Some(id(1, 1)));
}

#[test]
fn a_group_takes_one_write_and_one_sync() {
    let medium = MemoryMedium::default();
    let rig = Rig::open(&medium, SMALL, Options { prewrite_bytes: 0, ..Options::default() }).unwrap();
    // A quarter of the segment: the next one is allocated now, and what is counted later is the work itself.
    rig.append(vec![entry(id(1, 0), 1000)]).unwrap();
    let (writes, syncs) = (medium.disk.count(Operation::Write), medium.disk.count(Operation::Sync));
    for index in 1..11 {
        append(&rig, index);
    }
    rig.log.run_pending();
    assert_eq!(rig.finished.names().unwrap().len(), 10);
    assert_eq!(medium.disk.count(Operation::Sync) - syncs, 1, "one sync of the log");
    assert_eq!(medium.disk.count(Operation::Write) - writes, 2, "the frames, and the synced mark");
}

#[test]
fn async_flush_acknowledges_what_is_written_and_syncs_votes_all_the_same() {
    let medium = MemoryMedium::default();
    let rig = open(&medium, FlushMode::Async);
    let syncs = medium.disk.count(Operation::Sync);
    append(&rig, 0);
    rig.log.run_pending();
    assert_eq!(rig.finished.names().unwrap(), ["append 0"]);
    assert_eq!((medium.disk.count(Operation::Sync), rig.log.positions().synced), (syncs, None));
    rig.log.save_vote(vote(3), rig.finished.done("vote"));
    rig.log.run_pending();
    assert!(medium.disk.count(Operation::Sync) > syncs);
    rig.log.sync(rig.finished.done("sync"));
    append(&rig, 1);
    rig.log.run_pending();
    assert_eq!(rig.finished.names().unwrap(), ["vote", "sync", "append 1"]);
    assert_eq!(rig.log.positions().synced, Some(id(1, 0)));
    drop(rig);
    medium.disk.crash();
    let rig = open(&medium, FlushMode::Async);
    assert_eq!(rig.recovered.vote, Some(vote(3)));
    rig.must_hold(&[id(1, 0)]).unwrap();
}

#[test]
fn a_background_sync_lets_appends_go_on_and_covers_what_was_written_before_it() {
    let medium = MemoryMedium::default();
    let rig = open(&medium, FlushMode::Async);
    assert!(rig.log.begin_sync().is_none(), "nothing to sync");
    append(&rig, 0);
    assert!(rig.log.begin_sync().is_none(), "nothing written");
    rig.log.run_pending();
    let sync = rig.log.begin_sync().unwrap();
    medium.disk.hold_syncs();
    let waiting = std::thread::spawn(move || sync.run());
    while medium.disk.held_syncs() == 0 {
        std::thread::yield_now();
    }
    append(&rig, 1);
    rig.log.run_pending();
    assert_eq!(rig.finished.names().unwrap(), ["append 0", "append 1"]);
    assert_eq!(rig.log.positions().synced, None);
    medium.disk.release_syncs();
    waiting.join().unwrap().unwrap();
    rig.log.run_pending();
    assert_eq!(rig.log.positions().synced, Some(id(1, 0)));
    rig.log.persist_mark();
    rig.log.run_pending();
    drop(rig);
    // What the sync covered is now below the mark: damage there is no torn tail any more.
    medium.disk.crash_keeping(&mut || true);
    let path = Path::new("/node/commitlog/00000000000000000000");
    medium.disk.flip_bit(path, 60, 1).unwrap();
    let opened = Rig::open(&medium, SMALL, FlushMode::Async);
    assert!(matches!(opened, Err(StoreError::Corrupt { offset: 0, .. })), "{opened:?}");
    medium.disk.flip_bit(path, 60, 1).unwrap();
    medium.disk.flip_bit(path, 148 + 60, 1).unwrap();
    open(&medium, FlushMode::Async).must_hold(&[id(1, 0)]).unwrap();
}

#[test]
fn the_mark_of_a_background_sync_becomes_durable_beside_the_disk_thread() {
    let medium = MemoryMedium::default();
    let rig = open(&medium, FlushMode::Async);
    append(&rig, 0);
    rig.log.run_pending();
    rig.log.begin_sync().unwrap().run().unwrap();
    rig.log.run_pending();
    medium.disk.hold_syncs();
    let log = Arc::clone(&rig.log);
    let waiting = std::thread::spawn(move || log.sync_mark());
    while medium.disk.held_syncs() == 0 {
        std::thread::yield_now();
    }
    append(&rig, 1);
    rig.log.run_pending();
    assert_eq!(rig.finished.names().unwrap(), ["append 0", "append 1"]);
    medium.disk.release_syncs();
    waiting.join().unwrap().unwrap();
    let syncs = medium.disk.count(Operation::Sync);
    rig.log.sync_mark().unwrap();
    assert_eq!(medium.disk.count(Operation::Sync), syncs, "there was nothing to sync");
    drop(rig);
    medium.disk.crash();
    let path = Path::new("/node/commitlog/00000000000000000000");
    medium.disk.flip_bit(path, 60, 1).unwrap();
    let opened = Rig::open(&medium, SMALL, FlushMode::Async);
    assert!(matches!(opened, Err(StoreError::Corrupt { offset: 0, .. })), "{opened:?}");
}

#[test]
fn a_mark_that_cannot_be_synced_poisons_the_store_for_good() {
    let medium = MemoryMedium::default();
    let rig = open(&medium, FlushMode::Async);
    append(&rig, 0);
    rig.log.run_pending();
    rig.log.begin_sync().unwrap().run().unwrap();
    rig.log.run_pending();
    assert!(rig.log.failure().is_none());
    medium.disk.fail(Operation::Sync, 0, EIO);
    assert!(matches!(rig.log.sync_mark(), Err(StoreError::Io { .. })));
    assert!(matches!(rig.log.failure(), Some(StoreError::Poisoned { .. })));
    // A vote goes to the same file: silence of a second sync is no success.
    rig.log.save_vote(vote(2), rig.finished.done("vote"));
    rig.log.run_pending();
    assert!(rig.finished.names().is_err());
}

#[test]
fn a_background_sync_says_nothing_of_a_log_that_was_cut_meanwhile() {
    let medium = MemoryMedium::default();
    let rig = open(&medium, FlushMode::Async);
    append(&rig, 0);
    append(&rig, 1);
    rig.log.run_pending();
    let sync = rig.log.begin_sync().unwrap();
    rig.log.truncate_after(Some(id(1, 0)), rig.finished.done("truncate")).unwrap();
    rig.log.append(vec![entry(id(2, 1), 50)], rig.finished.done("append 2-1")).unwrap();
    assert!(rig.log.begin_sync().is_none(), "while a truncation waits");
    sync.run().unwrap();
    rig.log.run_pending();
    assert_eq!(rig.log.positions().synced, Some(id(1, 0)));
    rig.log.begin_sync().unwrap().run().unwrap();
    rig.log.run_pending();
    assert_eq!(rig.log.positions().synced, Some(id(2, 1)));
}

#[test]
fn a_failed_background_sync_poisons_the_store_for_good() {
    let medium = MemoryMedium::default();
    let rig = open(&medium, FlushMode::Async);
    append(&rig, 0);
    rig.log.run_pending();
    let (first, second) = (rig.log.begin_sync().unwrap(), rig.log.begin_sync().unwrap());
    medium.disk.fail(Operation::Sync, 0, EIO);
    assert!(matches!(first.run(), Err(StoreError::Io { .. })));
    let syncs = medium.disk.count(Operation::Sync);
    assert!(matches!(second.run(), Err(StoreError::Poisoned { .. })));
    assert_eq!(medium.disk.count(Operation::Sync), syncs, "a failed sync is never tried again");
    rig.log.save_vote(vote(2), rig.finished.done("vote"));
    rig.log.run_pending();
    let finished = rig.finished.take();
    assert_eq!(finished[0], ("append 0".to_owned(), Ok(())));
    assert!(finished[1].1.as_ref().is_err_and(|e| e.contains("poisoned")), "{finished:?}");
    assert!(rig.log.begin_sync().is_none());
}

#[test]
fn a_failed_sync_poisons_the_store_for_good() {
    for operation in [Operation::Sync, Operation::Write] {
        let medium = MemoryMedium::default();
        let rig = open(&medium, FlushMode::Sync);
        append(&rig, 0);
        rig.log.run_pending();
        assert_eq!(rig.finished.names().unwrap(), ["append 0"]);
        append(&rig, 1);
        append(&rig, 2);
        rig.log.save_vote(vote(2), rig.finished.done("vote"));
        rig.log.enqueue(Box::new(|| panic!("a job behind a failed sync must not run")));
        medium.disk.fail(operation, 0, EIO);
        rig.log.run_pending();
        let finished = rig.finished.take();
        let names: Vec<_> = finished.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["append 1", "append 2", "vote"]);
        let errors: Vec<_> = finished.into_iter().map(|(_, result)| result.unwrap_err()).collect();
        assert!(errors[0].contains("commitlog") && errors[0].contains("Input/output error"), "{errors:?}");
        assert!(errors[1].contains("poisoned") && errors[2].contains("poisoned"), "{errors:?}");
        // The disk would work again; the store does not try.
        let syncs = medium.disk.count(Operation::Sync);
        rig.log.sync(rig.finished.done("sync"));
        rig.log.close(rig.finished.done("close"));
        rig.log.run_pending();
        assert!(rig.finished.take().iter().all(|(_, result)| result.is_err()));
        let refused = rig.log.append(vec![entry(id(1, 3), 10)], rig.finished.done("late"));
        assert!(matches!(refused, Err(StoreError::Poisoned { .. })));
        assert_eq!(medium.disk.count(Operation::Sync), syncs, "a failed sync is never tried again");
        assert_eq!((rig.log.room(), rig.log.positions().synced), (0, Some(id(1, 0))));
        assert!(no_room(&rig, 1).unwrap().contains("poisoned"));
        drop(rig);
        medium.disk.crash();
        open(&medium, FlushMode::Sync).must_hold(&[id(1, 0)]).unwrap();
    }
}

#[test]
fn a_write_that_fails_while_a_truncation_waits_acknowledges_neither() {
    let medium = MemoryMedium::default();
    let rig = open(&medium, FlushMode::Sync);
    append(&rig, 0);
    append(&rig, 1);
    rig.log.run_pending();
    rig.finished.take();
    rig.log.truncate_after(Some(id(1, 0)), rig.finished.done("truncate")).unwrap();
    medium.disk.fail(Operation::Write, 1, EIO);
    rig.log.run_pending();
    assert!(rig.finished.take().iter().all(|(_, result)| result.is_err()));
    drop(rig);
    medium.disk.kill();
    // The intent was durable: the restart finishes what the process could not.
    open(&medium, FlushMode::Sync).must_hold(&[id(1, 0)]).unwrap();
}

/// Why an entry with a body of so many bytes has no room.
fn no_room(rig: &Rig, bytes: u64) -> Option<String> {
    rig.log.promise(bytes).err()
}

#[test]
fn a_full_volume_is_told_before_an_append_needs_it() {
    let medium = MemoryMedium::default();
    // Room for the current segment and the small files, not for another segment.
    medium.disk.set_capacity(Some(24_576 + 4096 + 1000));
    let rig = open(&medium, FlushMode::Sync);
    let room = rig.log.room();
    assert!(room > 1000 && room < 4096, "{room}");
    assert_eq!(no_room(&rig, 1000), None);
    let why = no_room(&rig, 3500).unwrap();
    assert!(why.contains("4096 bytes needed"), "{why}");
    rig.fill(1, 2, 1000).unwrap();
    let why = no_room(&rig, 1000).unwrap();
    assert!(why.contains("cannot allocate") && why.contains("00000000000000004096"), "{why}");
    assert!(rig.log.room() < 1000);
    // Reads, votes and what still fits go on; once there is room, so does the rest.
    rig.save_vote(vote(2)).unwrap();
    rig.fill(2, 1, 300).unwrap();
    medium.disk.set_capacity(None);
    assert!(no_room(&rig, 1000).is_some(), "nobody has tried again yet");
    rig.log.persist_mark();
    rig.log.run_pending();
    assert_eq!(no_room(&rig, 1000), None);
    rig.fill(2, 6, 1000).unwrap();
    assert_eq!(rig.log.positions().last, Some(id(2, 8)));
}

#[test]
fn room_covers_what_it_promises_whatever_the_sizes() {
    for len in [0, 1, 100, 700, 976, 1024] {
        let medium = MemoryMedium::default();
        medium.disk.set_capacity(Some(24_576 + 1000 + 2 * 4096));
        let rig = open(&medium, FlushMode::Sync);
        let mut index = 0;
        while rig.log.room() >= 48 + len as u64 {
            rig.append(vec![entry(id(1, index), len)]).unwrap();
            index += 1;
        }
        assert!(index > 3, "only {index} entries of {len} bytes");
        assert!(rig.log.segments().len() <= 2);
    }
}

#[test]
fn the_first_start_writes_next_to_nothing() {
    let medium = MemoryDisk::new();
    let constants = quorumq_store::identity::GroupConstants { segment_size: 1 << 30, max_entry: 8 << 20, ..SMALL };
    let disk = medium.mount();
    let dir = Path::new("/node");
    identity(constants).format(&*disk, dir).unwrap();
    let writes = medium.count(Operation::Write);
    let (log, _) = LogStore::open(Arc::clone(&disk), dir, constants, FlushMode::Sync, Box::new(|| {})).unwrap();
    assert!(medium.count(Operation::Write) - writes <= 2, "only hard state is written");
    assert_eq!(disk.list(&dir.join("commitlog")).unwrap().len(), 1);
    log.append(vec![entry(id(1, 0), 100)], Box::new(|result| result.unwrap())).unwrap();
    log.run_pending();
    assert_eq!(disk.list(&dir.join("commitlog")).unwrap().len(), 1, "the next segment waits until it is near");
    assert!(log.room() > (1 << 30) - (9 << 20));
}

#[test]
fn entries_are_read_right_while_the_disk_thread_still_writes_what_was_cut() {
    let medium = MemoryMedium::default();
    let rig = Rig::open(&medium, SMALL, Options { tail_bytes: 0, ..Options::default() }).unwrap();
    let terms = |log: &LogStore| -> Vec<u64> {
        let read = log.entries(LogIndex(0)..LogIndex(9), 1 << 20).unwrap();
        read.iter().map(|entry| entry.id.term.0).collect()
    };
    let batch = |term| (0..3).map(|index| entry(id(term, index), 100)).collect::<Vec<_>>();
    let (log, seen) = (Arc::clone(&rig.log), Arc::new(std::sync::Mutex::new(Vec::new())));
    let note = Arc::clone(&seen);
    // Called when the old entries are on disk and the new ones are not.
    rig.log.append(batch(1), Box::new(move |_| *note.lock().unwrap() = terms(&log))).unwrap();
    rig.log.truncate_after(None, rig.finished.done("truncate")).unwrap();
    rig.log.append(batch(2), rig.finished.done("append")).unwrap();
    rig.log.save_committed(id(2, 2));
    assert_eq!(terms(&rig.log), [2, 2, 2]);
    rig.log.run_pending();
    assert_eq!(*seen.lock().unwrap(), [2, 2, 2]);
    assert!(!rig.log.in_memory(LogIndex(2)), "all of it is read from the file now");
    assert_eq!(terms(&rig.log), [2, 2, 2]);
}

#[test]
fn what_was_committed_while_nothing_is_written_becomes_durable_too() {
    let medium = MemoryMedium::default();
    let rig = open(&medium, FlushMode::Sync);
    rig.fill(1, 3, 100).unwrap();
    rig.log.save_committed(id(1, 2));
    rig.log.save_committed(id(1, 7));
    assert_eq!(rig.log.positions().committed, Some(id(1, 2)), "an entry that is not held is not noted");
    rig.log.persist_mark();
    rig.log.run_pending();
    drop(rig);
    medium.disk.crash();
    assert_eq!(open(&medium, FlushMode::Sync).recovered.committed, Some(id(1, 2)));
}

#[test]
fn a_segment_file_that_a_crash_left_short_is_made_anew() {
    let medium = MemoryMedium::default();
    let rig = open(&medium, FlushMode::Sync);
    rig.fill(1, 3, 500).unwrap();
    let next = rig.dir.join("commitlog/00000000000000004096");
    drop(rig);
    medium.disk.kill();
    medium.disk.mount().open(&next).unwrap().set_len(100).unwrap();
    // Even with no room left the node starts.
    medium.disk.set_capacity(Some(24_576 + 4096 + 1000));
    let rig = open(&medium, FlushMode::Sync);
    assert!(no_room(&rig, 3500).is_some());
    medium.disk.set_capacity(None);
    rig.log.persist_mark();
    rig.log.run_pending();
    rig.fill(1, 6, 1000).unwrap();
}

#[test]
fn a_reboot_is_told_from_a_restart() {
    let medium = MemoryMedium::default();
    let at_boot = |boot: u128| Options { boot_id: Some(boot), ..Options::default() };
    let rebooted = |boot| Rig::open(&medium, SMALL, at_boot(boot)).unwrap().recovered.rebooted;
    assert!(!rebooted(1), "the first start");
    assert!(!rebooted(1), "the same boot");
    assert!(rebooted(2), "another boot");
    assert!(!rebooted(2), "the same boot");
}

/// ASYNC_FLUSH acknowledges from the page cache: what a power loss took back has to be remembered until it is there again.
#[test]
fn a_node_is_unproven_after_a_reboot_with_asynchronous_flushing_until_it_is_told_otherwise() {
    let medium = MemoryMedium::default();
    let open =
        |mode, boot| Rig::open(&medium, SMALL, Options { boot_id: Some(boot), mode, ..Options::default() }).unwrap();
    let unproven = |mode, boot| open(mode, boot).log.is_unproven();
    use FlushMode::{Async, Sync};
    assert!(!unproven(Async, 1), "the first start");
    assert!(!unproven(Async, 1), "a process has ended");
    assert!(unproven(Sync, 2), "what counts is how it ran when the machine went down");
    assert!(unproven(Sync, 2), "a crash while it is unproven");
    assert!(unproven(Sync, 3), "another reboot");
    let rig = open(Sync, 3);
    rig.log.set_proven(rig.finished.done("proven"));
    rig.log.run_pending();
    drop(rig);
    assert!(!unproven(Sync, 4), "SYNC_FLUSH has lost nothing");
    let rig = open(Async, 4);
    rig.log.close(rig.finished.done("closed"));
    rig.log.run_pending();
    drop(rig);
    assert!(!unproven(Async, 5), "a clean stop has synced everything");
    assert!(unproven(Async, 6));
}

/// The machine runs on, and with it the boot id; the pages may be gone all the same.
#[test]
fn a_node_is_unproven_after_a_failed_sync_with_asynchronous_flushing() {
    for (mode, is_unproven) in [(FlushMode::Async, true), (FlushMode::Sync, false)] {
        let medium = MemoryMedium::default();
        let options = || Options { boot_id: Some(1), mode, ..Options::default() };
        let rig = Rig::open(&medium, SMALL, options()).unwrap();
        rig.fill(1, 6, 1000).unwrap();
        let sync = rig.log.begin_sync();
        medium.disk.fail(Operation::Sync, 0, EIO);
        match sync {
            Some(sync) => assert!(sync.run().is_err()),
            None => assert!(rig.fill(7, 1, 1000).is_err()),
        }
        medium.disk.kill();
        let rig = Rig::open(&medium, SMALL, options()).unwrap();
        assert_eq!(rig.log.is_unproven(), is_unproven, "{mode:?}");
        medium.disk.kill();
        let rig = Rig::open(&medium, SMALL, options()).unwrap();
        assert_eq!(rig.log.is_unproven(), is_unproven, "{mode:?}: a restart proves nothing");
        rig.log.set_proven(rig.finished.done("proven"));
        rig.log.run_pending();
        medium.disk.kill();
        assert!(!Rig::open(&medium, SMALL, options()).unwrap().log.is_unproven(), "{mode:?}: it was proven since");
    }
}

#[test]
fn the_disk_thread_is_woken_once_for_all_that_waits() {
    use std::sync::atomic::{AtomicU32, Ordering};
    let medium = MemoryMedium::default();
    drop(open(&medium, FlushMode::Sync));
    medium.disk.kill();
    let woken = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&woken);
    let wake = Box::new(move || {
        count.fetch_add(1, Ordering::Relaxed);
    });
    let (log, _) = LogStore::open(medium.disk.mount(), Path::new("/node"), SMALL, FlushMode::Sync, wake).unwrap();
    for round in 1..4 {
        for i in 0..5 {
            let last = log.positions().last.map_or(0, |last| last.index.0 + 1);
            log.append(vec![entry(id(1, last), i)], Box::new(|result| result.unwrap())).unwrap();
        }
        log.save_vote(vote(round), Box::new(|result| result.unwrap()));
        assert_eq!(woken.load(Ordering::Relaxed), u32::try_from(round).unwrap());
        log.run_pending();
    }
}

/// What Raft has taken and the log does not know yet was once promised a second time, and the append ended the node.
#[test]
fn room_that_is_promised_to_entries_under_way_is_not_promised_again() {
    let medium = MemoryMedium::default();
    let rig = open(&medium, FlushMode::Sync);
    medium.disk.set_capacity(Some(medium.disk.used()));
    let mut promises = Vec::new();
    while let Ok(promise) = rig.log.promise(500) {
        promises.push(promise);
    }
    assert!(promises.len() > 1 && no_room(&rig, 600).is_some());
    let all: Vec<_> = (0..promises.len() as u64).map(|index| entry(id(1, index), 500)).collect();
    rig.log.append(all, rig.finished.done("all")).unwrap();
    rig.log.run_pending();
    assert!(rig.log.failure().is_none(), "{:?}", rig.log.failure());
    medium.disk.set_capacity(None);
    rig.log.retry_room();
    rig.log.run_pending();
    drop(promises);
    assert!(rig.log.promise(500).is_ok(), "room comes back with the outcome");
}
