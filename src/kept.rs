//! The CommitLog files that a store keeps, as its log tells: the newest recovery checkpoint, and the entries behind it
//! applied as far as they are known committed. Locks nothing and changes nothing: the node may be running.

use std::ops::ControlFlow;
use std::path::Path;

use quorumq_raft::machine::Machine as _;
use quorumq_store::checkpoint::Checkpoint;
use quorumq_store::commit_log::dump::{Looked, look_at_segment, segments};
use quorumq_store::disk::Disk;
use quorumq_store::frame::Kind;
use quorumq_store::hard_state;
use quorumq_store::identity::Identity;
use quorumq_store::log_store::Entry;
use quorumq_store::{LogId, LogIndex, PhysicalOffset, StoreError};

use crate::machine::{Machine, Segment};

/// What a store keeps.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Files of the CommitLog, oldest first; the last one is still written.
    pub segments: Vec<Segment>,
    /// The entry as of which that holds: the last one that the store knows committed.
    pub applied: Option<LogId>,
    /// When that was stored, in milliseconds since the epoch.
    pub time_ms: i64,
}

/// Reads what the store in `dir` keeps.
///
/// # Errors
/// `Unformatted`; `Corrupt` if identity, hard state or the newest checkpoint are; `Contract` where the machine does not
/// understand an entry; `Io` if the disk fails.
pub fn kept(disk: &dyn Disk, dir: &Path) -> Result<Kept, StoreError> {
    let identity = Identity::read(disk, dir)?.ok_or_else(|| StoreError::Unformatted { path: dir.to_owned() })?;
    let size = identity.constants.segment_size;
    // Before the log: of what is committed after this look nothing is asked.
    let committed = hard_state::state_in(disk, dir)?.committed.map(|id| id.index);
    let newest = Checkpoint::list(disk, dir)?.pop();
    let checkpoint = newest.map(|start| Checkpoint::read(disk, dir, start)).transpose()?;
    let state = checkpoint.as_ref().map(|checkpoint| &*checkpoint.state);
    let mut replay = Replay { machine: Machine::apart(dir, size, state)?, committed, failed: None };
    let from = checkpoint.map_or(PhysicalOffset(0), |checkpoint| checkpoint.position.next);
    let files = segments(disk, dir)?;
    for start in files.iter().filter(|start| **start >= from) {
        look_at_segment(disk, dir, size, *start, &mut |looked| replay.take(looked))?;
    }
    if let Some(e) = replay.failed {
        return Err(e);
    }
    Ok(replay.machine.kept_since(from, files.first().copied().unwrap_or_default()))
}

/// A machine that applies the log behind a checkpoint, on a disk of its own.
struct Replay {
    machine: Machine,
    committed: Option<LogIndex>,
    failed: Option<StoreError>,
}

impl Replay {
    fn take(&mut self, looked: Looked) -> ControlFlow<()> {
        let Looked::Frame { header, body: Some(body) } = looked else { return ControlFlow::Break(()) };
        if header.kind == Kind::Filler {
            return ControlFlow::Continue(());
        }
        let next = self.machine.applied().map_or(0, |id| id.index.0 + 1);
        // Behind what is damaged, or was cut off, no entry follows on the last one.
        if Some(header.id.index) > self.committed || header.id.index.0 != next {
            return ControlFlow::Break(());
        }
        let entry = Entry { id: header.id, kind: header.kind, position: header.position, body };
        match self.machine.apply(&entry, &mut Vec::new()) {
            Ok(_) => ControlFlow::Continue(()),
            Err(e) => {
                self.failed = Some(StoreError::Contract(e.to_string()));
                ControlFlow::Break(())
            }
        }
    }
}

impl Machine {
    /// What is kept, where the log's first file begins at `first` and entries are written from `from` on.
    fn kept_since(&self, from: PhysicalOffset, first: PhysicalOffset) -> Kept {
        let mut segments = self.segments();
        if segments.last().is_none_or(|last| last.start < from) {
            segments.push(Segment { start: from, last_ms: self.time_ms(), reserved: None });
        }
        segments.retain(|segment| segment.start >= first);
        Kept { segments, applied: self.applied(), time_ms: self.time_ms() }
    }
}
