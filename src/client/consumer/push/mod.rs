//! The push consumer: pulls its share of the queues all the time and hands the messages to a listener.
//!
//! Every message is delivered at least once. A message comes again if its consumer ends before its offset is committed,
//! and may come twice when a queue changes hands; listeners must bear that.
//!
//! In this milestone a message the listener wants [`ConsumeResult::Later`] is handed to it again by this very consumer,
//! after a second, as often as needed: sending it back to the broker (code 36) and the dead-letter topic come later. Until it
//! is consumed it holds back the committed offset of its queue, and the messages after it come again after a restart.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use quorumq_raft::runtime::Runtime;
use tokio::sync::{Notify, mpsc};

use super::message::MessageExt;
use super::process_queue::{CacheLimits, ProcessQueue};
use super::subscription::Subscription;
use crate::client::core::Core;
use crate::client::error::ClientError;
use crate::client::heartbeat;
use crate::client::options::{ClientOptions, parse_namesrv};
use crate::client::queue::MessageQueue;
use crate::client::remoting::OnPush;
use crate::protocol::body::heartbeat::{
    ConsumeFromWhere, ConsumeType, ConsumerData, HeartbeatData, MessageModel, SUBSCRIBE_ALL,
};
use crate::protocol::code::request;
use crate::protocol::names;

mod commit;
mod consume;
mod puller;
mod rebalance;

use consume::{Delayed, Work};

/// Most messages on their way to the workers, whatever the cache may hold.
const MAX_WORK: usize = 100_000;

/// What a listener made of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsumeResult {
    /// Done with it.
    Consumed,
    /// Try again later.
    Later,
}

/// Consumes messages. Called for up to [`PushConsumerOptions::concurrency`] messages at a time, those of one queue
/// included: in no order. A panic counts as [`ConsumeResult::Later`]. Any `async` closure over an `Arc<MessageExt>` is one.
pub trait Listener: Send + Sync + 'static {
    /// Consumes one message.
    fn consume(&self, message: Arc<MessageExt>) -> impl Future<Output = ConsumeResult> + Send;
}

impl<F, Fut> Listener for F
where
    F: Fn(Arc<MessageExt>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ConsumeResult> + Send,
{
    fn consume(&self, message: Arc<MessageExt>) -> impl Future<Output = ConsumeResult> + Send {
        self(message)
    }
}

/// Where a group begins in a queue for which it has committed no offset yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsumeFrom {
    /// At the end: messages that come from now on (RocketMQ's default).
    Last,
    /// At the first message still held.
    First,
    /// At the first message stored then or later, milliseconds since 1970.
    Timestamp(i64),
}

/// Settings of a push consumer, with RocketMQ's defaults.
#[derive(Clone, Debug)]
pub struct PushConsumerOptions {
    /// Consumer group. All its members must have the same subscriptions.
    pub group: String,
    /// Topics, each with its tags: "*" or tags joined by "||".
    pub subscriptions: BTreeMap<String, String>,
    /// Where to begin.
    pub from: ConsumeFrom,
    /// Messages of one pull (`pullBatchSize`: 32).
    pub batch: u32,
    /// How long a broker holds a pull while there is nothing new (`BROKER_SUSPEND_MAX_TIME_MILLIS`: 15,000 ms).
    pub hold: Duration,
    /// What may be in memory of each queue.
    pub cache: CacheLimits,
    /// Listeners at work at a time (`consumeThreadMax`: 20).
    pub concurrency: usize,
    /// When a message comes again after [`ConsumeResult::Later`].
    pub redeliver_after: Duration,
    /// How often offsets are committed (`persistConsumerOffsetInterval`: 5000 ms).
    pub commit_interval: Duration,
    /// How often shares are computed anew without cause (`RebalanceService`: 20,000 ms).
    pub rebalance_interval: Duration,
    /// How long closing, or handing a queue over, waits for listeners at work.
    pub patience: Duration,
    /// What all clients share.
    pub client: ClientOptions,
}

