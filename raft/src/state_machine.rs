//! openraft's state machine over a [`Machine`]: apply, checkpoints at segment rolls, snapshots.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, Stream, StreamExt};
use openraft::alias::{SnapshotMetaOf, SnapshotOf};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use quorumq_store::checkpoint::Checkpoint;
use quorumq_store::derived::DerivedFlush;
use quorumq_store::disk::Disk;
use quorumq_store::frame::Kind;
use quorumq_store::log_store::{Entry, LogStore};
use quorumq_store::mutant::{Mutant, planted};
use quorumq_store::record::set_store_timestamp;
use quorumq_store::{LogId, PhysicalOffset, StoreError};

use tokio::sync::oneshot;

use crate::fatal::told;
use crate::log_storage::finish;
use crate::machine::{EffectSink, Machine};
use crate::peer::append::payload_parts;
use crate::runtime::Runtime;
use crate::types::{RaftEntryOf, RaftLogId, StoredMembership, Types, from_raft_log_id, to_raft_log_id};
use crate::wire::{decode_membership, encode_membership};

/// Entries applied under one hold of the machine's lock.
const APPLY_RUN: usize = 64;
/// Most files of ConsumeQueues that a clean stop syncs.
const SYNCS_AT_STOP: usize = 100;
/// Derived units in memory at which a flush is queued.
const FLUSH_UNITS: usize = 100_000;

/// The machine and where it stands, shared with readers.
#[derive(Debug)]
pub struct Shared<M> {
    machine: RwLock<M>,
    /// Index of the last applied entry plus one.
    applied_next: AtomicU64,
    flush_queued: AtomicBool,
    snapshots_installed: AtomicU64,
    /// Readers that wait until an index is applied.
    waiting: Mutex<BTreeMap<u64, Vec<oneshot::Sender<()>>>>,
}

impl<M: Machine> Shared<M> {
    /// Waits until the entry at `index` is applied.
    pub async fn wait_applied(&self, index: u64) {
        let applied = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            // Checked under the lock: `advance` moves the position before it takes the lock.
            if self.applied_next() > index {
                return;
            }
            let (tx, rx) = oneshot::channel();
            waiting.entry(index).or_default().push(tx);
            rx
        };
        // An error means that the node stopped; its reads then fail by themselves.
        let _ = applied.await;
    }
    fn advance(&self, next: u64) {
        self.applied_next.store(next, Ordering::Release);
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(first) = waiting.first_entry().filter(|first| *first.key() < next) {
            for tx in first.remove() {
                let _ = tx.send(());
            }
        }
    }
    /// Reads the machine. Hold it briefly, never over an await.
    pub fn read(&self) -> RwLockReadGuard<'_, M> {
        self.machine.read().unwrap_or_else(PoisonError::into_inner)
    }
    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, M> {
        self.machine.write().unwrap_or_else(PoisonError::into_inner)
    }
    /// Index of the last applied entry plus one.
    pub fn applied_next(&self) -> u64 {
        self.applied_next.load(Ordering::Acquire)
    }
    /// Snapshots installed since the process started.
    pub fn snapshots_installed(&self) -> u64 {
        self.snapshots_installed.load(Ordering::Relaxed)
    }
    /// Writes derived units out, on the disk thread; durably if `sync`.
    pub(crate) fn flush(&self, sync: bool) -> Result<(), StoreError> {
        let plan = self.write().plan_flush(false);
        plan.map_or(Ok(()), |plan| self.write_plan(plan, sync))
    }
    /// As [`Shared::flush`], with what is otherwise written once an index file is full: for a clean stop. Durably, with the
    /// sums that need it, unless so many files were to be synced that the stop would take its time.
    pub(crate) fn flush_whole(&self) -> Result<(), StoreError> {
        let plan = self.write().plan_flush(true);
        plan.map_or(Ok(()), |plan| {
            let sync = plan.syncs() <= SYNCS_AT_STOP;
            self.write_plan(plan, sync)
        })
    }

    fn write_plan(&self, plan: DerivedFlush, sync: bool) -> Result<(), StoreError> {
        plan.write(sync)?;
        self.write().flushed(plan);
        Ok(())
    }
}

