//! The Raft group behind a broker, for its operator: status, add, remove, purge. Codes of our own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use quorumq_raft::form;
use quorumq_raft::peer::message::{NodeStatus, Request, Response, Role};
use quorumq_raft::runtime::Runtime;
use quorumq_raft::types::{Member, NodeId};
use quorumq_store::PhysicalOffset;
use rand::RngExt;
use serde::{Deserialize, Serialize};

use super::Broker;
use super::answer;
use crate::machine::command::Command as MachineCommand;
use crate::machine::{Outcome, Refusal};
use crate::protocol::body;
use crate::protocol::code::response;
use crate::protocol::command::Command;

/// Longest a leader that is to be removed waits for its successor.
const HAND_OVER: Duration = Duration::from_secs(2);

/// The body of GROUP_STATUS's answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupStatus {
    /// RocketMQ's `brokerClusterName`.
    pub cluster: String,
    /// RocketMQ's `brokerName`.
    pub group: String,
    /// The term.
    pub term: u64,
    /// Node id of the leader, if one is known.
    pub leader: Option<NodeId>,
    /// Members, by node id.
    pub members: Vec<MemberStatus>,
}

/// One member, as the leader sees it or as it says itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberStatus {
    /// Node id.
    pub id: NodeId,
    /// Where its peers reach it.
    pub peer_addr: String,
    /// Where clients reach it.
    pub client_addr: String,
    /// "leader", "follower", "learner", "candidate", "repairing" or "unreachable".
    pub role: String,
    /// Whether it votes.
    pub voter: bool,
    /// The term.
    pub term: u64,
    /// Index of its last entry.
    pub last: Option<u64>,
    /// Index of its last synced entry.
    pub synced: Option<u64>,
    /// Index of the last entry it knows to be committed.
    pub committed: Option<u64>,
    /// Index of the last entry it applied.
    pub applied: Option<u64>,
    /// Entries behind the leader's last one.
    pub lag: Option<u64>,
    /// First byte of its CommitLog still held.
    pub first_offset: u64,
    /// End of its CommitLog.
    pub end_offset: u64,
    /// Digest at `applied`, 16 hex digits.
    pub digest: String,
    /// Snapshots it installed since its process started.
    pub snapshots_installed: u64,
    /// Bytes of its CommitLog that are damaged and wait for another member's copy.
    #[serde(default)]
    pub bad_bytes: u64,
    /// In how many ranges they lie.
    #[serde(default)]
    pub bad_ranges: u64,
    /// Bytes of its CommitLog that were repaired since its process started.
    #[serde(default)]
    pub repaired_bytes: u64,
    /// Position that its present pass over the CommitLog has come to.
    #[serde(default)]
    pub scrubbed: Option<u64>,
    /// When its last such pass ended, in milliseconds since 1970.
    #[serde(default)]
    pub scrub_ended: Option<i64>,
}

impl<R: Runtime> Broker<R> {
    /// Where every member stands.
    pub async fn group_status(&self, command: &Command) -> Command {
        let status = self.collect_status().await;
        command.reply(response::SUCCESS, None).with_body(body::encode(&status))
    }

    async fn collect_status(&self) -> GroupStatus {
        let members = self.node.members();
        let asked = members.iter().map(|(id, ..)| self.node.status_of(*id));
        let answers = join_all(asked).await;
        let own = self.node.status();
        let last = own.last.map(|last| last.1);
        let members = members.iter().zip(answers).map(|((id, member, voter), status)| match status {
            Ok(status) => member_status(*id, member, *voter, &status, last),
            Err(_) => unreachable_member(*id, member, *voter),
        });
        GroupStatus {
            cluster: self.options.cluster.clone(),
            group: self.options.name.clone(),
            term: own.term,
            leader: own.leader,
            members: members.collect(),
        }
    }

    /// Adds the node that waits at ext `peer`: gives it an id, lets it catch up as a learner, makes it a voter.
    pub async fn group_add(&self, command: &Command) -> Command {
        let Some(peer) = command.ext.get("peer").and_then(|peer| peer.parse::<SocketAddr>().ok()) else {
            return answer::error(command, "peer must be the ip:port of the new node's Raft address");
        };
        match self.add_node(peer).await {
            Ok(id) => {
                let mut answer = command.reply(response::SUCCESS, None);
                answer.ext.push("nodeId", id);
                answer
            }
            Err(why) => answer::error(command, why),
        }
    }

    async fn add_node(&self, peer: SocketAddr) -> Result<NodeId, String> {
        let local = self.node.local_peer();
        let probed = match form::ask::<R>(&local, peer, Request::Probe).await {
            Ok(Response::Probed(probed)) => probed,
            Ok(other) => return Err(format!("{peer} answered {other:?}")),
            Err(e) => return Err(format!("{peer} cannot be reached: {e}")),
        };
        let identity = self.node.identity();
        let id = match &probed.identity {
            // An earlier attempt gave it its id; a pristine store of this group may go on from there.
            Some(caller) if caller.group_uuid == identity.group_uuid && probed.joining => caller.id,
            Some(caller) => {
                return Err(format!("{peer} is already formatted as node {} of some group", caller.id));
            }
            None if !probed.joining => return Err(format!("{peer} was not started with join")),
            None => self.allocate_id().await?,
        };
        let request = Request::Format { group_uuid: identity.group_uuid, id, constants: identity.constants.into() };
        let (incarnation, client_addr) = match form::ask::<R>(&local, peer, request).await {
            Ok(Response::Formatted { incarnation, client_addr }) => (incarnation, client_addr),
            Ok(Response::Error(why)) => return Err(format!("{peer} refused: {why}")),
            Ok(other) => return Err(format!("{peer} answered {other:?}")),
            Err(e) => return Err(format!("{peer} was lost: {e}; run the command again")),
        };
        let member = Member { peer_addr: peer.to_string(), client_addr, incarnation };
        tracing::info!(id, %peer, "adding a member: it catches up as a learner first");
        self.node.add_learner(id, member).await?;
        self.node.promote(id).await?;
        tracing::info!(id, "the new member votes");
        Ok(id)
    }

