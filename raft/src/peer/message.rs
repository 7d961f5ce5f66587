//! Messages between peers.

use serde::{Deserialize, Serialize};

use crate::types::NodeId;
use crate::wire::{
    WireAppend, WireAppended, WireLogId, WireStoredMembership, WireVote, WireVoteRequest, WireVoteResponse,
};

/// Version of the peer protocol. Peers of another version are refused by name.
pub const PROTOCOL_VERSION: u16 = 2;

/// First frame of every connection, from the dialer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The sender's [`PROTOCOL_VERSION`].
    pub protocol: u16,
    /// What the connection is for.
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
    /// A node id, or the number that correlates request and answer.
    pub id: NodeId,
    /// Random id drawn when the group was formed.
    pub group_uuid: u128,
    /// Random number of the formatted store.
    pub incarnation: u64,
    /// The group's constants.
    pub constants: WireConstants,
}

/// Group constants that every member must share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireConstants {
    /// Bytes of a CommitLog segment.
    pub segment_size: u64,
    /// Largest entry body in bytes.
    pub max_entry: u32,
    /// Version of the frame layout.
    pub frame_version: u8,
    /// Feature level of the group.
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
    /// Bytes for a damaged CommitLog.
    Repair,
}

/// Answer to [`Hello`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Welcome {
    /// Welcome.
    Accepted {
        /// The acceptor's incarnation; 0 before its store is formatted.
        incarnation: u64,
        /// Random number of the acceptor's process: another one means that the process before is gone.
        process: u64,
    },
    /// Not welcome; the connection is closed.
    Refused {
        /// Why, for people.
        reason: String,
    },
}

/// A request on a Control, Forward, Snapshot or Form connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// A vote is asked for, or answered.
    Vote(WireVoteRequest),
    /// Would you vote for this? Changes nothing.
    PreVote(WireVoteRequest),
    /// An append without entries.
    Heartbeat(WireAppend),
    /// The leader hands over.
    TransferLeader {
        /// The vote of the leader that hands over.
        from: WireVote,
        /// The node that is to lead.
        to: NodeId,
        /// The sender's last entry.
        last: Option<WireLogId>,
    },
    /// Ask the leader for a read index.
    ReadIndex,
    /// A call of the application; its bytes are the raw part.
    Call,
    /// Install a snapshot; its blob is the raw part.
    Snapshot {
        /// The sender's vote.
        vote: WireVote,
        /// The sender's last entry.
        last: Option<WireLogId>,
        /// The membership as of the snapshot.
        membership: WireStoredMembership,
    },
    /// Who are you, and is your store pristine?
    Probe,
    /// Format your store as this member.
    Format {
        /// Random id drawn when the group was formed.
        group_uuid: u128,
        /// A node id, or the number that correlates request and answer.
        id: NodeId,
        /// The group's constants.
        constants: WireConstants,
    },
    /// How do you stand?
    Status,
    /// The bytes `from..to` of your CommitLog, as they stand in one of its files; at most
    /// [`quorumq_store::repair::MAX_PIECE`]. Who asks checks them.
    Bytes {
        /// The first byte.
        from: u64,
        /// The first byte behind.
        to: u64,
    },
}

/// The answer to a [`Request`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// A vote is asked for, or answered.
    Vote(WireVoteResponse),
    /// The answer to a heartbeat.
    Appended(WireAppended),
    /// Whether the handover was taken up.
    Transferred(Result<(), String>),
    /// Everything up to here must be applied before the read.
    ReadIndex {
        /// The read index; nothing needs to be applied when it is missing.
        at: Option<WireLogId>,
    },
    /// The application's answer; its bytes are the raw part.
    Called,
    /// The snapshot is installed, or was not needed.
    Installed {
        /// The sender's vote.
        vote: WireVote,
    },
    /// What the node says of itself.
    Probed(Probed),
    /// The store is formatted, now or already.
    Formatted {
        /// Random number of the formatted store.
        incarnation: u64,
        /// Where clients reach the node.
        client_addr: String,
    },
    /// How the node stands.
    Status(NodeStatus),
    /// Not the leader; who is, if known.
    NotLeader {
        /// The leader this node knows of.
        leader: Option<NodeId>,
    },
    /// The request failed.
    Error(String),
    /// Bytes of the CommitLog, which are the raw part.
    Bytes,
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
    /// A node id, or the number that correlates request and answer.
    pub id: NodeId,
    /// The term.
    pub term: u64,
    /// The leader this node knows of.
    pub leader: Option<NodeId>,
    /// Its role.
    pub role: Role,
    /// Whether it votes.
    pub voter: bool,
    /// Last purged entry.
    pub purged: Option<WireLogId>,
    /// The sender's last entry.
    pub last: Option<WireLogId>,
    /// Last entry synced on its disk.
    pub synced: Option<WireLogId>,
    /// Last entry it knows to be committed.
    pub committed: Option<WireLogId>,
    /// Last applied entry.
    pub applied: Option<WireLogId>,
    /// First byte of the CommitLog still held.
    pub first_offset: u64,
    /// End of the CommitLog.
    pub end_offset: u64,
    /// Digest at `applied`.
    pub digest: u64,
    /// Snapshots installed since the process started.
    pub snapshots_installed: u64,
    /// Whether its disk is fit to lead.
    pub is_fit: bool,
    /// Whether it may lack entries that it has acknowledged, and so does not vote.
    pub unproven: bool,
    /// Bytes available and in all on the volume of its store, if it could tell.
    pub space: Option<(u64, u64)>,
    /// The node's wall clock when it answered.
    pub wall_clock_ms: i64,
    /// How sound its CommitLog is.
    pub log: LogHealth,
}

/// How sound a member's CommitLog is, as far as it was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogHealth {
    /// Ranges that are known to be damaged.
    pub bad_ranges: u64,
    /// Bytes of those ranges.
    pub bad_bytes: u64,
    /// Bytes taken from other members since the process started, in place of damaged ones.
    pub filled_bytes: u64,
    /// How far the pass that reads the whole log has come, as a position; `None` between passes.
    pub scrubbed: Option<u64>,
    /// When the last such pass ended, by the node's wall clock.
    pub scrub_ended_ms: Option<i64>,
}

/// A member's role.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// Takes proposals.
    Leader,
    /// Follows a leader, and votes.
    #[default]
    Follower,
    /// Asks for votes.
    Candidate,
    /// Follows without a vote.
    Learner,
    /// Has stopped.
    Stopped,
    /// Fills a damaged CommitLog before it takes part in anything.
    Repairing,
}

/// Header of a multiplexed request: correlates the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// A node id, or the number that correlates request and answer.
    pub id: u64,
    /// What is asked.
    pub request: Request,
}

/// Header of a multiplexed answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// A node id, or the number that correlates request and answer.
    pub id: u64,
    /// The answer.
    pub response: Response,
}