/// Where a node keeps its files.
#[derive(Clone, Debug)]
pub struct Place {
    /// The disk.
    pub disk: Arc<dyn Disk>,
    /// The store's directory.
    pub dir: PathBuf,
    /// Bytes kept free on the volume: with less, sends are refused and reads go on.
    pub reserve_bytes: u64,
}

/// Told of an error after which the node must not go on.
pub type OnFatal = Arc<dyn Fn(String) + Send + Sync>;

/// The state machine as openraft sees it.
pub struct Shell<R, M: Machine> {
    shared: Arc<Shared<M>>,
    store: Arc<LogStore>,
    place: Place,
    sink: EffectSink<M::Effect>,
    on_fatal: OnFatal,
    last_applied: Option<LogId>,
    membership: StoredMembership,
    /// Start of the segment that holds the last applied entry.
    segment: PhysicalOffset,
    /// Entries up to here were committed before this start: replayed without effects.
    replay_until: Option<LogId>,
    _runtime: std::marker::PhantomData<fn() -> R>,
}

impl<R: Runtime, M: Machine> Shell<R, M> {
    /// Restores the machine from the newest sound checkpoint the log covers.
    ///
    /// # Errors
    /// The disk fails; no checkpoint covers the start of a log that was purged; a state the machine does not know.
    pub fn open(
        fresh: impl Fn() -> Result<M, StoreError>,
        store: Arc<LogStore>,
        place: Place,
        sink: EffectSink<M::Effect>,
        on_fatal: OnFatal,
    ) -> Result<Self, StoreError> {
        let mut machine = fresh()?;
        let positions = store.positions();
        let mut restored = None;
        for start in Checkpoint::list(&*place.disk, &place.dir)?.into_iter().rev() {
            let checkpoint = match Checkpoint::read(&*place.disk, &place.dir, start) {
                Ok(checkpoint) => checkpoint,
                Err(e @ StoreError::Corrupt { .. }) => {
                    tracing::warn!("{e}; an older recovery checkpoint will do, with more of the log applied anew");
                    Checkpoint::remove(&*place.disk, &place.dir, start)?;
                    continue;
                }
                Err(e) => return Err(e),
            };
            if !covers(&store, checkpoint.position.last) || start < positions.first {
                // Ahead of what the log kept, or behind what was purged: of no use to anyone.
                Checkpoint::remove(&*place.disk, &place.dir, start)?;
            } else if restored.is_none() {
                machine.restore(&checkpoint.state).map_err(|e| StoreError::Contract(e.to_string()))?;
                restored = Some(checkpoint);
            }
        }
        let (last_applied, membership, segment) = match &restored {
            Some(checkpoint) => {
                // What was applied is committed; the position that says so becomes durable later than the checkpoint.
                store.save_committed(checkpoint.position.last);
                (Some(checkpoint.position.last), stored_membership(checkpoint)?, checkpoint.position.next)
            }
            None if positions.purged.is_some() => {
                let what = "the log was purged, and no sound recovery checkpoint covers its start: replace this member";
                return Err(StoreError::Contract(what.to_owned()));
            }
            None => (None, StoredMembership::default(), positions.first),
        };
        let (last_applied, segment) = match planted(Mutant::AppliedPositionNotRestored) {
            true => (positions.purged, positions.first),
            false => (last_applied, segment),
        };
        machine.start(positions.first, segment).map_err(|e| StoreError::Contract(e.to_string()))?;
        let shared = Arc::new(Shared {
            machine: RwLock::new(machine),
            applied_next: AtomicU64::new(last_applied.map_or(0, |id| id.index.0 + 1)),
            flush_queued: AtomicBool::new(false),
            snapshots_installed: AtomicU64::new(0),
            waiting: Mutex::default(),
        });
        let replay_until = positions.committed;
        let _runtime = std::marker::PhantomData;
        Ok(Self { shared, store, place, sink, on_fatal, last_applied, membership, segment, replay_until, _runtime })
    }

    /// The machine, for readers.
    pub fn shared(&self) -> Arc<Shared<M>> {
        Arc::clone(&self.shared)
    }

