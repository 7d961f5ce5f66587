//! Units of ConsumeQueues made again: the log is applied once more, to a machine of its own, from a recovery checkpoint on.
//!
//! Only applying tells which records got which offset: a record whose topic was gone when it was applied has none.

use std::collections::BTreeMap;
use std::path::Path;

use quorumq_raft::machine::Machine as _;
use quorumq_store::consume_queue::Mend;
use quorumq_store::disk::MemoryDisk;
use quorumq_store::log_store::Entry;
use quorumq_store::mutant::{Mutant, planted};
use quorumq_store::{LogId, PhysicalOffset, QueueOffset, StoreError};

use super::Machine;

/// A queue with units that are damaged or missing.
#[derive(Debug)]
pub struct DamagedQueue {
    /// Takes the units.
    pub mend: Mend,
    /// Which life of its topic's name they belong to.
    pub incarnation: u64,
    /// Start of the segment in which the first of them lies.
    pub segment: PhysicalOffset,
}

/// Units that were made again.
#[derive(Debug)]
pub struct Units {
    /// The queue, by its place among those that are wanted.
    pub queue: usize,
    /// Offset of the first one.
    pub first: QueueOffset,
    /// As a file holds them.
    pub bytes: Vec<u8>,
}

/// Applies the log again for the units of some queues. Holds those of the entries since [`Rebuild::take`], and no others.
#[derive(Debug)]
pub struct Rebuild {
    machine: Machine,
    /// Topic and queue id → place among those that are wanted, and the life of the topic.
    wanted: BTreeMap<(String, u32), (usize, u64)>,
}

impl Machine {
    /// Queues with units in files that were found damaged or missing.
    pub fn damaged_queues(&self) -> Vec<DamagedQueue> {
        let damaged = self.queues.damaged().into_iter();
        damaged.filter_map(|mend| self.damaged_queue(mend)).collect()
    }

    fn damaged_queue(&self, mend: Mend) -> Option<DamagedQueue> {
        let (name, queue_id) = mend.queue();
        let topic = self.topics.get(name)?;
        let marks = &topic.queue(queue_id)?.marks;
        let behind = marks.partition_point(|mark| mark.first <= mend.units().start.0);
        let mark = marks.get(behind.saturating_sub(1))?;
        let (incarnation, segment) = (topic.incarnation, PhysicalOffset(mark.segment));
        Some(DamagedQueue { mend, incarnation, segment })
    }

    /// The offset below which units of a queue are in files; `None` if there is no such queue in that life of its topic.
    pub fn written(&self, topic: &str, queue_id: u32, incarnation: u64) -> Option<QueueOffset> {
        let topic = self.topics.get(topic).filter(|topic| topic.incarnation == incarnation)?;
        topic.queue(queue_id).map(|queue| self.queues.written(queue.handle))
    }

    /// A machine of this group on a disk of its own, with that state or before the first entry. Nothing of what it makes
    /// reaches the store below `dir`.
    ///
    /// # Errors
    /// `Contract` if the state is none that this build knows.
    pub fn apart(dir: &Path, segment_size: u64, state: Option<&[u8]>) -> Result<Self, StoreError> {
        let disk = MemoryDisk::new().mount();
        disk.create_dir_all(dir).map_err(|source| StoreError::Io { verb: "create", path: dir.to_owned(), source })?;
        let mut machine = Self::new(disk, dir, segment_size)?;
        if let Some(state) = state {
            machine.restore(state).map_err(|e| StoreError::Contract(e.to_string()))?;
        }
        Ok(machine)
    }
}

impl Rebuild {
    /// For these queues, from a state at or before all of their segments on.
    ///
    /// # Errors
    /// As [`Machine::apart`].
    pub fn new(
        dir: &Path,
        segment_size: u64,
        state: Option<&[u8]>,
        queues: &[DamagedQueue],
    ) -> Result<Self, StoreError> {
        let key = |queue: &DamagedQueue| {
            let (topic, queue_id) = queue.mend.queue();
            (topic.to_owned(), queue_id)
        };
        let wanted = queues.iter().enumerate().map(|(at, queue)| (key(queue), (at, queue.incarnation)));
        Ok(Self { machine: Machine::apart(dir, segment_size, state)?, wanted: wanted.collect() })
    }

    /// The last entry applied.
    pub fn applied(&self) -> Option<LogId> {
        self.machine.applied()
    }

    /// Applies the next entry.
    ///
    /// # Errors
    /// `Contract` if the machine does not understand it.
    pub fn apply(&mut self, entry: &Entry) -> Result<(), StoreError> {
        let applied = self.machine.apply(entry, &mut Vec::new());
        applied.map(drop).map_err(|e| StoreError::Contract(e.to_string()))
    }

    /// The units that the entries since the last call make, of queues that are wanted.
    pub fn take(&mut self) -> Vec<Units> {
        let Some(plan) = self.machine.queues.plan_flush() else { return Vec::new() };
        let mut taken = Vec::new();
        for (topic, queue_id, first, bytes) in plan.runs() {
            let Some(&(queue, incarnation)) = self.wanted.get(&(topic.to_owned(), queue_id)) else { continue };
            let lives = self.machine.topic_incarnation(topic) == Some(incarnation);
            if lives || planted(Mutant::RebuildMixesLives) {
                taken.push(Units { queue, first, bytes: bytes.to_vec() });
            }
        }
        // Never written: nobody reads them here.
        self.machine.queues.flushed(plan);
        taken
    }
}

/// Writes units to the queues they are of.
///
/// # Errors
/// As [`Mend::write`].
pub fn write(queues: &mut [DamagedQueue], units: &[Units]) -> Result<(), StoreError> {
    units.iter().try_for_each(|units| queues[units.queue].mend.write(units.first, &units.bytes))
}

/// Whether nothing is left to be made again.
pub fn is_written(queues: &[DamagedQueue]) -> bool {
    queues.iter().all(|queue| queue.mend.is_written())
}

/// Makes all of it durable; `written` answers [`Machine::written`]. What comes back is to be [settled](Mend::settle).
///
/// # Errors
/// As [`Mend::finish`].
pub fn finish(
    queues: Vec<DamagedQueue>,
    written: &dyn Fn(&str, u32, u64) -> Option<QueueOffset>,
) -> Result<Vec<Mend>, StoreError> {
    let key = |(topic, queue_id): (&str, u32)| (topic.to_owned(), queue_id);
    let lives: BTreeMap<_, _> = queues.iter().map(|queue| (key(queue.mend.queue()), queue.incarnation)).collect();
    let written = |topic: &str, queue_id: u32| {
        let incarnation = *lives.get(&key((topic, queue_id)))?;
        written(topic, queue_id, incarnation)
    };
    Mend::finish(queues.into_iter().map(|queue| queue.mend).collect(), &written)
}
