//! What clients do: one kind of client a file, each through the product's own client.
//!
//! A kind is one file with `pub async fn run(client: Client) -> Result<(), ClientError>` and one line in [`Kind`]. It works
//! until its [`Client::stop`] is cancelled, or its host dies, and writes everything it does into its [`Client::ledger`].
//! When all faults are over, [`settle`], [`fresh`] and [`scan`] take the last looks.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use madsim::task::JoinHandle;
use openraft_rt::{AsyncRuntime, Instant as _, Select2};
use quorumq::client::producer::ProducerBuilder;
use quorumq::client::{ClientError, ClientOptions, MessageQueue};
use quorumq::protocol::Encoding;
use rand::RngExt;
use tokio_util::sync::CancellationToken;

use crate::history::{Action, Ended, Ledger, Line, Place, SendKind, Sent};
use crate::runtime::{SimInstant, SimRuntime};
use crate::world::{Node, World};

mod asynchronous;
mod batch;
mod committer;
mod ends;
mod follower;
pub mod fresh;
mod key_reader;
mod message;
mod one_way;
mod ordered;
mod pull;
mod push;
mod read;
pub mod scan;
pub mod settle;
pub mod synchronous;
mod topic_changer;
pub mod topics;

/// One client in this many writes its request headers as old clients do, in JSON.
const JSON_ONE_IN: u32 = 4;

type Producer = quorumq::client::Producer<SimRuntime>;
type PullConsumer = quorumq::client::PullConsumer<SimRuntime>;

/// Declares the kinds of clients: for each its module, its name, and its usual longest pause in milliseconds.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident: $module:ident, $name:literal, $pause_ms:literal;)*) => {
        /// A kind of client.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Kind { $($(#[$doc])* $kind,)* }

        impl Kind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$kind),*];

            /// Its name, fit for the names of topics and groups.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }

            /// [`Client::pause`](field@Client::pause) with which one of each kind together get some 80 messages a second acknowledged.
            #[must_use]
            pub fn usual_pause(self) -> Duration {
                Duration::from_millis(match self { $(Self::$kind => $pause_ms,)* })
            }

            fn spawn(self, client: Client) -> JoinHandle<Result<(), ClientError>> {
                let host = client.host.clone();
                match self { $(Self::$kind => host.spawn($module::run(client)),)* }
            }
        }
    };
}

kinds! {
    /// Sends one message after the other.
    Producer: synchronous, "producer", 250;
    /// Sends several at once.
    AsyncProducer: asynchronous, "async-producer", 700;
    /// Sends without asking for an answer.
    OneWayProducer: one_way, "one-way-producer", 1000;
    /// Sends several messages in one request.
    BatchProducer: batch, "batch-producer", 350;
    /// Sends to chosen queues, by a key or by number.
    OrderedProducer: ordered, "ordered-producer", 400;
    /// Sends to followers, which forward it.
    FollowerProducer: follower, "follower-producer", 800;
    /// Follows every queue with an offset of its own.
    PullConsumer: pull, "pull-consumer", 3000;
    /// Shares all queues with the others of its group.
    PushConsumer: push, "push-consumer", 50;
    /// Commits offsets, asks for them, resets them.
    Committer: committer, "committer", 1000;
    /// Creates topics, gives them more queues, deletes them.
    TopicChanger: topic_changer, "topic-changer", 4000;
    /// Asks where queues begin and end.
    EndsWatcher: ends, "ends-watcher", 1500;
    /// Finds messages by their keys.
    KeyReader: key_reader, "key-reader", 2500;
}

impl Kind {
    /// Starts a life of a client on its host. Ends when it was told to stop, or its host dies.
    #[must_use = "a client that could not even start says so"]
    pub fn start(self, mut client: Client) -> JoinHandle<Result<(), ClientError>> {
        if client.world.rng().random_ratio(1, JSON_ONE_IN) {
            client.options.encoding = Encoding::Json;
        }
        self.spawn(client)
    }
}

/// A topic that clients use.
#[derive(Clone, Debug)]
pub struct Topic {
    /// Name.
    pub name: Arc<str>,
    /// Queues on each broker group.
    pub queues: u32,
}

/// One life of a client: what it needs to work.
#[derive(Clone, Debug)]
pub struct Client {
    /// The world; its clock stamps operations.
    pub world: World,
    /// Where it runs.
    pub host: Node,
    /// Its name, unlike that of any other life of any client. Goes into keys and topics: letters, digits, `-` and `_`.
    pub name: Arc<str>,
    /// How it finds its brokers.
    pub options: ClientOptions,
    /// Where its operations are written down.
    pub ledger: Ledger,
    /// The topics it uses.
    pub topics: Arc<[Topic]>,
    /// Longest pause between two operations.
    pub pause: Duration,
    /// Ends it in good order.
    pub stop: CancellationToken,
}

impl Client {
    fn now_ns(&self) -> u64 {
        u64::try_from(self.world.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// An operation begins.
    fn begin(&self, action: Action) -> Line {
        self.ledger.begin(&self.name, self.now_ns(), action)
    }

    /// A send begins.
    fn begin_send(&self, kind: SendKind, topic: &Arc<str>, messages: Vec<Sent>) -> Line {
        self.begin(Action::Send { kind, topic: Arc::clone(topic), messages })
    }

    /// An operation has ended.
    fn end(&self, line: Line, ended: Ended) {
        self.ledger.end(line, self.now_ns(), ended);
    }

    /// Pauses for a drawn time. False once the client is to stop.
    async fn pause(&self) -> bool {
        self.pause_for(Duration::ZERO..=self.pause).await
    }

    /// Pauses for a time drawn from `range`. False once the client is to stop.
    async fn pause_for(&self, range: RangeInclusive<Duration>) -> bool {
        let time = self.world.rng().random_range(range);
        self.unless_stopped(SimRuntime::sleep(time)).await.is_some()
    }

    /// Waits for `future`, but not once the client is to stop.
    async fn unless_stopped<T: Send>(&self, future: impl Future<Output = T> + Send) -> Option<T> {
        match SimRuntime::select2(self.stop.cancelled(), future).await {
            Select2::First(()) => None,
            Select2::Second(done) => Some(done),
        }
    }

    /// One of its topics.
    fn any_topic(&self) -> Arc<str> {
        Arc::clone(&self.topics[self.world.rng().random_range(0..self.topics.len())].name)
    }

    fn producer(&self) -> ProducerBuilder {
        ProducerBuilder::with_client("producers", self.options.clone())
    }
}

impl From<&MessageQueue> for Place {
    fn from(queue: &MessageQueue) -> Self {
        Self { topic: Arc::clone(&queue.topic), broker: Arc::clone(&queue.broker_name), queue: queue.queue_id }
    }
}

/// When a route has to be there.
fn soon(consumer: &PullConsumer) -> SimInstant {
    SimInstant::now() + consumer.core().options.api_timeout
}

/// Tries until it succeeds.
///
/// # Errors
/// It did not within `limit`: what the last attempt came to.
async fn until_ok<T, F>(what: &str, limit: Duration, attempt: impl Fn() -> F) -> Result<T, String>
where
    F: Future<Output = Result<T, ClientError>>,
{
    /// Pause after an attempt that failed.
    const PAUSE: Duration = Duration::from_millis(50);
    let deadline = SimInstant::now() + limit;
    loop {
        match attempt().await {
            Ok(done) => return Ok(done),
            Err(e) if SimInstant::now() >= deadline => {
                return Err(format!("not within {limit:?}: {what}: {e}"));
            }
            Err(_) => SimRuntime::sleep(PAUSE).await,
        }
    }
}
