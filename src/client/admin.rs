//! Administrative requests: topics, routes, the cluster, single brokers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorumq_raft::runtime::Runtime;
use serde::de::DeserializeOwned;

use super::core::{Core, Patience};
use super::error::ClientError;
use super::options::{ClientOptions, parse_namesrv};
use super::route::Group;
use super::time::{left, now};
use crate::protocol::body;
use crate::protocol::body::cluster::ClusterInfo;
use crate::protocol::body::route::TopicRouteData;
use crate::protocol::body::subscription::SubscriptionGroupConfig;
use crate::protocol::body::table::{KvTable, TopicList};
use crate::protocol::body::topic::{PERM_READ, PERM_WRITE};
use crate::protocol::code::{request, response};
use crate::protocol::header::topic::{
    CreateTopicRequest, DeleteTopicInNamesrvRequest, DeleteTopicRequest, GetRouteInfoRequest,
};
use crate::protocol::{Command, ExtFields, names};

/// How often [`Admin::await_route`] looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A topic to create or to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    /// Its name.
    pub topic: String,
    /// Queues that may be read, in each group.
    pub read_queues: u32,
    /// Queues that may be written, in each group.
    pub write_queues: u32,
    /// 4 read, 2 write.
    pub perm: i32,
    /// RocketMQ's `order` mark.
    pub order: bool,
}

impl TopicSpec {
    /// A topic of `queues` queues in each group, to be read and written.
    pub fn new(topic: impl Into<String>, queues: u32) -> Self {
        let perm = PERM_READ | PERM_WRITE;
        Self { topic: topic.into(), read_queues: queues, write_queues: queues, perm, order: false }
    }
}

/// Sends administrative requests.
pub struct Admin<R: Runtime> {
    core: Arc<Core<R>>,
}

impl<R: Runtime> Admin<R> {
    /// `namesrv` is a list as RocketMQ writes it.
    ///
    /// # Errors
    /// As [`parse_namesrv`].
    pub fn start(namesrv: &str) -> Result<Self, ClientError> {
        Self::start_with(ClientOptions::new(parse_namesrv(namesrv)?))
    }

    /// With these settings.
    ///
    /// # Errors
    /// No NameServer was given.
    pub fn start_with(options: ClientOptions) -> Result<Self, ClientError> {
        Ok(Self { core: Core::start(options, Arc::new(|_, _| None))? })
    }

    /// Connections and routes; also [`Core::max_offset`], [`Core::min_offset`] and [`Core::committed`].
    pub fn core(&self) -> &Arc<Core<R>> {
        &self.core
    }

    /// Creates or changes a topic in every group, or in those of `cluster`. Returns the groups that have it now. The
    /// NameServers hear of it soon after: see [`Self::await_route`].
    ///
    /// # Errors
    /// A group refused, or may have done it all the same ([`ClientError::Unknown`]); those before it in order of their
    /// names have the topic then.
    pub async fn create_topic(&self, spec: &TopicSpec, cluster: Option<&str>) -> Result<Vec<String>, ClientError> {
        names::check_topic(&spec.topic).map_err(|error| ClientError::invalid("topic", error.to_string()))?;
        let header = CreateTopicRequest {
            topic: &spec.topic,
            default_topic: names::AUTO_CREATE_TOPIC,
            read_queue_nums: spec.read_queues.cast_signed(),
            write_queue_nums: spec.write_queues.cast_signed(),
            perm: spec.perm,
            topic_filter_type: "SINGLE_TAG",
            topic_sys_flag: Some(0),
            order: spec.order,
            attributes: None,
            force: None,
        };
        self.change_groups(cluster, &self.core.request(request::UPDATE_AND_CREATE_TOPIC, header.encode())).await
    }

    /// Waits until a NameServer has the route of `topic` with all of `groups` and their leaders.
    ///
    /// # Errors
    /// That has not happened within `timeout`.
    pub async fn await_route(&self, topic: &str, groups: &[String], timeout: Duration) -> Result<(), ClientError> {
        let deadline = now::<R>() + timeout;
        loop {
            let missing = match self.route(topic).await {
                Ok(route) => groups.iter().find(|group| !is_led(&route, group)).cloned(),
                Err(ClientError::NoRoute { .. } | ClientError::NoAnswer(_) | ClientError::NotSent(_)) => {
                    groups.first().cloned()
                }
                Err(error) => return Err(error),
            };
            let Some(missing) = missing else { return Ok(()) };
            if left::<R>(deadline).is_zero() {
                let detail = format!("group {missing} with its leader was not registered in time");
                return Err(ClientError::NoRoute { topic: topic.to_owned(), detail });
            }
            R::sleep(LOOK_EVERY).await;
        }
    }

    /// Deletes a topic with its messages' queues from every group and its route from every NameServer.
    ///
    /// # Errors
    /// As [`Self::create_topic`]; or a NameServer did not answer or refused, and the groups have done it.
    pub async fn delete_topic(&self, topic: &str) -> Result<Vec<String>, ClientError> {
        let in_broker = DeleteTopicRequest { topic }.encode();
        let groups = self.change_groups(None, &self.core.request(request::DELETE_TOPIC_IN_BROKER, in_broker)).await?;
        let in_namesrv = DeleteTopicInNamesrvRequest { topic, cluster_name: None }.encode();
        let question = self.core.request(request::DELETE_TOPIC_IN_NAMESRV, in_namesrv);
        let namesrv = self.core.routes.namesrv();
        for addr in namesrv.addrs() {
            let answer = namesrv.call_at(*addr, &question, self.core.options.api_timeout).await;
            success(answer.map_err(ClientError::of_query)?)?;
        }
        Ok(groups)
    }

