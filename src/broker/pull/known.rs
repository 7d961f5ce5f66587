//! Which messages a pull wants: from itself, from the group's heartbeats to this node, or as the leader knows it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use openraft_rt::Instant;
use quorumq_raft::runtime::Runtime;

use crate::broker::Broker;
use crate::broker::call::{self, Call};
use crate::broker::leadership::Leader;
use crate::broker::send::Refused;
use crate::broker::subscription::Subscription;
use crate::protocol::body;
use crate::protocol::body::heartbeat::{EXPRESSION_TAG, SubscriptionData};
use crate::protocol::code::response;
use crate::protocol::header::pull::{PullMessageRequest, sys_flag};

/// How long an answer of the leader is believed. Consumers announce a change by a heartbeat, and pull again within
/// seconds where it came too late.
const BELIEVED: Duration = Duration::from_secs(1);
/// Longest wait for the leader's answer.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);
/// Groups whose subscriptions are remembered.
const MAX_GROUPS: usize = 1024;

/// A group's subscriptions by topic.
type ByTopic = Arc<BTreeMap<String, Subscription>>;

/// Subscriptions this node had to ask the leader for. `I` is the runtime's instant.
#[derive(Debug)]
pub struct Known<I>(Mutex<BTreeMap<String, (I, ByTopic)>>);

impl<I> Default for Known<I> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<I: Copy + Ord> Known<I> {
    /// The subscriptions of a group, if the leader was asked after `since`.
    fn get(&self, group: &str, since: I) -> Option<ByTopic> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (asked, by_topic) = known.get(group)?;
        (*asked >= since).then(|| Arc::clone(by_topic))
    }

    fn put(&self, group: &str, asked: I, by_topic: ByTopic) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_GROUPS && !known.contains_key(group) {
            known.clear();
        }
        known.insert(group.to_owned(), (asked, by_topic));
    }
}

fn refused(code: i32, remark: impl Into<String>) -> Refused {
    Refused { code, remark: remark.into() }
}

impl<R: Runtime> Broker<R> {
    /// What a pull filters by.
    pub(super) async fn filter_of(&self, header: &PullMessageRequest<'_>) -> Result<Subscription, Refused> {
        let subscription = if header.sys_flag & sys_flag::SUBSCRIPTION != 0 {
            carried(header)?
        } else {
            self.announced(header).await?
        };
        if subscription.is_by_tags() {
            return Ok(subscription);
        }
        let expression_type = &subscription.expression_type;
        Err(refused(
            response::SYSTEM_ERROR,
            format!("The broker does not support consumer to filter message by {expression_type}"),
        ))
    }

    /// The subscription the group's heartbeats announced.
    async fn announced(&self, header: &PullMessageRequest<'_>) -> Result<Subscription, Refused> {
        let (group, topic) = (header.consumer_group, header.topic);
        let is_latest = |known: &Subscription| known.version >= header.sub_version;
        let here = self.sessions.subscription(group, topic);
        if let Some(known) = here.as_ref().filter(|known| is_latest(known)) {
            return Ok(known.clone());
        }
        let there = self.leaders_subscription(group, topic).await;
        match [there, here].into_iter().flatten().max_by_key(|known| known.version) {
            Some(known) if is_latest(&known) => Ok(known),
            Some(_) => Err(refused(response::SUBSCRIPTION_NOT_LATEST, "the consumer's subscription not latest")),
            None => Err(refused(response::SUBSCRIPTION_NOT_EXIST, "the consumer's subscription not exist")),
        }
    }

    async fn leaders_subscription(&self, group: &str, topic: &str) -> Option<Subscription> {
        let Leader::There(leader) = self.leadership.now(self.node.id()) else {
            return None;
        };
        let now = <R::Instant as Instant>::now();
        let by_topic = match self.known.get(group, now - BELIEVED) {
            Some(by_topic) => by_topic,
            None => {
                let by_topic = Arc::new(self.ask_subscriptions(leader, group).await?);
                self.known.put(group, now, Arc::clone(&by_topic));
                by_topic
            }
        };
        by_topic.get(topic).cloned()
    }

    /// Asks the leader; `None` if it does not answer.
    async fn ask_subscriptions(&self, leader: u64, group: &str) -> Option<BTreeMap<String, Subscription>> {
        let call = Call::Subscriptions { group: group.to_owned() };
        let asked = call::encode(&call, &[]).ok()?;
        let answer = match self.node.call(leader, asked, ASK_TIMEOUT).await {
            Ok(answer) => answer,
            Err(e) => {
                tracing::debug!(group, "the leader was not asked for subscriptions: {e}");
                return None;
            }
        };
        if answer.is_empty() {
            return Some(BTreeMap::new());
        }
        match body::decode::<Vec<SubscriptionData>>(&answer) {
            Ok(subscriptions) => Some(
                subscriptions
                    .iter()
                    .filter_map(|data| Some((data.topic.clone(), Subscription::of(data).ok()?)))
                    .collect(),
            ),
            Err(e) => {
                tracing::warn!(group, "the leader's subscriptions are not understood: {e}");
                None
            }
        }
    }
}

/// The subscription a pull carries itself.
fn carried(header: &PullMessageRequest<'_>) -> Result<Subscription, Refused> {
    let expression = header.subscription.unwrap_or_default();
    match header.expression_type {
        None | Some("" | EXPRESSION_TAG) => Subscription::parse(expression, header.sub_version)
            .map_err(|e| refused(response::SUBSCRIPTION_PARSE_FAILED, e.to_string())),
        Some(other) => Err(refused(
            response::SYSTEM_ERROR,
            format!("The broker does not support consumer to filter message by {other}"),
        )),
    }
}
