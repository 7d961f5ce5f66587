//! What peers say to each other: plain serde values that mirror openraft's.

use std::collections::{BTreeMap, BTreeSet};

use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, StreamAppendError, VoteRequest, VoteResponse};
use quorumq_store as store;
use serde::{Deserialize, Serialize};
use store::{LogIndex, Term};

use crate::codec::{self, CodecError};
use crate::machine::Machine;
use crate::runtime::Runtime;
use crate::types::{Member, Membership, NodeId, RaftLogId, RaftVote, StoredMembership, Types};
use crate::types::{from_raft_log_id, from_raft_vote, to_raft_log_id, to_raft_vote};

/// Term and index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireLogId(pub u64, pub u64);

impl From<&RaftLogId> for WireLogId {
    fn from(id: &RaftLogId) -> Self {
        Self(id.committed_leader_id().term, id.index())
    }
}
impl From<store::LogId> for WireLogId {
    fn from(id: store::LogId) -> Self {
        Self(id.term.0, id.index.0)
    }
}
impl From<WireLogId> for store::LogId {
    fn from(id: WireLogId) -> Self {
        Self { term: Term(id.0), index: LogIndex(id.1) }
    }
}
impl From<WireLogId> for RaftLogId {
    fn from(id: WireLogId) -> Self {
        to_raft_log_id(id.into())
    }
}

/// A vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireVote {
    /// The term.
    pub term: u64,
    /// The node voted for.
    pub node: NodeId,
    /// Whether a quorum granted it.
    pub committed: bool,
}

impl From<&RaftVote> for WireVote {
    fn from(vote: &RaftVote) -> Self {
        let vote = from_raft_vote(vote);
        Self { term: vote.term.0, node: vote.node, committed: vote.committed }
    }
}
impl From<WireVote> for RaftVote {
    fn from(vote: WireVote) -> Self {
        to_raft_vote(store::log_store::Vote { term: Term(vote.term), node: vote.node, committed: vote.committed })
    }
}

/// A vote request, or a pre-vote request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireVoteRequest {
    /// The sender's vote.
    pub vote: WireVote,
    /// The sender's last entry.
    pub last: Option<WireLogId>,
    /// The leader itself asked for this election.
    pub leadership_transfer: bool,
}

impl WireVoteRequest {
    /// From openraft's value.
    pub fn new<R: Runtime, M: Machine>(req: &VoteRequest<Types<R, M>>) -> Self {
        Self {
            vote: (&req.vote).into(),
            last: req.last_log_id.as_ref().map(Into::into),
            leadership_transfer: req.leadership_transfer,
        }
    }
    /// As openraft's value.
    pub fn into_raft<R: Runtime, M: Machine>(self) -> VoteRequest<Types<R, M>> {
        let mut req = VoteRequest::new(self.vote.into(), self.last.map(Into::into));
        req.leadership_transfer = self.leadership_transfer;
        req
    }
}

/// The answer to a vote or pre-vote request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireVoteResponse {
    /// The sender's vote.
    pub vote: WireVote,
    /// Whether the vote was granted.
    pub granted: bool,
    /// The sender's last entry.
    pub last: Option<WireLogId>,
}

impl WireVoteResponse {
    /// From openraft's value.
    pub fn new<R: Runtime, M: Machine>(resp: &VoteResponse<Types<R, M>>) -> Self {
        Self { vote: (&resp.vote).into(), granted: resp.vote_granted, last: resp.last_log_id.as_ref().map(Into::into) }
    }
    /// As openraft's value.
    pub fn into_raft<R: Runtime, M: Machine>(self) -> VoteResponse<Types<R, M>> {
        VoteResponse::new(RaftVote::from(self.vote), self.last.map(Into::into), self.granted)
    }
}

/// One entry of an append, without its body: the bodies follow the header as raw bytes, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireEntry {
    /// Term and index.
    pub id: WireLogId,
    /// [`store::frame::Kind`] as its number.
    pub kind: u8,
    /// Bytes of the body.
    pub len: u32,
    /// CRC of the body.
    pub crc: u32,
}

/// Header of an append.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireAppend {
    /// The sender's vote.
    pub vote: WireVote,
    /// The entry before the first one.
    pub prev: Option<WireLogId>,
    /// The leader's committed entry.
    pub commit: Option<WireLogId>,
    /// Entries, in order.
    pub entries: Vec<WireEntry>,
}

