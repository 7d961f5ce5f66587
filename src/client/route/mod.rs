//! Topic routes from the NameServers, and what is known of each broker group.
//!
//! Routes are fetched on first use, kept when every NameServer is down, and fetched again every 30 s and soon after
//! something failed. Who leads a group is learned faster than that, from the brokers' answers: see [`Group`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use openraft_rt::{Select2, Select3};
use quorumq_raft::runtime::Runtime;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::error::ClientError;
use super::options::ClientOptions;
use super::time::{left, now};
use crate::protocol::body;
use crate::protocol::body::route::{BrokerData, TopicRouteData};
use crate::protocol::code::{request, response};
use crate::protocol::header::topic::GetRouteInfoRequest;
use crate::protocol::{Command, Encoding};

pub mod gate;
pub mod group;
pub mod nameserver;
mod topic;

pub use gate::Gate;
pub use group::Group;
pub use nameserver::NameServers;
pub use topic::{RoutedQueue, TopicRoute};

/// Topics a client keeps routes of. One that uses more fetches some of them anew.
const MAX_TOPICS: usize = 10_000;

/// Requests to fetch a route again are gathered for so long.
const GATHER: Duration = Duration::from_millis(100);

/// The client's view of the cluster.
pub struct Routes<R: Runtime> {
    namesrv: NameServers<R>,
    encoding: Encoding,
    timeout: Duration,
    topics: Mutex<BTreeMap<Arc<str>, Arc<TopicRoute<R>>>>,
    groups: Mutex<BTreeMap<Arc<str>, Arc<Group<R>>>>,
    /// Held while a NameServer is asked for a route: callers that want the same one share the answer.
    fetching: tokio::sync::Mutex<()>,
    /// Topics whose routes are to be fetched again soon.
    stale: Mutex<BTreeSet<Arc<str>>>,
    gone_stale: Notify,
}

impl<R: Runtime> Routes<R> {
    /// Knows nothing yet.
    ///
    /// # Errors
    /// No NameServer was given.
    pub fn new(options: &ClientOptions) -> Result<Self, ClientError> {
        Ok(Self {
            namesrv: NameServers::new(options.namesrv.clone(), options.limits)?,
            encoding: options.encoding,
            timeout: options.api_timeout,
            topics: Mutex::default(),
            groups: Mutex::default(),
            fetching: tokio::sync::Mutex::default(),
            stale: Mutex::default(),
            gone_stale: Notify::new(),
        })
    }

    /// The NameServers.
    pub fn namesrv(&self) -> &NameServers<R> {
        &self.namesrv
    }

    /// The route of `topic`, fetched if it is not known.
    ///
    /// # Errors
    /// [`ClientError::NoRoute`] if no NameServer knows it, [`ClientError::NoAnswer`] if none answers by `deadline`.
    pub async fn get(&self, topic: &Arc<str>, deadline: R::Instant) -> Result<Arc<TopicRoute<R>>, ClientError> {
        match self.known(topic) {
            Some(route) => Ok(route),
            None => self.fetch(topic, deadline).await,
        }
    }

    /// The route of `topic` if it was fetched before.
    pub fn known(&self, topic: &str) -> Option<Arc<TopicRoute<R>>> {
        lock(&self.topics).get(topic).cloned()
    }

