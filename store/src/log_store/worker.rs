//! The disk thread's half of the store: works off the FIFO.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::background::{SyncGate, note_failed_sync};
use super::fifo::{Fifo, Op, Status};
use super::open::{MAX_UNSYNCED, installed};
use super::{Done, Entry, FlushMode, Options, SnapshotPosition};
use crate::commit_log::writer::{Segment, Writer};
use crate::disk::{Disk, DiskLock};
use crate::error::At;
use crate::hard_state::{HardState, Intent, Mark, MarkSync};
use crate::mutant::{Mutant, planted};
use crate::{LogId, PhysicalOffset, StoreError};

/// Bytes of appends written and synced as one group at most; more wait for the next.
const MAX_GROUP: u64 = 16 << 20;
/// Groups, and bytes, after which the synced mark is made durable without being asked.
const MARK_GROUPS: u32 = 512;
const MARK_BYTES: u64 = 16 << 20;
/// Bytes of a group above which prewriting would cost more than it saves.
const LIGHT_GROUP: u64 = 32 << 10;

fn lock(fifo: &Mutex<Fifo>) -> MutexGuard<'_, Fifo> {
    fifo.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Appends that are written and synced together.
#[derive(Default)]
struct Group {
    entries: Vec<Entry>,
    dones: Vec<Done>,
    bytes: u64,
    epoch: u64,
}

/// The disk thread's state. Lives behind its own lock, which only `run_pending` takes.
pub(super) struct Worker {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    options: Options,
    writer: Writer,
    hard: HardState,
    /// Freed when the store is closed.
    lock: Option<Box<dyn DiskLock>>,
    /// Epoch of the view up to which operations were worked off.
    epoch: u64,
    /// Groups and bytes synced since the mark was last made durable.
    since_mark: (u32, u64),
    /// Bytes of the last group.
    last_group: u64,
    /// Whether to try to allocate the next segment although that failed before.
    retry_next: bool,
}

