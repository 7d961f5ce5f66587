//! Messages between peers.

use serde::{Deserialize, Serialize};

use crate::types::NodeId;
use crate::wire::{
    WireAppend, WireAppended, WireLogId, WireStoredMembership, WireVote, WireVoteRequest, WireVoteResponse,
};

/// Version of the peer protocol. Peers of another version are refused by name.
pub const PROTOCOL_VERSION: u16 = 1;

/// First frame of every connection, from the dialer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub protocol: u16,
    pub purpose: Purpose,
    /// RocketMQ's `brokerClusterName`.
    pub cluster: String,
    /// RocketMQ's `brokerName`.
    pub group: String,
    /// Who dials; `None` before its store is formatted.
    pub from: Option<Caller>,
    /// Who is meant; `None` when the dialer only knows an address.
    pub to: Option<NodeId>,
}

/// A formatted member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    pub id: NodeId,
    pub group_uuid: u128,
    pub incarnation: u64,
    pub constants: WireConstants,
}

/// Group constants that every member must share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireConstants {
    pub segment_size: u64,
    pub max_entry: u32,
    pub frame_version: u8,
    pub feature_level: u16,
}

impl From<quorumq_store::identity::GroupConstants> for WireConstants {
    fn from(c: quorumq_store::identity::GroupConstants) -> Self {
        Self {
            segment_size: c.segment_size,
            max_entry: c.max_entry,
            frame_version: c.frame_version,
            feature_level: c.feature_level,
        }
    }
}
impl From<WireConstants> for quorumq_store::identity::GroupConstants {
    fn from(c: WireConstants) -> Self {
        Self {
            segment_size: c.segment_size,
            max_entry: c.max_entry,
            frame_version: c.frame_version,
            feature_level: c.feature_level,
        }
    }
}

/// What a connection is for. Each purpose has its own, so that none delays another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Purpose {
    /// Votes, heartbeats, read index, membership: small and urgent.
    Control,
    /// Appends with entries, one stream of them.
    Log,
    /// Requests of clients forwarded to the leader, and other calls of the application.
    Forward,
    /// One snapshot.
    Snapshot,
    /// Forming a group or adding a node: the acceptor may not be formatted yet.
    Form,
}

/// Answer to [`Hello`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Welcome {
    Accepted {
        /// The acceptor's incarnation; 0 before its store is formatted.
        incarnation: u64,
        /// Random number of the acceptor's process: another one means that the process before is gone.
        process: u64,
    },
    Refused {
        reason: String,
    },
}

/// A request on a Control, Forward, Snapshot or Form connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    Vote(WireVoteRequest),
    PreVote(WireVoteRequest),
    Heartbeat(WireAppend),
    TransferLeader {
        from: WireVote,
        to: NodeId,
        last: Option<WireLogId>,
    },
    /// Ask the leader for a read index.
    ReadIndex,
    /// A call of the application; its bytes are the raw part.
    Call,
    /// Install a snapshot; its blob is the raw part.
    Snapshot {
        vote: WireVote,
        last: Option<WireLogId>,
        membership: WireStoredMembership,
    },
    /// Who are you, and is your store pristine?
    Probe,
    /// Format your store as this member.
    Format {
        group_uuid: u128,
        id: NodeId,
        constants: WireConstants,
    },
    /// How do you stand?
    Status,
}

/// The answer to a [`Request`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    Vote(WireVoteResponse),
    Appended(WireAppended),
    Transferred(Result<(), String>),
    /// Everything up to here must be applied before the read.
    ReadIndex {
        at: Option<WireLogId>,
    },
    /// The application's answer; its bytes are the raw part.
    Called,
    Installed {
        vote: WireVote,
    },
    Probed(Probed),
    Formatted {
        incarnation: u64,
        client_addr: String,
    },
    Status(NodeStatus),
    /// Not the leader; who is, if known.
    NotLeader {
        leader: Option<NodeId>,
    },
    /// The request failed.
    Error(String),
}

/// What an unformatted or formatted node says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probed {
    /// Its identity, once formatted.
    pub identity: Option<Caller>,
    /// Whether it holds neither vote nor entries.
    pub pristine: bool,
    /// Whether it was started to be added to a group.
    pub joining: bool,
    /// Where its clients reach it.
    pub client_addr: String,
}

/// How a member stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    pub id: NodeId,
    pub term: u64,
    pub leader: Option<NodeId>,
    pub role: Role,
    pub voter: bool,
    pub purged: Option<WireLogId>,
    pub last: Option<WireLogId>,
    pub synced: Option<WireLogId>,
    pub committed: Option<WireLogId>,
    pub applied: Option<WireLogId>,
    /// First byte of the CommitLog still held.
    pub first_offset: u64,
    /// End of the CommitLog.
    pub end_offset: u64,
    /// Digest at `applied`.
    pub digest: u64,
    /// Snapshots installed since the process started.
    pub snapshots_installed: u64,
}

/// A member's role.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    Leader,
    #[default]
    Follower,
    Candidate,
    Learner,
    Stopped,
}

/// Header of a multiplexed request: correlates the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    pub id: u64,
    pub request: Request,
}

/// Header of a multiplexed answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    pub id: u64,
    pub response: Response,
}
