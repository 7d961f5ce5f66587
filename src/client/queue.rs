//! A message queue: where messages of a topic lie in order.

use std::fmt;
use std::sync::Arc;

/// One queue of a topic in one broker group. Ordered as RocketMQ sorts queues before it allocates them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageQueue {
    /// The topic.
    pub topic: Arc<str>,
    /// The broker group (RocketMQ's `brokerName`).
    pub broker_name: Arc<str>,
    /// From 0, within (topic, group).
    pub queue_id: u32,
}

impl MessageQueue {
    /// The queue `queue_id` of `topic` in group `broker_name`.
    pub fn new(topic: &str, broker_name: &str, queue_id: u32) -> Self {
        Self { topic: topic.into(), broker_name: broker_name.into(), queue_id }
    }
}

impl fmt::Display for MessageQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.topic, self.broker_name, self.queue_id)
    }
}