    async fn allocate_id(&self) -> Result<NodeId, String> {
        let request = R::thread_rng().random();
        match self.command_one(MachineCommand::AllocNodeId { request }).await {
            Ok(Outcome::NodeId(id)) => Ok(id),
            Ok(other) => Err(format!("no node id: {other:?}")),
            Err(e) => Err(e.to_string()),
        }
    }

    /// Removes the member with ext `nodeId`.
    pub async fn group_remove(&self, command: &Command) -> Command {
        let Some(id) = command.ext.get("nodeId").and_then(|id| id.parse::<NodeId>().ok()) else {
            return answer::error(command, "nodeId must be a member's node id, as `quorumq group status` shows it");
        };
        if self.node.member(id).is_none() {
            return answer::error(command, format!("node {id} is no member of group {}", self.options.name));
        }
        if let Some(why) = self.would_lose_quorum(id).await {
            return answer::error(command, why);
        }
        if id == self.node.id() {
            return self.leave(command).await;
        }
        match self.node.remove(id).await {
            Ok(()) => {
                tracing::info!(id, "removed a member");
                command.reply(response::SUCCESS, None)
            }
            Err(why) => answer::error(command, why),
        }
    }

    /// A leader that is to be removed hands leadership over; its successor removes it, asked once more.
    async fn leave(&self, command: &Command) -> Command {
        match self.node.transfer_leadership(None, HAND_OVER).await {
            Ok(successor) => self.not_leading(command, &format!("node {successor} leads now and can remove this one")),
            Err(why) => answer::error(command, format!("this node leads and cannot hand leadership over: {why}")),
        }
    }

    /// Why the voters left over after removing `id` would have no majority that answers now.
    async fn would_lose_quorum(&self, id: NodeId) -> Option<String> {
        let status = self.collect_status().await;
        let left: Vec<_> = status.members.iter().filter(|m| m.voter && m.id != id).collect();
        let alive = left.iter().filter(|m| !["unreachable", "repairing"].contains(&&*m.role)).count();
        let needed = left.len() / 2 + 1;
        (left.is_empty() || alive < needed).then(|| {
            format!("removing node {id} leaves {} voters of which {alive} answer; {needed} are needed", left.len())
        })
    }

    /// Lets the log go below ext `offset` (rounded down to a segment start), or the older half of it without one.
    pub async fn purge_log(&self, command: &Command) -> Command {
        let positions = self.node.positions();
        let size = self.node.identity().constants.segment_size;
        let asked = match command.ext.get("offset") {
            Some(text) => match text.parse::<u64>() {
                Ok(offset) => offset,
                Err(_) => return answer::error(command, format!("offset {text:?} is no number of bytes")),
            },
            None => positions.first.0 + (positions.end.0 - positions.first.0) / 2,
        };
        let segment = PhysicalOffset(asked / size * size);
        match self.command_one(MachineCommand::purge_to(segment)).await {
            Ok(Outcome::Refused(Refusal::BadPurge)) => answer::error(command, Refusal::BadPurge),
            Ok(Outcome::Refused(refusal)) => answer::error(command, refusal),
            Ok(_) => {
                let mut answer = command.reply(response::SUCCESS, None);
                answer.ext.push("purgedTo", segment);
                answer
            }
            Err(e) => e.answer(self, command),
        }
    }
}

fn member_status(id: NodeId, member: &Member, voter: bool, status: &NodeStatus, last: Option<u64>) -> MemberStatus {
    let role = match status.role {
        Role::Leader => "leader",
        Role::Follower => "follower",
        Role::Candidate => "candidate",
        Role::Learner => "learner",
        Role::Stopped => "unreachable",
        Role::Repairing => "repairing",
    };
    let index = |at: Option<quorumq_raft::wire::WireLogId>| at.map(|at| at.1);
    let theirs = index(status.last);
    MemberStatus {
        id,
        peer_addr: member.peer_addr.clone(),
        client_addr: member.client_addr.clone(),
        role: role.to_owned(),
        voter,
        term: status.term,
        last: theirs,
        synced: index(status.synced),
        committed: index(status.committed),
        applied: index(status.applied),
        lag: last.map(|last| last.saturating_sub(theirs.map_or(0, |t| t))),
        first_offset: status.first_offset,
        end_offset: status.end_offset,
        digest: format!("{:016x}", status.digest),
        snapshots_installed: status.snapshots_installed,
        bad_bytes: status.log.bad_bytes,
        bad_ranges: status.log.bad_ranges,
        repaired_bytes: status.log.filled_bytes,
        scrubbed: status.log.scrubbed,
        scrub_ended: status.log.scrub_ended_ms,
    }
}

fn unreachable_member(id: NodeId, member: &Member, voter: bool) -> MemberStatus {
    MemberStatus {
        id,
        peer_addr: member.peer_addr.clone(),
        client_addr: member.client_addr.clone(),
        role: "unreachable".to_owned(),
        voter,
        ..MemberStatus::default()
    }
}

/// Peers by id, for tables.
pub fn by_id(status: &GroupStatus) -> BTreeMap<NodeId, &MemberStatus> {
    status.members.iter().map(|member| (member.id, member)).collect()
}
