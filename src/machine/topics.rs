//! Topics: settings, and the queues they own.
#![expect(missing_docs, reason = "fields are RocketMQ's own, or named in their variant's text")]

use std::collections::BTreeMap;
use std::sync::Arc;

use quorumq_store::consume_queue::ConsumeQueues;
use serde::{Deserialize, Serialize};

use super::names::{AUTO_CREATE_TOPIC, is_system_topic, is_topic_name};
use super::queues::Queue;
use super::reply::Refusal;

/// Most queues a topic can have. RocketMQ has no limit; its largest own topic has 1,024.
pub const MAX_QUEUES: u32 = 16_384;
/// Most topics a group of brokers can have, system and retry topics included.
pub const MAX_TOPICS: usize = 100_000;
/// Largest sum of the lengths of a topic's or group's attributes, in bytes.
pub const MAX_ATTRIBUTES_LEN: usize = 16 * 1024;

/// RocketMQ's attribute for how long a topic's messages are kept, in hours.
pub const RESERVE_TIME: &str = "reserve.time";

/// RocketMQ's `perm` bits: what clients may do with a topic, and whether topics created automatically inherit it.
pub mod perm {
    pub const INHERIT: u32 = 1;
    pub const WRITE: u32 = 2;
    pub const READ: u32 = 4;
    pub const PRIORITY: u32 = 8;
}

/// RocketMQ's `topicFilterType`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TopicFilterType {
    #[default]
    SingleTag,
    MultiTag,
}

/// A topic's settings, by RocketMQ's names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicConfig {
    pub topic_name: String,
    pub read_queue_nums: u32,
    pub write_queue_nums: u32,
    /// A sum of [`perm`] bits.
    pub perm: u32,
    pub topic_filter_type: TopicFilterType,
    pub topic_sys_flag: i32,
    pub order: bool,
    pub attributes: BTreeMap<String, String>,
}

impl TopicConfig {
    /// Settings with RocketMQ's defaults where not given.
    pub fn new(topic_name: &str, read_queue_nums: u32, write_queue_nums: u32, perm: u32) -> Self {
        Self {
            topic_name: topic_name.to_owned(),
            read_queue_nums,
            write_queue_nums,
            perm,
            topic_filter_type: TopicFilterType::default(),
            topic_sys_flag: 0,
            order: false,
            attributes: BTreeMap::new(),
        }
    }

    /// Queues a record may name: RocketMQ takes sends to any queue that can be written or read.
    pub fn queue_count(&self) -> u32 {
        self.read_queue_nums.max(self.write_queue_nums)
    }

    /// RocketMQ's attribute `reserve.time`: hours that the topic's messages are kept at least. `None` where it is not
    /// given or not above 0: the broker's fileReservedTime holds then.
    pub fn reserve_hours(&self) -> Option<u32> {
        self.attributes.get(RESERVE_TIME)?.parse().ok().filter(|hours| *hours > 0)
    }

    /// Whether the topic can be created or changed like this; a broker asks before it proposes, `apply` asks again.
    ///
    /// # Errors
    /// The first setting that is out of its range.
    pub fn check(&self) -> Result<(), Refusal> {
        let queues = 1..=MAX_QUEUES;
        if !is_topic_name(&self.topic_name) {
            return Err(Refusal::BadTopicName);
        }
        if !queues.contains(&self.read_queue_nums) || !queues.contains(&self.write_queue_nums) {
            return Err(Refusal::BadQueueCount);
        }
        if self.perm & !(perm::INHERIT | perm::WRITE | perm::READ | perm::PRIORITY) != 0 {
            return Err(Refusal::BadPerm);
        }
        check_attributes(&self.attributes)
    }
}

pub(super) fn check_attributes(attributes: &BTreeMap<String, String>) -> Result<(), Refusal> {
    let len: usize = attributes.iter().map(|(key, value)| key.len() + value.len()).sum();
    if len > MAX_ATTRIBUTES_LEN { Err(Refusal::AttributesTooLong) } else { Ok(()) }
}

/// RocketMQ's DataVersion of a table: tells readers that it changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataVersion {
    /// Changes so far.
    pub counter: u64,
    /// The machine's time at the last change, in milliseconds since the epoch.
    pub timestamp_ms: i64,
}

impl DataVersion {
    pub(super) fn bump(&mut self, time_ms: i64) {
        self.counter += 1;
        self.timestamp_ms = time_ms;
    }
}

/// A topic: its settings and its queues.
#[derive(Debug)]
pub(super) struct Topic {
    pub name: Arc<str>,
    pub config: TopicConfig,
    /// Which life of the name: a topic that is deleted and created again gets a higher number.
    pub incarnation: u64,
    /// By queue id; a queue exists from its first message on. Queues above the configured number keep their messages.
    pub queues: Vec<Option<Queue>>,
}

impl Topic {
    pub fn new(config: TopicConfig, incarnation: u64) -> Self {
        Self { name: config.topic_name.as_str().into(), config, incarnation, queues: Vec::new() }
    }

    pub fn queue(&self, queue_id: u32) -> Option<&Queue> {
        self.queues.get(queue_id as usize)?.as_ref()
    }

    /// Whether the topic has that queue, with or without messages.
    pub fn has_queue(&self, queue_id: u32) -> bool {
        queue_id < self.config.queue_count() || self.queue(queue_id).is_some()
    }
}

/// Every topic.
#[derive(Debug)]
pub(super) struct Topics {
    pub by_name: BTreeMap<Arc<str>, Topic>,
    pub version: DataVersion,
    pub next_incarnation: u64,
}

impl Topics {
    /// The topics a group of brokers is born with: TBW102, which automatic creation inherits from.
    pub fn new() -> Self {
        let perm = perm::INHERIT | perm::WRITE | perm::READ;
        let topic = Topic::new(TopicConfig::new(AUTO_CREATE_TOPIC, 8, 8, perm), 0);
        let by_name = BTreeMap::from([(topic.name.clone(), topic)]);
        Self { by_name, version: DataVersion::default(), next_incarnation: 1 }
    }

    pub fn get(&self, name: &str) -> Option<&Topic> {
        self.by_name.get(name)
    }

    /// Creates a topic or changes its settings. `None` if that changes nothing.
    pub fn update(&mut self, config: TopicConfig, if_absent: bool, time_ms: i64) -> Result<Option<Arc<str>>, Refusal> {
        config.check()?;
        let is_full = self.by_name.len() >= MAX_TOPICS;
        let name = match self.by_name.get_mut(config.topic_name.as_str()) {
            Some(topic) if if_absent || topic.config == config => return Ok(None),
            Some(topic) => {
                topic.config = config;
                topic.name.clone()
            }
            None if is_full => return Err(Refusal::TooManyTopics),
            None => {
                let topic = Topic::new(config, self.next_incarnation);
                self.next_incarnation += 1;
                let name = topic.name.clone();
                self.by_name.insert(name.clone(), topic);
                name
            }
        };
        self.version.bump(time_ms);
        Ok(Some(name))
    }

    /// Deletes a topic and its queues.
    pub fn delete(&mut self, name: &str, time_ms: i64, queues: &mut ConsumeQueues) -> Result<Arc<str>, Refusal> {
        if is_system_topic(name) {
            return Err(Refusal::SystemTopic);
        }
        let topic = self.by_name.remove(name).ok_or(Refusal::TopicNotExist)?;
        topic.queues.iter().flatten().for_each(|queue| queues.remove(queue.handle));
        self.version.bump(time_ms);
        Ok(topic.name)
    }
}
