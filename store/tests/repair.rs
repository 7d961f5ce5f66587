//! What is filled of a damaged CommitLog is what stood there, whoever sent it and whenever a crash strikes.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::{Path, PathBuf};

use bytes::Bytes;
use quorumq_store::commit_log::segment_path;
use quorumq_store::disk::Disk;
use quorumq_store::frame::{HEADER_LEN, Header, Kind, VERSION};
use quorumq_store::identity::GroupConstants;
use quorumq_store::log_store::{FlushMode, NewEntry};
use quorumq_store::repair::{BadRange, Damaged, Patch, PatchError, corrupt_position};
use quorumq_store::suite::rig::{Rig, SMALL, entry, id};
use quorumq_store::suite::{Medium, MemoryMedium};
use quorumq_store::{LogId, PhysicalOffset, StoreError, Term};

/// Entries of a log over four segments.
const ENTRIES: u64 = 14;

fn appended(medium: &MemoryMedium, entries: u64) -> Rig {
    let rig = Rig::small(medium).unwrap();
    rig.fill(1, entries, 900).unwrap();
    rig.log.save_committed(id(1, entries - 1));
    rig.sync().unwrap();
    rig
}

/// A closed store with a log like everybody's.
fn closed() -> MemoryMedium {
    let medium = MemoryMedium::default();
    appended(&medium, ENTRIES).close().unwrap();
    medium
}

/// A member that runs.
fn donor() -> Rig {
    appended(&MemoryMedium::default(), ENTRIES)
}

fn root() -> PathBuf {
    MemoryMedium::default().root()
}

fn segment(at: u64) -> (PathBuf, u64) {
    let start = at - at % SMALL.segment_size;
    (segment_path(&root(), PhysicalOffset(start)), at - start)
}

fn flip(medium: &MemoryMedium, at: u64) {
    let (path, offset) = segment(at);
    medium.disk.flip_bit(&path, offset, 3).unwrap();
}

fn content(disk: &dyn Disk, path: &Path) -> Vec<u8> {
    let file = disk.open(path).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_at(0, &mut bytes).unwrap();
    bytes
}

fn files(disk: &dyn Disk) -> Vec<Vec<u8>> {
    let log = root().join("commitlog");
    disk.list(&log).unwrap().iter().map(|name| content(disk, &log.join(name))).collect()
}

fn assess(medium: &MemoryMedium) -> Damaged {
    Damaged::assess(medium.mount(), &root()).unwrap().unwrap()
}

/// Fills a range with what `read` gives.
fn fill(
    mut patch: Patch,
    read: impl Fn(PhysicalOffset, PhysicalOffset) -> Result<Bytes, StoreError>,
) -> Result<BadRange, PatchError> {
    loop {
        let wanted = patch.wanted();
        if patch.take(read(wanted.start, wanted.end)?)? {
            return Ok(patch.range().clone());
        }
    }
}

fn fill_all(damaged: &Damaged, donor: &Rig) -> Result<(), PatchError> {
    while let Some(bad) = damaged.next_bad(PhysicalOffset(0)) {
        damaged.filled(&fill(damaged.patch(bad), |from, to| donor.log.piece(from, to))?);
    }
    assert!(damaged.bad().is_empty());
    damaged.release();
    Ok(())
}

/// Repairs a store with a donor's bytes, opens it, and compares the files.
fn heal(medium: &MemoryMedium, donor: &Rig) {
    let found = Rig::small(medium).unwrap_err();
    assert!(found.contains("corrupt"), "{found}");
    fill_all(&assess(medium), donor).unwrap();
    let rig = Rig::small(medium).unwrap();
    assert_eq!(rig.log.positions().last, donor.log.positions().last);
    assert!(files(&*rig.disk) == files(&*donor.disk), "files differ");
    // It goes on where it was.
    rig.fill(2, 3, 900).unwrap();
    assert_eq!(rig.all().unwrap().len() as u64, ENTRIES + 3);
}

/// The frames of the donor: position and length.
fn frames(donor: &Rig) -> Vec<(u64, u64)> {
    donor.all().unwrap().iter().map(|entry| (entry.position.0, entry.frame_len())).collect()
}

#[test]
fn a_flipped_bit_in_any_frame_is_mended_if_a_start_finds_it() {
    let donor = donor();
    let size = SMALL.segment_size;
    let mut found = 0;
    for (at, len) in frames(&donor) {
        for flipped in [at, at + 9, at + 47, at + HEADER_LEN, at + len / 2, at + len - 1] {
            let medium = closed();
            flip(&medium, flipped);
            // A start reads the last segments, and the first header of every other.
            if Rig::small(&medium).is_err() {
                medium.kill();
                heal(&medium, &donor);
                found += 1;
            } else {
                assert!(flipped < donor.log.positions().end.0 - size, "byte {flipped} was not read");
            }
        }
    }
    assert!(found > 30, "{found}");
}