    fn segment_of(&self, position: PhysicalOffset) -> PhysicalOffset {
        let size = self.store.constants().segment_size;
        PhysicalOffset(position.0 / size * size)
    }

    /// Queues the checkpoint of the segment about to be entered: the state covers every entry before it.
    fn checkpoint(&self, segment: PhysicalOffset, state: Bytes, plan: Option<DerivedFlush>) -> io::Result<()> {
        let membership_id = self.membership.log_id().as_ref().map(from_raft_log_id);
        let membership: Bytes = encode_membership(self.membership.membership()).map_err(io::Error::other)?.into();
        let (shared, place, on_fatal) = (Arc::clone(&self.shared), self.place.clone(), Arc::clone(&self.on_fatal));
        let store = Arc::clone(&self.store);
        // The log it covers first, then the derived files, then the checkpoint itself.
        self.store.sync(ignore_done());
        self.store.enqueue(Box::new(move || {
            let write = || -> Result<(), StoreError> {
                // Known once the segment's first frame is written here, which this job runs after.
                let Some(position) = store.snapshot_position(segment) else {
                    return Err(StoreError::Contract(format!("no chain value for the segment at {segment}")));
                };
                let state = if planted(Mutant::CheckpointAtApplied) { shared.read().encode() } else { state };
                // Planned with the state; where another plan was out then, that one is written by now.
                match plan {
                    Some(plan) => shared.write_plan(plan, true)?,
                    None => shared.flush(true)?,
                }
                Checkpoint { position, membership_id, membership, state }.write(&*place.disk, &place.dir)
            };
            if let Err(e) = write() {
                end_unless_full(&on_fatal, "recovery checkpoint", &e);
            }
        }));
        Ok(())
    }

    fn maybe_flush(&self) {
        if self.shared.read().unflushed() < FLUSH_UNITS || self.shared.flush_queued.swap(true, Ordering::AcqRel) {
            return;
        }
        let (shared, on_fatal) = (Arc::clone(&self.shared), Arc::clone(&self.on_fatal));
        self.store.enqueue(Box::new(move || {
            let written = shared.flush(false);
            shared.flush_queued.store(false, Ordering::Release);
            if let Err(e) = written {
                end_unless_full(&on_fatal, "ConsumeQueue flush", &e);
            }
        }));
    }

    /// Applies a run of entries under one lock; replies and effects go out after it.
    fn apply_run(&mut self, run: &mut Vec<EntryResponder<Types<R, M>>>) -> io::Result<()> {
        let mut effects = Vec::new();
        let mut replies = Vec::with_capacity(run.len());
        let shared = Arc::clone(&self.shared);
        let mut machine = shared.write();
        for (entry, responder) in run.drain(..) {
            let entry_membership = openraft::entry::RaftEntry::get_membership(&entry);
            let mut stored = to_stored(&entry)?;
            if planted(Mutant::ApplyDependsOnClock) && stored.kind == Kind::Records {
                let mut stamped = BytesMut::from(stored.body);
                set_store_timestamp(&mut stamped, R::wall_clock_ms());
                stored.body = stamped.freeze();
            }
            let segment = self.segment_of(stored.position);
            if segment != self.segment {
                machine.enter(segment);
                let (state, plan) = (machine.encode(), machine.plan_flush(false));
                self.checkpoint(segment, state, plan)?;
                self.segment = segment;
            }
            let reply = machine.apply(&stored, &mut effects).map_err(io::Error::other)?;
            if Some(stored.id) <= self.replay_until {
                effects.clear();
            }
            if let Some(members) = entry_membership {
                self.membership = StoredMembership::new(Some(to_raft_log_id(stored.id)), members);
            }
            self.last_applied = Some(stored.id);
            if let Some(responder) = responder {
                replies.push((responder, reply));
            }
        }
        let digest = machine.digest();
        drop(machine);
        if let Some(last) = self.last_applied {
            R::applied(last.index.0, digest);
            self.shared.advance(last.index.0 + 1);
        }
        for (responder, reply) in replies {
            responder.send(reply);
        }
        if !effects.is_empty() {
            (self.sink)(effects);
        }
        Ok(())
    }
}