impl Worker {
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: Options,
        writer: Writer,
        hard: HardState,
        lock: Box<dyn DiskLock>,
        epoch: u64,
    ) -> Self {
        Self {
            disk,
            dir: dir.to_owned(),
            options,
            writer,
            hard,
            lock: Some(lock),
            epoch,
            since_mark: (0, 0),
            last_group: 0,
            retry_next: false,
        }
    }

    pub(super) fn gate(&self) -> SyncGate {
        Arc::clone(&self.writer.gate)
    }

    pub(super) fn mark_sync(&self) -> MarkSync {
        self.hard.mark_sync()
    }

    pub(super) fn held_until(&self) -> PhysicalOffset {
        self.writer.held_until()
    }

    /// Works off operations in order; adjacent appends go to disk together.
    pub(super) fn run(&mut self, fifo: &Mutex<Fifo>, ops: &mut Vec<Op>) {
        let mut group = Group::default();
        for op in ops.drain(..) {
            match op {
                Op::Append { mut entries, bytes, epoch, done } => {
                    if group.entries.is_empty() {
                        group.entries = entries;
                    } else {
                        group.entries.append(&mut entries);
                    }
                    group.dones.push(done);
                    group.bytes += bytes;
                    group.epoch = epoch;
                    if group.bytes >= MAX_GROUP {
                        self.flush(fifo, &mut group);
                    }
                }
                other => {
                    self.flush(fifo, &mut group);
                    self.run_one(fifo, other);
                }
            }
        }
        self.flush(fifo, &mut group);
        self.prepare_next(fifo);
    }

    /// Writes a group, makes it durable (SYNC_FLUSH), tells everyone.
    fn flush(&mut self, fifo: &Mutex<Fifo>, group: &mut Group) {
        if group.dones.is_empty() {
            return;
        }
        let Group { entries, dones, bytes, epoch } = std::mem::take(group);
        let result = self.guard(fifo, |worker| {
            worker.epoch = epoch;
            worker.write_group(fifo, &entries, bytes)
        });
        lock(fifo).pending_bytes -= bytes;
        finish(fifo, dones, result);
    }

    fn write_group(&mut self, fifo: &Mutex<Fifo>, entries: &[Entry], bytes: u64) -> Result<(), StoreError> {
        let (hard, epoch, since_mark) = (&mut self.hard, self.epoch, &mut self.since_mark);
        self.writer.append(entries, &mut |mark, segment| {
            note_mark(hard, fifo, mark, epoch)?;
            hard.sync_mark()?;
            *since_mark = (0, 0);
            attach(fifo, segment);
            Ok(())
        })?;
        self.last_group = bytes;
        if planted(Mutant::SyncedMarkAhead) {
            note_mark(&mut self.hard, fifo, self.writer.end.mark(), self.epoch)?;
            self.sync_mark()?;
        }
        if self.options.mode == FlushMode::Sync || self.writer.unsynced >= MAX_UNSYNCED {
            self.sync_log(fifo)?;
            self.since_mark.0 += 1;
            self.since_mark.1 += bytes;
            if self.since_mark.0 >= MARK_GROUPS || self.since_mark.1 >= MARK_BYTES {
                self.sync_mark()?;
            }
        }
        self.publish(fifo);
        Ok(())
    }

    /// Makes the written log durable and notes the mark.
    fn sync_log(&mut self, fifo: &Mutex<Fifo>) -> Result<(), StoreError> {
        if self.writer.unsynced > 0 {
            self.writer.sync()?;
        }
        note_mark(&mut self.hard, fifo, self.writer.end.mark(), self.epoch)
    }

    fn sync_mark(&mut self) -> Result<(), StoreError> {
        self.since_mark = (0, 0);
        self.hard.sync_mark()
    }

    /// Tells readers how far the log is written and synced.
    fn publish(&self, fifo: &Mutex<Fifo>) {
        let synced = if self.writer.unsynced == 0 { self.writer.end.last } else { None };
        let mut fifo = lock(fifo);
        fifo.view.advance(self.epoch, self.writer.end, synced);
        fifo.held_until = self.writer.held_until();
    }

    /// Runs a step unless the store is poisoned, and poisons it if the step fails.
    fn guard<T>(
        &mut self,
        fifo: &Mutex<Fifo>,
        step: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let late = match &lock(fifo).status {
            poisoned @ Status::Poisoned(_) => poisoned.error(),
            _ if self.lock.is_none() => Some(StoreError::Closed),
            _ => None,
        };
        if let Some(late) = late {
            return Err(late);
        }
        step(self).inspect_err(|e| {
            tracing::error!(dir = %self.dir.display(), error = %e, "store poisoned");
            note_failed_sync(e, &*self.disk, &self.dir);
            lock(fifo).poison(&e.to_string());
        })
    }

    fn run_one(&mut self, fifo: &Mutex<Fifo>, op: Op) {
        let (done, result) = match op {
            Op::Append { .. } => unreachable!("appends are grouped"),
            Op::Vote { vote, done } => {
                let save = |worker: &mut Self| {
                    if planted(Mutant::TwoVotesInATerm) && !vote.committed {
                        return Ok(());
                    }
                    worker.hard.state.vote = Some(vote);
                    if planted(Mutant::VoteNotSynced) {
                        return worker.hard.write();
                    }
                    worker.hard.save()
                };
                (done, self.guard(fifo, save))
            }
            Op::Proven { done } => {
                let save = |worker: &mut Self| {
                    worker.sync_log(fifo)?;
                    worker.hard.state.unproven = false;
                    worker.hard.save()
                };
                (done, self.guard(fifo, save))
            }
            Op::Truncate { cut, epoch, done } => (done, self.guard(fifo, |worker| worker.truncate(fifo, cut, epoch))),
            Op::Purge { first, purged, done } => (done, self.guard(fifo, |worker| worker.purge(fifo, first, purged))),
            Op::Install { at, epoch, done } => (done, self.guard(fifo, |worker| worker.install(fifo, at, epoch))),
            Op::Sync { done } => (done, self.guard(fifo, |worker| worker.sync(fifo))),
            Op::Mark => {
                self.retry_next = true;
                // An error has poisoned the store and told so.
                let _ = self.guard(fifo, |worker| {
                    let mark = worker.hard.state.mark;
                    note_mark(&mut worker.hard, fifo, mark, worker.epoch)?;
                    worker.sync_mark()
                });
                return;
            }
            Op::Retry => {
                self.retry_next = true;
                return;
            }
            Op::Synced { mark, epoch } => {
                // An error has poisoned the store and told so.
                let _ = self.guard(fifo, |worker| worker.synced(fifo, mark, epoch));
                return;
            }
            Op::Barrier { done } => (done, self.guard(fifo, |_| Ok(()))),
            Op::Close { done } => (done, self.guard(fifo, |worker| worker.close(fifo))),
            Op::Job(job) => {
                if self.guard(fifo, |_| Ok(())).is_ok() {
                    job();
                }
                return;
            }
        };
        finish(fifo, vec![done], result);
    }

    /// A sync beside this thread has covered the log up to `mark`; it says nothing of a log that was cut since.
    fn synced(&mut self, fifo: &Mutex<Fifo>, mark: Mark, epoch: u64) -> Result<(), StoreError> {
        if epoch != self.epoch || mark.end <= self.hard.state.mark.end {
            return Ok(());
        }
        note_mark(&mut self.hard, fifo, mark, epoch)?;
        self.writer.unsynced = self.writer.unsynced.min(self.writer.end.at.0 - mark.end.0);
        lock(fifo).view.advance(epoch, self.writer.end, mark.last);
        Ok(())
    }

    fn truncate(&mut self, fifo: &Mutex<Fifo>, cut: Mark, epoch: u64) -> Result<(), StoreError> {
        self.epoch = epoch;
        if cut.end == self.writer.end.at {
            // Nothing of what is to be dropped was ever written.
            self.sync_log(fifo)?;
            self.publish(fifo);
            return Ok(());
        }
        if planted(Mutant::TruncationOnlyInMemory) {
            self.hard.state.mark = cut;
            self.writer.truncate(cut)?;
            self.publish(fifo);
            return Ok(());
        }
        let mark = if self.hard.state.mark.end > cut.end { cut } else { self.hard.state.mark };
        self.hard.new_generation(mark);
        self.hard.state.intent = Some(Intent::Truncate { cut, end: self.writer.end.at });
        self.hard.save()?;
        self.writer.truncate(cut)?;
        self.hard.state.intent = None;
        self.hard.state.mark = cut;
        self.hard.save()?;
        attach(fifo, &self.writer.current);
        self.publish(fifo);
        Ok(())
    }

    fn purge(&mut self, fifo: &Mutex<Fifo>, first: PhysicalOffset, purged: LogId) -> Result<(), StoreError> {
        let chain = self.writer.chain_at(first)?;
        // The boundary is committed, and committed entries are durable here before they are forgotten.
        self.sync_log(fifo)?;
        let state = &mut self.hard.state;
        (state.first, state.purged, state.chain) = (first, Some(purged), chain);
        self.hard.save()?;
        lock(fifo).view.chain = chain;
        self.writer.purge(first)?;
        self.publish(fifo);
        Ok(())
    }

    fn install(&mut self, fifo: &Mutex<Fifo>, at: SnapshotPosition, epoch: u64) -> Result<(), StoreError> {
        self.epoch = epoch;
        self.hard.state.intent = Some(Intent::Install(at));
        self.hard.save()?;
        self.writer.drop_all()?;
        if let Some(on_install) = &self.options.on_install {
            on_install()?;
        }
        self.writer.start_at(at)?;
        installed(&mut self.hard, at);
        self.hard.save()?;
        attach(fifo, &self.writer.current);
        self.publish(fifo);
        Ok(())
    }

    fn sync(&mut self, fifo: &Mutex<Fifo>) -> Result<(), StoreError> {
        self.sync_log(fifo)?;
        self.sync_mark()?;
        self.publish(fifo);
        let times = lock(fifo).times.take();
        times.map_or(Ok(()), |times| times.write(&*self.disk, &self.dir))
    }

    fn close(&mut self, fifo: &Mutex<Fifo>) -> Result<(), StoreError> {
        self.sync(fifo)?;
        self.hard.save()?;
        let abort = self.dir.join("abort");
        self.disk.remove(&abort).at("remove", &abort)?;
        self.disk.sync_dir(&self.dir).at("sync", &self.dir)?;
        self.lock = None;
        Ok(())
    }

    /// Allocates the segment behind the current one once a part of that is used, so that the lack of room shows long
    /// before an append needs it, and a small store stays small. After a failure it waits to be asked again.
    fn prepare_next(&mut self, fifo: &Mutex<Fifo>) {
        let retry = std::mem::take(&mut self.retry_next);
        if self.writer.next.is_some() || !self.writer.needs_next() || (lock(fifo).full.is_some() && !retry) {
            return;
        }
        let made = self.guard(fifo, |worker| match worker.writer.prepare_next() {
            Err(e) if e.is_full() => Ok(Some(format!("cannot allocate the next segment: {e}"))),
            other => other.map(|()| None),
        });
        // An error has poisoned the store and told so.
        let Ok(full) = made else { return };
        let mut fifo = lock(fifo);
        if let (Some(why), None) = (&full, &fifo.full) {
            tracing::warn!("{why}");
        }
        fifo.full = full.map(Into::into);
        fifo.held_until = self.writer.held_until();
    }

    /// What can be done while nothing waits: write zeroes ahead.
    pub(super) fn maintain(&mut self, fifo: &Mutex<Fifo>) {
        if self.last_group > 0 && self.last_group < LIGHT_GROUP && self.options.prewrite_bytes > 0 {
            // An error has poisoned the store and told so.
            let _ = self.guard(fifo, |worker| worker.writer.prewrite(worker.options.prewrite_bytes));
        }
    }
}

