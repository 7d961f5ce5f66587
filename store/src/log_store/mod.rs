//! The log of one node: CommitLog segments and hard state behind one FIFO.
//!
//! ```text
//! callers ── append, vote, truncation, … ──► View (tail, positions)     one lock, never held over I/O
//!                                            queue of operations
//! disk thread ── run_pending ─────────────► Worker (Writer, HardState)  files, chain, sync, Done
//! ```

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::commit_log::view::{Purge, View};
use crate::disk::Disk;
use crate::frame::{HEADER_LEN, Kind};
use crate::hard_state::MarkSync;
use crate::identity::{GroupConstants, Identity};
use crate::mutant::{Mutant, planted};
use crate::{LogId, LogIndex, PhysicalOffset, StoreError, Term};

pub(crate) mod background;
mod damage;
mod fifo;
mod open;
mod read;
mod room;
mod sound;
mod store_checkpoint;
mod worker;

pub use background::BackgroundSync;
use background::SyncGate;
use damage::Quarantine;
use fifo::{Fifo, Op};
pub(crate) use open::take_lock;
pub use open::{OnInstall, Options};
pub use room::Promise;
use sound::Frames;
pub use store_checkpoint::StoreTimes;
use worker::Worker;

/// Called on the disk thread once an operation is durable (or, for appends in ASYNC_FLUSH, written). It must not call
/// [`LogStore::run_pending`].
pub type Done = Box<dyn FnOnce(Result<(), StoreError>) + Send + 'static>;

/// An entry to append.
#[derive(Clone, Debug)]
pub struct NewEntry {
    /// Term and index.
    pub id: LogId,
    /// What it holds.
    pub kind: Kind,
    /// The body, as it was proposed.
    pub body: Bytes,
}

/// An entry of the log.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Term and index.
    pub id: LogId,
    /// What it holds.
    pub kind: Kind,
    /// Where the frame starts. The body starts [`crate::frame::HEADER_LEN`] further.
    pub position: PhysicalOffset,
    /// The body, as it was proposed.
    pub body: Bytes,
}

impl Entry {
    /// Bytes of the entry's frame.
    pub fn frame_len(&self) -> u64 {
        HEADER_LEN + self.body.len() as u64
    }
}

/// A vote as Raft keeps it. Ordered by term first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Vote {
    /// The term.
    pub term: Term,
    /// The node voted for.
    pub node: u64,
    /// Whether a quorum granted it: the vote of an established leader.
    pub committed: bool,
}

/// When an append counts as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushMode {
    /// After fdatasync. RocketMQ's SYNC_FLUSH; the default.
    Sync,
    /// After pwrite. RocketMQ's ASYNC_FLUSH; [`LogStore::begin_sync`] is called every 500 ms. Votes and truncations
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
    /// The last durable vote.
    pub vote: Option<Vote>,
    /// Last known committed entry, never past the surviving tail.
    pub committed: Option<LogId>,
    /// Torn tail that was cut: where, and how many bytes were dropped.
    pub torn_tail: Option<(PhysicalOffset, u64)>,
    /// Whether the last stop was clean (no `abort` file).
    pub clean: bool,
    /// Whether the machine was booted since the store was last open, so that unsynced bytes may be lost. `false` if
    /// no boot id was given.
    pub rebooted: bool,
    /// Whether the log may lack entries that this node has acknowledged: it ran with ASYNC_FLUSH when the machine went
    /// down. Durable until [`LogStore::set_proven`].
    pub unproven: bool,
    /// A snapshot install that a crash had interrupted and that was finished now.
    pub installed: Option<SnapshotPosition>,
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
    /// Bytes of frames appended and not yet done.
    pub pending_bytes: u64,
}

/// Called (from any thread, without locks held) when the FIFO has something to do and the disk thread does not know.
pub type Wake = Box<dyn Fn() + Send + Sync>;

/// The log of one node.
///
/// Writes only queue: vote, truncations and appends form **one FIFO**, worked off by [`LogStore::run_pending`]
/// on the node's disk thread. One run writes all waiting appends with one `pwritev` per segment and makes them
/// durable with one sync, then calls their [`Done`]s in order. A vote, truncation, purge or install first makes
/// every earlier append durable (ASYNC_FLUSH: written), then itself.
///
/// ### To ensure correctness:
///
/// - `wake` must cause one call of `run_pending` on the disk thread; calls must not run at the same time.
/// - Where a call answers an error, its [`Done`] is dropped without being called.
/// - After the first failed write or sync every waiting and later [`Done`] gets [`StoreError::Poisoned`] (the first
///   one the cause); jobs given to [`LogStore::enqueue`] are dropped. The node has to end.
pub struct LogStore {
    disk: Arc<dyn Disk>,
    identity: Identity,
    dir: PathBuf,
    fifo: Mutex<Fifo>,
    worker: Mutex<Worker>,
    gate: SyncGate,
    mark_sync: MarkSync,
    wake: Wake,
    torn_tail: bool,
    unproven: AtomicBool,
    quarantine: Quarantine,
    frames: Frames,
}