/// Ends the node because derived files could not be written; unless the volume is full. Then the log holds all that they
/// would: units stay in memory for the next flush, a start replays from an older checkpoint, and sends are refused.
fn end_unless_full(on_fatal: &OnFatal, what: &str, e: &StoreError) {
    if e.is_full() {
        tracing::warn!("{what} left out: {e}");
    } else {
        on_fatal(format!("{what}: {e}"));
    }
}

/// Whether the log goes as far as a checkpoint whose last entry is `last`. One of a snapshot whose install was cut short
/// can stand in the middle of a log of other entries, or behind one that ends with a later term.
fn covers(store: &LogStore, last: LogId) -> bool {
    // What is committed is the same in both.
    let is_committed = store.positions().committed.is_some_and(|committed| last.index <= committed.index);
    is_committed || store.id_at(last.index).is_ok_and(|held| held == last)
}

fn ignore_done() -> quorumq_store::log_store::Done {
    // A failed sync poisons the store: the job behind it never runs and the node ends by the next append.
    Box::new(|_| {})
}

fn to_stored(entry: &RaftEntryOf) -> io::Result<Entry> {
    let (kind, body) = payload_parts(&entry.payload);
    let position = entry.position.ok_or_else(|| io::Error::other("an entry to apply was not read from the store"))?;
    Ok(Entry { id: entry.id, kind, position, body })
}

fn stored_membership(checkpoint: &Checkpoint) -> Result<StoredMembership, StoreError> {
    let members = decode_membership(&checkpoint.membership).map_err(|e| StoreError::Contract(e.to_string()))?;
    Ok(StoredMembership::new(checkpoint.membership_id.map(to_raft_log_id), members))
}

impl<R: Runtime, M: Machine> RaftStateMachine<Types<R, M>> for Shell<R, M> {
    type SnapshotData = Bytes;
    type SnapshotBuilder = Builder<R, M>;

    async fn applied_state(&mut self) -> io::Result<(Option<RaftLogId>, StoredMembership)> {
        Ok((self.last_applied.map(to_raft_log_id), self.membership.clone()))
    }

