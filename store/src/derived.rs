//! One flush of all that is derived from the log: ConsumeQueues and key index. A recovery checkpoint stands for both.

use crate::StoreError;
use crate::consume_queue::{ConsumeQueues, FlushPlan};
use crate::index_file::{IndexFiles, IndexFlush};

/// Newest store times that files cover, in milliseconds since the epoch; 0 before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Covered {
    /// By ConsumeQueues.
    pub logics_ms: i64,
    /// By the key index: of a record with a key.
    pub index_ms: i64,
}

/// What the disk thread writes while the machine goes on.
#[derive(Debug)]
pub struct DerivedFlush {
    covers: Covered,
    queues: Option<FlushPlan>,
    index: Option<IndexFlush>,
}

impl DerivedFlush {
    /// What a flush would write; see [`ConsumeQueues::plan_flush`] and [`IndexFiles::plan_flush`] for `whole`. `None` if
    /// one is out, or there is nothing to do. Both or none: what is synced with half of it would not carry a checkpoint.
    /// `time_ms` is the newest store time in the queues.
    pub fn plan(queues: &mut ConsumeQueues, index: Option<&mut IndexFiles>, whole: bool, time_ms: i64) -> Option<Self> {
        if queues.has_plan_out() || index.as_ref().is_some_and(|index| index.has_plan_out()) {
            return None;
        }
        let index_ms = index.as_ref().and_then(|index| index.last()).map_or(0, |(ms, _)| ms);
        let plan = Self {
            covers: Covered { logics_ms: time_ms, index_ms },
            queues: queues.plan_flush(),
            index: index.and_then(|index| index.plan_flush(whole)),
        };
        (plan.queues.is_some() || plan.index.is_some()).then_some(plan)
    }

    /// Units and keys it writes.
    pub fn units(&self) -> usize {
        self.queues.as_ref().map_or(0, FlushPlan::units) + self.index.as_ref().map_or(0, IndexFlush::units)
    }

    /// About how many files of ConsumeQueues it would sync; those of the key index are few.
    pub fn syncs(&self) -> usize {
        self.queues.as_ref().map_or(0, FlushPlan::syncs)
    }

    /// Carries it out. Called on the disk thread; with `sync`, only for what is in the synced log.
    ///
    /// # Errors
    /// `Io` if the disk fails. Nothing is lost: drop the plan, and the next one holds the same again. After a failed sync
    /// the process must end all the same.
    pub fn write(&self, sync: bool) -> Result<(), StoreError> {
        self.queues.as_ref().map_or(Ok(()), |plan| plan.write(sync))?;
        self.index.as_ref().map_or(Ok(()), |plan| plan.write(sync))
    }

    /// Tells both that the plan was written. Answers what their files cover now; `None` if it was a plan of others that
    /// were replaced since.
    pub fn flushed(self, queues: &mut ConsumeQueues, index: Option<&mut IndexFiles>) -> Option<Covered> {
        let of_queues = self.queues.is_some_and(|plan| queues.flushed(plan));
        let of_index = self.index.zip(index).is_some_and(|(plan, index)| index.flushed(plan));
        (of_queues || of_index).then_some(self.covers)
    }
}
