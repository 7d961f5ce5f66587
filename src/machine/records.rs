//! Entries of records: each gets the next offset of its queue, and a unit in the queue's ConsumeQueue.

use quorumq_raft::machine::MachineError;
use quorumq_store::consume_queue::{ConsumeQueues, Unit};
use quorumq_store::frame::{HEADER_LEN, Kind};
use quorumq_store::log_store::Entry;
use quorumq_store::record::{self, Record};
use quorumq_store::{LogIndex, PhysicalOffset, QueueOffset, StoreError};

use super::Machine;
use super::effect::{Arrival, Effect};
use super::queues::Queue;
use super::reply::{Appended, Refusal, Reply};
use super::topics::Topic;

/// Bytes of a record before its body. They hold its lengths, its body's CRC, its queue, times and hosts.
const HEAD_LEN: usize = 88;

/// Bytes of a typical record: a guess at how many an entry holds.
const TYPICAL_LEN: usize = 512;

/// RocketMQ's sysFlag of a half message's rollback: nobody looks for it.
const ROLLBACK: i32 = 0xC;

/// Whether a record's keys are in the index.
fn has_keys(record: &Record<'_>) -> bool {
    record.sys_flag() & ROLLBACK != ROLLBACK
}

/// Tells `index` each record of an entry whose keys are in the index, in order, and where it lies.
///
/// # Errors
/// `Contract` if the entry holds no records though it says so; what `index` answers.
pub fn each_keyed(
    entry: &Entry,
    mut index: impl FnMut(PhysicalOffset, &Record<'_>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    if entry.kind != Kind::Records {
        return Ok(());
    }
    for (at, record) in record::records(&entry.body) {
        let record = record.map_err(|e| StoreError::Contract(format!("entry {}: {e}", entry.id)))?;
        if has_keys(&record) {
            index(entry.position + HEADER_LEN + at as u64, &record)?;
        }
    }
    Ok(())
}

/// What is the same for all records of an entry.
struct Append<'a> {
    queues: &'a mut ConsumeQueues,
    index: LogIndex,
    segment: PhysicalOffset,
    arrivals: Vec<Arrival>,
}

impl Machine {
    /// Appends an entry's records to their queues. One whose topic or queue is gone (deleted after the broker's check)
    /// stays in the log, gets no offset and is never seen: its result is a refusal, on every member alike.
    pub(super) fn apply_records(&mut self, entry: &Entry, effects: &mut Vec<Effect>) -> Result<Reply, MachineError> {
        let start = entry.position + HEADER_LEN;
        let mut appended = Appended::new(start, (entry.body.len() / TYPICAL_LEN).clamp(1, 4096));
        let mut append = Append {
            queues: &mut self.queues,
            index: entry.id.index,
            segment: self.retention.segment_of(entry.position),
            arrivals: Vec::new(),
        };
        // Records of one topic mostly come in runs: one lookup for each run.
        let mut topic_name = "";
        let mut topic: Option<&mut Topic> = None;
        for (at, record) in record::records(&entry.body) {
            let record = record
                .map_err(|e| MachineError(format!("entry {} at {}, byte {at} of its body: {e}", entry.id, start)))?;
            if record.topic() != topic_name {
                topic_name = record.topic();
                topic = self.topics.by_name.get_mut(topic_name);
                self.digest.text(topic_name);
            }
            // Of every record: a rebuild of the index reads the log alone, and does not know which were refused.
            if let Some(index) = self.index.as_mut().filter(|_| has_keys(&record)) {
                let position = start + at as u64;
                index.push(position, record.store_timestamp_ms(), record.topic(), record.keys());
            }
            let unit = Unit { position: start + at as u64, size: record.len() as u32, tags_code: record.tags_code() };
            let result = match topic.as_deref_mut() {
                Some(topic) => append.record(topic, &record, unit)?,
                None => Err(Refusal::TopicNotExist),
            };
            self.time_ms = self.time_ms.max(record.store_timestamp_ms());
            self.digest.fixed(&record.as_bytes()[..HEAD_LEN]);
            self.digest.word(unit.tags_code.cast_unsigned());
            self.digest.word(appended.push(result));
        }
        if !append.arrivals.is_empty() {
            effects.push(Effect::MessagesArrived(append.arrivals));
        }
        Ok(Reply::Appended(appended))
    }
}

impl Append<'_> {
    fn record(
        &mut self,
        topic: &mut Topic,
        record: &Record<'_>,
        unit: Unit,
    ) -> Result<Result<QueueOffset, Refusal>, MachineError> {
        let queue_id = record.queue_id();
        if !topic.has_queue(queue_id) {
            return Ok(Err(Refusal::QueueNotExist));
        }
        let slot = queue_id as usize;
        if topic.queues.get(slot).is_none_or(Option::is_none) {
            self.create(topic, queue_id)?;
        }
        let Some(queue) = topic.queues[slot].as_mut() else { unreachable!("the queue was just created") };
        let offset = queue.push(self.queues, self.segment, unit);
        match queue.arrival(self.index, self.arrivals.len()) {
            Some(arrival) => self.arrivals[arrival].next = offset.next(),
            None => self.arrivals.push(Arrival { topic: topic.name.clone(), queue_id, next: offset.next() }),
        }
        Ok(Ok(offset))
    }

    /// The queue's first message creates it.
    fn create(&mut self, topic: &mut Topic, queue_id: u32) -> Result<(), MachineError> {
        let handle = self
            .queues
            .open(&topic.name, queue_id, QueueOffset(0), QueueOffset(0))
            .map_err(|e| MachineError(format!("open queue {}/{queue_id}: {e}", topic.name)))?;
        let slot = queue_id as usize;
        if topic.queues.len() <= slot {
            topic.queues.resize_with(slot + 1, || None);
        }
        topic.queues[slot] = Some(Queue::new(handle, QueueOffset(0), Vec::new()));
        Ok(())
    }
}