    /// Creates or changes a consumer group in every group of brokers, or in those of `cluster`.
    ///
    /// # Errors
    /// As [`Self::create_topic`].
    pub async fn create_subscription_group(
        &self,
        config: &SubscriptionGroupConfig,
        cluster: Option<&str>,
    ) -> Result<Vec<String>, ClientError> {
        let code = request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP;
        let question = self.core.request(code, ExtFields::default()).with_body(body::encode(config));
        self.change_groups(cluster, &question).await
    }

    /// The names of all topics.
    ///
    /// # Errors
    /// No NameServer answered.
    pub async fn topics(&self) -> Result<Vec<String>, ClientError> {
        let list: TopicList =
            self.ask_namesrv(request::GET_ALL_TOPIC_LIST_FROM_NAMESERVER, ExtFields::default()).await?;
        Ok(list.topic_list)
    }

    /// The route of a topic as the NameServer tells it, fetched anew.
    ///
    /// # Errors
    /// [`ClientError::NoRoute`] if it has none, or no NameServer answered.
    pub async fn route(&self, topic: &str) -> Result<TopicRouteData, ClientError> {
        let header = GetRouteInfoRequest { topic, accept_standard_json_only: Some(true) };
        match self.ask_namesrv(request::GET_ROUTEINFO_BY_TOPIC, header.encode()).await {
            Err(ClientError::Refused { code: response::TOPIC_NOT_EXIST, remark }) => {
                Err(ClientError::NoRoute { topic: topic.to_owned(), detail: remark })
            }
            found => found,
        }
    }

    /// Clusters, groups and their members.
    ///
    /// # Errors
    /// No NameServer answered.
    pub async fn cluster(&self) -> Result<ClusterInfo, ClientError> {
        self.ask_namesrv(request::GET_BROKER_CLUSTER_INFO, ExtFields::default()).await
    }

    /// The broker groups a NameServer knows, or those of `cluster`, sorted by name.
    ///
    /// # Errors
    /// No NameServer answered, or it knows no such group.
    pub async fn groups(&self, cluster: Option<&str>) -> Result<Vec<Arc<Group<R>>>, ClientError> {
        let info = self.cluster().await?;
        let wanted = info.broker_addr_table.values().filter(|broker| cluster.is_none_or(|name| broker.cluster == name));
        let groups: Vec<_> = wanted.map(|broker| self.core.routes.take_over_group(broker)).collect();
        if groups.is_empty() {
            let group = cluster.map_or_else(|| "(any)".to_owned(), |name| format!("(any of cluster {name})"));
            return Err(ClientError::NoMember { group });
        }
        Ok(groups)
    }

    /// What a broker tells of itself.
    ///
    /// # Errors
    /// It did not answer, or refused.
    pub async fn runtime_info(&self, addr: SocketAddr) -> Result<BTreeMap<String, String>, ClientError> {
        let code = request::GET_BROKER_RUNTIME_INFO;
        let answer = success(self.call(addr, code, ExtFields::default(), Bytes::new()).await?)?;
        Ok(decode::<KvTable>(code, &answer)?.table)
    }

    /// Sends any request to any address, once. The answer may be of any code.
    ///
    /// # Errors
    /// It did not answer.
    pub async fn call(
        &self,
        addr: SocketAddr,
        code: i32,
        ext: ExtFields,
        body: impl Into<Bytes> + Send,
    ) -> Result<Command, ClientError> {
        let question = self.core.request(code, ext).with_body(body);
        self.core.ask_at(addr, &question, self.core.options.api_timeout).await
    }

    /// Sends any request that may be carried out twice to the leader of a group, through whichever member answers.
    ///
    /// # Errors
    /// No member answered, or the leader refused.
    pub async fn call_group(
        &self,
        group: &Group<R>,
        code: i32,
        ext: ExtFields,
        body: impl Into<Bytes> + Send,
    ) -> Result<Command, ClientError> {
        let question = self.core.request(code, ext).with_body(body);
        self.core.ask_ok(group, &question, Patience::new(self.core.options.api_timeout)).await
    }

    /// Closes all connections.
    pub async fn close(&self) {
        self.core.close().await;
    }

    async fn ask_namesrv<T: DeserializeOwned>(&self, code: i32, ext: ExtFields) -> Result<T, ClientError> {
        let question = self.core.request(code, ext);
        let timeout = self.core.options.api_timeout;
        let answer = self.core.routes.namesrv().call(&question, timeout).await.map_err(ClientError::of_query)?;
        decode(code, &success(answer)?)
    }

    async fn change_groups(&self, cluster: Option<&str>, question: &Command) -> Result<Vec<String>, ClientError> {
        let mut done = Vec::new();
        for group in self.groups(cluster).await? {
            self.core.change(&group, question, Patience::new(self.core.options.api_timeout)).await?;
            done.push(group.name().to_string());
        }
        Ok(done)
    }
}

impl<R: Runtime> Drop for Admin<R> {
    fn drop(&mut self) {
        self.core.tasks.cancel();
    }
}

fn is_led(route: &TopicRouteData, group: &str) -> bool {
    let led =
        route.broker_datas.iter().any(|broker| broker.broker_name == group && broker.broker_addrs.contains_key(&0));
    led && route.queue_datas.iter().any(|queues| queues.broker_name == group)
}

fn success(answer: Command) -> Result<Command, ClientError> {
    if answer.code == response::SUCCESS { Ok(answer) } else { Err(ClientError::refused(&answer)) }
}

fn decode<T: DeserializeOwned>(request: i32, answer: &Command) -> Result<T, ClientError> {
    body::decode(&answer.body).map_err(|error| ClientError::BadAnswer { request, why: error.to_string() })
}