#[test]
fn the_last_synced_frame_before_a_clean_stop_is_mended() {
    let donor = donor();
    let (at, len) = *frames(&donor).last().unwrap();
    let medium = closed();
    flip(&medium, at + len - 1);
    assert!(Rig::small(&medium).is_err());
    let damaged = assess(&medium);
    let bad = damaged.bad();
    assert_eq!((bad.len(), bad[0].from.0, bad[0].to), (1, at, donor.log.positions().end));
    damaged.release();
    heal(&medium, &donor);
}

#[test]
fn a_missing_or_short_segment_file_is_mended() {
    let donor = donor();
    for start in donor.log.segments() {
        for missing in [true, false] {
            let medium = closed();
            let (disk, path) = (medium.mount(), segment_path(&root(), start));
            match missing {
                true => disk.remove(&path).unwrap(),
                false => disk.open(&path).unwrap().set_len(1000).unwrap(),
            }
            heal(&medium, &donor);
        }
    }
}

#[test]
fn several_ranges_are_mended_from_members_of_which_each_lacks_something() {
    let donor = donor();
    let all = frames(&donor);
    let (mine, theirs) = (closed(), closed());
    for i in [1, 5, 12] {
        flip(&mine, all[i].0 + 500);
    }
    for i in [2, 11] {
        flip(&theirs, all[i].0 + 500);
    }
    assert!(Rig::small(&mine).is_err() && Rig::small(&theirs).is_err());
    let (mine_damaged, theirs_damaged) = (assess(&mine), assess(&theirs));
    assert_eq!((mine_damaged.bad().len(), theirs_damaged.bad().len()), (3, 2));
    // Neither runs: each has what the other lacks.
    for (to, from) in [(&mine_damaged, &theirs_damaged), (&theirs_damaged, &mine_damaged)] {
        for bad in to.bad() {
            to.filled(&fill(to.patch(bad), |from_at, to_at| from.bytes(from_at, to_at)).unwrap());
        }
    }
    mine_damaged.release();
    theirs_damaged.release();
    for medium in [mine, theirs] {
        let rig = Rig::small(&medium).unwrap();
        assert!(files(&*rig.disk) == files(&*donor.disk), "files differ");
    }
}

#[test]
fn what_is_bad_here_is_not_given_to_others() {
    let donor = donor();
    let (at, len) = frames(&donor)[12];
    let medium = closed();
    flip(&medium, at + 60);
    assert!(Rig::small(&medium).is_err());
    let damaged = assess(&medium);
    let at = PhysicalOffset(at);
    let refused = damaged.bytes(at + (len - 1), at + len).unwrap_err();
    assert!(matches!(refused, StoreError::Quarantined { from, .. } if from == at), "{refused}");
    assert!(damaged.bytes(at + len, at + (len + 10)).is_ok());
    assert!(damaged.bytes(PhysicalOffset(at.0 - 10), at).is_ok());
    let beyond = damaged.bytes(donor.log.positions().end, donor.log.positions().end + 1).unwrap_err();
    assert!(matches!(beyond, StoreError::OutOfRange { .. }), "{beyond}");
}

#[test]
fn bytes_of_another_history_are_refused_and_nothing_is_written() {
    let donor = donor();
    let (at, _) = frames(&donor)[12];
    // The same up to there, then another leader's entries, sound by themselves and at the very same positions.
    let other = appended(&MemoryMedium::default(), 12);
    other.fill(2, 2, 900).unwrap();
    let medium = closed();
    flip(&medium, at + 60);
    assert!(Rig::small(&medium).is_err());
    let damaged = assess(&medium);
    let before = files(&*medium.mount());
    let bad = damaged.bad().remove(0);
    let refused = fill(damaged.patch(bad.clone()), |from, to| other.log.piece(from, to)).unwrap_err();
    assert!(matches!(refused, PatchError::Refused { .. }), "{refused}");
    for flipped in [0, 9, 500] {
        let damage = |from: PhysicalOffset, to| {
            let mut bytes = donor.log.piece(from, to)?.to_vec();
            bytes[flipped] ^= 1;
            Ok(bytes.into())
        };
        let refused = fill(damaged.patch(bad.clone()), damage).unwrap_err();
        assert!(matches!(refused, PatchError::Refused { .. }), "{refused}");
    }
    let short = fill(damaged.patch(bad), |from, to| Ok(donor.log.piece(from, to)?.slice(1..))).unwrap_err();
    assert!(matches!(short, PatchError::Refused { .. }), "{short}");
    assert!(files(&*medium.mount()) == before, "something was written");
    fill_all(&damaged, &donor).unwrap();
    Rig::small(&medium).unwrap();
}

