//! The log of one node: CommitLog segments and hard state behind one FIFO.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::disk::Disk;
use crate::frame::Kind;
use crate::identity::GroupConstants;
use crate::{LogId, LogIndex, PhysicalOffset, StoreError, Term};

/// Called on the disk thread once an operation is durable (or, for appends in ASYNC_FLUSH, written).
pub type Done = Box<dyn FnOnce(Result<(), StoreError>) + Send + 'static>;

/// An entry to append.
#[derive(Clone, Debug)]
pub struct NewEntry {
    pub id: LogId,
    pub kind: Kind,
    pub body: Bytes,
}

/// An entry of the log.
#[derive(Clone, Debug)]
pub struct Entry {
    pub id: LogId,
    pub kind: Kind,
    /// Where the frame starts. The body starts [`crate::frame::HEADER_LEN`] further.
    pub position: PhysicalOffset,
    pub body: Bytes,
}

/// A vote as Raft keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vote {
    pub term: Term,
    pub node: u64,
    /// Whether a quorum granted it: the vote of an established leader.
    pub committed: bool,
}

/// When an append counts as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushMode {
    /// After fdatasync. RocketMQ's SYNC_FLUSH; the default.
    Sync,
    /// After pwrite. RocketMQ's ASYNC_FLUSH; [`LogStore::sync`] is called every 500 ms. Votes and truncations
    /// are synced all the same.
    Async,
}

/// The place in the log where a snapshot's state ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotPosition {
    /// The last entry the snapshot covers.
    pub last: LogId,
    /// Where the next entry's frame starts: always a segment start.
    pub next: PhysicalOffset,
    /// The chain value: CRC of the header of the last frame before `next` (a filler, as `next` starts a segment).
    pub chain: u32,
}

/// What opening found.
#[derive(Debug)]
pub struct Recovered {
    pub vote: Option<Vote>,
    /// Last known committed entry, never past the surviving tail.
    pub committed: Option<LogId>,
    /// Torn tail that was cut: where, and how many bytes were dropped.
    pub torn_tail: Option<(PhysicalOffset, u64)>,
    /// Whether the last stop was clean (no `abort` file).
    pub clean: bool,
}

/// Where the log stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Positions {
    /// Last purged entry, if any.
    pub purged: Option<LogId>,
    /// First byte still held; a segment start.
    pub first: PhysicalOffset,
    /// Last appended entry (or `purged`).
    pub last: Option<LogId>,
    /// End of the last appended frame.
    pub end: PhysicalOffset,
    /// Last entry known to be synced.
    pub synced: Option<LogId>,
    /// Last entry known to be committed.
    pub committed: Option<LogId>,
    /// Bytes appended and not yet done.
    pub pending_bytes: u64,
}

/// The log of one node.
///
/// Writes only queue: vote, truncations and appends form **one FIFO**, worked off by [`LogStore::run_pending`]
/// on the node's disk thread. One run writes all waiting appends with one `pwritev` per segment and makes them
/// durable with one sync, then calls their [`Done`]s in order. A vote, truncation, purge or install first makes
/// every earlier append durable (ASYNC_FLUSH: written), then itself.
#[derive(Debug)]
pub struct LogStore {}

impl LogStore {
    /// Opens a formatted store (see [`crate::identity`]), takes its lock, recovers. `wake` is called (from any
    /// thread, without locks held) when the FIFO goes from empty to non-empty; it must cause `run_pending` to be
    /// called on the disk thread.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        constants: GroupConstants,
        mode: FlushMode,
        wake: Box<dyn Fn() + Send + Sync>,
    ) -> Result<(Arc<Self>, Recovered), StoreError> {
        let _ = (disk, dir, constants, mode, wake);
        todo!()
    }
    /// Appends consecutive entries, positions assigned at once, readable at once. Returns the positions.
    pub fn append(&self, entries: Vec<NewEntry>, done: Done) -> Result<Vec<PhysicalOffset>, StoreError> {
        let _ = (entries, done);
        todo!()
    }
    /// Saves the vote, after every earlier append.
    pub fn save_vote(&self, vote: Vote, done: Done) {
        let _ = (vote, done);
        todo!()
    }
    /// The last saved vote (as queued, not necessarily durable yet).
    pub fn vote(&self) -> Option<Vote> {
        todo!()
    }
    /// Notes the committed position; it becomes durable with the next sync.
    pub fn save_committed(&self, committed: LogId) {
        let _ = committed;
        todo!()
    }
    /// Drops every entry after `last`. `Contract` if that would drop a committed entry.
    pub fn truncate_after(&self, last: Option<LogId>, done: Done) -> Result<(), StoreError> {
        let _ = (last, done);
        todo!()
    }
    /// Drops whole segments that hold only entries ≤ `upto` (never the last segment).
    pub fn purge(&self, upto: LogId, done: Done) -> Result<(), StoreError> {
        let _ = (upto, done);
        todo!()
    }
    /// Makes the log empty and start right after a snapshot: intent → drop segments → clear intent.
    pub fn install(&self, at: SnapshotPosition, done: Done) {
        let _ = (at, done);
        todo!()
    }
    /// Makes everything written so far durable (ASYNC_FLUSH's timer, checkpoints, clean stop).
    pub fn sync(&self, done: Done) {
        let _ = done;
        todo!()
    }
    /// Runs `job` on the disk thread after every earlier operation of the FIFO.
    pub fn enqueue(&self, job: Box<dyn FnOnce() + Send>) {
        let _ = job;
        todo!()
    }
    /// Syncs, writes the exact synced mark and removes `abort`. The store takes no more writes.
    pub fn close(&self, done: Done) {
        let _ = done;
        todo!()
    }
    /// Works off the FIFO. Called on the disk thread only.
    pub fn run_pending(&self) {
        todo!()
    }
    /// Entries of `range`, from memory or disk, stopping early (but never before the first) at `max_bytes` of bodies.
    pub fn entries(&self, range: Range<LogIndex>, max_bytes: u64) -> Result<Vec<Entry>, StoreError> {
        let _ = (range, max_bytes);
        todo!()
    }
    /// The bytes of a record at or below committed, at `at`, `len` bytes long. Zero-copy where possible.
    pub fn bytes(&self, at: PhysicalOffset, len: u32) -> Result<Bytes, StoreError> {
        let _ = (at, len);
        todo!()
    }
    /// Whether [`LogStore::bytes`] at `at` is likely answered from memory or page cache (the last segments).
    pub fn is_hot(&self, at: PhysicalOffset) -> bool {
        let _ = at;
        todo!()
    }
    /// The chain value before the segment that starts at `segment` and the last entry before it.
    pub fn snapshot_position(&self, segment: PhysicalOffset) -> Option<SnapshotPosition> {
        let _ = segment;
        todo!()
    }
    /// Whether [`LogStore::entries`] from `index` on is answered from memory.
    pub fn in_memory(&self, index: LogIndex) -> bool {
        let _ = index;
        todo!()
    }
    /// Why `bytes` more of entry bodies cannot be stored for certain; `None` if they can.
    pub fn no_room(&self, bytes: u64) -> Option<String> {
        let _ = bytes;
        todo!()
    }
    /// Makes the synced mark and the committed position durable, behind what is queued.
    pub fn persist_mark(&self) {
        todo!()
    }
    /// Where the log stands.
    pub fn positions(&self) -> Positions {
        todo!()
    }
    /// Constants the group was formed with.
    pub fn constants(&self) -> GroupConstants {
        todo!()
    }
}

impl From<StoreError> for io::Error {
    fn from(e: StoreError) -> Self {
        io::Error::other(e)
    }
}
