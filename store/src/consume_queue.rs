//! ConsumeQueues: per (topic, queue id) a run of 20-byte units in 6,000,000-byte files, as RocketMQ lays them out.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::Disk;
use crate::{PhysicalOffset, QueueOffset, StoreError};

/// Bytes of a unit.
pub const UNIT_LEN: u64 = 20;
/// Units of a file (RocketMQ: 300,000, so 6,000,000 bytes).
pub const UNITS_PER_FILE: u64 = 300_000;

/// One message of a queue: where its record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    pub position: PhysicalOffset,
    pub size: u32,
    /// Java's `String.hashCode` of the tag, sign-extended; 0 without a tag.
    pub tags_code: i64,
}

/// Every ConsumeQueue of a store. Units are appended in memory and written in runs by the disk thread; reads
/// see both. Owned by the machine; nothing here is durable before the log it covers (see `flush`).
#[derive(Debug)]
pub struct ConsumeQueues {}

/// Identifies one queue inside [`ConsumeQueues`] without a topic lookup; valid until the queue is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueHandle(pub u32);

/// Units to be written by the disk thread.
#[derive(Debug)]
pub struct FlushPlan {}

impl ConsumeQueues {
    /// Queues below `dir/consumequeue/`, none opened yet.
    pub fn new(disk: Arc<dyn Disk>, dir: &Path) -> Self {
        let _ = (disk, dir);
        todo!()
    }
    /// Opens (or creates, in memory) a queue whose next unit is `next` and whose first is `min`; whatever its
    /// files hold at or above `next` is ignored and overwritten.
    pub fn open(&mut self, topic: &str, queue_id: u32, min: QueueOffset, next: QueueOffset) -> QueueHandle {
        let _ = (topic, queue_id, min, next);
        todo!()
    }
    /// Appends the queue's next unit and returns its offset.
    pub fn push(&mut self, queue: QueueHandle, unit: Unit) -> QueueOffset {
        let _ = (queue, unit);
        todo!()
    }
    /// First offset of the queue still held.
    pub fn min(&self, queue: QueueHandle) -> QueueOffset {
        let _ = queue;
        todo!()
    }
    /// The offset the next unit will get.
    pub fn next(&self, queue: QueueHandle) -> QueueOffset {
        let _ = queue;
        todo!()
    }
    /// Up to `max` units from `from` on, appended to `out`. Fewer only at the end of the queue.
    pub fn read(&self, queue: QueueHandle, from: QueueOffset, max: usize, out: &mut Vec<Unit>) -> Result<(), StoreError> {
        let _ = (queue, from, max, out);
        todo!()
    }
    /// The first offset whose unit lies at or above `position` (= `next` if none): binary search.
    pub fn first_at_or_above(&self, queue: QueueHandle, position: PhysicalOffset) -> Result<QueueOffset, StoreError> {
        let _ = (queue, position);
        todo!()
    }
    /// Raises the queue's min (retention); files wholly below go with the next flush.
    pub fn set_min(&mut self, queue: QueueHandle, min: QueueOffset) {
        let _ = (queue, min);
        todo!()
    }
    /// Forgets a queue (topic deleted); its files go with the next flush.
    pub fn remove(&mut self, queue: QueueHandle) {
        let _ = queue;
        todo!()
    }
    /// Units in memory that no flush has covered yet.
    pub fn unflushed(&self) -> usize {
        todo!()
    }
    /// What a flush would write. At most one plan is out at a time; `None` if one is or there is nothing to do.
    pub fn plan_flush(&mut self) -> Option<FlushPlan> {
        todo!()
    }
    /// Tells that a plan was written: its units are read from files from now on (a hot tail stays in memory).
    pub fn flushed(&mut self, plan: FlushPlan) {
        let _ = plan;
        todo!()
    }
    /// The directory of one queue's files.
    pub fn path(dir: &Path, topic: &str, queue_id: u32) -> PathBuf {
        dir.join("consumequeue").join(topic).join(queue_id.to_string())
    }
}

impl FlushPlan {
    /// Writes the plan's runs and removals; with `sync`, durably. Called on the disk thread, only for units whose
    /// records are in the synced log if `sync` is set.
    pub fn write(&self, sync: bool) -> Result<(), StoreError> {
        let _ = sync;
        todo!()
    }
}