/// Gives readers a segment's file.
fn attach(fifo: &Mutex<Fifo>, segment: &Segment) {
    lock(fifo).view.attach(segment.start, &segment.file);
}

/// Writes the mark, with the committed position unless the log still holds entries that are to be cut.
fn note_mark(hard: &mut HardState, fifo: &Mutex<Fifo>, mark: Mark, epoch: u64) -> Result<(), StoreError> {
    let committed = {
        let fifo = lock(fifo);
        let committed = fifo.view.committed.filter(|_| fifo.view.epoch == epoch);
        match (committed, mark.last) {
            (Some(committed), Some(last)) if committed.index > last.index => Some(last),
            (committed, _) => committed,
        }
    };
    hard.note_mark(mark, committed)
}

/// Calls `dones` in order: the first failed one gets the cause, the others that the store is poisoned or closed.
fn finish(fifo: &Mutex<Fifo>, dones: Vec<Done>, result: Result<(), StoreError>) {
    match result {
        Ok(()) => dones.into_iter().for_each(|done| done(Ok(()))),
        Err(e) => {
            let status = lock(fifo).status.clone();
            let mut first = Some(e);
            for done in dones {
                let error = first.take().or_else(|| status.error()).unwrap_or(StoreError::Closed);
                done(Err(error));
            }
        }
    }
}