#[test]
fn a_message_that_looks_like_a_frame_misleads_nobody() {
    let open = |medium: &MemoryMedium| {
        let rig = Rig::small(medium).unwrap();
        rig.fill(1, 2, 100).unwrap();
        // The body holds an entry's frame, sound and of the very position at which it stands.
        let at = rig.log.positions().end;
        let forged = Header {
            kind: Kind::Blank,
            body_len: 0,
            id: LogId { term: Term(1), ..id(1, 3) },
            position: at + HEADER_LEN + 10,
            chain: 7,
            body_crc: 0,
        };
        let mut body = vec![1; 10];
        body.extend_from_slice(&forged.encode().0);
        body.extend_from_slice(&[2; 50]);
        rig.append(vec![NewEntry { id: id(1, 2), kind: Kind::Records, body: body.into() }]).unwrap();
        for index in 3..ENTRIES {
            rig.append(vec![entry(id(1, index), 100)]).unwrap();
        }
        rig.log.save_committed(id(1, ENTRIES - 1));
        rig.sync().unwrap();
        (rig, at)
    };
    let (donor, at) = open(&MemoryMedium::default());
    let medium = MemoryMedium::default();
    open(&medium).0.close().unwrap();
    flip(&medium, at.0 + 3);
    assert!(Rig::small(&medium).is_err());
    let damaged = assess(&medium);
    assert_eq!(damaged.bad()[0].to, at + HEADER_LEN + 10, "it is taken for the next frame");
    damaged.release();
    heal(&medium, &donor);
}

#[test]
fn a_long_range_is_asked_for_twice_and_never_kept_in_memory() {
    let constants =
        GroupConstants { segment_size: 4 << 20, max_entry: 1 << 20, frame_version: VERSION, feature_level: 1 };
    let open = |medium: &MemoryMedium| {
        let rig = Rig::open(medium, constants, FlushMode::Sync).unwrap();
        rig.fill(1, 30, 700_000).unwrap();
        rig.log.save_committed(id(1, 29));
        rig.sync().unwrap();
        rig
    };
    let (donor, medium) = (open(&MemoryMedium::default()), MemoryMedium::default());
    open(&medium).close().unwrap();
    let disk = medium.mount();
    for start in &donor.log.segments()[1..4] {
        disk.remove(&segment_path(&root(), *start)).unwrap();
    }
    let found = Rig::open(&medium, constants, FlushMode::Sync).unwrap_err();
    assert_eq!(corrupt_position(&found), Some(donor.log.segments()[1]));
    let damaged = assess(&medium);
    assert_eq!(damaged.bad().iter().map(BadRange::len).collect::<Vec<_>>(), [3 * (4 << 20)]);
    fill_all(&damaged, &donor).unwrap();
    let rig = Rig::open(&medium, constants, FlushMode::Sync).unwrap();
    assert!(files(&*rig.disk) == files(&*donor.disk), "files differ");
}

#[test]
fn a_repair_that_crashes_at_any_step_can_be_done_again() {
    let donor = donor();
    let all = frames(&donor);
    for power_loss in [true, false] {
        for operations in 0.. {
            let medium = closed();
            medium.mount().remove(&segment_path(&root(), donor.log.segments()[1])).unwrap();
            flip(&medium, all[12].0 + 500);
            assert!(Rig::small(&medium).is_err());
            assert!(medium.freeze_after(operations));
            let crashed = Damaged::assess(medium.mount(), &root())
                .map_err(PatchError::from)
                .and_then(|damaged| fill_all(&damaged.unwrap(), &donor));
            if power_loss {
                medium.disk.crash();
            } else {
                medium.kill();
            }
            if crashed.is_ok() {
                // What it called filled is durable.
                Rig::small(&medium).unwrap();
                break;
            }
            heal_what_is_left(&medium, &donor);
        }
    }
}

/// After a crash all of the repair may have been done, or none.
fn heal_what_is_left(medium: &MemoryMedium, donor: &Rig) {
    if Rig::small(medium).is_err() {
        heal(medium, donor);
    }
}

#[test]
fn without_a_hard_state_nothing_is_repaired() {
    let medium = closed();
    medium.mount().remove(&quorumq_store::hard_state::path(&root())).unwrap();
    assert!(Rig::small(&medium).is_err());
    assert!(Damaged::assess(medium.mount(), &root()).is_err());
}

#[test]
fn a_sound_log_needs_no_repair() {
    assert!(Damaged::assess(closed().mount(), &root()).unwrap().is_none());
}
