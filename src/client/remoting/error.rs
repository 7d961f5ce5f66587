//! Why a request got no answer.

use std::io;
use std::net::SocketAddr;

use crate::protocol::command::Command;
use crate::server::CloseReason;

/// What became of a request: an answer of any response code, or none.
pub type CallResult = Result<Command, CallError>;

/// Why a request got no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// Its frame never left this process whole: nobody can have carried it out.
    #[error("not sent to {addr}: {reason}")]
    NotSent {
        /// Where it should have gone.
        addr: SocketAddr,
        /// What stopped it.
        reason: NotSent,
    },
    /// The connection ended after the request was written: it may have been carried out.
    #[error("the connection to {addr} was lost before it answered: {reason}")]
    Lost {
        /// Where it went.
        addr: SocketAddr,
        /// Why the connection ended.
        reason: CloseReason,
    },
    /// No answer came in time: it may have been carried out, or may still be.
    #[error("{addr} did not answer within {timeout_ms} ms")]
    TimedOut {
        /// Where it went.
        addr: SocketAddr,
        /// How long we waited.
        timeout_ms: u64,
    },
}

/// What kept a request from being sent.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NotSent {
    /// No connection came about.
    #[error("cannot connect: {detail}")]
    Connect {
        /// `ConnectionRefused`: the host is alive, and nothing listens there.
        kind: io::ErrorKind,
        /// The host's words.
        detail: String,
    },
    /// Nobody answered while connecting.
    #[error("no connection within {timeout_ms} ms")]
    ConnectTimeout {
        /// How long we tried.
        timeout_ms: u64,
    },
    /// The connection ended before the request was written.
    #[error("the connection was closed first: {0}")]
    Closed(CloseReason),
    /// The connection is at its limit.
    #[error("the connection is full: {waiting} {what} wait, the limit is {limit}")]
    Full {
        /// Requests or bytes.
        what: &'static str,
        /// How many wait.
        waiting: u64,
        /// How many may.
        limit: u64,
    },
}

impl CallError {
    /// Whether the request may have been carried out.
    pub fn is_unknown(&self) -> bool {
        !matches!(self, Self::NotSent { .. })
    }

    /// Whom it is about.
    pub fn addr(&self) -> SocketAddr {
        match self {
            Self::NotSent { addr, .. } | Self::Lost { addr, .. } | Self::TimedOut { addr, .. } => *addr,
        }
    }
}