    async fn apply<Strm>(&mut self, entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = io::Result<EntryResponder<Types<R, M>>>> + Unpin + Send,
    {
        let mut entries = entries.fuse();
        let mut run = Vec::with_capacity(APPLY_RUN);
        while let Some(first) = entries.next().await {
            run.push(first?);
            while run.len() < APPLY_RUN {
                match entries.next().now_or_never() {
                    Some(Some(next)) => run.push(next?),
                    _ => break,
                }
            }
            let on_fatal = Arc::clone(&self.on_fatal);
            told(&on_fatal, "the state machine", || self.apply_run(&mut run))?;
        }
        self.maybe_flush();
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<Builder<R, M>> {
        let builder = self.builder();
        let first = self.store.positions().first;
        if force || matches!(builder.newest(first).await, Ok(Some(_))) { Some(builder) } else { None }
    }

    async fn get_snapshot_builder(&mut self) -> Builder<R, M> {
        self.builder()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMetaOf<Types<R, M>>, snapshot: Bytes) -> io::Result<()> {
        let checkpoint = Checkpoint::decode(&snapshot)?;
        let last = checkpoint.position.last;
        if meta.last_log_id.as_ref().map(from_raft_log_id) != Some(last) {
            return Err(io::Error::other("the snapshot's blob and its meta name different entries"));
        }
        tracing::info!(last = %last, next = %checkpoint.position.next, "installing a snapshot");
        // Checkpoint first: should the process end before the log is cut over, opening drops it as too new.
        let (place, copy) = (self.place.clone(), checkpoint.clone());
        R::offload(move || copy.write(&*place.disk, &place.dir)).await??;
        finish(|done| {
            self.store.install(checkpoint.position, done);
            Ok(())
        })
        .await?;
        let next = checkpoint.position.next;
        {
            let mut machine = self.shared.write();
            machine.restore(&checkpoint.state).and_then(|()| machine.start(next, next)).map_err(io::Error::other)?;
        }
        self.membership = stored_membership(&checkpoint)?;
        self.last_applied = Some(last);
        self.segment = checkpoint.position.next;
        self.shared.advance(last.index.0 + 1);
        self.shared.snapshots_installed.fetch_add(1, Ordering::Relaxed);
        let (place, keep) = (self.place.clone(), checkpoint.position.next);
        R::offload(move || remove_below(&place, keep)).await??;
        Ok(())
    }

    /// Also before the log has been cut: Raft holds a purge back while one of its streams reads, and whoever is behind
    /// that stream is told to take the snapshot already.
    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf<Types<R, M>, Bytes>>> {
        self.builder().load().await
    }
}

fn remove_below(place: &Place, keep: PhysicalOffset) -> Result<(), StoreError> {
    for start in Checkpoint::list(&*place.disk, &place.dir)? {
        if start < keep {
            Checkpoint::remove(&*place.disk, &place.dir, start)?;
        }
    }
    Ok(())
}

impl<R: Runtime, M: Machine> Shell<R, M> {
    fn builder(&self) -> Builder<R, M> {
        let (place, store) = (self.place.clone(), Arc::clone(&self.store));
        Builder { place, store, boundary: self.shared.read().retained_from(), _types: std::marker::PhantomData }
    }
}

/// Builds a snapshot: the newest checkpoint at or below the retention boundary.
pub struct Builder<R, M> {
    place: Place,
    store: Arc<LogStore>,
    boundary: PhysicalOffset,
    _types: std::marker::PhantomData<fn() -> (R, M)>,
}

impl<R: Runtime, M: Machine> Builder<R, M> {
    /// Segment start of the newest checkpoint that may serve as a snapshot of a log that begins at `first`.
    async fn newest(&self, first: PhysicalOffset) -> io::Result<Option<PhysicalOffset>> {
        let place = self.place.clone();
        let starts = R::offload(move || Checkpoint::list(&*place.disk, &place.dir)).await??;
        // The log may begin above the boundary: a member that began with a snapshot knows of an older one in its state.
        let upto = self.boundary.max(first);
        Ok(starts.into_iter().rfind(|s| (first..=upto).contains(s)))
    }

    async fn load(&self) -> io::Result<Option<SnapshotOf<Types<R, M>, Bytes>>> {
        loop {
            let first = self.store.positions().first;
            match self.newest(first).await? {
                Some(start) => {
                    // One that is damaged is dropped, and a purge that goes on meanwhile may remove one: another look.
                    if let found @ Some(_) = self.load_at(start).await? {
                        return Ok(found);
                    }
                }
                None if self.store.positions().first == first => return Ok(None),
                None => {}
            }
        }
    }

    async fn load_at(&self, start: PhysicalOffset) -> io::Result<Option<SnapshotOf<Types<R, M>, Bytes>>> {
        let place = self.place.clone();
        let checkpoint = R::offload(move || -> Result<Option<Checkpoint>, StoreError> {
            match Checkpoint::read(&*place.disk, &place.dir, start) {
                Ok(checkpoint) => Ok(Some(checkpoint)),
                Err(_) if !Checkpoint::list(&*place.disk, &place.dir)?.contains(&start) => Ok(None),
                Err(e @ StoreError::Corrupt { .. }) => {
                    tracing::warn!("{e}; an older recovery checkpoint will do as a snapshot");
                    Checkpoint::remove(&*place.disk, &place.dir, start).map(|()| None)
                }
                Err(e) => Err(e),
            }
        })
        .await??;
        let Some(checkpoint) = checkpoint else { return Ok(None) };
        let meta = SnapshotMetaOf::<Types<R, M>> {
            last_log_id: Some(to_raft_log_id(checkpoint.position.last)),
            last_membership: stored_membership(&checkpoint)?,
        };
        Ok(Some(SnapshotOf::<Types<R, M>, Bytes> { meta, snapshot: checkpoint.encode() }))
    }
}

impl<R: Runtime, M: Machine> RaftSnapshotBuilder<Types<R, M>> for Builder<R, M> {
    type SnapshotData = Bytes;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<Types<R, M>, Bytes>> {
        let snapshot = self.load().await?;
        snapshot.ok_or_else(|| io::Error::other("no recovery checkpoint at or below the retention boundary"))
    }
}
