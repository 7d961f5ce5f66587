//! openraft's type configuration and our entry types.

use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use openraft::entry::{RaftEntry, RaftPayload};
use openraft::impls::{InlineBatch, leader_id_std};
use openraft::raft::responder::Responder;
use openraft::{LogId, RaftTypeConfig};
use quorumq_store as store;
use serde::{Deserialize, Serialize};
use store::frame::Kind;

use crate::machine::Machine;
use crate::runtime::Runtime;
use crate::wire::encode_membership;

/// Id of a member, given once by the group and never reused.
pub type NodeId = u64;
/// openraft's leader id: one leader per term.
pub type LeaderId = leader_id_std::LeaderId<u64, NodeId>;
/// What of the leader id an entry carries: its term.
pub type CommittedLeaderId = <LeaderId as openraft::vote::RaftLeaderId>::Committed;
/// openraft's log id over our types.
pub type RaftLogId = LogId<CommittedLeaderId>;
/// openraft's vote over our types.
pub type RaftVote = openraft::impls::Vote<LeaderId>;
/// A group's membership.
pub type Membership = openraft::Membership<NodeId, Member>;
/// A membership and the entry that set it.
pub type StoredMembership = openraft::StoredMembership<CommittedLeaderId, NodeId, Member>;

/// What the group knows of a member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Where its peers reach it, `ip:port`.
    pub peer_addr: String,
    /// Where RocketMQ clients reach it, `ip:port`.
    pub client_addr: String,
    /// The random number of its formatted store; a wiped store has another one and is refused.
    pub incarnation: u64,
}

/// One type configuration per runtime and machine.
pub struct Types<R, M>(PhantomData<fn() -> (R, M)>);

impl<R, M> Clone for Types<R, M> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<R, M> Copy for Types<R, M> {}
impl<R, M> Default for Types<R, M> {
    fn default() -> Self {
        Self(PhantomData)
    }
}
impl<R, M> fmt::Debug for Types<R, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Types")
    }
}
impl<R, M> PartialEq for Types<R, M> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl<R, M> Eq for Types<R, M> {}
impl<R, M> PartialOrd for Types<R, M> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<R, M> Ord for Types<R, M> {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

impl<R: Runtime, M: Machine> RaftTypeConfig for Types<R, M> {
    type D = Proposal;
    type R = M::Reply;
    type NodeId = NodeId;
    type Node = Member;
    type Term = u64;
    type LeaderId = LeaderId;
    type Vote = RaftVote;
    type Payload = Payload;
    type Entry = RaftEntryOf;
    type AsyncRuntime = R;
    type Responder<T>
        = Callback<T>
    where
        T: Send + 'static;
    type Batch<T>
        = InlineBatch<T>
    where
        T: Send + 'static;
    type ErrorSource = openraft::AnyError;
}

/// What a proposer gives to the log: records or a machine command, encoded.
#[derive(Clone)]
pub struct Proposal {
    /// [`Kind::Records`] or [`Kind::Command`].
    pub kind: Kind,
    /// The entry's body, stored and replicated verbatim.
    pub body: Bytes,
}

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({} bytes)", self.kind, self.body.len())
    }
}
impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Payload of an entry.
#[derive(Clone, Debug, PartialEq)]
pub enum Payload {
    /// A new leader's first entry.
    Blank,
    /// A membership change.
    Members {
        /// The membership.
        members: Membership,
        /// Its encoding: made once by the leader, then stored and forwarded verbatim.
        body: Bytes,
    },
    /// Records or a command.
    Data {
        /// [`Kind::Records`] or [`Kind::Command`].
        kind: Kind,
        /// Encoded body.
        body: Bytes,
    },
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blank => f.write_str("blank"),
            Self::Members { members, .. } => write!(f, "membership {members}"),
            Self::Data { kind, body } => write!(f, "{kind:?}({} bytes)", body.len()),
        }
    }
}

