//! A sync beside the disk thread: with ASYNC_FLUSH nobody waits for it, so appends need not either.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::LogStore;
use super::fifo::Op;
use crate::commit_log::segment_path;
use crate::disk::{Disk, DiskFile};
use crate::error::At;
use crate::hard_state::Mark;
use crate::mutant::{Mutant, planted};
use crate::{LogId, StoreError};

/// Held during every sync of the log; what it holds is why one failed. Linux reports a failed writeback once: whoever
/// syncs next must not take silence for success.
pub(crate) type SyncGate = Arc<Mutex<Option<String>>>;

/// Syncs `file` unless an earlier sync failed.
pub(crate) fn sync_through(gate: &SyncGate, file: &dyn DiskFile, path: &Path) -> Result<(), StoreError> {
    let mut failed = gate.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(reason) = &*failed {
        return Err(StoreError::Poisoned { reason: reason.clone() });
    }
    let synced = file.sync_data().at("sync", path);
    if planted(Mutant::FailedSyncIgnored) {
        return Ok(());
    }
    synced.inspect_err(|e| *failed = Some(e.to_string()))
}

/// A sync of everything written so far, to be run on a thread that may block.
pub struct BackgroundSync {
    store: Arc<LogStore>,
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    mark: Mark,
    epoch: u64,
}

impl std::fmt::Debug for BackgroundSync {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BackgroundSync").field("path", &self.path).field("mark", &self.mark).finish_non_exhaustive()
    }
}

/// A file that says that a sync has failed. The kernel may drop a page whose sync failed while the machine runs
/// on: with ASYNC_FLUSH what was acknowledged from it is gone then, as after a reboot.
const FAILED: &str = "sync-failed";

/// Notes a failed sync for the next start; nothing for other errors. As good as it goes, on such a disk: no more is needed
/// than that the directory is still in memory, as whatever takes that takes the boot id too.
pub(super) fn note_failed_sync(error: &StoreError, disk: &dyn Disk, dir: &Path) {
    if !matches!(error, StoreError::Io { verb: "sync", .. }) {
        return;
    }
    if let Err(e) = disk.create(&dir.join(FAILED), 0) {
        tracing::warn!(dir = %dir.display(), "the failure cannot be noted for the next start: {e}");
    }
}

/// Whether an earlier process has noted a failed sync.
pub(super) fn had_failed(disk: &dyn Disk, dir: &Path) -> Result<bool, StoreError> {
    let path = dir.join(FAILED);
    disk.exists(&path).at("look for", &path)
}

/// Forgets it: the hard state says what follows from it.
pub(super) fn forget_failure(disk: &dyn Disk, dir: &Path) -> Result<(), StoreError> {
    let path = dir.join(FAILED);
    disk.remove(&path).at("remove", &path)
}

impl LogStore {
    /// Prepares a sync of everything written so far that runs beside the disk thread, which goes on with appends
    /// meanwhile: what ASYNC_FLUSH does every 500 ms. `None` if everything is synced, or while a truncation waits.
    pub fn begin_sync(self: &Arc<Self>) -> Option<BackgroundSync> {
        let fifo = self.lock();
        fifo.check_running().ok()?;
        let (end, file) = fifo.view.written()?;
        if fifo.view.synced == end.last {
            return None;
        }
        let path = segment_path(&self.dir, self.layout().segment_of(end.at));
        let epoch = fifo.view.epoch;
        drop(fifo);
        Some(BackgroundSync { store: Arc::clone(self), file, path, mark: end.mark(), epoch })
    }
}

impl LogStore {
    /// Makes the last noted synced mark durable on this thread, which may block, beside the disk thread. A sync that ran
    /// beside it notes its mark when it is done: the mark is durable after the next call.
    ///
    /// # Errors
    /// `Io`, or `Poisoned` if an earlier sync had failed. The store is poisoned then.
    pub fn sync_mark(&self) -> Result<(), StoreError> {
        self.mark_sync.run().inspect_err(|e| {
            tracing::error!(dir = %self.dir.display(), error = %e, "store poisoned");
            note_failed_sync(e, &*self.disk, &self.dir);
            self.lock().poison(&e.to_string());
        })
    }
}

impl BackgroundSync {
    /// The last entry it covers.
    pub fn last(&self) -> Option<LogId> {
        self.mark.last
    }

    /// Syncs. A failure poisons the store, as any failed sync does.
    ///
    /// # Errors
    /// `Io`, or `Poisoned` if an earlier sync had failed.
    pub fn run(self) -> Result<(), StoreError> {
        let Self { store, file, path, mark, epoch } = self;
        let synced = sync_through(&store.gate, &*file, &path);
        if let Err(e) = &synced {
            note_failed_sync(e, &*store.disk, &store.dir);
        }
        let mut fifo = store.lock();
        if let Err(e) = &synced {
            tracing::error!(path = %path.display(), error = %e, "store poisoned");
            fifo.poison(&e.to_string());
        }
        store.queue(fifo, Op::Synced { mark, epoch });
        synced
    }
}
