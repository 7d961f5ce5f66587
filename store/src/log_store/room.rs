//! Space is checked before Raft sees the bytes: once an entry is appended, running out of it ends the node.

use std::sync::Arc;

use super::LogStore;
use super::fifo::{Fifo, Status};
use crate::PhysicalOffset;
use crate::commit_log::Layout;
use crate::frame::HEADER_LEN;

/// Bytes never promised to anyone: for a leader's blank entry, memberships, and the headers of a batch of entries.
const RESERVE: u64 = 64 << 10;

/// Room that an entry has which is on its way into the log. Kept until its outcome is there, so that what Raft holds and
/// the log does not know yet is not promised to another.
#[derive(Debug)]
pub struct Promise {
    store: Arc<LogStore>,
    bytes: u64,
}

impl Promise {
    fn new(store: &Arc<LogStore>, body: u64) -> Self {
        let bytes = HEADER_LEN + body;
        store.lock().promised += bytes;
        Self { store: Arc::clone(store), bytes }
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.store.lock().promised -= self.bytes;
    }
}

impl LogStore {
    pub(super) fn layout(&self) -> Layout {
        Layout { segment_size: self.identity.constants.segment_size }
    }

    /// Bytes of a segment that a frame may leave unused when it rolls.
    fn waste(&self) -> u64 {
        HEADER_LEN + HEADER_LEN + u64::from(self.identity.constants.max_entry)
    }

    /// Bytes of frames (header and body) that can be appended for certain without a new allocation, whatever the sizes
    /// of the entries: in the current and the next segment, less what rolls may waste.
    pub fn room(&self) -> u64 {
        self.held_room(&self.lock())
    }

    fn held_room(&self, fifo: &Fifo) -> u64 {
        if !matches!(fifo.status, Status::Running) {
            return 0;
        }
        let mut room = 0;
        let mut at = fifo.view.end;
        while at < fifo.held_until {
            let end = self.layout().segment_end(at);
            room += (end.0 - at.0).saturating_sub(self.waste());
            at = end;
        }
        room
    }

    /// Room for an entry with a body of `bytes`, until the promise is dropped: in the segments that are allocated or,
    /// while the next allocation has not failed, in what the volume has left.
    ///
    /// # Errors
    /// Why there is none.
    pub fn promise(self: &Arc<Self>, bytes: u64) -> Result<Promise, String> {
        // Counted before the look: of two at a time, one at least sees the other.
        let promise = Promise::new(self, bytes);
        self.lacks(bytes).map_or(Ok(promise), Err)
    }

    /// Whether all that is promised fits into what is allocated: the volume need not give more for it.
    pub fn holds_promises(&self) -> bool {
        let fifo = self.lock();
        self.held_room(&fifo) >= fifo.promised + self.kept()
    }

    /// Bytes never promised.
    fn kept(&self) -> u64 {
        RESERVE.min(self.identity.constants.segment_size / 16)
    }

    /// Why all that is promised, `bytes` with their header included, cannot be stored.
    fn lacks(&self, bytes: u64) -> Option<String> {
        let (room, wanted, from) = {
            let fifo = self.lock();
            if let Some(e) = fifo.status.error() {
                return Some(e.to_string());
            }
            let room = self.held_room(&fifo);
            let wanted = fifo.promised + self.kept();
            if room >= wanted {
                return None;
            }
            if let Some(full) = &fifo.full {
                return Some(format!("no room for {bytes} bytes in the CommitLog: {full}"));
            }
            (room, wanted, fifo.held_until.max(fifo.view.end))
        };
        self.no_space(wanted - room, from)
    }

    /// Why the volume cannot take the segments that `bytes` more would need from `from` on.
    fn no_space(&self, bytes: u64, from: PhysicalOffset) -> Option<String> {
        let size = self.identity.constants.segment_size;
        let needed = bytes.div_ceil(size - self.waste()).max(1) * size;
        match self.disk.space(&self.dir) {
            Ok(space) if space.available >= needed => None,
            Ok(space) => Some(format!(
                "no room for the CommitLog from {from} on in {}: {needed} bytes needed, {} left",
                self.dir.display(),
                space.available
            )),
            Err(e) => Some(format!("the room left in {} is unknown: {e}", self.dir.display())),
        }
    }
}
