//! Routes: 105, by far the most frequent request (every client, every topic, every 30 s).

use super::{Answer, Failure};
use crate::nameserver::kv::ORDER_TOPIC_CONFIG;
use crate::nameserver::registry::Registry;
use crate::nameserver::route_table::{GroupAddrs, GroupQueues, Route};
use crate::protocol::body::route::{BrokerData, QueueData, TopicRouteData};
use crate::protocol::code::response;
use crate::protocol::command::Command;
use crate::protocol::header::topic::GetRouteInfoRequest;

/// GET_ROUTEINFO_BY_TOPIC (105).
pub(super) fn by_topic(registry: &Registry, request: &Command) -> Answer {
    let header = GetRouteInfoRequest::decode(request)?;
    let topic = header.topic;
    let Some(route) = registry.routes().pick(topic) else {
        // Word for word what 4.9.8 answers: people and tools search for it.
        let remark = format!(
            "No topic route info in name server for the topic: {topic}\nSee http://rocketmq.apache.org/docs/faq/ for \
             further details."
        );
        return Err(Failure { code: response::TOPIC_NOT_EXIST, remark });
    };
    let order_topic_conf = registry.kv.config().get(ORDER_TOPIC_CONFIG, topic).map(str::to_owned);
    let data = TopicRouteData { order_topic_conf, ..route_data(route) };
    let standard = header.accept_standard_json_only == Some(true);
    let body = data.encode_for(request.version, standard);
    Ok(Some(request.reply(response::SUCCESS, None).with_body(body)))
}

fn route_data(route: Route) -> TopicRouteData {
    TopicRouteData {
        broker_datas: route.groups.into_iter().map(broker_data).collect(),
        queue_datas: route.queues.into_iter().map(queue_data).collect(),
        ..TopicRouteData::default()
    }
}

/// A group as routes and cluster information show it.
pub(super) fn broker_data(group: GroupAddrs) -> BrokerData {
    let GroupAddrs { cluster, group, addrs } = group;
    BrokerData { broker_addrs: addrs, broker_name: group, cluster, enable_acting_master: false }
}

fn queue_data(of: GroupQueues) -> QueueData {
    QueueData {
        broker_name: of.group,
        perm: of.queues.perm,
        read_queue_nums: of.queues.read_queue_nums,
        topic_sys_flag: of.queues.topic_sys_flag,
        write_queue_nums: of.queues.write_queue_nums,
    }
}
