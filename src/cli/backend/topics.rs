//! Topics: create, list, route, delete, count.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::try_join_all;
use quorumq_raft::runtime::tokio::Tokio;

use crate::cli::NameServers;
use crate::cli::error::CliError;
use crate::client::admin::{Admin, TopicSpec};
use crate::client::{ClientError, MessageQueue};
use crate::protocol::body::route::TopicRouteData;
use crate::protocol::names;

/// How long the NameServers may take to hear of a new topic.
const ROUTE_TIMEOUT: Duration = Duration::from_secs(5);

/// A topic's queues in one group.
#[derive(Clone, Debug)]
pub(crate) struct RouteGroup {
    pub group: String,
    pub cluster: String,
    pub read_queues: u32,
    pub write_queues: u32,
    /// RocketMQ's permission bits: 4 read, 2 write.
    pub perm: u32,
    /// Addresses by brokerId; 0 leads.
    pub brokers: BTreeMap<i64, String>,
}

/// What a cluster holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Topics that users made.
    pub topics: u64,
    /// Messages in them.
    pub messages: u64,
}

/// A connection for requests about topics.
pub(crate) struct Topics {
    admin: Admin<Tokio>,
}

impl Topics {
    pub(crate) fn open(namesrv: &NameServers) -> Result<Self, CliError> {
        Ok(Self { admin: Admin::start(&namesrv.list)? })
    }

    /// Creates or changes the topic in every group, or in those of `cluster`, and waits until it is routed; answers the
    /// groups it now is in.
    pub(crate) async fn create(&self, spec: &TopicSpec, cluster: Option<&str>) -> Result<Vec<String>, CliError> {
        let groups = self.admin.create_topic(spec, cluster).await?;
        self.admin.await_route(&spec.topic, &groups, ROUTE_TIMEOUT).await?;
        Ok(groups)
    }

    /// All topics, in order.
    pub(crate) async fn list(&self) -> Result<Vec<String>, CliError> {
        let mut topics = self.admin.topics().await?;
        topics.sort();
        Ok(topics)
    }

    pub(crate) async fn route(&self, topic: &str) -> Result<Vec<RouteGroup>, CliError> {
        Ok(route_groups(&self.admin.route(topic).await?))
    }

    /// Deletes the topic everywhere; answers the groups that were asked.
    pub(crate) async fn delete(&self, topic: &str) -> Result<Vec<String>, CliError> {
        Ok(self.admin.delete_topic(topic).await?)
    }

    /// Max offset of each (group, queue) of a topic.
    pub(crate) async fn max_offsets(&self, topic: &str) -> Result<BTreeMap<(String, u32), u64>, CliError> {
        let route = self.route(topic).await?;
        let core = self.admin.core();
        // The routes of the groups' members, for the requests that follow.
        self.admin.groups(None).await?;
        let asked = queues(topic, &route).into_iter().map(async |queue| {
            let offset = core.max_offset(&queue).await?;
            Ok::<_, ClientError>(((queue.broker_name.to_string(), queue.queue_id), offset.0))
        });
        Ok(try_join_all(asked).await?.into_iter().collect())
    }

    /// Counts topics that users made, and the messages in them.
    pub(crate) async fn found(&self) -> Result<Found, CliError> {
        let cluster = self.admin.cluster().await?;
        self.admin.groups(None).await?;
        let own_name = |topic: &String| {
            cluster.cluster_addr_table.contains_key(topic) || cluster.broker_addr_table.contains_key(topic)
        };
        let made = |topic: &String| {
            let prefixed = topic.starts_with(names::RETRY_PREFIX) || topic.starts_with(names::DLQ_PREFIX);
            !names::is_system_topic(topic) && !prefixed && !topic.ends_with(REPLY_SUFFIX) && !own_name(topic)
        };
        let mut found = Found::default();
        for topic in self.list().await?.into_iter().filter(made) {
            found.topics += 1;
            found.messages += self.messages(&topic).await?;
        }
        Ok(found)
    }

    async fn messages(&self, topic: &str) -> Result<u64, CliError> {
        let core = self.admin.core();
        let asked = queues(topic, &self.route(topic).await?).into_iter().map(async |queue| {
            let (min, max) = (core.min_offset(&queue).await?, core.max_offset(&queue).await?);
            Ok::<_, ClientError>(max.0.saturating_sub(min.0))
        });
        Ok(try_join_all(asked).await?.into_iter().sum())
    }

    pub(crate) async fn close(&self) {
        self.admin.close().await;
    }
}

/// Ends the name of each cluster's topic for answers (RocketMQ's request and reply).
const REPLY_SUFFIX: &str = "_REPLY_TOPIC";

fn route_groups(route: &TopicRouteData) -> Vec<RouteGroup> {
    let count = |queues: i32| u32::try_from(queues).unwrap_or(0);
    let group = |queues: &crate::protocol::body::route::QueueData| {
        let broker = route.broker_datas.iter().find(|broker| broker.broker_name == queues.broker_name);
        RouteGroup {
            group: queues.broker_name.clone(),
            cluster: broker.map(|broker| broker.cluster.clone()).unwrap_or_default(),
            read_queues: count(queues.read_queue_nums),
            write_queues: count(queues.write_queue_nums),
            perm: count(queues.perm),
            brokers: broker.map(|broker| broker.broker_addrs.clone()).unwrap_or_default(),
        }
    };
    route.queue_datas.iter().map(group).collect()
}

fn queues(topic: &str, route: &[RouteGroup]) -> Vec<MessageQueue> {
    let of = |group: &RouteGroup| {
        let name = group.group.clone();
        (0..group.read_queues.max(group.write_queues)).map(move |queue| MessageQueue::new(topic, &name, queue))
    };
    route.iter().flat_map(of).collect()
}
