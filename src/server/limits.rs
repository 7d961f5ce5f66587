//! Limits of a server or a client connection, each with its reason.

use std::time::Duration;

/// Connections one server takes: a client opens one or two per broker, so this is about 10,000 clients,
/// at about 10 KiB each while they are quiet.
pub const MAX_CONNECTIONS: usize = 20_000;

/// Bytes that may wait for one peer, in all: sixteen of the largest answers we give (4 MiB). A peer that lets
/// more pile up does not read, and is disconnected before it eats the node's memory.
pub const OUTBOUND_LIMIT: usize = 64 * 1024 * 1024;

/// A server reads no further requests while more than this waits for the peer: a few pulls' worth.
pub const PAUSE_READS_ABOVE: usize = 4 * 1024 * 1024;

/// A connection without a byte in either direction for so long is closed. RocketMQ's channel idle time
/// (`serverChannelMaxIdleTimeSeconds`), four heartbeats of 30 s.
pub const IDLE: Duration = Duration::from_secs(120);

/// How long the answers already queued may take to leave a connection that is being closed.
pub const LINGER: Duration = Duration::from_secs(3);

/// What one connection may use, and how many there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time; one more is closed as soon as it is accepted.
    pub max_connections: usize,
    /// Bytes that may wait for one peer; beyond it the connection is closed.
    pub outbound_limit: usize,
    /// Bytes waiting for the peer above which we stop reading from it. `None` never stops: a client must go on
    /// reading answers while its requests wait, or both sides would wait for each other.
    pub pause_reads_above: Option<usize>,
    /// Time without traffic in either direction after which the connection is closed (up to a quarter later).
    pub idle: Duration,
    /// Time for queued bytes to leave after a close.
    pub linger: Duration,
}

impl Limits {
    /// A server's limits.
    pub const SERVER: Self = Self {
        max_connections: MAX_CONNECTIONS,
        outbound_limit: OUTBOUND_LIMIT,
        pause_reads_above: Some(PAUSE_READS_ABOVE),
        idle: IDLE,
        linger: LINGER,
    };

    /// A client's limits: it never stops reading.
    pub const CLIENT: Self = Self { pause_reads_above: None, ..Self::SERVER };
}

impl Default for Limits {
    fn default() -> Self {
        Self::SERVER
    }
}
