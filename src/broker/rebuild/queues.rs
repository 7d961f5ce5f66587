//! ConsumeQueues.

use std::path::Path;
use std::sync::Arc;

use quorumq_raft::node::Node;
use quorumq_raft::runtime::Runtime;
use quorumq_store::consume_queue::Mend;
use quorumq_store::{LogIndex, PhysicalOffset, StoreError};

use super::{Came, STEP};
use crate::broker::Broker;
use crate::machine::Machine;
use crate::machine::rebuild::{DamagedQueue, Rebuild, Units, finish, is_written, write};

/// A rebuild under way.
struct Work<R: Runtime> {
    node: Arc<Node<R, Machine>>,
    rebuild: Rebuild,
    next: LogIndex,
    /// Segment of the last entry read.
    segment: PhysicalOffset,
    /// Last entry that was applied when the rebuild began.
    limit: LogIndex,
}

impl<R: Runtime> Broker<R> {
    /// Makes damaged units again, if there are any.
    pub(super) async fn rebuild_queues(&self) -> Came {
        let queues = self.node.machine().damaged_queues();
        let Some(from) = queues.iter().map(|queue| queue.segment).min() else { return Came::Good };
        let units: u64 = queues.iter().map(|queue| queue.mend.units()).map(|units| units.end.0 - units.start.0).sum();
        let (topic, queue_id) = queues[0].mend.queue();
        let (first, count) = (format!("{topic}/{queue_id}"), queues.len());
        tracing::warn!(%first, queues = count, units, %from, "damaged or missing units of ConsumeQueues are made again");
        match self.rebuild_units(queues, from).await {
            Ok(0) => {
                tracing::info!(%first, queues = count, units, "units of ConsumeQueues were made again from the log");
                Came::Good
            }
            Ok(left) => {
                tracing::warn!(%first, queues = left, "ConsumeQueues still lack units: they are made again later");
                Came::Left
            }
            Err(e) => {
                tracing::error!(%first, queues = count, "units of ConsumeQueues cannot be made again yet: {e}");
                Came::Left
            }
        }
    }

    /// Applies the log again from a segment on. Answers how many queues still lack some.
    async fn rebuild_units(&self, mut queues: Vec<DamagedQueue>, from: PhysicalOffset) -> Result<usize, StoreError> {
        let node = Arc::clone(&self.node);
        let began = offloaded::<R, _>(move || Work::begin(node, &queues, from).map(|work| (work, queues))).await?;
        let mut work;
        (work, queues) = began;
        loop {
            let (units, is_over);
            (work, units, is_over) = offloaded::<R, _>(move || work.step()).await?;
            if !units.is_empty() {
                let written = move || write(&mut queues, &units).map(|()| queues);
                queues = self.node.write_derived(false, written).await?;
            }
            if is_over || is_written(&queues) {
                break;
            }
        }
        let shared = self.node.shared();
        let written = move |topic: &str, queue_id, life| shared.read().written(topic, queue_id, life);
        let finished = self.node.write_derived(true, move || finish(queues, &written)).await?;
        // Appends need not wait for this.
        offloaded::<R, _>(move || Ok(Mend::settle(finished))).await
    }
}

impl<R: Runtime> Work<R> {
    fn begin(node: Arc<Node<R, Machine>>, queues: &[DamagedQueue], from: PhysicalOffset) -> Result<Self, StoreError> {
        let checkpoint = node.checkpoint_before(from)?;
        let state = checkpoint.as_ref().map(|checkpoint| &checkpoint.state[..]);
        let size = node.identity().constants.segment_size;
        let rebuild = Rebuild::new(Path::new("/rebuild"), size, state, queues)?;
        let next = checkpoint.as_ref().map_or(LogIndex(0), |checkpoint| checkpoint.position.last.index.next());
        let segment = checkpoint.map_or(PhysicalOffset(0), |checkpoint| checkpoint.position.next);
        let limit = node.machine().applied().map_or(LogIndex(0), |id| id.index);
        Ok(Self { node, rebuild, next, segment, limit })
    }

    /// Goes on by some entries; what they made, and whether they were the last ones.
    fn step(mut self) -> Result<(Self, Vec<Units>, bool), StoreError> {
        let size = self.node.identity().constants.segment_size;
        let entries = self.node.applied_entries(self.next, STEP)?;
        for entry in entries.iter().filter(|entry| entry.id.index <= self.limit) {
            let segment = PhysicalOffset(entry.position.0 / size * size);
            if segment > self.segment {
                tracing::info!(%segment, "units of ConsumeQueues are made again from the next segment");
                self.segment = segment;
            }
            self.rebuild.apply(entry)?;
            self.next = entry.id.index.next();
        }
        let units = self.rebuild.take();
        let is_over = entries.is_empty() || self.next > self.limit;
        Ok((self, units, is_over))
    }
}

/// Runs a job that may block.
async fn offloaded<R: Runtime, T: Send + 'static>(
    job: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    // It does not end where the process is ending.
    R::offload(job).await.map_err(|_| StoreError::Closed)?
}
