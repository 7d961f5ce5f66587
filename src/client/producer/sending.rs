//! One send from its first attempt to its outcome.

use std::net::SocketAddr;
use std::sync::Arc;

use quorumq_raft::runtime::Runtime;

use super::attempts::{Attempts, Next};
use super::prepared::Prepared;
use super::verdict::{SendStatus, Stored, judge};
use super::{Inner, Place};
use crate::client::error::ClientError;
use crate::client::queue::MessageQueue;
use crate::client::remoting::CallResult;
use crate::client::route::gate::{Admit, Entry};
use crate::client::route::{Group, RoutedQueue, TopicRoute};
use crate::client::time::left;
use crate::protocol::code::response;

/// A message is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendResult {
    /// How.
    pub status: SendStatus,
    /// Its UNIQ_KEY; of a batch, all joined by commas.
    pub msg_id: String,
    /// Where it is in the CommitLog; of a batch, all joined by commas.
    pub offset_msg_id: String,
    /// The queue it is in.
    pub queue: MessageQueue,
    /// Its offset there; of a batch, the first message's.
    pub queue_offset: u64,
    /// An earlier attempt had an unknown outcome: the message may be stored twice, both times under `msg_id`.
    pub maybe_duplicate: bool,
}

/// A send under way.
pub(super) struct Sending<'a, R: Runtime> {
    inner: &'a Inner<R>,
    prepared: &'a Prepared,
    route: Arc<TopicRoute<R>>,
    target: RoutedQueue<R>,
    /// The queue must not change: the message has its order there.
    pinned: bool,
    /// Members of the target's group that turned this message away since they were last worth asking.
    tried: Vec<SocketAddr>,
    /// The target's group let us through already.
    admitted: bool,
    /// We have found the group without a leader ourselves.
    asked: bool,
    attempts: Attempts,
    deadline: R::Instant,
}

impl<'a, R: Runtime> Sending<'a, R> {
    /// Finds a queue for `prepared`.
    ///
    /// # Errors
    /// There is no route; with the attempts made so far, to say what that means.
    pub(super) async fn begin(
        inner: &'a Inner<R>,
        prepared: &'a Prepared,
        place: &Place,
        attempts: Attempts,
        deadline: R::Instant,
    ) -> Result<Self, (Attempts, ClientError)> {
        let found = inner.route(&prepared.topic, deadline).await;
        let found = found.and_then(|route| {
            let (target, pinned, admitted) = choose(&route, place)?;
            Ok((route, target, pinned, admitted))
        });
        match found {
            Ok((route, target, pinned, admitted)) => Ok(Self {
                inner,
                prepared,
                route,
                target,
                pinned,
                tried: Vec::new(),
                admitted,
                asked: false,
                attempts,
                deadline,
            }),
            Err(error) => Err((attempts, error)),
        }
    }

    /// Makes attempts until the message is stored, refused for good, or out of attempts or time.
    pub(super) async fn run(mut self) -> Result<SendResult, ClientError> {
        loop {
            if !self.enter().await {
                break;
            }
            let share = self.attempts.share(left::<R>(self.deadline));
            if share.is_zero() {
                break;
            }
            let Some(addr) = self.target.group.pick(&self.tried) else {
                if self.tried.is_empty() {
                    let group = self.target.group.name().to_string();
                    self.attempts.blocked(ClientError::NoMember { group });
                    break;
                }
                self.target.group.sends.shut();
                self.tried.clear();
                self.asked = true;
                continue;
            };
            let request =
                self.prepared.request(self.inner.core.options.encoding, &self.inner.options.group, &self.target.queue);
            let result = self.inner.core.connections.get(addr).call(&request, share).await;
            self.learn(addr, &result);
            match self.attempts.note(judge(result)) {
                Next::Stored(stored) => return Ok(self.stored(stored)),
                Next::GiveUp => break,
                Next::OtherMember => self.tried.push(addr),
                Next::OtherQueue => self.other_queue(addr),
                Next::OtherGroup if self.other_group() => {}
                Next::OtherGroup => break,
                Next::Pause(pause) => R::sleep(pause.min(left::<R>(self.deadline))).await,
            }
        }
        Err(self.attempts.give_up(&self.prepared.msg_id))
    }

