//! What is registered, and the requests that say it.

use std::net::SocketAddrV4;

use crate::protocol::body;
use crate::protocol::body::registration::{RegisterBrokerBody, body_crc32};
use crate::protocol::body::table::DataVersion;
use crate::protocol::body::topic::TopicConfigSerializeWrapper;
use crate::protocol::code::request;
use crate::protocol::command::{Command, Encoding};
use crate::protocol::frame::MAX_FRAME;
use crate::protocol::header::registration::{BrokerIdentityRequest, RegisterBrokerRequest};
use crate::protocol::{ExtFields, language};

/// Ours: the Raft group's identity, so that two groups cannot share a brokerName. Apache's NameServers ignore it.
const GROUP_UUID: &str = "groupUuid";
/// Larger bodies are sent compressed, as a frame has room for no more. At 170 bytes a topic, about 90,000 topics.
const MAX_PLAIN_BODY: usize = MAX_FRAME - 64 * 1024;

/// Who registers; does not change while the broker runs.
#[derive(Clone, Debug)]
pub struct Identity {
    /// RocketMQ's brokerClusterName.
    pub cluster: String,
    /// RocketMQ's brokerName.
    pub group: String,
    /// The address clients are told.
    pub addr: SocketAddrV4,
    /// RocketMQ's HA address.
    pub ha_addr: SocketAddrV4,
    /// The Raft group's identity.
    pub group_uuid: u128,
}

/// What changes, and is registered again when it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// 0 for the leader, else the node's id.
    pub broker_id: i64,
    /// The Raft term in which it has that role.
    pub term: u64,
    /// Version of the topics.
    pub topics: DataVersion,
}

/// Who is registered: a broker, or a test.
pub trait Announcer: Send + Sync + 'static {
    /// Who it is.
    fn identity(&self) -> Identity;
    /// How it stands now.
    fn standing(&self) -> Standing;
    /// Its topics now.
    fn topics(&self) -> TopicConfigSerializeWrapper;
}

fn raft_term(term: u64) -> Option<i64> {
    i64::try_from(term).ok()
}

/// As Apache's brokers call themselves: their NameServers know few languages.
fn command(code: i32, ext: ExtFields) -> Command {
    let command = Command::request(Encoding::Json, code, ext, bytes::Bytes::new());
    Command { language: language::JAVA, ..command }
}

/// REGISTER_BROKER (103).
pub fn register(identity: &Identity, standing: &Standing, topics: TopicConfigSerializeWrapper) -> Command {
    let table = RegisterBrokerBody { topic_config_serialize_wrapper: topics, ..RegisterBrokerBody::default() };
    let plain = table.encode();
    let compressed = plain.len() > MAX_PLAIN_BODY;
    let body = if compressed { table.encode_compressed() } else { plain };
    let (addr, ha_addr) = (identity.addr.to_string(), identity.ha_addr.to_string());
    let header = RegisterBrokerRequest {
        broker_name: &identity.group,
        broker_addr: &addr,
        cluster_name: &identity.cluster,
        ha_server_addr: &ha_addr,
        broker_id: standing.broker_id,
        heartbeat_timeout_millis: None,
        enable_acting_master: None,
        compressed: Some(compressed),
        body_crc32: Some(body_crc32(&body)),
        raft_term: raft_term(standing.term),
    };
    let mut ext = header.encode();
    ext.push(GROUP_UUID, format_args!("{:032x}", identity.group_uuid));
    command(request::REGISTER_BROKER, ext).with_body(body)
}

/// QUERY_DATA_VERSION (322): whether the NameServer still has what was registered.
pub fn query(identity: &Identity, standing: &Standing) -> Command {
    identified(request::QUERY_DATA_VERSION, identity, standing).with_body(body::encode(&standing.topics))
}

/// UNREGISTER_BROKER (104).
pub fn unregister(identity: &Identity, standing: &Standing) -> Command {
    identified(request::UNREGISTER_BROKER, identity, standing)
}

fn identified(code: i32, identity: &Identity, standing: &Standing) -> Command {
    let addr = identity.addr.to_string();
    let header = BrokerIdentityRequest {
        broker_name: &identity.group,
        broker_addr: &addr,
        cluster_name: &identity.cluster,
        broker_id: standing.broker_id,
        raft_term: raft_term(standing.term),
    };
    command(code, header.encode())
}
