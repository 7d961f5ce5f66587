//! Everything the commands ask of the rest of the product, in one place.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use quorumq_raft::runtime::tokio::Tokio;

use super::NameServers;
use super::error::CliError;
use crate::client::producer::{Place, ProducerBuilder};
use crate::client::{Message, Producer};
use crate::config::{HostPort, NameServerConfig, PeerId};
use crate::nameserver::{NameServer, NameServerOptions};
use crate::server::Limits;

/// A topic to be created.
#[derive(Clone, Debug)]
pub(super) struct TopicSpec {
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
pub(super) struct RouteGroup {
    pub group: String,
    pub cluster: String,
    pub read_queues: u32,
    pub write_queues: u32,
    pub perm: u32,
    /// Addresses by brokerId; 0 leads.
    pub brokers: BTreeMap<u64, String>,
}

/// A message to be sent.
#[derive(Clone, Debug)]
pub(super) struct Outgoing {
    pub topic: String,
    pub body: Bytes,
    pub tag: Option<String>,
    pub keys: Option<String>,
    pub properties: Vec<(String, String)>,
    /// Messages of one key go to one queue.
    pub sharding_key: Option<String>,
}

/// Where a message was stored.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub group: String,
    pub queue: u32,
    pub offset: u64,
    pub msg_id: String,
}

/// What to consume.
#[derive(Clone, Debug)]
pub(super) struct Subscription {
    pub topic: String,
    pub group: String,
    /// Tags joined by `||`, or `*`.
    pub expression: String,
    /// Where a group without offsets starts: at the first message, not after the last.
    pub from_first: bool,
}

/// A consumed message.
#[derive(Clone, Debug)]
pub(super) struct Incoming {
    pub group: String,
    pub queue: u32,
    pub offset: u64,
    pub msg_id: String,
    pub tag: Option<String>,
    pub keys: Option<String>,
    pub born_ms: i64,
    pub store_ms: i64,
    pub body: Bytes,
}

/// A group as its members report it.
#[derive(Clone, Debug)]
pub(super) struct GroupStatus {
    pub group: String,
    pub term: u64,
    pub members: Vec<MemberStatus>,
}

/// One member of a group.
#[derive(Clone, Debug)]
pub(super) struct MemberStatus {
    /// Node id.
    pub id: u64,
    /// Address for clients.
    pub address: String,
    /// `leader`, `follower`, `candidate`, `learner`, or `unreachable` if it does not answer.
    pub role: String,
    /// Log indexes, if it answers.
    pub positions: Option<MemberPositions>,
}

/// Log indexes of a member.
#[derive(Clone, Copy, Debug)]
pub(super) struct MemberPositions {
    pub last: u64,
    pub committed: u64,
    pub applied: u64,
    /// Entries that the leader has and the member has not.
    pub lag: u64,
}

/// What a store on disk was found to hold.
#[derive(Clone, Debug)]
pub(super) struct Verified {
    pub group: String,
    pub node: u64,
    /// Byte range of the CommitLog that was read.
    pub range: (u64, u64),
    pub segments: u64,
    pub entries: u64,
    pub records: u64,
    /// ConsumeQueues that were rebuilt and compared.
    pub queues: u64,
    /// Digest chain value of the machine after the last applied entry, and that entry's index.
    pub digest: (u64, u64),
}

/// A started server; dropping it does not stop it.
#[derive(Debug)]
pub(super) struct Started {
    /// The address clients connect to.
    pub address: SocketAddr,
    /// Addresses besides: VIP port, Raft port.
    pub also: Vec<(&'static str, SocketAddr)>,
}

/// What a node found in its store at start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub topics: u64,
    pub messages: u64,
}

/// A running NameServer.
pub(super) struct NameServerHandle {
    pub started: Started,
    server: NameServer,
}

impl NameServerHandle {
    /// Ends when the server can no longer go on, with the reason. A NameServer keeps no state that could fail it.
    pub(super) async fn failed(&self) -> CliError {
        std::future::pending().await
    }

    /// Answers what is under way, then closes.
    pub(super) async fn stop(self) -> Result<(), CliError> {
        self.server.shutdown::<Tokio>().await;
        Ok(())
    }
}

pub(super) async fn start_name_server(config: NameServerConfig) -> Result<NameServerHandle, CliError> {
    let options = NameServerOptions {
        listen: SocketAddr::new(config.bind_address, config.listen_port),
        expiry: Duration::from_millis(config.broker_channel_expired_time),
        scan: Duration::from_millis(config.scan_not_active_broker_interval),
        kv: None,
        limits: Limits {
            max_connections: config.server_max_connections as usize,
            idle: Duration::from_secs(config.server_channel_max_idle_time_seconds.into()),
            ..Limits::SERVER
        },
    };
    let server = NameServer::start::<Tokio>(options).await.map_err(|e| CliError::failed(e.to_string(), ""))?;
    Ok(NameServerHandle { started: Started { address: server.local_addr(), also: Vec::new() }, server })
}

