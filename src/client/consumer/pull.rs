//! One pull (11), and the consumer whose application pulls by itself.

use std::sync::Arc;
use std::time::Duration;

use quorumq_raft::runtime::Runtime;
use quorumq_store::QueueOffset;

use super::message::{self, MessageExt};
use super::subscription::Subscription;
use crate::client::core::{Changed, Core, Patience};
use crate::client::error::ClientError;
use crate::client::heartbeat;
use crate::client::options::{ClientOptions, parse_namesrv};
use crate::client::queue::MessageQueue;
use crate::client::time::now;
use crate::protocol::body::heartbeat::{ConsumeFromWhere, ConsumeType, ConsumerData, EXPRESSION_TAG, HeartbeatData};
use crate::protocol::code::{request, response};
use crate::protocol::header::pull::{PullMessageRequest, PullMessageResponse, sys_flag};
use crate::protocol::{Command, names};

/// Most messages of one pull; brokers have limits of their own.
pub const MAX_PULL: u32 = 1024;

/// What a pull found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullStatus {
    /// Messages.
    Found,
    /// Nothing new within the time the broker held the request.
    NoNewMessage,
    /// Messages, but none with a wanted tag.
    NoMatchedMessage,
    /// The offset is outside of what the queue holds.
    OffsetIllegal,
}

/// The result of a pull.
#[derive(Clone, Debug)]
pub struct PullResult {
    /// What it found.
    pub status: PullStatus,
    /// Where to pull next.
    pub next_offset: QueueOffset,
    /// The first offset the queue holds.
    pub min_offset: QueueOffset,
    /// The offset the next message will get.
    pub max_offset: QueueOffset,
    /// Messages with a wanted tag, in order.
    pub messages: Vec<MessageExt>,
}

/// What to pull.
#[derive(Clone, Copy, Debug)]
pub struct Pull<'a> {
    /// Consumer group.
    pub group: &'a str,
    /// From which queue.
    pub queue: &'a MessageQueue,
    /// From which offset on.
    pub offset: QueueOffset,
    /// Most messages wanted, 1 to [`MAX_PULL`].
    pub max: u32,
    /// Which messages.
    pub subscription: &'a Subscription,
    /// How long the broker may hold the request while there is nothing new; zero asks it not to.
    pub hold: Duration,
}

impl<R: Runtime> Core<R> {
    /// Pulls once. While a group has no leader this waits for one, up to the API timeout.
    ///
    /// # Errors
    /// No broker answered, or one refused: 24 or 25 if it has not heard of the subscription.
    pub async fn pull(&self, pull: &Pull<'_>) -> Result<PullResult, ClientError> {
        let suspend = if pull.hold.is_zero() { 0 } else { sys_flag::SUSPEND };
        let header = PullMessageRequest {
            consumer_group: pull.group,
            topic: &pull.queue.topic,
            queue_id: pull.queue.queue_id.cast_signed(),
            queue_offset: pull.offset.to_i64(),
            max_msg_nums: pull.max.clamp(1, MAX_PULL).cast_signed(),
            // The subscription goes along: a broker that has just come to lead need not have heard our heartbeat.
            sys_flag: suspend | sys_flag::SUBSCRIPTION,
            commit_offset: 0,
            suspend_timeout_millis: i64::try_from(pull.hold.as_millis()).unwrap_or(i64::MAX),
            sub_version: pull.subscription.version,
            subscription: Some(&pull.subscription.expression),
            expression_type: Some(EXPRESSION_TAG),
            max_msg_bytes: None,
            request_source: None,
            broker_name: Some(&pull.queue.broker_name),
        };
        let question = self.request(request::PULL_MESSAGE, header.encode());
        let timeout = self.options.api_timeout;
        let patience = Patience { deadline: now::<R>() + timeout, attempt: pull.hold + timeout, overrun: true };
        let group = self.routes.group(&pull.queue.broker_name);
        let answer = self.ask(&group, &question, patience).await?;
        let status = match answer.code {
            response::SUCCESS => PullStatus::Found,
            response::PULL_NOT_FOUND => PullStatus::NoNewMessage,
            response::PULL_RETRY_IMMEDIATELY => PullStatus::NoMatchedMessage,
            response::PULL_OFFSET_MOVED => PullStatus::OffsetIllegal,
            _ => return Err(ClientError::refused(&answer)),
        };
        read(status, &answer, pull).map_err(|why| ClientError::BadAnswer { request: request::PULL_MESSAGE, why })
    }
}

