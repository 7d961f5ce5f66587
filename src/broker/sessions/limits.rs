//! What clients may make a broker keep, and how it is refused.

use crate::broker::subscription::TooManyTags;
use crate::protocol::body::BodyError;
use crate::protocol::names::NameError;

/// Largest body of a heartbeat, in bytes: a thousand topics of a client, each with some tags, take a tenth.
pub const MAX_HEARTBEAT: usize = 1024 * 1024;
/// Longest client id, in bytes. Clients make them of an address, a process id and a name.
pub const MAX_CLIENT_ID: usize = 512;
/// Consumer and producer groups of one client on one connection.
pub const MAX_GROUPS: usize = 1024;
/// Client ids on one connection: real clients have one, a proxy some.
pub const MAX_CLIENTS_PER_CONNECTION: usize = 256;
/// Clients of one node: as many as it takes connections.
pub const MAX_CLIENTS: usize = crate::server::Limits::SERVER.max_connections;
/// Bytes of groups and subscriptions, as JSON, over all clients of a node. The leader keeps this of every node.
pub const MAX_BYTES: usize = 32 * 1024 * 1024;

/// Why a heartbeat is not taken. Code 1 on the wire.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeartbeatRefused {
    /// Only the node that holds a client's connection can keep its session.
    #[error("a heartbeat counts on the connection it comes on, it is not forwarded")]
    Forwarded,
    /// The body is too large.
    #[error("the heartbeat has {len} bytes, more than {MAX_HEARTBEAT}")]
    TooLong {
        /// Its bytes.
        len: usize,
    },
    /// The body does not parse.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// There is no client id.
    #[error("the heartbeat lacks its clientID")]
    NoClientId,
    /// The client id is too long.
    #[error("the clientID has {len} bytes, more than {MAX_CLIENT_ID}")]
    LongClientId {
        /// Its bytes.
        len: usize,
    },
    /// A group has no valid name.
    #[error(transparent)]
    Group(#[from] NameError),
    /// A subscription has too many tags.
    #[error(transparent)]
    Tags(#[from] TooManyTags),
    /// The client is in too many groups.
    #[error("client {client_id} is in {count} groups on one connection, more than {MAX_GROUPS}")]
    TooManyGroups {
        /// The client.
        client_id: String,
        /// Its groups, the new ones included.
        count: usize,
    },
    /// A connection stands for too many clients.
    #[error("the connection has {MAX_CLIENTS_PER_CONNECTION} clients already; use another one")]
    TooManyOnConnection,
    /// The node has too many clients.
    #[error("this node has {MAX_CLIENTS} clients already; connect to another member of the group")]
    TooManyClients,
    /// The node keeps too many subscriptions.
    #[error(
        "groups and subscriptions of this node's clients would take {bytes} bytes, more than {MAX_BYTES}; connect to \
         another member of the group, or subscribe to less"
    )]
    TooManyBytes {
        /// What it would keep.
        bytes: usize,
    },
}
