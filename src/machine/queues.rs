//! A topic's queue: its ConsumeQueue, and where in it each segment of the log begins.

use quorumq_store::consume_queue::{ConsumeQueues, QueueHandle, Unit};
use quorumq_store::{LogIndex, PhysicalOffset, QueueOffset, StoreError};
use serde::{Deserialize, Serialize};

use super::Machine;

/// Where a segment begins in a queue.
///
/// Marks tell what a purge leaves of a queue without a look at its ConsumeQueue's files: while the log is replayed
/// these may already be ahead of the state (a purge or deletion still to be replayed has removed them).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// A segment start.
    pub segment: u64,
    /// The queue's first message in that segment.
    pub first: u64,
}

impl Machine {
    /// Every queue begins where the log does, if it did not begin later; looks which of its files are there.
    pub(super) fn take_stock(&mut self, log_first: PhysicalOffset) -> Result<(), StoreError> {
        for queue in self.topics.by_name.values().flat_map(|topic| topic.queues.iter().flatten()) {
            let first = queue.min.max(queue.first_from(log_first, &self.queues));
            self.queues.take_stock(queue.handle, first)?;
        }
        Ok(())
    }
}

/// A queue with messages.
#[derive(Debug)]
pub(super) struct Queue {
    pub handle: QueueHandle,
    /// First offset not purged. The ConsumeQueue's own may be higher, on a member that started from a snapshot.
    pub min: QueueOffset,
    /// Ascending; one for each segment not purged that holds messages of the queue.
    pub marks: Vec<Mark>,
    /// The entry that last added to the queue, and which arrival of it is the queue's. Not part of the state.
    arrival: Option<(LogIndex, usize)>,
}

impl Queue {
    pub fn new(handle: QueueHandle, min: QueueOffset, marks: Vec<Mark>) -> Self {
        Self { handle, min, marks, arrival: None }
    }

    /// Appends a message that lies in the segment starting at `segment`; returns its offset.
    pub fn push(&mut self, queues: &mut ConsumeQueues, segment: PhysicalOffset, unit: Unit) -> QueueOffset {
        let offset = queues.push(self.handle, unit);
        if self.marks.last().is_none_or(|mark| mark.segment != segment.0) {
            self.marks.push(Mark { segment: segment.0, first: offset.0 });
        }
        offset
    }

    /// The first offset at or above a segment start.
    pub fn first_from(&self, segment: PhysicalOffset, queues: &ConsumeQueues) -> QueueOffset {
        let below = self.marks.partition_point(|mark| mark.segment < segment.0);
        self.marks.get(below).map_or_else(|| queues.next(self.handle), |mark| QueueOffset(mark.first))
    }

    /// Forgets the messages below a segment start.
    pub fn purge(&mut self, segment: PhysicalOffset, queues: &mut ConsumeQueues) {
        self.min = self.first_from(segment, queues).max(self.min);
        self.marks.retain(|mark| mark.segment >= segment.0);
        queues.set_min(self.handle, self.min);
    }

    /// Which of the entry's arrivals is this queue's, if it has one already; `next` becomes it otherwise.
    pub fn arrival(&mut self, entry: LogIndex, next: usize) -> Option<usize> {
        match self.arrival {
            Some((index, arrival)) if index == entry => Some(arrival),
            _ => {
                self.arrival = Some((entry, next));
                None
            }
        }
    }
}
