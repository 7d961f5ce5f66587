//! Sending and receiving.

use bytes::Bytes;
use quorumq_raft::runtime::tokio::Tokio;

use super::missing;
use crate::cli::NameServers;
use crate::cli::error::CliError;
use crate::client::producer::{Place, ProducerBuilder};
use crate::client::{Message, Producer};

/// A message to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub topic: String,
    pub body: Bytes,
    pub tag: Option<String>,
    pub keys: Option<String>,
    pub properties: Vec<(String, String)>,
    /// Messages of one key go to one queue.
    pub sharding_key: Option<String>,
}

/// Where a message was stored.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub group: String,
    pub queue: u32,
    pub offset: u64,
    pub msg_id: String,
}

/// What to consume.
#[derive(Clone, Debug)]
pub(crate) struct Subscription {
    pub topic: String,
    pub group: String,
    /// Tags joined by `||`, or `*`.
    pub expression: String,
    /// Where a group without offsets starts: at the first message, not after the last.
    pub from_first: bool,
}

/// A consumed message.
#[derive(Clone, Debug)]
pub(crate) struct Incoming {
    pub group: String,
    pub queue: u32,
    pub offset: u64,
    pub msg_id: String,
    pub tag: Option<String>,
    pub keys: Option<String>,
    pub born_ms: i64,
    pub store_ms: i64,
    pub body: Bytes,
}

/// A started producer.
pub(crate) struct Sender {
    producer: Producer<Tokio>,
}

impl Sender {
    pub(crate) async fn start(namesrv: &NameServers, group: &str) -> Result<Self, CliError> {
        Ok(Self { producer: ProducerBuilder::new(group, &namesrv.list)?.start()? })
    }

    pub(crate) async fn send(&self, message: Outgoing) -> Result<Sent, CliError> {
        let Outgoing { topic, body, tag, keys, properties, sharding_key } = message;
        let mut message = Message::new(topic, body);
        if let Some(tag) = tag {
            message = message.with_tag(tag);
        }
        if let Some(keys) = keys {
            message = message.with_keys([keys]);
        }
        for (name, value) in properties {
            message = message.with_property(name, value);
        }
        let sent = self.producer.send_to(message, sharding_key.map_or(Place::Any, Place::Key)).await?;
        if sent.maybe_duplicate {
            tracing::warn!("{} may be stored twice: an earlier attempt had an unknown outcome", sent.msg_id);
        }
        Ok(Sent {
            group: sent.queue.broker_name.to_string(),
            queue: sent.queue.queue_id,
            offset: sent.queue_offset,
            msg_id: sent.msg_id,
        })
    }

    pub(crate) async fn close(self) {
        self.producer.close().await;
    }
}

/// A started consumer. What [`Receiver::next`] has answered counts as consumed.
pub(crate) struct Receiver {}

impl Receiver {
    pub(crate) async fn start(namesrv: &NameServers, subscription: Subscription) -> Result<Self, CliError> {
        let _ = (namesrv, subscription);
        missing("consume")
    }

    pub(crate) async fn next(&mut self) -> Result<Incoming, CliError> {
        missing("consume")
    }

    /// Commits the offsets and leaves the group.
    pub(crate) async fn close(self) -> Result<(), CliError> {
        missing("consume")
    }
}
