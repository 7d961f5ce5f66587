//! Sending and receiving.

use std::sync::Arc;

use bytes::Bytes;
use quorumq_raft::runtime::tokio::Tokio;
use tokio::sync::{mpsc, oneshot};

use crate::cli::NameServers;
use crate::cli::error::CliError;
use crate::client::admin::Admin;
use crate::client::consumer::{ConsumeFrom, ConsumeResult, MessageExt, PushConsumer, PushConsumerBuilder};
use crate::client::producer::{Place, ProducerBuilder};
use crate::client::{ByKey, Message, Producer};

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

/// Messages with a key, of every group that has the topic, the newest first within each.
pub(crate) async fn find(namesrv: &NameServers, wanted: &ByKey<'_>) -> Result<Vec<Incoming>, CliError> {
    let admin = Admin::<Tokio>::start(&namesrv.list)?;
    let found = admin.core().query_by_key(wanted).await;
    admin.close().await;
    Ok(found?.iter().map(Incoming::from).collect())
}

/// A started consumer. What [`Receiver::next`] has answered counts as consumed once the next is asked for or it is closed.
pub(crate) struct Receiver {
    consumer: PushConsumer<Tokio>,
    arrivals: mpsc::Receiver<(Incoming, oneshot::Sender<()>)>,
    /// Tells the consumer that the last message is consumed.
    last: Option<oneshot::Sender<()>>,
}

impl Receiver {
    pub(crate) async fn start(namesrv: &NameServers, subscription: Subscription) -> Result<Self, CliError> {
        let Subscription { topic, group, expression, from_first } = subscription;
        // The consumer would wait for a topic that is not there; whoever misspelled it would wait too.
        let admin = Admin::<Tokio>::start(&namesrv.list)?;
        let routed = admin.route(&topic).await.map(drop);
        admin.close().await;
        routed?;
        let (sender, arrivals) = mpsc::channel(1);
        let listener = move |message: Arc<MessageExt>| {
            let sender = sender.clone();
            async move {
                let (consumed, done) = oneshot::channel();
                let gone = sender.send((Incoming::from(&*message), consumed)).await.is_err();
                if gone || done.await.is_err() { ConsumeResult::Later } else { ConsumeResult::Consumed }
            }
        };
        let from = if from_first { ConsumeFrom::First } else { ConsumeFrom::Last };
        // One at a time: messages of a queue come out in its order.
        let builder = PushConsumerBuilder::new(&group, &namesrv.list)?.with(|options| options.concurrency = 1);
        let consumer = builder.subscribe(&topic, &expression).from(from).start(listener)?;
        Ok(Self { consumer, arrivals, last: None })
    }

    /// The next message. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<Incoming, CliError> {
        if let Some(consumed) = self.last.take() {
            // A consumer that has lost the queue meanwhile does not care.
            let _ = consumed.send(());
        }
        match self.arrivals.recv().await {
            Some((message, consumed)) => {
                self.last = Some(consumed);
                Ok(message)
            }
            None => Err(CliError::failed("the consumer ended", "Run it again; it goes on where it was.")),
        }
    }

    /// The last message was not used: it comes again.
    pub(crate) fn give_back(&mut self) {
        self.last = None;
    }

    /// Commits the offsets and leaves the group.
    pub(crate) async fn close(mut self) {
        if let Some(consumed) = self.last.take() {
            let _ = consumed.send(());
        }
        drop(self.arrivals);
        self.consumer.close().await;
    }
}

impl From<&MessageExt> for Incoming {
    fn from(message: &MessageExt) -> Self {
        let keys: Vec<_> = message.keys().collect();
        Self {
            group: message.queue.broker_name.to_string(),
            queue: message.queue.queue_id,
            offset: message.queue_offset.0,
            msg_id: message.msg_id(),
            tag: message.tag().map(str::to_owned),
            keys: (!keys.is_empty()).then(|| keys.join(" ")),
            born_ms: message.born_timestamp_ms,
            store_ms: message.store_timestamp_ms,
            body: message.body.clone(),
        }
    }
}
