//! The Raft group behind a broker, for its operator: status, add, remove, transfer, purge. Codes of our own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use quorumq_raft::form;
use quorumq_raft::machine::Machine as _;
use quorumq_raft::membership::ChangeError;
use quorumq_raft::peer::message::{NodeStatus, Request, Response, Role};
use quorumq_raft::runtime::Runtime;
use quorumq_raft::types::{Member, NodeId};
use quorumq_store::PhysicalOffset;
use rand::RngExt;
use serde::{Deserialize, Serialize};

use super::Broker;
use super::answer;
use crate::machine::Outcome;
use crate::machine::command::Command as MachineCommand;
use crate::protocol::body;
use crate::protocol::code::response;
use crate::protocol::command::Command;

/// Longest a leader waits for its successor.
const HAND_OVER: Duration = Duration::from_secs(2);

/// Longest a purge waits to be committed: a follower that passes it on waits a little longer.
const PURGE_LIMIT: Duration = Duration::from_secs(4);

/// The role of the member that leads.
const LEADER: &str = "leader";
/// The role of a member that does not answer.
pub const UNREACHABLE: &str = "unreachable";
/// Role of a member whose CommitLog is filled from the others before it starts.
const REPAIRING: &str = "repairing";

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
    /// Node id of the leader; `None` where no member says that it leads.
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
    /// Whether it is a voter that does not vote yet, as it may lack what it has acknowledged.
    pub unproven: bool,
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
    /// Entries behind the leader's last one, of those that the leader still holds. Only where there is a leader.
    pub lag: Option<u64>,
    /// Bytes of the CommitLog behind the leader's end, of those that the leader still holds. Only where there is a leader.
    pub bytes_behind: Option<u64>,
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
    /// Where every member stands. Where nobody leads, the node that was asked tells what it sees.
    pub async fn group_status(&self, command: &Command) -> Command {
        let status = self.collect_status().await;
        command.reply(response::SUCCESS, None).with_body(body::encode(&status))
    }

    async fn collect_status(&self) -> GroupStatus {
        let members = self.node.members();
        let asked = members.iter().map(|(id, ..)| self.node.status_of(*id));
        let answers = join_all(asked).await;
        let own = self.node.status();
        let members = members.iter().zip(answers).map(|((id, member, voter), status)| match status {
            Ok(status) => member_status(*id, member, *voter, &status, &own),
            Err(_) => unreachable_member(*id, member, *voter),
        });
        let mut members: Vec<_> = members.collect();
        let leader = leader_among(&mut members, own.leader);
        let (cluster, group) = (self.options.cluster.clone(), self.options.name.clone());
        GroupStatus { cluster, group, term: own.term, leader, members }
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
            Err(e) => e.answer(command),
        }
    }

    async fn add_node(&self, peer: SocketAddr) -> Result<NodeId, MembersError> {
        let refused = |why: String| MembersError::Refused(why);
        let local = self.node.local_peer();
        let probed = match form::ask::<R>(&local, peer, Request::Probe).await {
            Ok(Response::Probed(probed)) => probed,
            Ok(other) => return Err(refused(format!("{peer} answered {other:?}"))),
            Err(e) => return Err(refused(format!("{peer} cannot be reached: {e}"))),
        };
        let identity = self.node.identity();
        let id = match &probed.identity {
            // An earlier attempt gave it its id; a pristine store of this group may go on from there.
            Some(caller) if caller.group_uuid == identity.group_uuid && probed.joining => caller.id,
            Some(caller) => {
                return Err(refused(format!("{peer} is already formatted as node {} of some group", caller.id)));
            }
            None if !probed.joining => return Err(refused(format!("{peer} was not started with join"))),
            None => self.allocate_id().await.map_err(refused)?,
        };
        let request = Request::Format { group_uuid: identity.group_uuid, id, constants: identity.constants.into() };
        let (incarnation, client_addr) = match form::ask::<R>(&local, peer, request).await {
            Ok(Response::Formatted { incarnation, client_addr }) => (incarnation, client_addr),
            Ok(Response::Error(why)) => return Err(refused(format!("{peer} refused: {why}"))),
            Ok(other) => return Err(refused(format!("{peer} answered {other:?}"))),
            Err(e) => return Err(refused(format!("{peer} was lost: {e}; run the command again"))),
        };
        let member = Member { peer_addr: peer.to_string(), client_addr, incarnation };
        tracing::info!(id, %peer, "adding a member: it catches up as a learner first");
        self.node.add_learner(id, member).await?;
        self.node.promote(id).await?;
        tracing::info!(id, "the new member votes");
        Ok(id)
    }

    /// An id that is not given to the node after all is not used again: whatever comes of this, no member is made yet.
    async fn allocate_id(&self) -> Result<NodeId, String> {
        let request = R::thread_rng().random();
        match self.command_one(MachineCommand::AllocNodeId { request }).await {
            Ok(Outcome::NodeId(id)) => Ok(id),
            Ok(other) => Err(format!("no node id: {other:?}")),
            Err(e) => Err(format!("no node id, run the command again: {e}")),
        }
    }

    /// Removes the member with ext `nodeId`.
    pub async fn group_remove(&self, command: &Command) -> Command {
        let Some(id) = command.ext.get("nodeId").and_then(|id| id.parse::<NodeId>().ok()) else {
            return answer::error(command, "nodeId must be a member's node id, as `quorumq group status` shows it");
        };
        if let Err(e) = self.may_remove(id).await {
            return e.answer(command);
        }
        if id == self.node.id() {
            return self.leave(command).await;
        }
        match self.node.remove(id).await {
            Ok(()) => {
                tracing::info!(id, "removed a member");
                command.reply(response::SUCCESS, None)
            }
            Err(e) => MembersError::from(e).answer(command),
        }
    }

    /// Hands leadership to the member with ext `nodeId`, or to the healthiest voter without it. The answer says who leads.
    pub async fn group_transfer(&self, command: &Command) -> Command {
        let to = match command.ext.get("nodeId").map(str::parse::<NodeId>) {
            Some(Err(_)) => {
                return answer::error(command, "nodeId must be a voter's node id, as `quorumq group status` shows it");
            }
            Some(Ok(id)) => Some(id),
            None => None,
        };
        match self.node.transfer_to(to, HAND_OVER).await {
            Ok(leader) => {
                tracing::info!(leader, "leadership was handed over, as an operator asked");
                let mut answer = command.reply(response::SUCCESS, None);
                answer.ext.push("nodeId", leader);
                answer
            }
            Err(e) => MembersError::from(e).answer(command),
        }
    }

    /// A leader that is to be removed hands leadership over; its successor removes it, asked once more.
    async fn leave(&self, command: &Command) -> Command {
        match self.node.transfer_leadership(None, HAND_OVER).await {
            Ok(successor) => self.not_leading(command, &format!("node {successor} leads now and can remove this one")),
            Err(why) => answer::error(command, format!("this node leads and cannot hand leadership over: {why}")),
        }
    }

    /// Whether `id` is a member, and the voters left over without it have a majority that answers now.
    async fn may_remove(&self, id: NodeId) -> Result<(), MembersError> {
        if self.node.member(id).is_none() {
            return Err(MembersError::NotMember { id, group: self.options.name.clone() });
        }
        let status = self.collect_status().await;
        quorum_without(&status.members, id)
    }

    /// Lets the log go below ext `offset` (rounded down to a segment start), or the older half of it without one. The answer
    /// says from where on messages are kept. Without an offset a request that is repeated may drop another half.
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
        let purged = R::timeout(PURGE_LIMIT, self.command_one(MachineCommand::purge_to(segment)));
        let Ok(purged) = purged.await else {
            // It stays in the log, and is carried out once a majority has taken it.
            let why = self.node.no_majority().unwrap_or_else(|| "no majority has taken it".to_owned());
            return answer::unknown(command, format!("not committed after {PURGE_LIMIT:?}: {why}"));
        };
        match purged {
            Ok(Outcome::Refused(refusal)) => answer::error(command, refusal),
            Ok(_) => {
                let mut answer = command.reply(response::SUCCESS, None);
                // What was dropped before stays dropped.
                answer.ext.push("purgedTo", segment.max(self.node.machine().retained_from()));
                answer
            }
            Err(e) => e.answer(self, command),
        }
    }
}