/// Makes a [`PushConsumer`].
#[derive(Clone, Debug)]
#[must_use]
pub struct PushConsumerBuilder {
    /// Everything that can be set.
    pub options: PushConsumerOptions,
}

impl PushConsumerBuilder {
    /// A consumer of `group` with the default settings; `namesrv` is a list as RocketMQ writes it.
    ///
    /// # Errors
    /// As [`parse_namesrv`].
    pub fn new(group: &str, namesrv: &str) -> Result<Self, ClientError> {
        Ok(Self::with_client(group, ClientOptions::new(parse_namesrv(namesrv)?)))
    }

    /// A consumer of `group` with the default settings and these of the client.
    pub fn with_client(group: &str, client: ClientOptions) -> Self {
        let options = PushConsumerOptions {
            group: group.to_owned(),
            subscriptions: BTreeMap::new(),
            from: ConsumeFrom::Last,
            batch: 32,
            hold: Duration::from_secs(15),
            cache: CacheLimits::default(),
            concurrency: 20,
            redeliver_after: Duration::from_secs(1),
            commit_interval: Duration::from_secs(5),
            rebalance_interval: Duration::from_secs(20),
            patience: Duration::from_secs(2),
            client,
        };
        Self { options }
    }

    /// Adds a topic with its tags: "*" or tags joined by "||".
    pub fn subscribe(mut self, topic: &str, expression: &str) -> Self {
        self.options.subscriptions.insert(topic.to_owned(), expression.to_owned());
        self
    }

    /// Sets where the group begins.
    pub fn from(mut self, from: ConsumeFrom) -> Self {
        self.options.from = from;
        self
    }

    /// Changes the other settings.
    pub fn with(mut self, change: impl FnOnce(&mut PushConsumerOptions)) -> Self {
        change(&mut self.options);
        self
    }

    /// Starts to consume.
    ///
    /// # Errors
    /// [`ClientError::Invalid`]: a name is not allowed, or there is no subscription or NameServer.
    pub fn start<R: Runtime, L: Listener>(self, listener: L) -> Result<PushConsumer<R>, ClientError> {
        PushConsumer::start(self.options, listener)
    }
}

/// A consumer that is always pulling. It stops when it is closed or dropped; dropped, it commits nothing more.
pub struct PushConsumer<R: Runtime> {
    shared: Arc<Shared<R>>,
}

/// What the consumer's tasks share.
struct Shared<R: Runtime> {
    options: PushConsumerOptions,
    core: Arc<Core<R>>,
    subscriptions: BTreeMap<Arc<str>, Subscription>,
    heartbeat: HeartbeatData,
    /// Our share.
    queues: Mutex<BTreeMap<MessageQueue, Arc<ProcessQueue>>>,
    /// The share is to be computed anew.
    rebalance: Arc<Notify>,
    work: mpsc::Sender<Work>,
    delayed: Delayed<R>,
}

impl<R: Runtime> PushConsumer<R> {
    fn start<L: Listener>(options: PushConsumerOptions, listener: L) -> Result<Self, ClientError> {
        names::check_group(&options.group)
            .map_err(|error| ClientError::invalid("consumer group", error.to_string()))?;
        let subscriptions = subscriptions::<R>(&options)?;
        let rebalance = Arc::new(Notify::new());
        let core = Core::start(options.client.clone(), on_push(&options.group, &rebalance))?;
        // One queue's worth: enough to keep the workers busy while the next pull is under way.
        let (work, queue) = mpsc::channel(options.cache.messages.clamp(1, MAX_WORK));
        let shared = Arc::new(Shared {
            heartbeat: heartbeat_data(&options, &subscriptions, &core.client_id),
            subscriptions,
            queues: Mutex::default(),
            rebalance,
            work,
            delayed: Delayed::default(),
            core: Arc::clone(&core),
            options,
        });
        let heartbeats = heartbeat::keep_up(Arc::clone(&core), heartbeat::Whom::Members, shared.heartbeat.clone());
        core.tasks.spawn(heartbeats);
        core.tasks.spawn(rebalance::keep_up(Arc::clone(&shared)));
        core.tasks.spawn(commit::keep_up(Arc::clone(&shared)));
        core.tasks.spawn(consume::redeliver(Arc::clone(&shared)));
        consume::start_workers(&shared, queue, listener);
        Ok(Self { shared })
    }

