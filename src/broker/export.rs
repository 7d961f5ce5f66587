//! `config/*.json` and the times of `checkpoint`, as RocketMQ's brokers keep them: for people and tools. The truth is in
//! the log; nothing reads these files back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use quorumq_raft::machine::Machine as _;
use quorumq_raft::runtime::Runtime;
use quorumq_raft::state_machine::Place;
use quorumq_store::log_store::StoreTimes;
use quorumq_store::{LogId, StoreError, export};

use super::Broker;
use crate::machine::{DataVersion, Machine};
use crate::protocol::body;
use crate::protocol::body::consumer::ConsumerOffsetTable;

/// Pause between looks (RocketMQ's flushConsumerOffsetInterval).
const PERIOD: Duration = Duration::from_secs(5);
/// With more consumer offsets than this their file is no longer written: it would take the machine's lock for long.
const MAX_OFFSETS: usize = 200_000;

/// What was exported last, and where to.
#[derive(Debug)]
pub struct Exports {
    place: Place,
    last: Mutex<Last>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Last {
    applied: Option<LogId>,
    topics: Option<DataVersion>,
    groups: Option<DataVersion>,
    times: StoreTimes,
    /// Consumer offsets were too many.
    too_many: bool,
    /// The files could not be written.
    failed: bool,
}

/// A file's name and content.
type File = (&'static str, Bytes);

impl Exports {
    /// Exports below the store of `place`.
    pub fn new(place: Place) -> Self {
        Self { place, last: Mutex::default() }
    }

    fn last(&self) -> Last {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_last(&self, last: Last) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = last;
    }
}

/// Exports as long as the broker runs.
pub async fn run<R: Runtime>(broker: Arc<Broker<R>>) {
    loop {
        R::sleep(PERIOD).await;
        broker.export().await;
    }
}

impl<R: Runtime> Broker<R> {
    /// Writes what has changed since the last time. A disk that takes no files is no reason to stop.
    pub fn export(self: &Arc<Self>) -> BoxFuture<'static, ()> {
        // Boxed, so that callers need not prove the whole of it to be Send again.
        Box::pin(Arc::clone(self).export_unboxed())
    }

    async fn export_unboxed(self: Arc<Self>) {
        let before = self.exports.last();
        let mut last = before;
        let mut files = Vec::new();
        {
            let machine = self.node.machine();
            if machine.applied() == before.applied {
                return;
            }
            last.applied = machine.applied();
            last.times = times(&machine, before.times);
            last.topics = Some(machine.topic_version());
            last.groups = Some(machine.group_version());
            match offset_table(&machine) {
                Some(table) => files.push(("consumerOffset.json", table)),
                None if before.too_many => {}
                None => tracing::warn!("config/consumerOffset.json is not written: more than {MAX_OFFSETS} offsets"),
            }
            last.too_many = files.is_empty();
        }
        let mut files: Vec<File> =
            files.into_iter().map(|(name, table)| (name, body::encode_fastjson(&table))).collect();
        if last.topics != before.topics {
            files.push(("topics.json", body::encode(&self.topic_table())));
        }
        if last.groups != before.groups {
            files.push(("subscriptionGroup.json", body::encode(&self.group_table())));
        }
        self.node.note_times(last.times);
        let place = self.exports.place.clone();
        let written = R::offload(move || write_all(&place, &files)).await;
        let error = match written {
            Ok(Ok(())) => None,
            Ok(Err(e)) => Some(e.to_string()),
            Err(e) => Some(e.to_string()),
        };
        if let (Some(why), false) = (&error, before.failed) {
            tracing::warn!("config/*.json are not up to date: {why}");
        }
        self.exports.set_last(if error.is_some() {
            Last { failed: true, ..before }
        } else {
            Last { failed: false, ..last }
        });
    }
}

/// What waits in memory for the next flush is not among the times of ConsumeQueues and key index. A purge takes none of
/// them back.
fn times(machine: &Machine, before: StoreTimes) -> StoreTimes {
    let (physic_ms, covered) = (machine.time_ms(), machine.covered());
    let (logics_ms, index_ms) = match machine.unflushed() {
        0 => (physic_ms, machine.last_key().map_or(0, |(ms, _)| ms)),
        _ => (covered.logics_ms, covered.index_ms),
    };
    StoreTimes { physic_ms, logics_ms: logics_ms.max(before.logics_ms), index_ms: index_ms.max(before.index_ms) }
}

/// Every consumer offset, unless there are too many.
fn offset_table(machine: &Machine) -> Option<ConsumerOffsetTable> {
    let mut offset_table: BTreeMap<String, BTreeMap<i32, i64>> = BTreeMap::new();
    for (count, (group, topic, queue, offset)) in machine.consumer_offsets().enumerate() {
        if count >= MAX_OFFSETS {
            return None;
        }
        let queues = offset_table.entry(ConsumerOffsetTable::key(topic, group)).or_default();
        queues.insert(queue.cast_signed(), offset.0.cast_signed());
    }
    Some(ConsumerOffsetTable { offset_table })
}

fn write_all(place: &Place, files: &[File]) -> Result<(), StoreError> {
    let Place { disk, dir, reserve_bytes } = place;
    let bytes: u64 = files.iter().map(|(_, content)| content.len() as u64).sum();
    let space = disk.space(dir).map_err(|source| StoreError::Io { verb: "look at", path: dir.clone(), source })?;
    if space.available < reserve_bytes.saturating_add(bytes) {
        let source = std::io::ErrorKind::StorageFull.into();
        return Err(StoreError::Io { verb: "write exports to", path: dir.clone(), source });
    }
    files.iter().try_for_each(|(name, content)| export::write(&**disk, dir, name, content))
}