    /// Fetches the route of `topic`. One that was known stays if that fails.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn fetch(&self, topic: &Arc<str>, deadline: R::Instant) -> Result<Arc<TopicRoute<R>>, ClientError> {
        let asked = now::<R>();
        let _turn = self.fetching.lock().await;
        if let Some(route) = self.known(topic).filter(|route| route.fetched > asked) {
            return Ok(route);
        }
        let data = self.ask(topic, left::<R>(deadline).min(self.timeout)).await?;
        let route = Arc::new(self.take_over(topic, &data));
        let mut topics = lock(&self.topics);
        if topics.len() >= MAX_TOPICS && !topics.contains_key(topic) {
            topics.pop_first();
        }
        topics.insert(Arc::clone(topic), Arc::clone(&route));
        Ok(route)
    }

    async fn ask(&self, topic: &str, timeout: Duration) -> Result<TopicRouteData, ClientError> {
        let code = request::GET_ROUTEINFO_BY_TOPIC;
        let ext = GetRouteInfoRequest { topic, accept_standard_json_only: Some(true) }.encode();
        let question = Command::request(self.encoding, code, ext, bytes::Bytes::new());
        let answer = self.namesrv.call(&question, timeout).await.map_err(ClientError::of_query)?;
        match answer.code {
            response::SUCCESS => body::decode(&answer.body)
                .map_err(|error| ClientError::BadAnswer { request: code, why: error.to_string() }),
            response::TOPIC_NOT_EXIST => Err(ClientError::NoRoute {
                topic: topic.to_owned(),
                detail: answer.remark.unwrap_or_else(|| "the NameServer does not know it".to_owned()),
            }),
            _ => Err(ClientError::refused(&answer)),
        }
    }

    /// Turns a NameServer's answer into a route, and updates the groups it names.
    fn take_over(&self, topic: &Arc<str>, data: &TopicRouteData) -> TopicRoute<R> {
        let groups: Vec<Arc<Group<R>>> = data.broker_datas.iter().map(|broker| self.take_over_group(broker)).collect();
        let next = self.known(topic).map(|route| Arc::clone(&route.next)).unwrap_or_else(|| random_start::<R>());
        TopicRoute::new(topic, data, groups, next)
    }

    /// Updates one group from what a NameServer knows.
    pub fn take_over_group(&self, broker: &BrokerData) -> Arc<Group<R>> {
        let mut members = BTreeMap::new();
        for (id, addr) in &broker.broker_addrs {
            match addr.parse::<SocketAddr>() {
                Ok(addr) => {
                    members.insert(*id, addr);
                }
                Err(error) => {
                    tracing::warn!(group = broker.broker_name, addr, %error, "a broker's address is left out")
                }
            }
        }
        let group = self.group(&broker.broker_name);
        group.update(&broker.cluster, members);
        group
    }

    /// The group `name`, known or not.
    pub fn group(&self, name: &str) -> Arc<Group<R>> {
        let mut groups = lock(&self.groups);
        if let Some(group) = groups.get(name) {
            return Arc::clone(group);
        }
        let name: Arc<str> = name.into();
        let group = Arc::new(Group::new(Arc::clone(&name)));
        groups.insert(name, Arc::clone(&group));
        group
    }

    /// Every group that a route has named so far.
    pub fn groups(&self) -> Vec<Arc<Group<R>>> {
        lock(&self.groups).values().cloned().collect()
    }

    /// Has the route of `topic` fetched again soon, in the background.
    pub fn refresh_soon(&self, topic: &Arc<str>) {
        if lock(&self.stale).insert(Arc::clone(topic)) {
            self.gone_stale.notify_one();
        }
    }

    /// Fetches every known route each `every`, and single ones when asked to, until `stop`.
    pub(super) async fn keep_fresh(&self, every: Duration, stop: CancellationToken) {
        let mut all_at = now::<R>() + every;
        loop {
            let topics: Vec<Arc<str>> =
                match R::select3(stop.cancelled(), self.gone_stale.notified(), R::sleep_until(all_at)).await {
                    Select3::First(()) => return,
                    Select3::Second(()) => {
                        R::sleep(GATHER).await;
                        std::mem::take(&mut *lock(&self.stale)).into_iter().collect()
                    }
                    Select3::Third(()) => {
                        all_at = now::<R>() + every;
                        lock(&self.topics).keys().cloned().collect()
                    }
                };
            for topic in topics {
                let fetching = self.fetch(&topic, now::<R>() + self.timeout);
                match R::select2(stop.cancelled(), fetching).await {
                    Select2::First(()) => return,
                    Select2::Second(Ok(_)) => {}
                    Select2::Second(Err(error)) => {
                        tracing::debug!(topic = %topic, %error, "the route could not be fetched again; the known one stays");
                    }
                }
            }
        }
    }
}

/// Where the round-robin of a topic begins: not all producers at its first queue.
fn random_start<R: Runtime>() -> Arc<AtomicUsize> {
    use rand::RngExt;
    Arc::new(AtomicUsize::new(usize::from(R::thread_rng().random::<u16>())))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