impl RaftPayload for Payload {
    type D = Proposal;
    type NodeId = NodeId;
    type Node = Member;

    fn blank() -> Self {
        Self::Blank
    }
    fn with_normal(self, data: Proposal) -> Self {
        Self::Data { kind: data.kind, body: data.body }
    }
    fn with_membership(self, membership: Membership) -> Self {
        let body = match encode_membership(&membership) {
            Ok(body) => body.into(),
            Err(e) => unreachable!("a membership is plain data and always encodes: {e}"),
        };
        Self::Members { members: membership, body }
    }
    fn get_membership(&self) -> Option<Membership> {
        match self {
            Self::Members { members, .. } => Some(members.clone()),
            _ => None,
        }
    }
}

/// An entry as openraft handles it. Its place in the CommitLog is the store's business until it is applied.
#[derive(Clone, Debug, PartialEq)]
pub struct RaftEntryOf {
    /// Term and index.
    pub id: store::LogId,
    /// openraft's view of the term.
    leader: CommittedLeaderId,
    /// Where the entry's frame starts in the CommitLog; known once it was read back from the store.
    pub position: Option<store::PhysicalOffset>,
    /// What it carries.
    pub payload: Payload,
}

impl RaftEntryOf {
    /// An entry with a known place in the log.
    pub fn stored(id: store::LogId, position: store::PhysicalOffset, payload: Payload) -> Self {
        Self { id, leader: CommittedLeaderId::from(id.term.0), position: Some(position), payload }
    }
    /// An entry received from a leader.
    pub fn received(id: store::LogId, payload: Payload) -> Self {
        Self { id, leader: CommittedLeaderId::from(id.term.0), position: None, payload }
    }
}

impl fmt::Display for RaftEntryOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.id, self.payload)
    }
}

impl RaftEntry for RaftEntryOf {
    type CommittedLeaderId = CommittedLeaderId;
    type Payload = Payload;

    fn new(log_id: RaftLogId, payload: Payload) -> Self {
        Self::received(from_raft_log_id(&log_id), payload)
    }
    fn log_id_parts(&self) -> (&CommittedLeaderId, u64) {
        (&self.leader, self.id.index.0)
    }
    fn set_log_id(&mut self, new: RaftLogId) {
        self.id = from_raft_log_id(&new);
        self.leader = *new.committed_leader_id();
    }
    fn get_membership(&self) -> Option<Membership> {
        self.payload.get_membership()
    }
}

/// The store's log id as openraft's.
pub fn to_raft_log_id(id: store::LogId) -> RaftLogId {
    LogId::new(CommittedLeaderId::from(id.term.0), id.index.0)
}

/// openraft's log id as the store's.
pub fn from_raft_log_id(id: &RaftLogId) -> store::LogId {
    store::LogId { term: store::Term(id.committed_leader_id().term), index: store::LogIndex(id.index()) }
}

/// The store's vote as openraft's.
pub fn to_raft_vote(vote: store::log_store::Vote) -> RaftVote {
    if vote.committed { RaftVote::new_committed(vote.term.0, vote.node) } else { RaftVote::new(vote.term.0, vote.node) }
}

/// openraft's vote as the store's.
pub fn from_raft_vote(vote: &RaftVote) -> store::log_store::Vote {
    let leader = vote.leader_id();
    store::log_store::Vote { term: store::Term(leader.term), node: leader.voted_for, committed: vote.is_committed() }
}

/// Calls back with an operation's result: no channel, no task per entry.
pub struct Callback<T>(Box<dyn FnOnce(T) + Send>);

impl<T> Callback<T> {
    /// Calls `f` once with the result, on whatever task finishes the operation: `f` must be short.
    pub fn new(f: impl FnOnce(T) + Send + 'static) -> Self {
        Self(Box::new(f))
    }
}

impl<C: RaftTypeConfig, T: Send + 'static> Responder<C, T> for Callback<T> {
    fn on_complete(self, result: T) {
        (self.0)(result);
    }
}
