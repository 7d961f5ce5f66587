//! Clients and their groups: 34, 35, 38, 40.

use std::sync::Arc;

use bytes::Bytes;
use quorumq_raft::runtime::Runtime;

use super::Broker;
use super::call::ClientSession;
use super::reply::Origin;
use super::send::Refused;
use crate::protocol::command::Command;
use crate::server::Conn;

/// This node's clients and, on the leader, the group's.
#[derive(Debug, Default)]
pub struct Sessions {}

impl Sessions {
    /// The leader changed: report everything to the new one.
    pub fn leader_changed(&self) {
        todo!()
    }

    /// What a group wants of a topic, by the last heartbeat to this node.
    pub fn subscription(&self, group: &str, topic: &str) -> Option<super::subscription::Subscription> {
        let _ = (group, topic);
        todo!()
    }
}

impl<R: Runtime> Broker<R> {
    pub async fn heartbeat(self: &Arc<Self>, origin: &Origin, command: &Command) -> Command {
        let _ = (origin, command);
        todo!()
    }
    pub async fn unregister_client(self: &Arc<Self>, origin: &Origin, command: &Command) -> Command {
        let _ = (origin, command);
        todo!()
    }
    /// Leader only.
    pub async fn consumer_list(&self, command: &Command) -> Command {
        let _ = command;
        todo!()
    }
    /// A client's connection has ended.
    pub fn client_lost(&self, conn: &Conn) {
        let _ = conn;
        todo!()
    }
    /// A member reports all its clients. Leader only.
    pub fn sessions_reported(&self, from: u64, sessions: Vec<ClientSession>) -> Bytes {
        let _ = (from, sessions);
        todo!()
    }
    /// The leader tells which groups changed: notifies this node's members of them (40).
    pub fn notify_members(&self, groups: &[String]) -> Bytes {
        let _ = groups;
        todo!()
    }
    /// What the leader knows of a group's subscriptions.
    pub fn subscriptions_of(&self, group: &str) -> Bytes {
        let _ = group;
        todo!()
    }
    /// Creates `%RETRY%group` if it is missing; forwards to the leader.
    pub async fn ensure_retry_topic(&self, group: &str) -> Result<(), Refused> {
        let _ = group;
        todo!()
    }
}

/// Reports clients to the leader, notifies members, forgets clients without heartbeats.
pub async fn run<R: Runtime>(broker: Arc<Broker<R>>) {
    let _ = broker;
    todo!()
}
