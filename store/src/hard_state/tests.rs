//! Unit tests: what a start reads back, page by page.

use super::*;
use crate::disk::MemoryDisk;
use crate::{LogIndex, Term};

const DIR: &str = "/store";

fn id(term: u64, index: u64) -> LogId {
    LogId { term: Term(term), index: LogIndex(index) }
}

fn mark(index: u64) -> Mark {
    Mark { last: Some(id(1, index)), end: PhysicalOffset(100 * index) }
}

fn created(medium: &MemoryDisk) -> HardState {
    let disk = medium.mount();
    disk.create_dir_all(Path::new(DIR)).unwrap();
    let hard = HardState::create(&*disk, Path::new(DIR), State::default()).unwrap();
    disk.sync_dir(Path::new(DIR)).unwrap();
    hard
}

fn reopened(medium: &MemoryDisk) -> HardState {
    medium.crash();
    HardState::open(&*medium.mount(), Path::new(DIR)).unwrap()
}

#[test]
fn every_field_is_read_back() {
    let full = State {
        vote: Some(Vote { term: Term(u64::MAX), node: 2, committed: true }),
        committed: Some(id(3, 4)),
        mark: mark(5),
        first: PhysicalOffset(4096),
        purged: Some(id(6, 7)),
        chain: 0xDEAD_BEEF,
        intent: None,
        generation: 8,
        boot_id: u128::MAX - 9,
        unproven: true,
        asynchronous: true,
    };
    let at = SnapshotPosition { last: id(1, 2), next: PhysicalOffset(3), chain: 4 };
    let intents = [None, Some(Intent::Truncate { cut: mark(1), end: PhysicalOffset(9) }), Some(Intent::Install(at))];
    for state in intents.map(|intent| State { intent, ..full }).into_iter().chain([State::default()]) {
        let medium = MemoryDisk::new();
        let mut hard = created(&medium);
        hard.state = state;
        hard.save().unwrap();
        assert_eq!(reopened(&medium).state, state);
    }
}

#[test]
fn a_save_that_was_not_synced_leaves_the_one_before() {
    let medium = MemoryDisk::new();
    let mut hard = created(&medium);
    for term in 1..10 {
        hard.state.vote = Some(Vote { term: Term(term), node: 1, committed: false });
        hard.save().unwrap();
        // The next one is torn in every way: none, half or all of its sectors reach the disk.
        let (mut kept, mut n) = (hard.state, term);
        hard.state.vote = Some(Vote { term: Term(term + 100), node: 1, committed: false });
        medium.freeze_after(1);
        hard.save().unwrap_err();
        medium.crash_keeping(&mut || {
            n += 1;
            n % 3 == 0
        });
        let found = HardState::open(&*medium.mount(), Path::new(DIR)).unwrap();
        if found.state.vote == hard.state.vote {
            kept = hard.state;
        }
        assert_eq!(found.state, kept);
        hard = found;
        hard.state = kept;
    }
}

#[test]
fn a_mark_counts_once_it_is_written_and_lasts_once_it_is_synced() {
    let medium = MemoryDisk::new();
    let mut hard = created(&medium);
    for index in 1..6 {
        hard.note_mark(mark(index), Some(id(1, index - 1))).unwrap();
    }
    medium.kill();
    let found = HardState::open(&*medium.mount(), Path::new(DIR)).unwrap();
    assert_eq!((found.state.mark, found.state.committed), (mark(5), Some(id(1, 4))));
    assert_eq!(reopened(&medium).state.mark, Mark::default());
    let mut hard = HardState::open(&*medium.mount(), Path::new(DIR)).unwrap();
    hard.note_mark(mark(3), None).unwrap();
    hard.sync_mark().unwrap();
    hard.note_mark(mark(4), None).unwrap();
    assert_eq!(reopened(&medium).state.mark, mark(3));
}

#[test]
fn a_mark_never_goes_back_but_with_a_new_generation() {
    let medium = MemoryDisk::new();
    let mut hard = created(&medium);
    hard.note_mark(mark(9), None).unwrap();
    hard.note_mark(mark(8), None).unwrap();
    hard.sync_mark().unwrap();
    assert_eq!(hard.state.mark, mark(9));
    // The log is cut: marks of before must not claim what was dropped.
    hard.new_generation(mark(4));
    hard.save().unwrap();
    assert_eq!(reopened(&medium).state.mark, mark(4));
    let mut hard = HardState::open(&*medium.mount(), Path::new(DIR)).unwrap();
    hard.note_mark(mark(6), None).unwrap();
    hard.sync_mark().unwrap();
    assert_eq!(reopened(&medium).state.mark, mark(6));
}

#[test]
fn an_unknown_version_is_refused_by_name() {
    let medium = MemoryDisk::new();
    let hard = created(&medium);
    let mut record = record(STATE_MAGIC, 99, |encoder| hard.state.encode(encoder));
    record[5] = 2;
    let crc = crc32fast::hash(&record[..RECORD - 4]);
    record[RECORD - 4..].copy_from_slice(&crc.to_be_bytes());
    hard.file.write_at(0, &[&record]).unwrap();
    let e = HardState::open(&*medium.mount(), Path::new(DIR)).unwrap_err();
    assert_eq!(e.to_string(), "/store/hardstate has hard state format version 2; this build reads version 1");
}
