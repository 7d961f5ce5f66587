//! A running store never reads damaged bytes out, and reads on around them.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::PathBuf;

use quorumq_store::commit_log::segment_path;
use quorumq_store::frame::{HEADER_LEN, VERSION};
use quorumq_store::identity::GroupConstants;
use quorumq_store::log_store::{Entry, FlushMode};
use quorumq_store::repair::{BadRange, Scrub, corrupt_position};
use quorumq_store::suite::rig::{Rig, SMALL, id};
use quorumq_store::suite::{Medium, MemoryMedium};
use quorumq_store::{LogIndex, PhysicalOffset, StoreError};

const ENTRIES: u64 = 22;

/// A store whose entries are read from its files, as after a start, and what they are.
fn open(medium: &MemoryMedium) -> (Rig, Vec<Entry>) {
    let rig = Rig::small(medium).unwrap();
    rig.fill(1, ENTRIES, 900).unwrap();
    rig.log.save_committed(id(1, ENTRIES - 1));
    rig.sync().unwrap();
    let rig = rig.kill(medium).unwrap();
    let entries = rig.all().unwrap();
    assert!(!rig.log.in_memory(LogIndex(ENTRIES - 1)));
    (rig, entries)
}

fn root() -> PathBuf {
    MemoryMedium::default().root()
}

fn flip(medium: &MemoryMedium, at: u64) {
    let start = at - at % SMALL.segment_size;
    medium.disk.flip_bit(&segment_path(&root(), PhysicalOffset(start)), at - start, 3).unwrap();
}

/// Reads the middle of every entry's body. Those that fail.
fn unreadable(rig: &Rig, entries: &[Entry]) -> Vec<(u64, StoreError)> {
    let mut failed = Vec::new();
    for entry in entries {
        match rig.log.bytes(entry.position + (HEADER_LEN + 100), 200) {
            Ok(bytes) => assert_eq!(bytes, entry.body.slice(100..300), "{}", entry.id),
            Err(e) => failed.push((entry.id.index.0, e)),
        }
    }
    failed
}

fn end_of(entry: &Entry) -> PhysicalOffset {
    entry.position + entry.frame_len()
}

#[test]
fn a_flip_anywhere_in_a_frame_is_found_by_a_read_of_other_bytes_of_it() {
    // In a segment that is opened for each read, and in one that is mapped.
    for index in [5, 20] {
        for offset in [3, 20, 46, HEADER_LEN + 1, HEADER_LEN + 899] {
            let medium = MemoryMedium::default();
            let (rig, entries) = open(&medium);
            let bad = &entries[index];
            flip(&medium, bad.position.0 + offset);
            let failed = unreadable(&rig, &entries);
            assert_eq!(failed[0].0, index as u64, "{offset}");
            for (_, e) in &failed {
                assert_eq!(corrupt_position(e), Some(bad.position), "{e}");
            }
            let found = rig.log.examine(bad.position).unwrap().unwrap();
            assert_eq!((found.from, found.to), (bad.position, end_of(bad)));
            // The frames behind can be reached again, even where the header that led there is gone.
            assert!(rig.log.quarantine(&found) && !rig.log.quarantine(&found));
            let failed = unreadable(&rig, &entries);
            assert_eq!(failed.len(), 1, "{failed:?}");
            assert!(matches!(failed[0].1, StoreError::Quarantined { from, .. } if from == bad.position));
            let piece = rig.log.piece(bad.position, bad.position + 10).unwrap_err();
            assert!(matches!(piece, StoreError::Quarantined { .. }), "{piece}");
        }
    }
}

#[test]
fn a_filled_range_is_read_again() {
    let (donor, _) = open(&MemoryMedium::default());
    let medium = MemoryMedium::default();
    let (rig, entries) = open(&medium);
    flip(&medium, entries[7].position.0 + 30);
    let bad = rig.log.examine(entries[7].position).unwrap().unwrap();
    rig.log.quarantine(&bad);
    let mut patch = rig.log.patch(bad);
    let wanted = patch.wanted();
    assert!(patch.take(donor.log.piece(wanted.start, wanted.end).unwrap()).unwrap());
    rig.log.lift(patch.range());
    assert!(unreadable(&rig, &entries).is_empty());
    assert!(rig.log.quarantined().is_empty() && medium.disk.rotten().is_empty());
    assert_eq!(rig.all().unwrap().len() as u64, ENTRIES);
}

/// All ranges that a pass meets.
fn scrubbed(rig: &Rig) -> Vec<BadRange> {
    let mut pass = Scrub::new(&rig.log);
    let mut bad = Vec::new();
    while !pass.is_done() {
        bad.extend(pass.step(&rig.log, 1500).unwrap());
    }
    bad
}

#[test]
fn a_pass_over_the_log_meets_every_damage() {
    let medium = MemoryMedium::default();
    let (rig, entries) = open(&medium);
    assert!(scrubbed(&rig).is_empty());
    let bad = [1, 2, 9, 21];
    bad.iter().for_each(|i| flip(&medium, entries[*i].position.0 + 500));
    let missing = rig.log.segments()[3];
    rig.disk.remove(&segment_path(&rig.dir, missing)).unwrap();
    let found: Vec<_> = scrubbed(&rig).iter().map(|bad| (bad.from, bad.to)).collect();
    let lost = (missing, missing + SMALL.segment_size);
    let of = |i: usize| (entries[i].position, end_of(&entries[i]));
    assert_eq!(found, [(of(1).0, of(2).1), of(9), lost, of(21)]);
}

#[test]
fn a_pass_goes_on_while_the_log_is_purged_and_grows() {
    let medium = MemoryMedium::default();
    let (rig, _) = open(&medium);
    let mut pass = Scrub::new(&rig.log);
    assert!(pass.step(&rig.log, 1500).unwrap().is_empty());
    rig.purge(id(1, 12)).unwrap();
    rig.fill(2, 5, 900).unwrap();
    while !pass.is_done() {
        assert!(pass.step(&rig.log, 1500).unwrap().is_empty());
    }
    assert!(pass.at() >= rig.log.positions().first);
}

#[test]
fn many_reads_of_one_large_frame_check_it_once_and_never_serve_what_is_quarantined() {
    let constants =
        GroupConstants { segment_size: 1 << 20, max_entry: 200_000, frame_version: VERSION, feature_level: 1 };
    let medium = MemoryMedium::default();
    let rig = Rig::open(&medium, constants, FlushMode::Sync).unwrap();
    rig.fill(1, 12, 150_000).unwrap();
    rig.log.save_committed(id(1, 11));
    rig.sync().unwrap();
    drop(rig);
    medium.kill();
    let rig = Rig::open(&medium, constants, FlushMode::Sync).unwrap();
    let entries = rig.all().unwrap();
    let (large, at) = (&entries[1], entries[1].position + HEADER_LEN);
    for from in (0..150_000).step_by(1000) {
        let bytes = rig.log.bytes(at + from, 1000).unwrap();
        assert_eq!(bytes, large.body.slice(from as usize..from as usize + 1000));
    }
    let path = segment_path(&root(), PhysicalOffset(0));
    medium.disk.flip_bit(&path, at.0 + 77_777, 1).unwrap();
    let bad = rig.log.examine(large.position).unwrap().unwrap();
    rig.log.quarantine(&bad);
    assert!(matches!(rig.log.bytes(at, 10), Err(StoreError::Quarantined { .. })));
    // Even if it were lifted unfilled, nothing is taken for checked that was damaged since.
    rig.log.lift(&bad);
    assert!(matches!(rig.log.bytes(at, 10), Err(StoreError::Corrupt { .. })));
}
