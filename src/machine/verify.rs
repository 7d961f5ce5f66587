//! Comparing the ConsumeQueue files of a stopped node with those the log makes.

use std::path::Path;

use quorumq_store::StoreError;
use quorumq_store::consume_queue::verify_queue;
use quorumq_store::disk::Disk;

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
    /// Compares the ConsumeQueue files below `dir` with this machine's units. The machine is one that applied the log
    /// of that store again, on a disk of its own.
    ///
    /// # Errors
    /// `Corrupt` names file and byte of the first unit that differs; `Io` if a file cannot be read.
    pub fn verify_queues(&self, disk: &dyn Disk, dir: &Path) -> Result<VerifiedQueues, StoreError> {
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
        }
        Ok(verified)
    }
}