impl WireAppend {
    /// An append without entries: a heartbeat.
    pub fn heartbeat<R: Runtime, M: Machine>(req: &AppendEntriesRequest<Types<R, M>>) -> Self {
        Self {
            vote: (&req.vote).into(),
            prev: req.prev_log_id.as_ref().map(Into::into),
            commit: req.leader_commit.as_ref().map(Into::into),
            entries: Vec::new(),
        }
    }
}

/// The answer to one append.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WireAppended {
    /// Everything up to here matches and is flushed.
    Matching(Option<WireLogId>),
    /// The entry before the append does not match.
    Conflict(WireLogId),
    /// The follower has seen a higher vote.
    HigherVote(WireVote),
    /// The follower's disk has no room for the entries; nothing was written.
    NoSpace(String),
}

impl WireAppended {
    /// From openraft's answer to one request of a stream.
    pub fn from_stream<R: Runtime, M: Machine>(result: &openraft::raft::StreamAppendResult<Types<R, M>>) -> Self {
        match result {
            Ok(matching) => Self::Matching(matching.as_ref().map(Into::into)),
            Err(StreamAppendError::Conflict(at)) => Self::Conflict(at.into()),
            Err(StreamAppendError::HigherVote(vote)) => Self::HigherVote(vote.into()),
        }
    }
    /// From openraft's answer to a single append; `prev` and `last` are the request's.
    pub fn from_unary<R: Runtime, M: Machine>(
        response: AppendEntriesResponse<Types<R, M>>,
        prev: Option<RaftLogId>,
        last: Option<RaftLogId>,
    ) -> Self {
        match response {
            AppendEntriesResponse::Success => Self::Matching(last.as_ref().map(Into::into)),
            AppendEntriesResponse::PartialSuccess(at) => Self::Matching(at.as_ref().map(Into::into)),
            AppendEntriesResponse::HigherVote(vote) => Self::HigherVote((&vote).into()),
            AppendEntriesResponse::Conflict => match prev {
                Some(prev) => Self::Conflict((&prev).into()),
                None => Self::Matching(None),
            },
        }
    }
}

/// A membership, as stored in the log and in checkpoints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireMembership {
    configs: Vec<BTreeSet<NodeId>>,
    nodes: BTreeMap<NodeId, Member>,
}

impl From<&Membership> for WireMembership {
    fn from(m: &Membership) -> Self {
        Self {
            configs: m.get_joint_config().clone(),
            nodes: m.nodes().map(|(id, member)| (*id, member.clone())).collect(),
        }
    }
}

/// Encodes a membership for the log or a checkpoint.
///
/// # Errors
/// When it does not encode, which is a bug.
pub fn encode_membership(members: &Membership) -> Result<Vec<u8>, CodecError> {
    codec::encode(&WireMembership::from(members))
}

/// Decodes a membership from the log or a checkpoint.
///
/// # Errors
/// The bytes are of another version, or no valid membership.
pub fn decode_membership(bytes: &[u8]) -> Result<Membership, CodecError> {
    codec::decode::<WireMembership>(bytes)?.into_raft()
}

impl WireMembership {
    fn into_raft(self) -> Result<Membership, CodecError> {
        if self.configs.is_empty() && self.nodes.is_empty() {
            return Ok(Membership::default());
        }
        Membership::new(self.configs, self.nodes).map_err(|e| CodecError::Bytes(e.to_string()))
    }
}

/// A membership with the entry that set it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireStoredMembership {
    /// Term and index.
    pub id: Option<WireLogId>,
    /// The membership as of the snapshot.
    pub membership: WireMembership,
}

impl From<&StoredMembership> for WireStoredMembership {
    fn from(m: &StoredMembership) -> Self {
        Self { id: m.log_id().as_ref().map(Into::into), membership: m.membership().into() }
    }
}

impl TryFrom<WireStoredMembership> for StoredMembership {
    type Error = CodecError;

    fn try_from(wire: WireStoredMembership) -> Result<Self, CodecError> {
        Ok(Self::new(wire.id.map(Into::into), wire.membership.into_raft()?))
    }
}

/// The store's log id from openraft's, optional.
pub fn store_id(id: Option<&RaftLogId>) -> Option<store::LogId> {
    id.map(from_raft_log_id)
}
