//! The encoded state: what checkpoints and snapshots hold.
//!
//! `magic u32 | version u32`, then [`State`] in bincode. Equal states have equal bytes: ordered maps only.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorumq_raft::machine::MachineError;
use quorumq_store::mutant::{Mutant, planted};
use quorumq_store::{LogId, LogIndex, PhysicalOffset, QueueOffset, Term};
use serde::{Deserialize, Serialize};

use super::Machine;
use super::digest::Digest;
use super::groups::SubscriptionGroupConfig;
use super::members::Members;
use super::offsets::{Offsets, QueueOffsets};
use super::queues::{Mark, Queue};
use super::retention::SegmentTime;
use super::topics::{DataVersion, Topic, TopicConfig};

const MAGIC: [u8; 4] = *b"QMST";
const VERSION: u32 = 2;

#[derive(Serialize, Deserialize)]
struct State {
    /// Term and index of the last applied entry.
    applied: Option<(u64, u64)>,
    digest: u64,
    time_ms: i64,
    segment_size: u64,
    retained_from: u64,
    segments: Vec<SegmentTime>,
    members: Members,
    topics: Vec<TopicState>,
    topic_version: DataVersion,
    next_incarnation: u64,
    groups: Vec<SubscriptionGroupConfig>,
    group_version: DataVersion,
    offsets: BTreeMap<String, BTreeMap<String, QueueOffsets>>,
}

#[derive(Serialize, Deserialize)]
struct TopicState {
    config: TopicConfig,
    incarnation: u64,
    queues: Vec<QueueState>,
}

#[derive(Serialize, Deserialize)]
struct QueueState {
    id: u32,
    min: u64,
    next: u64,
    marks: Vec<Mark>,
}

impl Machine {
    pub(super) fn encode_state(&self) -> Bytes {
        let state = State {
            applied: self.applied.map(|id| (id.term.0, id.index.0)),
            digest: self.digest.0,
            time_ms: self.time_ms,
            segment_size: self.retention.segment_size,
            retained_from: self.retention.retained_from.0,
            segments: self.retention.segments.clone(),
            members: self.members.clone(),
            topics: self.topics.by_name.values().map(|topic| self.encode_topic(topic)).collect(),
            topic_version: self.topics.version,
            next_incarnation: self.topics.next_incarnation,
            groups: self.groups.by_name.values().cloned().collect(),
            group_version: self.groups.version,
            offsets: if planted(Mutant::OffsetsNotInSnapshot) {
                BTreeMap::new()
            } else {
                self.offsets.by_group.clone()
            },
        };
        let mut out = [MAGIC, VERSION.to_be_bytes()].concat();
        match bincode::serde::encode_into_std_write(&state, &mut out, bincode::config::standard()) {
            Ok(_) => out.into(),
            Err(e) => unreachable!("the state is made of numbers, strings, lists and maps of known length: {e}"),
        }
    }

    fn encode_topic(&self, topic: &Topic) -> TopicState {
        let queues = topic.queues.iter().zip(0..).filter_map(|(queue, id)| {
            let queue = queue.as_ref()?;
            let next = self.queues.next(queue.handle).0;
            Some(QueueState { id, min: queue.min.0, next, marks: queue.marks.clone() })
        });
        TopicState { config: topic.config.clone(), incarnation: topic.incarnation, queues: queues.collect() }
    }

    /// Replaces everything by an encoded state. ConsumeQueues are cut to it: their files hold units below each queue's
    /// next offset (or, after [`quorumq_store::consume_queue::ConsumeQueues::wipe`], none); what they hold beyond is
    /// overwritten as the log goes on.
    pub(super) fn restore_state(&mut self, bytes: &[u8]) -> Result<(), MachineError> {
        let state = decode(bytes)?;
        let segment_size = self.retention.segment_size;
        if state.segment_size != segment_size {
            let found = state.segment_size;
            return Err(MachineError(format!("state of a group with segments of {found} bytes, here {segment_size}")));
        }
        let mut restored = Self::new(self.disk.clone(), &self.dir, segment_size).map_err(store_error)?;
        restored.index_sizes = self.index_sizes;
        restored.applied = state.applied.map(|(term, index)| LogId { term: Term(term), index: LogIndex(index) });
        restored.digest = Digest(state.digest);
        restored.time_ms = state.time_ms;
        restored.retention.retained_from = PhysicalOffset(state.retained_from);
        restored.retention.segments = state.segments;
        restored.members = state.members;
        restored.topics.by_name.clear();
        restored.topics.version = state.topic_version;
        restored.topics.next_incarnation = state.next_incarnation;
        for topic in state.topics {
            restored.restore_topic(topic)?;
        }
        restored.groups.version = state.group_version;
        restored.groups.by_name =
            state.groups.into_iter().map(|config| (config.group_name.as_str().into(), config)).collect();
        restored.offsets = Offsets::restored(state.offsets);
        restored.queues.remove_unopened().map_err(store_error)?;
        *self = restored;
        Ok(())
    }

    fn restore_topic(&mut self, state: TopicState) -> Result<(), MachineError> {
        let mut topic = Topic::new(state.config, state.incarnation);
        for queue in state.queues {
            let (min, next) = (QueueOffset(queue.min), QueueOffset(queue.next));
            let handle = self.queues.open(&topic.name, queue.id, min, next).map_err(store_error)?;
            let slot = queue.id as usize;
            if slot < topic.queues.len() || queue.id >= super::topics::MAX_QUEUES {
                return Err(MachineError(format!("state: queue {} of {} is out of order", queue.id, topic.name)));
            }
            topic.queues.resize_with(slot + 1, || None);
            topic.queues[slot] = Some(Queue::new(handle, min, queue.marks));
        }
        self.topics.by_name.insert(topic.name.clone(), topic);
        Ok(())
    }
}

fn decode(bytes: &[u8]) -> Result<State, MachineError> {
    let bad = |what: &str| MachineError(format!("state: {what}"));
    let (magic, rest) = bytes.split_first_chunk::<4>().ok_or_else(|| bad("too short"))?;
    let (version, rest) = rest.split_first_chunk::<4>().ok_or_else(|| bad("too short"))?;
    if *magic != MAGIC {
        return Err(bad("wrong magic"));
    }
    let version = u32::from_be_bytes(*version);
    if version != VERSION {
        return Err(bad(&format!("version {version}; this build knows version {VERSION}")));
    }
    let (state, read) = bincode::serde::decode_from_slice(rest, bincode::config::standard())
        .map_err(|e| bad(&format!("cannot be decoded: {e}")))?;
    if read != rest.len() {
        return Err(bad("bytes are left over"));
    }
    Ok(state)
}

fn store_error(e: quorumq_store::StoreError) -> MachineError {
    MachineError(format!("restore: {e}"))
}