/// Why the membership is not changed, or not known to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MembersError {
    /// Nothing was changed, and nothing will be.
    #[error("{0}")]
    Refused(String),
    /// There is no such member.
    #[error("node {id} is no member of group {group}")]
    NotMember {
        /// The node id asked for.
        id: NodeId,
        /// RocketMQ's `brokerName`.
        group: String,
    },
    /// Code 604. With the change the group could commit nothing.
    #[error(
        "removing node {id} leaves {voters} voters of which {alive} answer; {needed} are needed. Start the others, or add \
         a member, first"
    )]
    QuorumLost {
        /// The node to be removed.
        id: NodeId,
        /// Voters that would be left.
        voters: usize,
        /// How many of these answer.
        alive: usize,
        /// How many of these make a majority.
        needed: usize,
    },
    /// The change, or its first half, may have been made, or may yet be.
    #[error("{0}; look at quorumq group status before you run the command again")]
    Unknown(String),
}

impl MembersError {
    /// The answer to the request that asked for the change.
    fn answer(&self, request: &Command) -> Command {
        match self {
            Self::Unknown(_) => answer::unknown(request, self),
            Self::QuorumLost { .. } => request.reply(response::ILLEGAL_OPERATION, Some(self.to_string())),
            Self::Refused(_) | Self::NotMember { .. } => answer::error(request, self),
        }
    }
}

