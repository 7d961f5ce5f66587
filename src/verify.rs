//! Checks the store of a stopped node: every frame, record and checkpoint, and its ConsumeQueues and key index against
//! those that its log makes. Changes nothing.
//!
//! The log is read twice: once to see that it is sound and how far it is committed, once to apply it to a machine of its
//! own, which keeps 20 bytes a message and 20 bytes a key in memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use quorumq_raft::machine::Machine as _;
use quorumq_store::checkpoint::Checkpoint;
use quorumq_store::commit_log::segment_path;
use quorumq_store::commit_log::verify::{Verified, verify};
use quorumq_store::disk::Disk;
use quorumq_store::frame::{HEADER_LEN, Kind};
use quorumq_store::identity::Identity;
use quorumq_store::index_file::{IndexSizes, VerifiedIndex};
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
    /// Files of the key index that hold what the log makes.
    pub index: VerifiedIndex,
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
    let queues = replay.machine.verify_queues(&**disk, dir, replay.newest.as_ref())?;
    let index = replay.machine.verify_index(&**disk, dir)?;
    Ok(VerifiedStore {
        segments: log.end.0.div_ceil(segment_size).saturating_sub(log.first.0 / segment_size),
        records,
        checkpoints: replay.checkpoints,
        queues,
        index,
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
    /// The state of the newest checkpoint.
    newest: Option<Machine>,
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
            machine: Machine::apart(dir, segment_size, None)?,
            applied: log.purged,
            segment: log.first,
            held,
            checkpoints: 0,
            newest: None,
        };
        if log.purged.is_some() {
            let checkpoint = Checkpoint::read(replay.disk, dir, log.first)?;
            replay.machine = Machine::apart(dir, segment_size, Some(&checkpoint.state))?;
            replay.check(&checkpoint)?;
        }
        let format = dir.join("index/.format");
        let has_index = replay.disk.exists(&format);
        if has_index.map_err(|source| StoreError::Io { verb: "look for", path: format, source })? {
            replay.machine = replay.machine.with_index(IndexSizes::default());
        }
        let started = replay.machine.start(log.first, log.first);
        started.map_err(|e| StoreError::Contract(e.to_string()))?;
        replay.machine.take_index_sizes(replay.disk, dir)?;
        Ok(replay)
    }

    fn apply(&mut self, entry: &Entry) -> Result<(), StoreError> {
        let segment = PhysicalOffset(entry.position.0 - entry.position.0 % self.segment_size);
        if segment != self.segment {
            self.segment = segment;
            self.machine.enter(segment);
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
        let state = Machine::apart(self.dir, self.segment_size, Some(&checkpoint.state))?;
        if Some(checkpoint.position.last) != self.applied || state.digest() != self.machine.digest() {
            let path = Checkpoint::path(self.dir, checkpoint.position.next);
            return Err(StoreError::Corrupt { what: "checkpoint (its state is not the log's)", path, offset: 0 });
        }
        self.checkpoints += 1;
        self.newest = Some(state);
        Ok(())
    }
}
