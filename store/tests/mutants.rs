//! Each bug planted in the store breaks a check that holds without it.
//!
//! A process has one planted bug: the test runs itself again for each, with the bug's name in the environment.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![cfg(debug_assertions)]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use quorumq_store::checkpoint::Checkpoint;
use quorumq_store::commit_log::segment_path;
use quorumq_store::consume_queue::{ConsumeQueues, Unit};
use quorumq_store::disk::MemoryDisk;
use quorumq_store::frame::HEADER_LEN;
use quorumq_store::log_store::{FlushMode, SnapshotPosition};
use quorumq_store::mutant::{Mutant, plant};
use quorumq_store::suite::rig::{Rig, SMALL, entry, id, vote};
use quorumq_store::suite::{self, Check, MemoryMedium, Outcome, holds, same};
use quorumq_store::{PhysicalOffset, QueueOffset};

const PLANT: &str = "QUORUMQ_PLANT";

type Run = fn() -> Outcome;

/// What must hold, and the bugs that break it.
const CHECKS: &[(Run, &[Mutant])] = &[
    (
        crashes,
        &[
            Mutant::FrameCrcUnchecked,
            Mutant::TornTailKept,
            Mutant::FailedSyncIgnored,
            Mutant::SyncedMarkAhead,
            Mutant::TruncationOnlyInMemory,
            Mutant::DirectorySyncSkippedAtRoll,
        ],
    ),
    (a_vote_outlives_a_power_loss, &[Mutant::VoteNotSynced]),
    (a_vote_outlives_a_restart, &[Mutant::TwoVotesInATerm]),
    (a_log_that_was_truncated_outlives_a_restart, &[Mutant::ChainNotCutBack]),
    (a_done_append_outlives_a_power_loss, &[Mutant::GroupCommitAcksNextBatch]),
    (a_checkpoint_outlives_a_power_loss, &[Mutant::SnapshotWithoutDirsync]),
    (a_purge_keeps_what_it_is_not_told_to_drop, &[Mutant::PurgePastCheckpoint]),
    (a_damaged_unit_is_never_read, &[Mutant::QueueChunkUnchecked]),
    (damage_is_read_by_nobody, &[Mutant::QuarantineServed]),
    (damage_is_filled_with_what_stood_there, &[Mutant::FillUnverified, Mutant::FillNotClosed]),
];

#[test]
fn each_bug_breaks_a_check_that_holds_without_it() {
    if let Ok(name) = std::env::var(PLANT) {
        let named = |bugs: &[Mutant]| bugs.iter().copied().find(|mutant| mutant.name() == name);
        let (check, mutant) = CHECKS.iter().find_map(|(check, bugs)| Some((check, named(bugs)?))).unwrap();
        plant(mutant);
        println!("{name}: {}", check().unwrap_err());
        return;
    }
    for (check, bugs) in CHECKS {
        check().unwrap_or_else(|e| panic!("without {bugs:?}: {e}"));
        for mutant in *bugs {
            let mut child = Command::new(std::env::current_exe().unwrap());
            let name = "each_bug_breaks_a_check_that_holds_without_it";
            let ended = child.args(["--exact", name]).env(PLANT, mutant.name()).output().unwrap();
            assert!(ended.status.success(), "{mutant:?} breaks nothing:\n{}", String::from_utf8_lossy(&ended.stdout));
        }
    }
}

/// The store's crash checks, on media that keep nothing and media that keep some of what was not synced.
fn crashes() -> Outcome {
    // Damage is flipped in by hand there: a planted bug that reads over it would be told by these alone.
    let by_crash = |check: &Check| !check.name.starts_with("damage") && !check.name.contains("validates");
    let checks: Vec<_> = suite::crash::checks().into_iter().filter(by_crash).collect();
    suite::run_all(&checks, MemoryMedium::default)?;
    suite::run_all(&checks, || MemoryMedium::torn(1))
}

fn a_damaged_unit_is_never_read() -> Outcome {
    let medium = MemoryDisk::new();
    let (dir, path) = (Path::new("/store"), Path::new("/store/consumequeue/t/0/00000000000000000000"));
    medium.mount().create_dir_all(dir).map_err(|e| e.to_string())?;
    let mut queues = ConsumeQueues::new(medium.mount(), dir).map_err(|e| e.to_string())?;
    let queue = queues.open("t", 0, QueueOffset(0), QueueOffset(0)).map_err(|e| e.to_string())?;
    for n in 0..2000 {
        queues.push(queue, Unit { position: PhysicalOffset(n * 100), size: 100, tags_code: 7 });
    }
    let plan = queues.plan_flush().ok_or("nothing to flush")?;
    plan.write(true).map_err(|e| e.to_string())?;
    queues.flushed(plan);
    // A tag: no filter would take the message, and nothing else would tell.
    medium.flip_bit(path, 20 * 5 + 19, 0).map_err(|e| e.to_string())?;
    let mut units = Vec::new();
    let read = queues.read(queue, QueueOffset(5), 1, &mut units);
    holds(read.is_err(), "a unit of another tag was read")
}

fn a_vote_outlives_a_power_loss() -> Outcome {
    let medium = MemoryMedium::default();
    Rig::small(&medium)?.save_vote(vote(7))?;
    medium.disk.crash();
    same(Rig::small(&medium)?.recovered.vote, Some(vote(7)), "vote")
}

