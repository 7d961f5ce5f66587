//! Checks the store of a stopped node: every frame, record and checkpoint, and its ConsumeQueues against those that its
//! log makes. Changes nothing.
//!
//! The log is read twice: once to see that it is sound and how far it is committed, once to apply it to a machine of its
//! own, which keeps 20 bytes a message in memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use quorumq_raft::machine::Machine as _;
use quorumq_store::checkpoint::Checkpoint;
use quorumq_store::commit_log::segment_path;
use quorumq_store::commit_log::verify::{Verified, verify};
use quorumq_store::disk::{Disk, MemoryDisk};
use quorumq_store::frame::{HEADER_LEN, Kind};
use quorumq_store::identity::Identity;
use quorumq_store::log_store::Entry;
use quorumq_store::record::records;
use quorumq_store::{LogId, LogIndex, PhysicalOffset, StoreError};

use crate::machine::{Machine, VerifiedQueues};

#[cfg(test)]
mod tests;

/// What a sound store holds.
#[derive(Clone, Debug)]
pub struct VerifiedStore {
    /// The CommitLog.
    pub log: Verified,
    /// Files of the CommitLog that hold entries.
    pub segments: u64,
    /// Messages in the CommitLog, whether a queue shows them or not.
    pub records: u64,
    /// Recovery checkpoints that stand for the state that the log makes.
    pub checkpoints: u64,
    /// ConsumeQueues that hold what the log makes.
    pub queues: VerifiedQueues,
    /// The last entry applied: the last one known committed, or the one asked for.
    pub applied: Option<LogId>,
    /// The machine's digest after it.
    pub digest: u64,
}

/// Checks the store in `dir`, and applies its committed entries up to `until`, if given.
///
/// # Errors
/// `Locked` while a broker runs on it, `Unformatted`; `Corrupt` names file and byte of what does not check; `Contract`
/// where the machine does not understand an entry.
pub fn verify_store(disk: &Arc<dyn Disk>, dir: &Path, until: Option<LogIndex>) -> Result<VerifiedStore, StoreError> {
    let identity = Identity::read(&**disk, dir)?.ok_or_else(|| StoreError::Unformatted { path: dir.to_owned() })?;
    let segment_size = identity.constants.segment_size;
    let mut records = 0;
    let log = verify(disk, dir, &mut |entry| {
        records += count_records(dir, segment_size, &entry)?;
        Ok(())
    })?;
    check_tail(&**disk, dir, &log)?;
    let committed =
        log.committed.map(|id| id.index).filter(|committed| Some(*committed) <= log.last.map(|id| id.index));
    let limit = until.map_or(committed, |until| committed.min(Some(until)));
    let mut replay = Replay::new(disk, dir, &log)?;
    verify(disk, dir, &mut |entry| if Some(entry.id.index) <= limit { replay.apply(&entry) } else { Ok(()) })?;
    let queues = replay.machine.verify_queues(&**disk, dir)?;
    Ok(VerifiedStore {
        segments: log.end.0.div_ceil(segment_size).saturating_sub(log.first.0 / segment_size),
        records,
        checkpoints: replay.checkpoints,
        queues,
        applied: replay.applied,
        digest: replay.machine.digest(),
        log,
    })
}

/// The file that holds `at`, and where in it.
fn place(dir: &Path, segment_size: u64, at: PhysicalOffset) -> (PathBuf, u64) {
    let offset = at.0 % segment_size;
    (segment_path(dir, PhysicalOffset(at.0 - offset)), offset)
}

fn count_records(dir: &Path, segment_size: u64, entry: &Entry) -> Result<u64, StoreError> {
    if entry.kind != Kind::Records {
        return Ok(0);
    }
    let mut count = 0;
    for (at, record) in records(&entry.body) {
        if record.is_err() {
            let (path, offset) = place(dir, segment_size, entry.position + HEADER_LEN + at as u64);
            return Err(StoreError::Corrupt { what: "record", path, offset });
        }
        count += 1;
    }
    Ok(count)
}

/// After a clean stop nothing stands behind the end; after a crash the next start cuts it.
fn check_tail(disk: &dyn Disk, dir: &Path, log: &Verified) -> Result<(), StoreError> {
    let abort = dir.join("abort");
    let was_clean = !disk.exists(&abort).map_err(|source| StoreError::Io { verb: "look for", path: abort, source })?;
    match &log.torn_tail {
        Some((what, path, offset)) if was_clean => {
            Err(StoreError::Corrupt { what, path: path.clone(), offset: *offset })
        }
        _ => Ok(()),
    }
}

/// A machine that applies the log again, on a disk of its own.
struct Replay<'a> {
    disk: &'a dyn Disk,
    dir: &'a Path,
    segment_size: u64,
    machine: Machine,
    applied: Option<LogId>,
    /// Segment of the last entry applied.
    segment: PhysicalOffset,
    /// Segment starts with a checkpoint.
    held: Vec<PhysicalOffset>,
    checkpoints: u64,
}

impl<'a> Replay<'a> {
    /// Starts from nothing, or from the snapshot at the start of a log that was purged.
    fn new(disk: &'a Arc<dyn Disk>, dir: &'a Path, log: &Verified) -> Result<Self, StoreError> {
        let segment_size = log.identity.constants.segment_size;
        let held = Checkpoint::list(&**disk, dir)?;
        let mut replay = Self {
            disk: &**disk,
            dir,
            segment_size,
            machine: fresh(dir, segment_size)?,
            applied: log.purged,
            segment: log.first,
            held,
            checkpoints: 0,
        };
        if log.purged.is_some() {
            let checkpoint = Checkpoint::read(replay.disk, dir, log.first)?;
            replay.machine = restored(dir, segment_size, &checkpoint)?;
            replay.check(&checkpoint)?;
        }
        Ok(replay)
    }

    fn apply(&mut self, entry: &Entry) -> Result<(), StoreError> {
        let segment = PhysicalOffset(entry.position.0 - entry.position.0 % self.segment_size);
        if segment != self.segment {
            self.segment = segment;
            if self.held.contains(&segment) {
                let checkpoint = Checkpoint::read(self.disk, self.dir, segment)?;
                self.check(&checkpoint)?;
            }
        }
        self.machine.apply(entry, &mut Vec::new()).map_err(|e| StoreError::Contract(e.to_string()))?;
        self.applied = Some(entry.id);
        Ok(())
    }

    /// A checkpoint holds the state after every entry before its segment.
    fn check(&mut self, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        let state = restored(self.dir, self.segment_size, checkpoint)?;
        if Some(checkpoint.position.last) != self.applied || state.digest() != self.machine.digest() {
            let path = Checkpoint::path(self.dir, checkpoint.position.next);
            return Err(StoreError::Corrupt { what: "checkpoint (its state is not the log's)", path, offset: 0 });
        }
        self.checkpoints += 1;
        Ok(())
    }
}

/// An empty machine. Nothing of what it makes reaches the store.
fn fresh(dir: &Path, segment_size: u64) -> Result<Machine, StoreError> {
    let disk = MemoryDisk::new().mount();
    disk.create_dir_all(dir).map_err(|source| StoreError::Io { verb: "create", path: dir.to_owned(), source })?;
    Machine::new(disk, dir, segment_size)
}

fn restored(dir: &Path, segment_size: u64, checkpoint: &Checkpoint) -> Result<Machine, StoreError> {
    let mut machine = fresh(dir, segment_size)?;
    machine.restore(&checkpoint.state).map_err(|e| StoreError::Contract(e.to_string()))?;
    Ok(machine)
}
