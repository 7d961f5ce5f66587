//! The producer: sends messages, and says of each whether it is stored.

use std::sync::Arc;
use std::time::Duration;

use quorumq_raft::runtime::Runtime;

use super::core::Core;
use super::error::ClientError;
use super::heartbeat;
use super::message::Message;
use super::options::{ClientOptions, parse_namesrv};
use super::queue::MessageQueue;
use super::route::TopicRoute;
use super::time::now;
use super::uniq_key::UniqKeys;
use crate::protocol::body::heartbeat::{HeartbeatData, ProducerData};
use crate::protocol::names;

mod asynchronous;
mod attempts;
mod prepared;
mod sending;
mod verdict;

use asynchronous::AsyncSends;
pub use asynchronous::SendHandle;
use attempts::Attempts;
pub use prepared::{DEFAULT_TOPIC_QUEUES, MAX_BATCH, MessageLimits, Prepared, SendRequest};
pub use sending::SendResult;
use sending::Sending;
pub use verdict::{EXT_OUTCOME, OUTCOME_UNKNOWN, SendStatus, Stored, Verdict, judge};

/// Settings of a producer, with RocketMQ's defaults.
#[derive(Clone, Debug)]
pub struct ProducerOptions {
    /// Producer group.
    pub group: String,
    /// Time for a send with all its attempts (`sendMsgTimeout`: 3000 ms).
    pub timeout: Duration,
    /// Attempts of a send whose outcome stays open or whose brokers are busy (`retryTimesWhenSendFailed`: 2 more).
    pub attempts: u32,
    /// Sends started with [`Producer::send_async`] and not ended (`backPressureForAsyncSendNum`: 1024).
    pub async_in_flight: usize,
    /// Limits of a message.
    pub limits: MessageLimits,
    /// What all clients share.
    pub client: ClientOptions,
}

/// Where a message goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Any queue, round-robin. A retry may choose another.
    Any,
    /// The queue of this key: messages of one key keep the order in which they are acknowledged.
    Key(String),
    /// This queue.
    Queue(MessageQueue),
}

/// Makes a [`Producer`].
#[derive(Clone, Debug)]
#[must_use]
pub struct ProducerBuilder {
    /// Everything that can be set.
    pub options: ProducerOptions,
}

impl ProducerBuilder {
    /// Sets the time for a send with all its attempts.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = timeout;
        self
    }

    /// Sets the number of attempts, at least 1.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.options.attempts = attempts;
        self
    }

    /// Changes the other settings.
    pub fn with(mut self, change: impl FnOnce(&mut ProducerOptions)) -> Self {
        change(&mut self.options);
        self
    }

    /// Starts the producer. Nothing is sent before the first message.
    ///
    /// # Errors
    /// [`ClientError::Invalid`]: the group's name is not allowed, or no NameServer was given.
    pub fn start<R: Runtime>(self) -> Result<Producer<R>, ClientError> {
        Producer::start(self.options)
    }
}

/// Sends messages. Cheap to clone; all clones are the same producer.
///
/// ```no_run
/// # use quorumq::client::{ClientError, Message, producer::ProducerBuilder};
/// # use quorumq_raft::runtime::tokio::Tokio;
/// # async fn example() -> Result<(), ClientError> {
/// let producer = ProducerBuilder::new("orders", "127.0.0.1:9876")?.start::<Tokio>()?;
/// match producer.send(Message::new("T", "hello")).await {
///     Ok(stored) => println!("{} at {}", stored.msg_id, stored.queue_offset),
///     Err(ClientError::Unknown { msg_id, .. }) => println!("{msg_id} may be stored: look before sending it again"),
///     Err(refused) => println!("not stored: {refused}"),
/// }
/// # Ok(()) }
/// ```
pub struct Producer<R: Runtime> {
    inner: Arc<Inner<R>>,
    sends: AsyncSends,
}

