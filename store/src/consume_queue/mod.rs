//! ConsumeQueues: per (topic, queue id) a run of 20-byte units in 6,000,000-byte files, as RocketMQ lays them out.
//!
//! ```text
//! consumequeue/.format                        names the version
//! consumequeue/<topic>/<queueId>/%020d        named by the byte offset of the file's first unit
//! consumequeue/<topic>/<queueId>/%020d.crc    a CRC for each 4 KiB of it; every read of a file checks them
//!
//! one queue:   min ≤ written ≤ next           (QueueOffset)
//!              [min, written) in files, [written, next) in memory only; a hot tail is in both
//! ```
//!
//! Files grow in small chunks and hold zeros where nothing was written; a unit's size is never 0. Units at or above the
//! `next` a queue was opened with are ignored and overwritten: the log is replayed from there.

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use crate::disk::Disk;
use crate::error::At;
use crate::record::MAX_TOPIC;
use crate::{PhysicalOffset, QueueOffset, StoreError};

mod check;
mod files;
mod flush;
mod mend;
mod read;
mod stock;
mod sums;
#[cfg(test)]
mod tests;
mod unit;
mod verify;

pub use flush::FlushPlan;
pub use mend::Mend;
pub use read::UnitRead;
pub use unit::{FILE_LEN, UNIT_LEN, UNITS_PER_FILE, Unit};
pub use verify::{verify_queue, verify_sums};

use files::{FORMAT_FILE, Files, QueueFiles};
use flush::Removal;

/// Units of one queue kept in memory after their flush: what consumers at the tail read.
pub const HOT_UNITS: usize = 512;
/// Flushed units kept in memory over all queues (24 MB); beyond, queues flushed longest ago give theirs up.
pub const HOT_UNITS_TOTAL: usize = 1 << 20;

/// Unflushed units (50 MB) at which a node must take no more messages until a flush succeeds. Nothing here refuses a
/// unit: an entry that is committed has to be applied.
pub const MAX_UNFLUSHED: usize = 1 << 21;

/// Every ConsumeQueue of a store. Units are appended in memory and written in runs by the disk thread; reads
/// see both. Owned by the machine; nothing here is durable before the log it covers (see [`FlushPlan::write`]).
#[derive(Debug)]
pub struct ConsumeQueues {
    files: Arc<Files>,
    slots: Vec<Option<Queue>>,
    free: Vec<u32>,
    /// Slots with units that no flush has covered, in the order they got their first.
    dirty: Vec<u32>,
    unflushed: usize,
    /// Slots that keep flushed units, the one flushed longest ago first.
    hot: VecDeque<u32>,
    hot_units: usize,
    removals: Vec<Removal>,
    /// Alive as long as a plan is out.
    plan: Weak<()>,
    next_serial: u64,
}

#[derive(Debug)]
struct Queue {
    files: Arc<QueueFiles>,
    min: u64,
    next: u64,
    /// Units below are in files.
    written: u64,
    /// Units [next - tail.len(), next): all that are not written, and the hot ones before them.
    tail: VecDeque<Unit>,
    is_dirty: bool,
    is_hot: bool,
}

impl Queue {
    fn tail_start(&self) -> u64 {
        self.next - self.tail.len() as u64
    }
}

/// Identifies one queue inside [`ConsumeQueues`] without a topic lookup; valid until the queue is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueHandle(pub u32);

impl ConsumeQueues {
    /// Queues below `dir/consumequeue/`, none opened yet.
    ///
    /// # Errors
    /// The files there have an unknown format version, or the disk answers an error.
    pub fn new(disk: Arc<dyn Disk>, dir: &Path) -> Result<Self, StoreError> {
        Ok(Self {
            files: Arc::new(Files::open(disk, dir.join("consumequeue"))?),
            slots: Vec::new(),
            free: Vec::new(),
            dirty: Vec::new(),
            unflushed: 0,
            hot: VecDeque::new(),
            hot_units: 0,
            removals: Vec::new(),
            plan: Weak::new(),
            next_serial: 0,
        })
    }

