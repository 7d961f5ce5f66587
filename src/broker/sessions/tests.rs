//! Sessions as plain values: one node's clients, its reports, the leader's union. Time is data.

mod local;
mod union;

use std::net::SocketAddr;

use crate::protocol::body::heartbeat::{ConsumerData, HeartbeatData, ProducerData, SubscriptionData};
use crate::server::{Conn, Limits};

/// A connection that leads nowhere.
fn conn(id: u64) -> Conn {
    let addr = SocketAddr::from(([127, 0, 0, 1], 1));
    Conn::new(id, addr, addr, &Limits::SERVER)
}

/// A member of `group` that subscribes to `topics`, each with an expression and a version.
fn consumer(group: &str, topics: &[(&str, &str, i64)]) -> ConsumerData {
    let subscriptions = topics.iter().map(|(topic, tags, version)| SubscriptionData::of_tags(topic, tags, *version));
    ConsumerData {
        group_name: group.to_owned(),
        subscription_data_set: subscriptions.collect(),
        ..ConsumerData::default()
    }
}

/// A heartbeat of a client.
fn heartbeat(client_id: &str, consumers: Vec<ConsumerData>, producers: &[&str]) -> HeartbeatData {
    let producer = |group: &&str| ProducerData { group_name: (*group).to_owned() };
    HeartbeatData {
        client_id: client_id.to_owned(),
        consumer_data_set: consumers,
        producer_data_set: producers.iter().map(producer).collect(),
    }
}