pub(super) use super::node::{BrokerHandle, start_broker};

/// Creates the topic; answers the groups it now is in.
pub(super) async fn topic_create(namesrv: &NameServers, spec: TopicSpec) -> Result<Vec<String>, CliError> {
    let _ = (namesrv, spec);
    missing("topic create")
}

pub(super) async fn topic_list(namesrv: &NameServers) -> Result<Vec<String>, CliError> {
    let _ = namesrv;
    missing("topic list")
}

pub(super) async fn topic_route(namesrv: &NameServers, topic: &str) -> Result<Vec<RouteGroup>, CliError> {
    let _ = (namesrv, topic);
    missing("topic route")
}

/// Deletes the topic everywhere; answers the groups it was in.
pub(super) async fn topic_delete(namesrv: &NameServers, topic: &str) -> Result<Vec<String>, CliError> {
    let _ = (namesrv, topic);
    missing("topic delete")
}

/// A started producer.
pub(super) struct Sender {
    producer: Producer<Tokio>,
}

impl Sender {
    pub(super) async fn start(namesrv: &NameServers, group: &str) -> Result<Self, CliError> {
        Ok(Self { producer: ProducerBuilder::new(group, &namesrv.list)?.start()? })
    }

    pub(super) async fn send(&self, message: Outgoing) -> Result<Sent, CliError> {
        let Outgoing { topic, body, tag, keys, properties, sharding_key } = message;
        let mut message = Message::new(topic, body);
        if let Some(tag) = tag {
            message = message.with_tag(tag);
        }
        if let Some(keys) = keys {
            message = message.with_keys([keys]);
        }
        for (name, value) in properties {
            message = message.with_property(name, value);
        }
        let sent = self.producer.send_to(message, sharding_key.map_or(Place::Any, Place::Key)).await?;
        if sent.maybe_duplicate {
            tracing::warn!("{} may be stored twice: an earlier attempt had an unknown outcome", sent.msg_id);
        }
        Ok(Sent {
            group: sent.queue.broker_name.to_string(),
            queue: sent.queue.queue_id,
            offset: sent.queue_offset,
            msg_id: sent.msg_id,
        })
    }

    pub(super) async fn close(self) {
        self.producer.close().await;
    }
}

/// A started consumer. What [`Receiver::next`] has answered counts as consumed.
pub(super) struct Receiver {}

impl Receiver {
    pub(super) async fn start(namesrv: &NameServers, subscription: Subscription) -> Result<Self, CliError> {
        let _ = (namesrv, subscription);
        missing("consume")
    }

    pub(super) async fn next(&mut self) -> Result<Incoming, CliError> {
        missing("consume")
    }

    /// Commits the offsets and leaves the group.
    pub(super) async fn close(self) -> Result<(), CliError> {
        missing("consume")
    }
}

/// Status of one group, or of every group the NameServers know.
pub(super) async fn group_status(namesrv: &NameServers, group: Option<&str>) -> Result<Vec<GroupStatus>, CliError> {
    let _ = (namesrv, group);
    missing("group status")
}

/// Adds a started, empty node: learner, catch-up, voter.
pub(super) async fn group_add(
    namesrv: &NameServers,
    group: &str,
    id: PeerId,
    raft: &HostPort,
    timeout: Duration,
) -> Result<(), CliError> {
    let _ = (namesrv, group, id, raft, timeout);
    missing("group add")
}

pub(super) async fn group_remove(namesrv: &NameServers, group: &str, id: PeerId) -> Result<(), CliError> {
    let _ = (namesrv, group, id);
    missing("group remove")
}

/// Drops whole segments below `before`; answers the first byte still held.
pub(super) async fn group_purge(namesrv: &NameServers, group: &str, before: u64) -> Result<u64, CliError> {
    let _ = (namesrv, group, before);
    missing("group purge")
}

/// Reads a whole store and checks it: frames, chain, records, ConsumeQueues against the log.
pub(super) async fn store_verify(dir: &Path) -> Result<Verified, CliError> {
    let _ = dir;
    missing("store verify")
}

/// Max offset of each (group, queue) of a topic.
pub(super) async fn max_offsets(namesrv: &NameServers, topic: &str) -> Result<BTreeMap<(String, u32), u64>, CliError> {
    let _ = (namesrv, topic);
    missing("bench")
}

fn missing<T>(command: &str) -> Result<T, CliError> {
    Err(CliError::failed(
        format!("quorumq {command} is not part of this build"),
        "Take a newer build; this one parses and checks its arguments only.",
    ))
}
