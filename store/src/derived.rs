//! One flush of all that is derived from the log: ConsumeQueues and key index. A recovery checkpoint stands for both.

use crate::StoreError;
use crate::consume_queue::{ConsumeQueues, FlushPlan};
use crate::index_file::{IndexFiles, IndexFlush};

/// What the disk thread writes while the machine goes on.
#[derive(Debug)]
pub struct DerivedFlush {
    queues: Option<FlushPlan>,
    index: Option<IndexFlush>,
}

impl DerivedFlush {
    /// What a flush would write; see [`ConsumeQueues::plan_flush`] and [`IndexFiles::plan_flush`] for `whole`. `None` if
    /// one is out, or there is nothing to do. Both or none: what is synced with half of it would not carry a checkpoint.
    pub fn plan(queues: &mut ConsumeQueues, index: Option<&mut IndexFiles>, whole: bool) -> Option<Self> {
        if queues.has_plan_out() || index.as_ref().is_some_and(|index| index.has_plan_out()) {
            return None;
        }
        let plan = Self { queues: queues.plan_flush(), index: index.and_then(|index| index.plan_flush(whole)) };
        (plan.queues.is_some() || plan.index.is_some()).then_some(plan)
    }

    /// Units and keys it writes.
    pub fn units(&self) -> usize {
        self.queues.as_ref().map_or(0, FlushPlan::units) + self.index.as_ref().map_or(0, IndexFlush::units)
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

    /// Tells both that the plan was written.
    pub fn flushed(self, queues: &mut ConsumeQueues, index: Option<&mut IndexFiles>) {
        if let Some(plan) = self.queues {
            queues.flushed(plan);
        }
        if let (Some(plan), Some(index)) = (self.index, index) {
            index.flushed(plan);
        }
    }
}