    /// Sends once, without an answer.
    pub(super) fn oneway(self) -> Result<(), ClientError> {
        let group = &self.target.group;
        let no_member = || ClientError::NoMember { group: group.name().to_string() };
        let addr = group.pick(&[]).ok_or_else(no_member)?;
        let request =
            self.prepared.request(self.inner.core.options.encoding, &self.inner.options.group, &self.target.queue);
        self.inner.core.connections.get(addr).oneway(&request).map_err(ClientError::NotSent)
    }

    /// Waits for the group to have a leader, unless another group can take the message now. False once it is too late.
    async fn enter(&mut self) -> bool {
        if std::mem::take(&mut self.admitted) {
            return true;
        }
        if self.target.group.sends.is_shut() && self.other_group() {
            self.admitted = false;
            return true;
        }
        match self.target.group.sends.enter(self.deadline, self.asked).await {
            Entry::AtOnce => {}
            Entry::Anew => self.tried.clear(),
            Entry::TooLate => return false,
        }
        true
    }

    /// What an attempt tells about the group and its members.
    fn learn(&self, addr: SocketAddr, result: &CallResult) {
        let group = &self.target.group;
        let stale = match result {
            Ok(answer) => {
                group.learn(&answer.ext);
                if answer.code != response::SERVICE_NOT_AVAILABLE {
                    group.succeeded(addr);
                    group.sends.open();
                }
                matches!(answer.code, response::SERVICE_NOT_AVAILABLE | response::TOPIC_NOT_EXIST)
            }
            Err(error) => {
                group.failed(addr, error);
                true
            }
        };
        if stale {
            self.inner.core.routes.refresh_soon(&self.prepared.topic);
        }
    }

    /// After an attempt at `addr` of unknown outcome: another group's queue, else another queue of this group.
    fn other_queue(&mut self, addr: SocketAddr) {
        if self.other_group() {
            return;
        }
        self.tried.push(addr);
        if self.pinned {
            return;
        }
        let here = self.target.group.name();
        if let Some(next) = self.route.round_robin(|group| group.name() == here) {
            self.target = next.clone();
        }
    }

    /// Turns to a queue of another group that takes messages, if there is one and the message may go there.
    fn other_group(&mut self) -> bool {
        if self.pinned {
            return false;
        }
        let here = self.target.group.name();
        let usable = |group: &Group<R>| group.name() != here && group.sends.admit() != Admit::Wait;
        let Some(next) = self.route.round_robin(usable) else { return false };
        self.target = next.clone();
        self.tried.clear();
        self.asked = false;
        self.admitted = true;
        true
    }

    fn stored(self, stored: Stored) -> SendResult {
        SendResult {
            status: stored.status,
            msg_id: self.prepared.msg_id.clone(),
            offset_msg_id: stored.offset_msg_id,
            queue: MessageQueue { queue_id: stored.queue_id, ..self.target.queue },
            queue_offset: stored.queue_offset,
            maybe_duplicate: self.attempts.maybe_duplicate(),
        }
    }
}

/// The queue of a first attempt, whether it is the only one, and whether its group has let us through.
fn choose<R: Runtime>(route: &TopicRoute<R>, place: &Place) -> Result<(RoutedQueue<R>, bool, bool), ClientError> {
    let no_route = |detail: String| ClientError::NoRoute { topic: route.topic.to_string(), detail };
    let none = || no_route("no group has a queue of it that may be written".to_owned());
    match place {
        Place::Any => {
            let admitted = route.round_robin(|group| group.sends.admit() != Admit::Wait);
            let any = || route.round_robin(|_| true).ok_or_else(none);
            let target = admitted.map_or_else(any, Ok)?;
            Ok((target.clone(), false, admitted.is_some()))
        }
        Place::Key(key) => Ok((route.by_key(key).ok_or_else(none)?.clone(), true, false)),
        Place::Queue(queue) => {
            let target = route.find(queue).ok_or_else(|| no_route(format!("it has no queue {queue}")))?;
            Ok((target.clone(), true, false))
        }
    }
}