impl<R: Runtime> Clone for Producer<R> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), sends: self.sends.clone() }
    }
}

pub(super) struct Inner<R: Runtime> {
    options: ProducerOptions,
    core: Arc<Core<R>>,
    keys: UniqKeys,
}

impl ProducerBuilder {
    /// A producer of `group` with the default settings; `namesrv` is a list as RocketMQ writes it.
    ///
    /// # Errors
    /// As [`parse_namesrv`].
    pub fn new(group: &str, namesrv: &str) -> Result<Self, ClientError> {
        Ok(Self::with_client(group, ClientOptions::new(parse_namesrv(namesrv)?)))
    }

    /// A producer of `group` with the default settings and these of the client.
    pub fn with_client(group: &str, client: ClientOptions) -> Self {
        let options = ProducerOptions {
            group: group.to_owned(),
            timeout: Duration::from_secs(3),
            attempts: 3,
            async_in_flight: 1024,
            limits: MessageLimits::default(),
            client,
        };
        Self { options }
    }
}

impl<R: Runtime> Producer<R> {
    fn start(options: ProducerOptions) -> Result<Self, ClientError> {
        names::check_group(&options.group)
            .map_err(|error| ClientError::invalid("producer group", error.to_string()))?;
        // The brokers' requests to producers (39, check a transaction) come with transactions.
        let core = Core::start(options.client.clone(), Arc::new(|_, _| None))?;
        let inner = Arc::new(Inner { keys: UniqKeys::new::<R>(), options, core });
        let heartbeats = heartbeat::keep_up(Arc::clone(&inner.core), heartbeat::Whom::Leaders, inner.heartbeat());
        inner.core.tasks.spawn(heartbeats);
        let sends = AsyncSends::start(&inner);
        Ok(Self { inner, sends })
    }

    /// Sends `message` to any queue, round-robin. Dropping the future does not take back what was sent.
    ///
    /// # Errors
    /// [`ClientError::Unknown`] if the message may be stored; any other error if it is not and will not be.
    pub async fn send(&self, message: Message) -> Result<SendResult, ClientError> {
        self.send_to(message, Place::Any).await
    }