    /// Opens (or creates, in memory) a queue whose next unit is `next` and whose first is `min`; whatever its
    /// files hold at or above `next` is ignored and overwritten. Reads no file: see [`ConsumeQueues::take_stock`].
    ///
    /// # Errors
    /// `Contract` if the topic cannot be a directory's name or `min` lies above `next`.
    pub fn open(
        &mut self,
        topic: &str,
        queue_id: u32,
        min: QueueOffset,
        next: QueueOffset,
    ) -> Result<QueueHandle, StoreError> {
        check_topic(topic)?;
        if min > next {
            return Err(StoreError::Contract(format!("queue {topic}/{queue_id}: min {min} above next {next}")));
        }
        let (min, next) = (min.0, next.0);
        let files = Arc::new(QueueFiles::new(&self.files.root, topic, queue_id, self.next_serial, min));
        self.next_serial += 1;
        let queue = Queue { files, min, next, written: next, tail: VecDeque::new(), is_dirty: false, is_hot: false };
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(None);
                self.slots.len() as u32 - 1
            }
        };
        self.slots[slot as usize] = Some(queue);
        Ok(QueueHandle(slot))
    }

    /// Directories of queues that were not opened go with the next flush: their topics no longer exist.
    ///
    /// # Errors
    /// `Io` if a directory cannot be listed.
    pub fn remove_unopened(&mut self) -> Result<(), StoreError> {
        let root = self.files.root.clone();
        let opened: BTreeSet<&Path> = self.slots.iter().flatten().map(|queue| queue.files.dir.as_path()).collect();
        let list = |dir: &Path| self.files.disk.list(dir).at("list", dir);
        for topic in list(&root)?.into_iter().filter(|name| !name.starts_with(FORMAT_FILE)) {
            let topic = root.join(topic);
            for dir in list(&topic)?.into_iter().map(|queue| topic.join(queue)) {
                if !opened.contains(dir.as_path()) {
                    self.removals.push(Removal::Dir(dir));
                }
            }
        }
        Ok(())
    }

    /// Appends the queue's next unit and returns its offset.
    ///
    /// # Panics
    /// If the queue was removed, or the unit's size is 0: a zero marks what was never written.
    pub fn push(&mut self, queue: QueueHandle, unit: Unit) -> QueueOffset {
        assert!(unit.size != 0, "a unit of no record");
        let Some(q) = self.slots[queue.0 as usize].as_mut() else { unreachable!("{queue:?} was removed") };
        let offset = q.next;
        q.tail.push_back(unit);
        q.next += 1;
        self.unflushed += 1;
        if !q.is_dirty {
            q.is_dirty = true;
            self.dirty.push(queue.0);
        }
        QueueOffset(offset)
    }

    fn queue(&self, queue: QueueHandle) -> &Queue {
        match self.slots.get(queue.0 as usize) {
            Some(Some(queue)) => queue,
            _ => unreachable!("{queue:?} was removed"),
        }
    }

    /// First offset of the queue still held.
    pub fn min(&self, queue: QueueHandle) -> QueueOffset {
        QueueOffset(self.queue(queue).min)
    }

    /// The offset the next unit will get.
    pub fn next(&self, queue: QueueHandle) -> QueueOffset {
        QueueOffset(self.queue(queue).next)
    }

    /// Up to `max` units from `from` on, appended to `out`. Fewer only at the end of the queue.
    ///
    /// # Errors
    /// As [`UnitRead::run`].
    pub fn read(
        &self,
        queue: QueueHandle,
        from: QueueOffset,
        max: usize,
        out: &mut Vec<Unit>,
    ) -> Result<(), StoreError> {
        self.plan_read(queue, from, max)?.run(out)
    }

    /// Prepares a read of up to `max` units from `from` on. What comes from memory is copied now; what comes from
    /// files is read by [`UnitRead::run`], for which no lock on the queues is needed.
    ///
    /// # Errors
    /// `Contract` if `from` lies below the queue's min.
    pub fn plan_read(&self, queue: QueueHandle, from: QueueOffset, max: usize) -> Result<UnitRead, StoreError> {
        let q = self.queue(queue);
        if from.0 < q.min {
            let (min, dir) = (q.min, q.files.dir.display());
            return Err(StoreError::Contract(format!("read of {dir} from {from}, below its min {min}")));
        }
        let from = from.0.min(q.next);
        let end = q.next.min(from.saturating_add(max as u64));
        let split = q.tail_start().clamp(from, end);
        let in_tail = |offset: u64| offset.saturating_sub(q.tail_start()) as usize;
        let tail = q.tail.range(in_tail(split)..in_tail(end)).copied().collect();
        Ok(UnitRead { files: self.files.clone(), queue: q.files.clone(), from, split, tail })
    }

    /// The first offset whose unit lies at or above `position` (= `next` if none): binary search.
    ///
    /// # Errors
    /// As [`UnitRead::run`].
    pub fn first_at_or_above(&self, queue: QueueHandle, position: PhysicalOffset) -> Result<QueueOffset, StoreError> {
        let q = self.queue(queue);
        let (mut low, mut high) = (q.min, q.next);
        let mut unit = Vec::with_capacity(1);
        while low < high {
            let middle = low + (high - low) / 2;
            unit.clear();
            self.read(queue, QueueOffset(middle), 1, &mut unit)?;
            if unit[0].position < position { low = middle + 1 } else { high = middle }
        }
        Ok(QueueOffset(low))
    }

    /// Raises the queue's min (retention); files wholly below go with the next flush. A min above `next` counts as
    /// `next`; one below the present min changes nothing.
    pub fn set_min(&mut self, queue: QueueHandle, min: QueueOffset) {
        let Some(q) = self.slots[queue.0 as usize].as_mut() else { unreachable!("{queue:?} was removed") };
        let min = min.0.min(q.next);
        if min <= q.min {
            return;
        }
        let (old, new) = (q.min / UNITS_PER_FILE, min / UNITS_PER_FILE);
        q.min = min;
        q.files.set_min(min);
        if old < new {
            self.removals.push(Removal::Files { queue: q.files.clone(), from: old, to: new });
        }
    }

    /// Forgets a queue (topic deleted); its files go with the next flush. The handle may be given out again.
    pub fn remove(&mut self, queue: QueueHandle) {
        let Some(q) = self.slots[queue.0 as usize].take() else { unreachable!("{queue:?} was removed") };
        q.files.removed.store(true, Ordering::Release);
        self.unflushed -= (q.next - q.written) as usize;
        self.dirty.retain(|slot| *slot != queue.0);
        if q.is_hot {
            self.hot.retain(|slot| *slot != queue.0);
            self.hot_units -= (q.written - q.tail_start()) as usize;
        }
        self.removals.push(Removal::Dir(q.files.dir.clone()));
        self.free.push(queue.0);
    }

    /// Units in memory that no flush has covered yet.
    pub fn unflushed(&self) -> usize {
        self.unflushed
    }

    /// The directory of one queue's files.
    pub fn path(dir: &Path, topic: &str, queue_id: u32) -> PathBuf {
        dir.join("consumequeue").join(topic).join(queue_id.to_string())
    }

    /// Removes every ConsumeQueue below `dir`, durably: a step of installing a snapshot, on the disk thread, while no
    /// queue is read or written.
    ///
    /// # Errors
    /// `Io` if the disk fails.
    pub fn wipe(disk: &dyn Disk, dir: &Path) -> Result<(), StoreError> {
        let root = dir.join("consumequeue");
        disk.remove_dir_all(&root).at("remove", &root)?;
        disk.sync_dir(dir).at("sync", dir)
    }
}

impl Drop for ConsumeQueues {
    fn drop(&mut self) {
        self.files.alive.store(false, Ordering::Release);
    }
}

/// Upstream only admits RocketMQ's topic names; a path is never made of anything else all the same.
fn check_topic(topic: &str) -> Result<(), StoreError> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"%|_-".contains(&b);
    if topic.is_empty() || topic.len() > MAX_TOPIC || !topic.bytes().all(allowed) {
        return Err(StoreError::Contract(format!("topic {topic:?} cannot name a directory")));
    }
    Ok(())
}
