//! Comparing the ConsumeQueue files of a stopped node with those the log makes.

use std::path::Path;

use quorumq_store::consume_queue::{ConsumeQueues, verify_queue, verify_sums};
use quorumq_store::disk::Disk;
use quorumq_store::{QueueOffset, StoreError};

use super::Machine;

/// Units compared at a time.
const STEP: usize = 100_000;

/// What a comparison found to be equal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerifiedQueues {
    /// ConsumeQueues compared.
    pub queues: usize,
    /// Units that are in files and as they should be.
    pub units: u64,
    /// Units that the files do not hold yet: the node stopped before it flushed them, and makes them again.
    pub unflushed: u64,
}

impl Machine {
    /// Compares the ConsumeQueue files below `dir`, and their sums, with this machine's units. The machine is one that
    /// applied the log of that store again, on a disk of its own; `newest` has the state of its newest checkpoint, which
    /// relies on every unit before it.
    ///
    /// # Errors
    /// `Corrupt` names file and byte of the first unit that differs; `Io` if a file cannot be read.
    pub fn verify_queues(
        &self,
        disk: &dyn Disk,
        dir: &Path,
        newest: Option<&Self>,
    ) -> Result<VerifiedQueues, StoreError> {
        let mut verified = VerifiedQueues::default();
        let mut units = Vec::new();
        for (topic, queue_id, queue) in self.queues() {
            verified.queues += 1;
            let (mut from, mut step) = (queue.min_offset(), STEP);
            while from < queue.max_offset() {
                units.clear();
                queue.read(from, step, &mut units)?;
                let held = verify_queue(disk, dir, topic, queue_id, from, &units)?;
                verified.units += held;
                from = from + held;
                if step == usize::MAX {
                    verified.unflushed += units.len() as u64;
                    break;
                }
                if held < units.len() as u64 {
                    // The rest must be missing as a whole: look at it in one piece.
                    step = usize::MAX;
                }
            }
            let summed = verify_sums(disk, dir, topic, queue_id, (queue.min_offset(), queue.max_offset()))?;
            let relied_on = newest
                .filter(|newest| newest.topic_incarnation(topic) == self.topic_incarnation(topic))
                .and_then(|newest| newest.queue(topic, queue_id))
                .map_or(QueueOffset(0), |queue| queue.max_offset());
            if summed < relied_on.min(queue.max_offset()) {
                let path = ConsumeQueues::path(dir, topic, queue_id);
                return Err(StoreError::Corrupt { what: "ConsumeQueue (units are missing)", path, offset: summed.0 });
            }
        }
        Ok(verified)
    }
}