impl std::fmt::Debug for LogStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogStore").field("dir", &self.dir).field("positions", &self.positions()).finish_non_exhaustive()
    }
}

impl LogStore {
    /// Opens a formatted store (see [`crate::identity`]), takes its lock, recovers. `options` may be just a
    /// [`FlushMode`].
    ///
    /// # Errors
    /// `Unformatted`, `Locked`, `Differs` if `constants` are not those the group was formed with, `UnknownVersion`, and
    /// `Corrupt` naming file and offset if anything that was durable no longer checks.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        constants: GroupConstants,
        options: impl Into<Options>,
        wake: Wake,
    ) -> Result<(Arc<Self>, Recovered), StoreError> {
        let (identity, view, worker, recovered) = open::open(Arc::clone(&disk), dir, constants, options.into())?;
        let fifo = Mutex::new(Fifo::new(view, recovered.vote, worker.held_until()));
        let (gate, mark_sync, worker) = (worker.gate(), worker.mark_sync(), Mutex::new(worker));
        let (torn_tail, unproven) = (recovered.torn_tail.is_some(), AtomicBool::new(recovered.unproven));
        let (dir, quarantine, frames) = (dir.to_owned(), Quarantine::default(), Frames::default());
        let store =
            Self { disk, identity, dir, fifo, worker, gate, mark_sync, wake, torn_tail, unproven, quarantine, frames };
        Ok((Arc::new(store), recovered))
    }

    fn lock(&self) -> MutexGuard<'_, Fifo> {
        self.fifo.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues an operation made under the lock, and wakes the disk thread if it sleeps.
    fn queue(&self, mut fifo: MutexGuard<'_, Fifo>, op: Op) {
        let wake = fifo.push(op);
        drop(fifo);
        if wake {
            (self.wake)();
        }
    }

    /// Appends consecutive entries, positions assigned at once, readable at once. Returns the positions.
    ///
    /// # Errors
    /// `Contract` if the entries do not continue the log or are too large; `Poisoned`, `Closed`.
    pub fn append(&self, entries: Vec<NewEntry>, done: Done) -> Result<Vec<PhysicalOffset>, StoreError> {
        let mut fifo = self.lock();
        fifo.check_running()?;
        fifo.view.check_append(&entries, self.identity.constants.max_entry)?;
        let mut positions = Vec::with_capacity(entries.len());
        let mut placed = Vec::with_capacity(entries.len());
        let mut bytes = 0;
        for entry in entries {
            bytes += HEADER_LEN + entry.body.len() as u64;
            let entry = fifo.view.append(entry);
            positions.push(entry.position);
            placed.push(entry.clone());
        }
        fifo.view.evict();
        let early = planted(Mutant::GroupCommitAcksNextBatch) && fifo.pending_bytes > 0;
        let (now, done) = if early { (Some(done), Box::new(|_| {}) as Done) } else { (None, done) };
        fifo.pending_bytes += bytes;
        let epoch = fifo.view.epoch;
        self.queue(fifo, Op::Append { entries: placed, bytes, epoch, done });
        now.into_iter().for_each(|done| done(Ok(())));
        Ok(positions)
    }

    /// Saves the vote, after every earlier append.
    pub fn save_vote(&self, vote: Vote, done: Done) {
        let mut fifo = self.lock();
        fifo.vote = Some(vote);
        self.queue(fifo, Op::Vote { vote, done });
    }

    /// The last saved vote (as queued, not necessarily durable yet).
    pub fn vote(&self) -> Option<Vote> {
        self.lock().vote
    }

    /// Whether opening cut a torn tail off.
    pub fn had_torn_tail(&self) -> bool {
        self.torn_tail
    }

    /// Whether the log may lack entries that this node has acknowledged; see [`Recovered::unproven`].
    pub fn is_unproven(&self) -> bool {
        self.unproven.load(Ordering::Acquire)
    }

    /// The log holds again whatever this node has acknowledged. Holds at once here, and after a crash once `done` is called.
    pub fn set_proven(&self, done: Done) {
        self.unproven.store(false, Ordering::Release);
        let fifo = self.lock();
        self.queue(fifo, Op::Proven { done });
    }

    /// How often entries were dropped from the end of the log since it was opened.
    pub fn truncations(&self) -> u64 {
        self.lock().view.truncations
    }

    /// Notes the committed position; it becomes durable with the next sync, and never ahead of the synced log.
    pub fn save_committed(&self, committed: LogId) {
        let mut fifo = self.lock();
        fifo.view.commit(committed);
        fifo.view.evict();
    }

    /// Drops every entry after `last`.
    ///
    /// # Errors
    /// `Contract` if that would drop a committed entry or `last` is not in the log; `Poisoned`, `Closed`.
    pub fn truncate_after(&self, last: Option<LogId>, done: Done) -> Result<(), StoreError> {
        let mut fifo = self.lock();
        fifo.check_running()?;
        let op = match fifo.view.truncate_after(last)? {
            Some(cut) => Op::Truncate { cut, epoch: fifo.view.epoch, done },
            None => Op::Barrier { done },
        };
        self.queue(fifo, op);
        Ok(())
    }

    /// Drops whole segments that hold only entries ≤ `upto` (never the last segment). Nothing to do if `upto` is purged
    /// already, as right after an install.
    ///
    /// # Errors
    /// `Contract` if `upto` is above the last or the committed entry or is not the entry the log knows; `Poisoned`,
    /// `Closed`; what reading the boundary's entry answers.
    pub fn purge(&self, upto: LogId, done: Done) -> Result<(), StoreError> {
        loop {
            let mut fifo = self.lock();
            fifo.check_running()?;
            let Purge::Segments(count) = fifo.view.plan_purge(upto)? else {
                self.queue(fifo, Op::Barrier { done });
                return Ok(());
            };
            let next = &fifo.view.slots[count];
            let known = next.before.or_else(|| (next.first == upto.index.next()).then_some(upto));
            let (boundary, epoch) = (LogIndex(next.first.0 - 1), fifo.view.epoch);
            if let Some(purged) = known {
                fifo.view.purge(count, purged);
                let first = fifo.view.first;
                self.queue(fifo, Op::Purge { first, purged, done });
                return Ok(());
            }
            drop(fifo);
            // The term of the boundary's entry has to be read from the file, without the lock.
            let purged = self.id_at(boundary)?;
            let mut fifo = self.lock();
            if fifo.view.epoch == epoch
                && let Some(i) = fifo.view.slot_of(boundary.next())
            {
                fifo.view.slots[i].before = Some(purged);
            }
        }
    }

    /// Makes the log empty and start right after a snapshot: intent → drop segments → [`Options::on_install`] → clear
    /// intent. The snapshot itself must be durable before.
    ///
    /// `done` gets `Contract` if the position is no segment start or would take back committed entries.
    pub fn install(&self, at: SnapshotPosition, done: Done) {
        let mut fifo = self.lock();
        let refused = fifo.check_running().and_then(|()| fifo.view.check_install(at));
        if let Err(e) = refused {
            drop(fifo);
            return done(Err(e));
        }
        fifo.view.install(at);
        let epoch = fifo.view.epoch;
        self.queue(fifo, Op::Install { at, epoch, done });
    }

    /// Makes everything written so far durable, and the synced mark with it (checkpoints; ASYNC_FLUSH's timer takes
    /// [`LogStore::begin_sync`], for which no append waits).
    pub fn sync(&self, done: Done) {
        let fifo = self.lock();
        self.queue(fifo, Op::Sync { done });
    }

    /// Makes the synced mark and the committed position durable, behind what is queued. To be called at least once a
    /// second with SYNC_FLUSH; with ASYNC_FLUSH [`LogStore::sync_mark`] is, for which no append waits. It also does what
    /// [`LogStore::retry_room`] does.
    pub fn persist_mark(&self) {
        let fifo = self.lock();
        self.queue(fifo, Op::Mark);
    }

    /// Makes the disk thread try again to allocate a segment that found no room. To be called at least once a second.
    pub fn retry_room(&self) {
        let fifo = self.lock();
        self.queue(fifo, Op::Retry);
    }

    /// Runs `job` on the disk thread after every earlier operation of the FIFO. Dropped unrun once the store is poisoned:
    /// what it would make durable may not be covered by the log.
    pub fn enqueue(&self, job: Box<dyn FnOnce() + Send>) {
        let fifo = self.lock();
        self.queue(fifo, Op::Job(job));
    }

    /// Notes the timestamps for RocketMQ's `checkpoint` file, written with the next [`LogStore::sync`] and at close.
    pub fn note_times(&self, times: StoreTimes) {
        self.lock().times = Some(times);
    }

    /// Syncs, writes the exact synced mark, removes `abort` and frees the lock. The store takes no more writes.
    pub fn close(&self, done: Done) {
        let mut fifo = self.lock();
        fifo.close();
        self.queue(fifo, Op::Close { done });
    }

    /// Works off the FIFO. Called on the disk thread only.
    pub fn run_pending(&self) {
        let mut worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ops = Vec::new();
        while self.lock().take(&mut ops) {
            worker.run(&self.fifo, &mut ops);
        }
        worker.maintain(&self.fifo);
    }

    /// Why the store is poisoned, if it is: the node has to end.
    pub fn failure(&self) -> Option<StoreError> {
        let status = self.lock().status.clone();
        status.error().filter(|e| matches!(e, StoreError::Poisoned { .. }))
    }

    /// Where the log stands.
    pub fn positions(&self) -> Positions {
        let fifo = self.lock();
        let View { purged, first, last, end, synced, committed, .. } = fifo.view;
        Positions { purged, first, last, end, synced, committed, pending_bytes: fifo.pending_bytes }
    }

    /// Starts of the segments held, ascending.
    pub fn segments(&self) -> Vec<PhysicalOffset> {
        self.lock().view.slots.iter().map(|slot| slot.start).collect()
    }

    /// Whose log it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Constants the group was formed with.
    pub fn constants(&self) -> GroupConstants {
        self.identity.constants
    }
}
