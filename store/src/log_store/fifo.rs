//! The queue between callers and the disk thread.

use std::sync::Arc;

use super::store_checkpoint::StoreTimes;
use super::{Done, Entry, SnapshotPosition, Vote};
use crate::commit_log::view::View;
use crate::hard_state::Mark;
use crate::{LogId, PhysicalOffset, StoreError};

/// One operation of the FIFO.
pub(super) enum Op {
    Append {
        entries: Vec<Entry>,
        bytes: u64,
        epoch: u64,
        done: Done,
    },
    Vote {
        vote: Vote,
        done: Done,
    },
    Proven {
        done: Done,
    },
    Truncate {
        cut: Mark,
        epoch: u64,
        done: Done,
    },
    Purge {
        first: PhysicalOffset,
        purged: LogId,
        done: Done,
    },
    Install {
        at: SnapshotPosition,
        epoch: u64,
        done: Done,
    },
    Sync {
        done: Done,
    },
    /// Makes the last noted mark durable.
    Mark,
    /// Try again to allocate a segment that found no room.
    Retry,
    /// A sync beside the disk thread has made the log durable up to here.
    Synced {
        mark: Mark,
        epoch: u64,
    },
    /// Nothing but its place in the queue.
    Barrier {
        done: Done,
    },
    Job(Box<dyn FnOnce() + Send>),
    Close {
        done: Done,
    },
}

/// Whether the store takes writes.
#[derive(Clone, Debug)]
pub(super) enum Status {
    Running,
    Closed,
    /// A write or sync failed.
    Poisoned(Arc<str>),
}

impl Status {
    /// The error of an operation that comes too late.
    pub(super) fn error(&self) -> Option<StoreError> {
        match self {
            Self::Running => None,
            Self::Closed => Some(StoreError::Closed),
            Self::Poisoned(reason) => Some(StoreError::Poisoned { reason: reason.to_string() }),
        }
    }
}

/// Everything callers and the disk thread share, behind one lock.
pub(super) struct Fifo {
    pub(super) view: View,
    pub(super) vote: Option<Vote>,
    pub(super) status: Status,
    /// Bytes of frames appended and not yet done.
    pub(super) pending_bytes: u64,
    /// Bytes of frames that have a [`Promise`](super::Promise): not appended yet, or without an outcome.
    pub(super) promised: u64,
    /// First byte of the log for which no file is allocated.
    pub(super) held_until: PhysicalOffset,
    /// Why the segment behind it could not be allocated, if that was tried.
    pub(super) full: Option<Arc<str>>,
    pub(super) times: Option<StoreTimes>,
    queue: Vec<Op>,
    /// Whether the disk thread was woken and has not yet found the queue empty.
    awake: bool,
}

impl Fifo {
    pub(super) fn new(view: View, vote: Option<Vote>, held_until: PhysicalOffset) -> Self {
        Self {
            view,
            vote,
            status: Status::Running,
            pending_bytes: 0,
            promised: 0,
            held_until,
            full: None,
            times: None,
            queue: Vec::new(),
            awake: false,
        }
    }

    pub(super) fn check_running(&self) -> Result<(), StoreError> {
        self.status.error().map_or(Ok(()), Err)
    }

    /// Queues an operation. Returns whether the disk thread has to be woken.
    pub(super) fn push(&mut self, op: Op) -> bool {
        self.queue.push(op);
        !std::mem::replace(&mut self.awake, true)
    }

    /// Moves everything that waits into the empty `ops`; `false` puts the disk thread to sleep.
    pub(super) fn take(&mut self, ops: &mut Vec<Op>) -> bool {
        std::mem::swap(&mut self.queue, ops);
        self.awake = !ops.is_empty();
        self.awake
    }

    pub(super) fn close(&mut self) {
        if matches!(self.status, Status::Running) {
            self.status = Status::Closed;
        }
    }

    pub(super) fn poison(&mut self, reason: &str) {
        if !matches!(self.status, Status::Poisoned(_)) {
            self.status = Status::Poisoned(reason.into());
        }
    }
}
