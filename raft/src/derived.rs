//! What the machine derives from the log, made again from it: reading what was applied, writing between flushes.

use std::sync::Arc;

use quorumq_store::checkpoint::Checkpoint;
use quorumq_store::log_store::Entry;
use quorumq_store::mutant::{Mutant, planted};
use quorumq_store::{LogIndex, PhysicalOffset, StoreError};
use tokio::sync::oneshot;

use crate::machine::Machine;
use crate::node::Node;
use crate::runtime::Runtime;

impl<R: Runtime, M: Machine> Node<R, M> {
    /// Applied entries from `from` on, up to `max_bytes` of bodies, but one at least; none behind the last one applied.
    /// May block.
    ///
    /// # Errors
    /// `NoEntry` if the log begins behind `from`; `Corrupt` naming file and offset, which is told to be repaired; `Io`.
    pub fn applied_entries(&self, from: LogIndex, max_bytes: u64) -> Result<Vec<Entry>, StoreError> {
        let next = LogIndex(self.shared().applied_next());
        if from >= next {
            return Ok(Vec::new());
        }
        self.core.store.entries(from..next, max_bytes).inspect_err(|e| {
            if !planted(Mutant::ScrubTellsNobody) {
                self.core.suspects.tell(e);
            }
        })
    }

    /// Index of the first entry of a segment that is held and begun. May block.
    ///
    /// # Errors
    /// `Contract` if the log does not know.
    pub fn first_index_of(&self, segment: PhysicalOffset) -> Result<LogIndex, StoreError> {
        let positions = self.core.store.positions();
        if segment.0 == 0 && positions.purged.is_none() {
            return Ok(LogIndex(0));
        }
        let position = self.core.store.snapshot_position(segment);
        let unknown = || StoreError::Contract(format!("the first entry of the segment at {segment} is not known"));
        position.map(|position| position.last.index.next()).ok_or_else(unknown)
    }

    /// The newest recovery checkpoint at or before a segment start that can be read. `None` if the log is to be applied
    /// from its very start. May block.
    ///
    /// # Errors
    /// `Contract` if there is none and the log's start was purged; `Io` if the disk fails.
    pub fn checkpoint_before(&self, segment: PhysicalOffset) -> Result<Option<Checkpoint>, StoreError> {
        let place = &self.core.place;
        let positions = self.core.store.positions();
        let starts = Checkpoint::list(&*place.disk, &place.dir)?;
        for start in starts.into_iter().rev().filter(|start| (positions.first..=segment).contains(start)) {
            match Checkpoint::read(&*place.disk, &place.dir, start) {
                Ok(checkpoint) => return Ok(Some(checkpoint)),
                Err(e) => tracing::warn!(checkpoint = %start, "{e}; taking an older recovery checkpoint"),
            }
        }
        if positions.purged.is_none() {
            return Ok(None);
        }
        Err(StoreError::Contract(format!("no recovery checkpoint between {} and {segment}", positions.first)))
    }

    /// Changes what the machine derives from the log, and nothing else of it. Holds up applying: to be brief.
    pub fn derive<T>(&self, change: impl FnOnce(&mut M) -> T) -> T {
        change(&mut self.shared().write())
    }

    /// Writes out what is derived and not in files yet, durably.
    ///
    /// # Errors
    /// As [`Node::write_derived`].
    pub async fn flush_derived(&self) -> Result<(), StoreError> {
        let shared = self.shared();
        self.write_derived(true, move || shared.flush(true)).await
    }

    /// Writes out everything that is derived, at a clean stop: other tools find it in the files. No start counts on it, so
    /// an error is told and no more.
    pub(crate) async fn flush_at_stop(&self) {
        let (shared, (tx, rx)) = (self.shared(), oneshot::channel());
        // What is derived must not be durable ahead of the log.
        self.core.store.sync(Box::new(|_| {}));
        self.core.store.enqueue(Box::new(move || drop(tx.send(shared.flush_whole()))));
        if let Ok(Err(e)) = rx.await {
            tracing::warn!(
                "ConsumeQueues and key index are not written out; the next start makes them from the log: {e}"
            );
        }
    }

    /// Runs a job that writes derived files on the disk thread, between flushes; with `sync`, behind a sync of everything
    /// that is applied by now.
    ///
    /// # Errors
    /// The job's: one of the disk ends the node, unless the volume is full. `Closed` if it never ran.
    pub async fn write_derived<T: Send + 'static>(
        &self,
        sync: bool,
        job: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (tx, rx) = oneshot::channel();
        let on_fatal = Arc::clone(&self.core.on_fatal);
        if sync {
            // A failed sync poisons the store: the job behind it never runs and the node ends by the next append.
            self.core.store.sync(Box::new(|_| {}));
        }
        self.core.store.enqueue(Box::new(move || {
            let done = job();
            if let Err(e @ StoreError::Io { .. }) = &done
                && !e.is_full()
            {
                on_fatal(format!("rebuild of derived files: {e}"));
            }
            // Whoever waited is gone only when the node stops.
            let _ = tx.send(done);
        }));
        rx.await.map_err(|_| StoreError::Closed)?
    }
}
