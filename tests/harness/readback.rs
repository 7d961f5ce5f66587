//! Reads a topic back as a whole and holds it against what was acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use quorumq::client::consumer::pull::PullStatus;
use quorumq::client::{MessageQueue, PullConsumer};
use quorumq_raft::runtime::tokio::Tokio;
use quorumq_store::QueueOffset;

use super::load::{Outcomes, body, number};

/// Messages of one pull.
const BATCH: u32 = 1024;
/// Pulls of one queue that may fail in a row.
const PATIENCE: usize = 100;

/// A message as it was read.
#[derive(Clone, Debug)]
pub struct Read {
    pub msg_id: String,
    pub tag: Option<String>,
    pub keys: Vec<String>,
    pub body: Bytes,
    pub physical_offset: u64,
    pub stored_len: usize,
}

/// Every message of a topic, by group, queue and offset.
pub type Topic = BTreeMap<(String, u32), Vec<Read>>;

/// Reads every message of a topic; offsets must be dense, from 0.
pub async fn read(namesrv: &str, topic: &str) -> Topic {
    let consumer = PullConsumer::<Tokio>::start("readback", namesrv).expect("a consumer");
    let queues = consumer.message_queues(topic).await.expect("the topic's queues");
    let reads = join_all(queues.iter().map(|queue| read_queue(&consumer, queue))).await;
    consumer.close().await;
    queues.into_iter().map(|queue| (queue.broker_name.to_string(), queue.queue_id)).zip(reads).collect()
}

async fn read_queue(consumer: &PullConsumer<Tokio>, queue: &MessageQueue) -> Vec<Read> {
    let mut found = Vec::new();
    let mut failed = 0;
    loop {
        let next = QueueOffset(found.len() as u64);
        let pulled = match consumer.pull(queue, next, BATCH, "*", Duration::ZERO).await {
            Ok(pulled) => pulled,
            Err(e) => {
                failed += 1;
                assert!(failed < PATIENCE, "{queue} at {next:?}: {e}");
                // A broker that makes a damaged file again says so at once.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        failed = 0;
        if pulled.status == PullStatus::NoNewMessage {
            assert_eq!(pulled.max_offset, next, "{queue}: its end");
            return found;
        }
        assert_eq!(pulled.status, PullStatus::Found, "{queue} at {next:?}");
        for message in pulled.messages {
            assert_eq!(message.queue_offset.0, found.len() as u64, "{queue}: offsets are dense");
            found.push(Read {
                msg_id: message.msg_id(),
                tag: message.tag().map(str::to_owned),
                keys: message.keys().map(str::to_owned).collect(),
                body: message.body.clone(),
                physical_offset: message.physical_offset.0,
                stored_len: message.stored_len,
            });
        }
    }
}

/// What a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    pub acked: usize,
    pub stored: usize,
    /// Stored more than once, as announced.
    pub duplicates: usize,
    /// Sent with an unknown outcome, and stored.
    pub unknown_stored: usize,
    /// End of the last acknowledged record in the CommitLog.
    pub end: u64,
}

/// Holds what was read against what became of the sends: everything acknowledged is there, at its queue and offset and
/// unchanged; nothing refused is there; nothing is there twice that was not said to be perhaps.
pub fn check(topic: &Topic, outcomes: &Outcomes) -> Checked {
    let mut end = 0;
    for ack in &outcomes.acks {
        let queue = topic.get(&(ack.group.clone(), ack.queue)).unwrap_or_else(|| panic!("no queue of {ack:?}"));
        let read = usize::try_from(ack.offset).ok().and_then(|offset| queue.get(offset));
        let read = read.unwrap_or_else(|| panic!("acknowledged and missing: {ack:?}"));
        assert_eq!(number(&read.body), ack.number, "another message is where {ack:?} was acknowledged");
        assert_eq!(read.msg_id, ack.msg_id, "{ack:?}");
        end = end.max(read.physical_offset + read.stored_len as u64);
    }
    let mut times: BTreeMap<u64, usize> = BTreeMap::new();
    for read in topic.values().flatten() {
        assert!(read.body == body(number(&read.body), read.body.len()), "a body changed: {read:?}");
        *times.entry(number(&read.body)).or_default() += 1;
    }
    for (number, why) in &outcomes.refused {
        assert!(!times.contains_key(number), "message {number} was refused ({why}) and is stored");
    }
    let acked: BTreeMap<u64, bool> = outcomes.acks.iter().map(|ack| (ack.number, ack.maybe_duplicate)).collect();
    let unknown: BTreeSet<u64> = outcomes.unknown.iter().copied().collect();
    for (number, count) in &times {
        let may_repeat = acked.get(number).copied().unwrap_or_else(|| unknown.contains(number));
        assert!(*count == 1 || may_repeat, "message {number} is stored {count} times");
        assert!(acked.contains_key(number) || unknown.contains(number), "message {number} came from nowhere");
    }
    Checked {
        acked: acked.len(),
        stored: times.values().sum(),
        duplicates: times.values().filter(|count| **count > 1).count(),
        unknown_stored: times.keys().filter(|number| unknown.contains(number)).count(),
        end,
    }
}
