//! Messages by key: 12.

use std::sync::Arc;

use bytes::BytesMut;
use quorumq_raft::node::Node;
use quorumq_raft::runtime::Runtime;
use quorumq_store::index_file::{MAX_STEPS, key_hash};
use quorumq_store::mutant::{Mutant, planted};
use quorumq_store::record::Record;
use quorumq_store::{PhysicalOffset, StoreError};

use super::Broker;
use super::answer;
use super::units::UnitsError;
use super::view::{message_of, record_at};
use crate::machine::{Machine, Rebuilding};
use crate::protocol::code::response;
use crate::protocol::command::Command;
use crate::protocol::header::query::{QueryMessageRequest, QueryMessageResponse};
use crate::protocol::properties::name;

/// Most messages of an answer (RocketMQ's maxMsgsNumBatch), and of one to a query by UNIQ_KEY (defaultQueryMaxNum).
const MAX_NUM: usize = 64;
const MAX_UNIQUE: usize = 32;
/// Bytes of messages after which no more are added to an answer.
const MAX_BYTES: usize = 4 << 20;
/// Most records looked at for an answer: many keys can have one hash.
const MAX_CANDIDATES: usize = 4096;

/// What is looked for.
#[derive(Clone, Debug)]
struct Wanted {
    topic: String,
    key: String,
    times: std::ops::RangeInclusive<i64>,
    max: usize,
    is_unique: bool,
}

impl Wanted {
    fn of(header: &QueryMessageRequest<'_>) -> Self {
        let is_unique = header.is_unique_key.unwrap_or(false);
        let asked = usize::try_from(header.max_num).unwrap_or(0);
        Self {
            topic: header.topic.to_owned(),
            key: header.key.to_owned(),
            times: header.begin_timestamp..=header.end_timestamp,
            max: if is_unique { MAX_UNIQUE } else { asked.min(MAX_NUM) },
            is_unique,
        }
    }

    /// Whether a record that the index names has the very key.
    fn is_met_by(&self, record: &Record<'_>) -> bool {
        let has_key = || match self.is_unique {
            true => record.property(name::UNIQ_KEY) == Some(&*self.key),
            false => record.keys().any(|key| key == self.key.as_bytes()),
        };
        record.topic() == self.topic && self.times.contains(&record.store_timestamp_ms()) && has_key()
    }
}