fn a_vote_outlives_a_restart() -> Outcome {
    let medium = MemoryMedium::default();
    let rig = Rig::small(&medium)?;
    rig.save_vote(vote(7))?;
    same(rig.kill(&medium)?.recovered.vote, Some(vote(7)), "vote")
}

fn a_log_that_was_truncated_outlives_a_restart() -> Outcome {
    let medium = MemoryMedium::default();
    let rig = Rig::small(&medium)?;
    rig.fill(1, 3, 500)?;
    rig.truncate(Some(id(1, 1)))?;
    rig.fill(2, 1, 500)?;
    rig.kill(&medium)?.must_hold(&[id(1, 0), id(1, 1), id(2, 2)])
}

/// A second append arrives while the first is being synced.
fn a_done_append_outlives_a_power_loss() -> Outcome {
    let medium = MemoryMedium::default();
    let rig = Rig::small(&medium)?;
    rig.log.append(vec![entry(id(1, 0), 100)], rig.finished.done("first")).unwrap();
    medium.disk.hold_syncs();
    let log = Arc::clone(&rig.log);
    let disk_thread = std::thread::spawn(move || log.run_pending());
    while medium.disk.held_syncs() == 0 {
        std::thread::yield_now();
    }
    rig.log.append(vec![entry(id(1, 1), 100)], rig.finished.done("second")).unwrap();
    // What the second needs no longer reaches the disk; the sync of the first does.
    medium.disk.freeze_after(2);
    medium.disk.release_syncs();
    disk_thread.join().unwrap();
    let done = rig.finished.take().iter().filter(|(_, result)| result.is_ok()).count();
    drop(rig);
    medium.disk.crash();
    let held = Rig::small(&medium)?.all()?.len();
    holds(done <= held, &format!("{done} appends were done, {held} are there"))
}

fn a_checkpoint_outlives_a_power_loss() -> Outcome {
    let (medium, dir) = (MemoryDisk::new(), Path::new("/store"));
    medium.mount().create_dir_all(dir).unwrap();
    let position = SnapshotPosition { last: id(1, 9), next: PhysicalOffset(4096), chain: 7 };
    let checkpoint = Checkpoint { position, membership_id: None, membership: Bytes::new(), state: Bytes::new() };
    checkpoint.write(&*medium.mount(), dir).unwrap();
    medium.crash();
    same(Checkpoint::list(&*medium.mount(), dir).unwrap(), vec![PhysicalOffset(4096)], "checkpoints")
}

fn a_purge_keeps_what_it_is_not_told_to_drop() -> Outcome {
    let medium = MemoryMedium::default();
    let rig = Rig::open(&medium, SMALL, FlushMode::Sync).unwrap();
    rig.fill(1, 14, 900)?;
    rig.log.save_committed(id(1, 13));
    rig.purge(id(1, 5))?;
    same(rig.log.positions().purged, Some(id(1, 3)), "purged")
}

/// A store whose entries are read from its file, the third of them damaged, and where that stands.
fn damaged() -> Result<(MemoryMedium, Rig, PhysicalOffset), String> {
    let medium = MemoryMedium::default();
    let rig = Rig::small(&medium)?;
    rig.fill(1, 3, 500)?;
    rig.fill(1, 1, 500)?;
    rig.log.save_committed(id(1, 3));
    rig.sync()?;
    let rig = rig.kill(&medium)?;
    let at = rig.all()?[2].position;
    medium.disk.flip_bit(&segment_path(&rig.dir, PhysicalOffset(0)), at.0 + HEADER_LEN + 100, 1).unwrap();
    let bad = rig.log.examine(at).unwrap().unwrap();
    rig.log.quarantine(&bad);
    Ok((medium, rig, at))
}

fn damage_is_read_by_nobody() -> Outcome {
    let (_medium, rig, at) = damaged()?;
    holds(rig.log.bytes(at + HEADER_LEN, 500).is_err(), "damaged bytes were read")?;
    holds(rig.all().is_err(), "a damaged entry was read")
}

/// Another member offers what it has: an entry of another leader at the very place, then the entry itself.
fn damage_is_filled_with_what_stood_there() -> Outcome {
    let (medium, rig, at) = damaged()?;
    let (other, same) = (Rig::small(&MemoryMedium::default())?, Rig::small(&MemoryMedium::default())?);
    other.fill(1, 2, 500)?;
    other.append(vec![entry(id(2, 2), 500)])?;
    same.fill(1, 4, 500)?;
    for (i, donor) in [&other, &same].into_iter().enumerate() {
        let mut patch = rig.log.patch(rig.log.quarantined().remove(0));
        let wanted = patch.wanted();
        let mut offered = donor.log.piece(wanted.start, wanted.end).unwrap().to_vec();
        for flipped in [None, Some(60)] {
            patch.restart();
            if let Some(flipped) = flipped {
                offered[flipped] ^= 1;
            }
            let is_filled = patch.take(offered.clone().into()).is_ok();
            holds(is_filled == (i == 1 && flipped.is_none()), "bytes were taken that are not those that stood there")?;
        }
    }
    holds(medium.disk.rotten().is_empty(), "the damage is still there")?;
    let held = rig.log.piece(at, at + 548);
    holds(held.is_err(), "it is quarantined until it is lifted")?;
    rig.log.lift(&rig.log.quarantined().remove(0));
    rig.must_hold(&[id(1, 0), id(1, 1), id(1, 2), id(1, 3)])
}