    /// The queues it reads at the moment, sorted.
    pub fn assigned(&self) -> Vec<MessageQueue> {
        self.shared.queues().keys().cloned().collect()
    }

    /// Its connections and routes.
    pub fn core(&self) -> &Arc<Core<R>> {
        &self.shared.core
    }

    /// Pulls no more, waits a while for listeners at work, commits what is consumed, takes leave of the brokers.
    pub async fn close(&self) {
        let shared = &self.shared;
        shared.core.tasks.cancel();
        let queues: Vec<_> =
            shared.queues().iter().map(|(queue, process)| (queue.clone(), Arc::clone(process))).collect();
        join_all(queues.iter().map(|(queue, process)| shared.release(queue, process))).await;
        heartbeat::leave(&shared.core, None, Some(&shared.options.group)).await;
        shared.core.close().await;
    }
}

impl<R: Runtime> Drop for PushConsumer<R> {
    fn drop(&mut self) {
        self.shared.core.tasks.cancel();
    }
}

impl<R: Runtime> Shared<R> {
    fn queues(&self) -> MutexGuard<'_, BTreeMap<MessageQueue, Arc<ProcessQueue>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The subscriptions asked for, and the one to the group's retry topic that every member has.
fn subscriptions<R: Runtime>(options: &PushConsumerOptions) -> Result<BTreeMap<Arc<str>, Subscription>, ClientError> {
    if options.subscriptions.is_empty() {
        return Err(ClientError::invalid("subscriptions", "there is none"));
    }
    let retry = names::retry_topic(&options.group);
    let asked = options.subscriptions.iter().map(|(topic, expression)| (topic.as_str(), expression.as_str()));
    let all = asked.chain([(retry.as_str(), SUBSCRIBE_ALL)]);
    let version = R::wall_clock_ms();
    all.map(|(topic, expression)| {
        let subscription = Subscription::new(topic, expression, version)?;
        Ok((Arc::clone(&subscription.topic), subscription))
    })
    .collect()
}

fn heartbeat_data(
    options: &PushConsumerOptions,
    subscriptions: &BTreeMap<Arc<str>, Subscription>,
    client_id: &str,
) -> HeartbeatData {
    let group = ConsumerData {
        group_name: options.group.clone(),
        consume_type: ConsumeType::Passively,
        message_model: MessageModel::Clustering,
        consume_from_where: match options.from {
            ConsumeFrom::Last => ConsumeFromWhere::LastOffset,
            ConsumeFrom::First => ConsumeFromWhere::FirstOffset,
            ConsumeFrom::Timestamp(_) => ConsumeFromWhere::Timestamp,
        },
        subscription_data_set: subscriptions.values().map(Subscription::data).collect(),
        unit_mode: false,
    };
    HeartbeatData { client_id: client_id.to_owned(), consumer_data_set: vec![group], producer_data_set: Vec::new() }
}

/// Hears of changes among the group's members (40).
fn on_push(group: &str, rebalance: &Arc<Notify>) -> OnPush {
    let (group, rebalance) = (group.to_owned(), Arc::clone(rebalance));
    Arc::new(move |_, command| {
        let ours = command.ext.get("consumerGroup").is_none_or(|told| told == group);
        if command.code == request::NOTIFY_CONSUMER_IDS_CHANGED && ours {
            rebalance.notify_one();
        }
        None
    })
}