    /// Sends `message` to the queue of `key`. For messages of one key to keep their order, wait for each before the
    /// next is sent.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn send_by_key(&self, message: Message, key: &str) -> Result<SendResult, ClientError> {
        self.send_to(message, Place::Key(key.to_owned())).await
    }

    /// Sends `message` to `place`.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn send_to(&self, message: Message, place: Place) -> Result<SendResult, ClientError> {
        let prepared = self.prepare(&message)?;
        self.send_prepared(&prepared, &place, None).await
    }

    /// Sends several messages of one topic, which are stored together or not at all, next to each other in one queue.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn send_batch(&self, messages: &[Message], place: Place) -> Result<SendResult, ClientError> {
        let prepared = Prepared::batch::<R>(messages, &self.inner.keys, &self.inner.options.limits)?;
        self.send_prepared(&prepared, &place, None).await
    }

    /// Sends `message` without waiting for, or ever getting, an answer.
    ///
    /// # Errors
    /// It could not even be queued.
    pub async fn send_oneway(&self, message: &Message, place: &Place) -> Result<(), ClientError> {
        let prepared = self.prepare(message)?;
        self.inner.oneway(&prepared, place).await
    }

    /// Starts to send `message` and returns once it is under way: at most [`ProducerOptions::async_in_flight`] are, and
    /// this waits while that many are. The handle resolves to the outcome; dropping it does not stop the send.
    ///
    /// # Errors
    /// The message is invalid, or the producer is closed.
    pub async fn send_async(&self, message: &Message, place: Place) -> Result<SendHandle, ClientError> {
        let prepared = self.prepare(message)?;
        let (handle, done) = SendHandle::new(prepared.msg_id());
        self.sends.submit(prepared, place, Box::new(done)).await?;
        Ok(handle)
    }

    /// [`Self::send_async`] with a callback, called exactly once, on the client's task: it must not block.
    ///
    /// # Errors
    /// As [`Self::send_async`]; the callback is not called then.
    pub async fn send_with(
        &self,
        message: &Message,
        place: Place,
        done: impl FnOnce(Result<SendResult, ClientError>) + Send + 'static,
    ) -> Result<(), ClientError> {
        let prepared = self.prepare(message)?;
        self.sends.submit(prepared, place, Box::new(done)).await
    }

    /// Checks `message`, gives it its id and compresses it if it is large. For senders that make their own attempts
    /// with [`Prepared::request`] and [`judge`].
    ///
    /// # Errors
    /// [`ClientError::Invalid`].
    pub fn prepare(&self, message: &Message) -> Result<Prepared, ClientError> {
        Prepared::new::<R>(message, &self.inner.keys, &self.inner.options.limits)
    }

    /// Sends what was prepared. `earlier` tells of an attempt the caller has made whose outcome is unknown.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn send_prepared(
        &self,
        prepared: &Prepared,
        place: &Place,
        earlier: Option<String>,
    ) -> Result<SendResult, ClientError> {
        self.inner.send(prepared, place, earlier).await
    }

    /// The route of `topic`.
    ///
    /// # Errors
    /// [`ClientError::NoRoute`] or [`ClientError::NoAnswer`].
    pub async fn route(&self, topic: &str) -> Result<Arc<TopicRoute<R>>, ClientError> {
        self.inner.route(&topic.into(), now::<R>() + self.inner.options.timeout).await
    }

    /// The producer's connections and routes.
    pub fn core(&self) -> &Arc<Core<R>> {
        &self.inner.core
    }

    /// Waits for sends under way, takes leave of the brokers and closes all connections.
    pub async fn close(&self) {
        self.sends.close(self.inner.options.async_in_flight).await;
        heartbeat::leave(&self.inner.core, Some(&self.inner.options.group), None).await;
        self.inner.core.close().await;
    }
}

impl<R: Runtime> Inner<R> {
    pub(super) async fn send(
        &self,
        prepared: &Prepared,
        place: &Place,
        earlier: Option<String>,
    ) -> Result<SendResult, ClientError> {
        let deadline = now::<R>() + self.options.timeout;
        let attempts = Attempts::new(self.options.attempts, earlier);
        match Sending::begin(self, prepared, place, attempts, deadline).await {
            Ok(sending) => sending.run().await,
            Err((mut attempts, error)) => {
                attempts.blocked(error);
                Err(attempts.give_up(&prepared.msg_id))
            }
        }
    }

    async fn oneway(&self, prepared: &Prepared, place: &Place) -> Result<(), ClientError> {
        let deadline = now::<R>() + self.options.timeout;
        let attempts = Attempts::new(1, None);
        let begun = Sending::begin(self, prepared, place, attempts, deadline).await;
        begun.map_err(|(_, error)| error)?.oneway()
    }

    /// The route of `topic`; the default topic's if it does not exist yet and a broker may create it.
    async fn route(&self, topic: &Arc<str>, deadline: R::Instant) -> Result<Arc<TopicRoute<R>>, ClientError> {
        let unknown = match self.core.routes.get(topic, deadline).await {
            Err(error @ ClientError::NoRoute { .. }) => error,
            found => return found,
        };
        match self.core.routes.get(&names::AUTO_CREATE_TOPIC.into(), deadline).await {
            Ok(default) => Ok(Arc::new(TopicRoute::of_default(topic, &default, DEFAULT_TOPIC_QUEUES))),
            Err(_) => Err(unknown),
        }
    }

    fn heartbeat(&self) -> HeartbeatData {
        HeartbeatData {
            client_id: self.core.client_id.to_string(),
            producer_data_set: vec![ProducerData { group_name: self.options.group.clone() }],
            consumer_data_set: Vec::new(),
        }
    }
}