fn read(status: PullStatus, answer: &Command, pull: &Pull<'_>) -> Result<PullResult, String> {
    let header = PullMessageResponse::decode(answer).map_err(|error| error.to_string())?;
    let offset = |value: i64| u64::try_from(value).map(QueueOffset).map_err(|_| format!("offset {value}"));
    let mut messages = match status {
        PullStatus::Found => message::decode(&answer.body, pull.queue)?,
        _ => Vec::new(),
    };
    messages.retain(|message| pull.subscription.wants(message.tag()));
    Ok(PullResult {
        status: if status == PullStatus::Found && messages.is_empty() { PullStatus::NoMatchedMessage } else { status },
        next_offset: offset(header.next_begin_offset)?,
        min_offset: offset(header.min_offset)?,
        max_offset: offset(header.max_offset)?,
        messages,
    })
}

/// A consumer whose application pulls by itself and keeps its own pace; it takes no part in sharing queues out.
pub struct PullConsumer<R: Runtime> {
    group: String,
    core: Arc<Core<R>>,
    version: i64,
}

impl<R: Runtime> PullConsumer<R> {
    /// A consumer of `group`; `namesrv` is a list as RocketMQ writes it.
    ///
    /// # Errors
    /// [`ClientError::Invalid`]: the group's name or the list.
    pub fn start(group: &str, namesrv: &str) -> Result<Self, ClientError> {
        Self::start_with(group, ClientOptions::new(parse_namesrv(namesrv)?))
    }

    /// A consumer of `group` with these settings.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with(group: &str, options: ClientOptions) -> Result<Self, ClientError> {
        names::check_group(group).map_err(|error| ClientError::invalid("consumer group", error.to_string()))?;
        let core = Core::start(options, Arc::new(|_, _| None))?;
        let data = HeartbeatData {
            client_id: core.client_id.to_string(),
            consumer_data_set: vec![ConsumerData {
                group_name: group.to_owned(),
                consume_type: ConsumeType::Actively,
                consume_from_where: ConsumeFromWhere::LastOffset,
                ..ConsumerData::default()
            }],
            producer_data_set: Vec::new(),
        };
        core.tasks.spawn(heartbeat::keep_up(Arc::clone(&core), heartbeat::Whom::Members, data));
        Ok(Self { group: group.to_owned(), core, version: R::wall_clock_ms() })
    }

    /// The queues of `topic` that may be read, sorted.
    ///
    /// # Errors
    /// [`ClientError::NoRoute`] or [`ClientError::NoAnswer`].
    pub async fn message_queues(&self, topic: &str) -> Result<Vec<MessageQueue>, ClientError> {
        let deadline = now::<R>() + self.core.options.api_timeout;
        let route = self.core.routes.get(&topic.into(), deadline).await?;
        Ok(route.read.iter().map(|routed| routed.queue.clone()).collect())
    }

    /// Pulls up to `max` messages of `queue` from `offset` on that have a tag of `expression` ("*" for all). While there
    /// is nothing new the broker holds the request for `hold`.
    ///
    /// # Errors
    /// No broker answered, or one refused.
    pub async fn pull(
        &self,
        queue: &MessageQueue,
        offset: QueueOffset,
        max: u32,
        expression: &str,
        hold: Duration,
    ) -> Result<PullResult, ClientError> {
        // Knows the group's members by it.
        self.core.routes.get(&queue.topic, now::<R>() + self.core.options.api_timeout).await?;
        let subscription = Subscription::new(&queue.topic, expression, self.version)?;
        self.core.pull(&Pull { group: &self.group, queue, offset, max, subscription: &subscription, hold }).await
    }

    /// The offset the group has committed for `queue`, if any.
    ///
    /// # Errors
    /// No broker answered, or one refused.
    pub async fn committed(&self, queue: &MessageQueue) -> Result<Option<QueueOffset>, ClientError> {
        self.core.committed(&self.group, queue).await
    }

    /// Commits `offset` as the next one the group consumes of `queue`.
    ///
    /// # Errors
    /// [`ClientError::Unknown`] if it may be committed all the same, now or later; any other error if it is not.
    pub async fn commit(&self, queue: &MessageQueue, offset: QueueOffset) -> Result<Changed, ClientError> {
        self.core.commit(&self.group, queue, offset).await
    }

    /// Connections and routes; also [`Core::max_offset`], [`Core::min_offset`] and [`Core::search_offset`].
    pub fn core(&self) -> &Arc<Core<R>> {
        &self.core
    }

    /// Takes leave of the brokers and closes all connections.
    pub async fn close(&self) {
        heartbeat::leave(&self.core, None, Some(&self.group)).await;
        self.core.close().await;
    }
}

impl<R: Runtime> Drop for PullConsumer<R> {
    fn drop(&mut self) {
        self.core.tasks.cancel();
    }
}