/// Why a query cannot be answered.
#[derive(Debug, thiserror::Error)]
enum QueryError {
    #[error(transparent)]
    Rebuilding(#[from] Rebuilding),
    #[error("the index cannot be read: {0}")]
    Index(#[from] StoreError),
    #[error("the index names a message at {0} that has no such key; it is being rebuilt")]
    Wrong(PhysicalOffset),
    #[error(transparent)]
    Units(#[from] UnitsError),
    #[error(
        "a query looks at up to {MAX_STEPS} units of the key index and {MAX_CANDIDATES} messages, and found {found} \
         of at most {max} by then; there may be more: narrow its time window (beginTimestamp, endTimestamp), or ask \
         for a message by its id"
    )]
    Cut { found: usize, max: usize },
}

/// What was found.
#[derive(Debug, Default)]
struct Found {
    messages: BytesMut,
    count: usize,
    last: Option<(i64, PhysicalOffset)>,
}

impl<R: Runtime> Broker<R> {
    /// Answers 12: the messages of a topic with a key, stored within a time, the newest first.
    pub async fn query_message(&self, command: &Command) -> Command {
        let header = match QueryMessageRequest::decode(command) {
            Ok(header) => header,
            Err(e) => return answer::error(command, e),
        };
        // A message that its producer knows of may not be applied here yet.
        if !planted(Mutant::KeyQueryUnconfirmed)
            && let Err(e) = self.confirm().await
        {
            return self.not_leading(command, &e.to_string());
        }
        let (node, wanted) = (Arc::clone(&self.node), Wanted::of(&header));
        let found = match R::offload(move || find(&node, &wanted)).await {
            Ok(found) => found,
            Err(e) => Err(QueryError::Index(StoreError::Contract(format!("the query did not end: {e}")))),
        };
        match found {
            Ok(Found { messages, count, last }) => {
                let mut answer = match count {
                    0 => command.reply(response::QUERY_NOT_FOUND, Some(not_found(&header))),
                    _ => command.reply(response::SUCCESS, None).with_body(messages.freeze()),
                };
                let (timestamp, position) = last.unwrap_or_default();
                let told = QueryMessageResponse {
                    index_last_update_timestamp: timestamp,
                    index_last_update_phyoffset: position.to_i64(),
                };
                answer.ext = told.encode();
                answer
            }
            Err(e) => {
                self.note_failed(&e);
                tracing::debug!(topic = header.topic, key = header.key, "a query by key failed: {e}");
                answer::error(command, e)
            }
        }
    }
}

impl<R: Runtime> Broker<R> {
    /// What a query has found to be damaged is made again.
    fn note_failed(&self, e: &QueryError) {
        match e {
            QueryError::Index(StoreError::Corrupt { path, .. }) => self.node.machine().report_index(path),
            QueryError::Wrong(position) => self.node.machine().report_index_of(*position),
            _ => {}
        }
    }
}

fn not_found(header: &QueryMessageRequest<'_>) -> String {
    let QueryMessageRequest { topic, key, begin_timestamp, end_timestamp, .. } = header;
    format!(
        "can not find message of topic {topic} with key {key}, stored between {begin_timestamp} and {end_timestamp}"
    )
}

/// The message that the index names; `None` if it was purged, is of a deleted topic, or was refused when it was applied.
///
/// # Errors
/// `Wrong` if no record begins there that is still held, or none with such a key: the index is damaged.
fn named<R: Runtime>(
    node: &Arc<Node<R, Machine>>,
    position: PhysicalOffset,
    hash: u32,
) -> Result<Option<BytesMut>, QueryError> {
    let bytes = record_at(node, position)?;
    if bytes.is_none() && position < node.positions().first {
        return Ok(None);
    }
    let has_key = |record: Record<'_>| record.keys().any(|key| key_hash(record.topic(), key) == hash);
    match bytes.filter(|bytes| Record::parse(bytes).is_ok_and(has_key)) {
        Some(bytes) => Ok(message_of(Arc::clone(node), position, &bytes)?),
        None => Err(QueryError::Wrong(position)),
    }
}

/// Looks at more and more candidates until enough of them are what is wanted, or there are no more. What it may not look
/// at could be what is wanted: that is an error, never an answer that nothing is there.
fn find<R: Runtime>(node: &Arc<Node<R, Machine>>, wanted: &Wanted) -> Result<Found, QueryError> {
    let hash = key_hash(&wanted.topic, wanted.key.as_bytes());
    let mut max = wanted.max;
    loop {
        let (query, last) = {
            let machine = node.machine();
            (machine.plan_query(&wanted.topic, wanted.key.as_bytes(), wanted.times.clone(), max)?, machine.last_key())
        };
        let Some(query) = query else { return Ok(Found::default()) };
        let candidates = query.run()?;
        if candidates.is_stale {
            // Purged, which a new look does not see any more; or made again, and a new look finds what it holds.
            continue;
        }
        let looked_at = candidates.positions.len();
        let mut found = Found { last, ..Found::default() };
        for position in candidates.positions {
            if found.count == wanted.max || found.messages.len() >= MAX_BYTES {
                return Ok(found);
            }
            let Some(message) = named(node, position, hash)? else { continue };
            if Record::parse(&message).is_ok_and(|record| wanted.is_met_by(&record)) {
                found.messages.extend_from_slice(&message);
                found.count += 1;
            }
        }
        if candidates.is_whole || found.count == wanted.max {
            return Ok(found);
        }
        // With room for more of them it would not have looked further: steps or room are at their end.
        if looked_at < max || max >= MAX_CANDIDATES {
            return Err(QueryError::Cut { found: found.count, max: wanted.max });
        }
        max = (max * 4).min(MAX_CANDIDATES);
    }
}
