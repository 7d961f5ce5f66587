//! Topic names: 206, 216, 224, 304.

use std::collections::BTreeSet;

use tracing::info;

use super::{Answer, done};
use crate::nameserver::registry::Registry;
use crate::nameserver::route_table::MASTER_ID;
use crate::protocol::body;
use crate::protocol::body::table::TopicList;
use crate::protocol::code::response;
use crate::protocol::command::Command;
use crate::protocol::header::HeaderError;
use crate::protocol::header::topic::DeleteTopicInNamesrvRequest;

/// Topics of one cluster.
pub(super) const GET_TOPICS_BY_CLUSTER: i32 = 224;

/// Names that are reserved because a cluster or a group bears them.
pub(super) const GET_SYSTEM_TOPIC_LIST_FROM_NS: i32 = 304;

/// GET_ALL_TOPIC_LIST_FROM_NAMESERVER (206).
pub(super) fn list(registry: &Registry, request: &Command) -> Answer {
    let topics = registry.routes().topics(None);
    answer(request, topics.into_iter().collect(), None)
}

/// GET_TOPICS_BY_CLUSTER (224).
pub(super) fn list_of_cluster(registry: &Registry, request: &Command) -> Answer {
    let missing = HeaderError::Missing { code: request.code, field: "cluster" };
    let cluster = request.ext.get("cluster").ok_or(missing)?;
    let topics = registry.routes().topics(Some(cluster));
    answer(request, topics.into_iter().collect(), None)
}

/// GET_SYSTEM_TOPIC_LIST_FROM_NS (304): the names of clusters and groups, which brokers register as topics, and
/// the address of some broker.
pub(super) fn list_of_system(registry: &Registry, request: &Command) -> Answer {
    let groups = registry.routes().groups();
    let clusters: BTreeSet<&String> = groups.iter().map(|group| &group.cluster).collect();
    let names = clusters.into_iter().chain(groups.iter().map(|group| &group.group)).cloned().collect();
    let broker = groups.iter().find_map(|group| group.addrs.get(&MASTER_ID));
    answer(request, names, broker.cloned())
}

fn answer(request: &Command, topic_list: Vec<String>, broker_addr: Option<String>) -> Answer {
    let list = TopicList { broker_addr, topic_list };
    Ok(Some(request.reply(response::SUCCESS, None).with_body(body::encode(&list))))
}

/// DELETE_TOPIC_IN_NAMESRV (216). A broker that still has the topic brings it back with its next registration.
pub(super) fn delete(registry: &Registry, request: &Command) -> Answer {
    let header = DeleteTopicInNamesrvRequest::decode(request)?;
    let cluster = header.cluster_name.filter(|cluster| !cluster.is_empty());
    let groups = registry.routes_mut().delete_topic(header.topic, cluster);
    info!(topic = header.topic, cluster, groups, "topic deleted from the route table");
    done(request)
}
