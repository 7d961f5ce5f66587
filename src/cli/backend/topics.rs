//! Topics.

use std::collections::BTreeMap;

use super::missing;
use crate::cli::NameServers;
use crate::cli::error::CliError;

/// A topic to be created.
#[derive(Clone, Debug)]
pub(crate) struct TopicSpec {
    pub name: String,
    /// Read and write queues in each group.
    pub queues: u32,
    /// RocketMQ's permission bits: 4 read, 2 write.
    pub perm: u32,
    /// Groups to create it in; empty for all.
    pub groups: Vec<String>,
}

/// A topic's queues in one group.
#[derive(Clone, Debug)]
pub(crate) struct RouteGroup {
    pub group: String,
    pub cluster: String,
    pub read_queues: u32,
    pub write_queues: u32,
    pub perm: u32,
    /// Addresses by brokerId; 0 leads.
    pub brokers: BTreeMap<u64, String>,
}

/// Creates the topic; answers the groups it now is in.
pub(crate) async fn topic_create(namesrv: &NameServers, spec: TopicSpec) -> Result<Vec<String>, CliError> {
    let _ = (namesrv, spec);
    missing("topic create")
}

pub(crate) async fn topic_list(namesrv: &NameServers) -> Result<Vec<String>, CliError> {
    let _ = namesrv;
    missing("topic list")
}

pub(crate) async fn topic_route(namesrv: &NameServers, topic: &str) -> Result<Vec<RouteGroup>, CliError> {
    let _ = (namesrv, topic);
    missing("topic route")
}

/// Deletes the topic everywhere; answers the groups it was in.
pub(crate) async fn topic_delete(namesrv: &NameServers, topic: &str) -> Result<Vec<String>, CliError> {
    let _ = (namesrv, topic);
    missing("topic delete")
}

/// Max offset of each (group, queue) of a topic.
pub(crate) async fn max_offsets(namesrv: &NameServers, topic: &str) -> Result<BTreeMap<(String, u32), u64>, CliError> {
    let _ = (namesrv, topic);
    missing("bench")
}

/// What a cluster holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Topics that users made.
    pub topics: u64,
    /// Messages in them.
    pub messages: u64,
}

/// Counts topics and messages.
pub(crate) async fn found(namesrv: &NameServers) -> Result<Found, CliError> {
    let _ = namesrv;
    missing("dev")
}
