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
/// How long it is believed if it does not do for a pull: bounds how often the leader is asked in vain.
const JUST_NOW: Duration = Duration::from_millis(50);
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

impl<I: Instant> Known<I> {
    /// The subscriptions of a group, if the leader was asked no longer than `believed` ago.
    fn get(&self, group: &str, now: I, believed: Duration) -> Option<ByTopic> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (asked, by_topic) = known.get(group)?;
        (now.saturating_duration_since(*asked) <= believed).then(|| Arc::clone(by_topic))
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
        let there = self.leaders_subscription(header).await;
        match [there, here].into_iter().flatten().max_by_key(|known| known.version) {
            Some(known) if is_latest(&known) => Ok(known),
            Some(_) => Err(refused(response::SUBSCRIPTION_NOT_LATEST, "the consumer's subscription not latest")),
            None => Err(refused(response::SUBSCRIPTION_NOT_EXIST, "the consumer's subscription not exist")),
        }
    }

    /// What the group's leader knows: a client may send its heartbeats to another node than its pulls.
    async fn leaders_subscription(&self, header: &PullMessageRequest<'_>) -> Option<Subscription> {
        let mut found = None;
        // What was remembered may be too old for this pull; what was asked just now is all there is.
        for believed in [BELIEVED, JUST_NOW] {
            let by_topic = self.leaders_subscriptions(header.consumer_group, believed).await?;
            found = by_topic.get(header.topic).cloned();
            if found.as_ref().is_some_and(|found| found.version >= header.sub_version) {
                break;
            }
        }
        found
    }

    async fn leaders_subscriptions(&self, group: &str, believed: Duration) -> Option<ByTopic> {
        let now = <R::Instant as Instant>::now();
        if let Some(by_topic) = self.known.get(group, now, believed) {
            return Some(by_topic);
        }
        let by_topic = Arc::new(self.ask_subscriptions(group).await?);
        self.known.put(group, now, Arc::clone(&by_topic));
        Some(by_topic)
    }

    /// Asks the leader; `None` if it does not answer.
    async fn ask_subscriptions(&self, group: &str) -> Option<BTreeMap<String, Subscription>> {
        let answer = match self.leadership.now(self.node.id()) {
            Leader::Here | Leader::Becoming => self.subscriptions_of(group),
            Leader::There(leader) => {
                let asked = call::encode(&Call::Subscriptions { group: group.to_owned() }, &[]).ok()?;
                let answer = self.node.call(leader, asked, ASK_TIMEOUT).await;
                answer
                    .inspect_err(|e| tracing::debug!(group, "the leader was not asked for subscriptions: {e}"))
                    .ok()?
            }
            Leader::Nobody => return None,
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