impl From<ChangeError> for MembersError {
    fn from(e: ChangeError) -> Self {
        match e {
            ChangeError::Refused(why) => Self::Refused(why),
            ChangeError::Unknown(why) => Self::Unknown(why),
        }
    }
}

/// Whether the voters among `members` other than `id` have a majority that answers.
fn quorum_without(members: &[MemberStatus], id: NodeId) -> Result<(), MembersError> {
    let left: Vec<_> = members.iter().filter(|m| m.voter && m.id != id).collect();
    let alive = left.iter().filter(|m| ![UNREACHABLE, REPAIRING].contains(&&*m.role)).count();
    let (voters, needed) = (left.len(), left.len() / 2 + 1);
    if alive < needed { Err(MembersError::QuorumLost { id, voters, alive, needed }) } else { Ok(()) }
}

fn member_status(id: NodeId, member: &Member, voter: bool, status: &NodeStatus, own: &NodeStatus) -> MemberStatus {
    let role = match status.role {
        Role::Leader => LEADER,
        Role::Follower => "follower",
        Role::Candidate => "candidate",
        Role::Learner => "learner",
        Role::Stopped => UNREACHABLE,
        Role::Repairing => REPAIRING,
    };
    let index = |at: Option<quorumq_raft::wire::WireLogId>| at.map(|at| at.1);
    let theirs = index(status.last);
    // A member that comes to a purged log begins with a snapshot.
    let held = theirs.max(index(own.purged)).unwrap_or(0);
    let held_bytes = status.end_offset.max(own.first_offset);
    MemberStatus {
        id,
        peer_addr: member.peer_addr.clone(),
        client_addr: member.client_addr.clone(),
        role: role.to_owned(),
        voter,
        unproven: status.unproven,
        term: status.term,
        last: theirs,
        synced: index(status.synced),
        committed: index(status.committed),
        applied: index(status.applied),
        lag: index(own.last).map(|last| last.saturating_sub(held)),
        bytes_behind: Some(own.end_offset.saturating_sub(held_bytes)),
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

/// `named` if that member says itself that it leads: a node goes on naming a leader that it has lost. Without one there is
/// nothing to be behind of.
fn leader_among(members: &mut [MemberStatus], named: Option<NodeId>) -> Option<NodeId> {
    let leader = named.filter(|named| members.iter().any(|member| member.id == *named && member.role == LEADER));
    if leader.is_none() {
        members.iter_mut().for_each(|member| (member.lag, member.bytes_behind) = (None, None));
    }
    leader
}

fn unreachable_member(id: NodeId, member: &Member, voter: bool) -> MemberStatus {
    MemberStatus {
        id,
        peer_addr: member.peer_addr.clone(),
        client_addr: member.client_addr.clone(),
        role: UNREACHABLE.to_owned(),
        voter,
        ..MemberStatus::default()
    }
}

/// Peers by id, for tables.
pub fn by_id(status: &GroupStatus) -> BTreeMap<NodeId, &MemberStatus> {
    status.members.iter().map(|member| (member.id, member)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(voters: &[(NodeId, &str)], learners: &[NodeId]) -> Vec<MemberStatus> {
        let member =
            |id, role: &str, voter| MemberStatus { id, voter, role: role.to_owned(), ..MemberStatus::default() };
        let voters = voters.iter().map(|(id, role)| member(*id, role, true));
        voters.chain(learners.iter().map(|id| member(*id, "learner", false))).collect()
    }

    #[test]
    fn a_member_is_removed_only_if_a_majority_of_those_left_answers() {
        let one_down = [(1, "leader"), (2, "follower"), (3, UNREACHABLE)];
        assert_eq!(quorum_without(&members(&one_down, &[]), 3), Ok(()), "what is gone can be taken out");
        let lost = MembersError::QuorumLost { id: 2, voters: 2, alive: 1, needed: 2 };
        assert_eq!(quorum_without(&members(&one_down, &[4]), 2), Err(lost), "a learner is in no majority");
        let lost = MembersError::QuorumLost { id: 1, voters: 0, alive: 0, needed: 1 };
        assert_eq!(quorum_without(&members(&[(1, "leader")], &[]), 1), Err(lost), "the last one stays");
        let two_down = [(1, "leader"), (2, "follower"), (3, "follower"), (4, UNREACHABLE), (5, UNREACHABLE)];
        assert_eq!(quorum_without(&members(&two_down, &[]), 5), Ok(()));
        let lost = MembersError::QuorumLost { id: 3, voters: 4, alive: 2, needed: 3 };
        assert_eq!(quorum_without(&members(&two_down, &[]), 3), Err(lost));
    }

    #[test]
    fn a_leader_is_named_only_if_it_says_itself_that_it_leads() {
        let behind = |mut member: MemberStatus| {
            member.lag = Some(3);
            member
        };
        let of = |roles: &[(NodeId, &str)], named| {
            let mut members: Vec<_> = members(roles, &[]).into_iter().map(behind).collect();
            (leader_among(&mut members, named), members[1].lag)
        };
        assert_eq!(of(&[(1, LEADER), (2, "follower")], Some(1)), (Some(1), Some(3)));
        assert_eq!(of(&[(1, UNREACHABLE), (2, "candidate")], Some(1)), (None, None), "it was lost");
        assert_eq!(of(&[(1, "follower"), (2, "follower")], Some(1)), (None, None), "it leads no more");
        assert_eq!(of(&[(1, LEADER), (2, "follower")], None), (None, None), "of a term that this node does not know");
    }

    #[test]
    fn an_unknown_outcome_is_answered_as_that_of_a_send_and_never_as_a_refusal() {
        let request = Command::request(crate::protocol::Encoding::Json, 30002, Default::default(), Default::default());
        let unknown = MembersError::from(ChangeError::Unknown("the leader was deposed".to_owned())).answer(&request);
        assert_eq!((unknown.code, unknown.ext.get("outcome")), (response::SYSTEM_ERROR, Some("unknown")));
        assert!(unknown.remark.is_some_and(|remark| remark.starts_with("outcome unknown: the leader was deposed")));
        let refused = MembersError::from(ChangeError::Refused("not the leader".to_owned())).answer(&request);
        assert_eq!((refused.code, refused.ext.get("outcome")), (response::SYSTEM_ERROR, None));
        let lost = MembersError::QuorumLost { id: 2, voters: 2, alive: 1, needed: 2 }.answer(&request);
        assert_eq!((lost.code, lost.ext.get("outcome")), (response::ILLEGAL_OPERATION, None));
    }

    #[test]
    fn what_a_member_lacks_begins_where_the_leaders_log_does() {
        let id = |index| Some(quorumq_raft::wire::WireLogId(1, index));
        let own =
            NodeStatus { purged: id(99), last: id(199), first_offset: 4096, end_offset: 9000, ..NodeStatus::default() };
        let behind = |status: &NodeStatus| {
            let status = member_status(4, &Member::default(), false, status, &own);
            (status.lag, status.bytes_behind)
        };
        assert_eq!(behind(&NodeStatus::default()), (Some(100), Some(4904)));
        assert_eq!(behind(&NodeStatus { last: id(149), end_offset: 6000, ..own.clone() }), (Some(50), Some(3000)));
        assert_eq!(behind(&own), (Some(0), Some(0)));
    }
}
