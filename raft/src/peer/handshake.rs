//! The checked handshake of every peer connection.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use quorumq_store::mutant::{Mutant, planted};
use tokio_util::codec::{Framed, FramedParts};

use super::codec::{Outgoing, PeerCodec};
use super::message::{Caller, Hello, PROTOCOL_VERSION, Purpose, Welcome};
use crate::runtime::Runtime;
use crate::types::{Member, NodeId};

/// Longest a handshake may take; a listener that accepts and stays silent must not hold a task for ever.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(2);

/// Who this process is, as peers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalPeer {
    /// RocketMQ's `brokerClusterName`.
    pub cluster: String,
    /// RocketMQ's `brokerName`.
    pub group: String,
    /// The formatted store, once there is one.
    pub caller: Option<Caller>,
    /// Random number of this process.
    pub process: u64,
}

/// Why a connection to a peer could not be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's message names its fields")]
pub enum DialError {
    /// The host is alive and nothing listens on the port: the process is gone.
    #[error("{addr} refused the connection")]
    Gone { addr: SocketAddr },
    /// Anything else: no route, a timeout, a lost connection.
    #[error("{addr}: {reason}")]
    Unreachable { addr: SocketAddr, reason: String },
    /// The peer answered and does not want us, or is not whom we meant.
    #[error("peer {addr} refused the handshake: {reason}")]
    Refused { addr: SocketAddr, reason: String },
}

/// A connection that has shaken hands.
#[derive(Debug)]
pub struct Dialed<S> {
    /// The connection.
    pub stream: S,
    /// The acceptor's incarnation; 0 before it is formatted.
    pub incarnation: u64,
    /// The acceptor's process number.
    pub process: u64,
}

impl LocalPeer {
    fn hello(&self, purpose: Purpose, to: Option<NodeId>) -> Hello {
        Hello {
            protocol: PROTOCOL_VERSION,
            purpose,
            cluster: self.cluster.clone(),
            group: self.group.clone(),
            from: self.caller.clone(),
            to,
        }
    }

    /// Why `hello` is not welcome, given what the membership knows of its sender.
    pub fn refusal(&self, hello: &Hello, known: impl FnOnce(NodeId) -> Option<Member>) -> Option<String> {
        if hello.protocol != PROTOCOL_VERSION {
            return Some(format!("peer protocol {} is not {PROTOCOL_VERSION}", hello.protocol));
        }
        if hello.cluster != self.cluster || hello.group != self.group {
            return Some(format!(
                "this is group {} of cluster {}, not group {} of cluster {}",
                self.group, self.cluster, hello.group, hello.cluster
            ));
        }
        if hello.purpose == Purpose::Form {
            return None;
        }
        let (Some(ours), Some(theirs)) = (&self.caller, &hello.from) else {
            return Some("one of the two stores is not formatted yet".to_owned());
        };
        if ours.group_uuid != theirs.group_uuid {
            return Some(format!(
                "group {} was formed as {:032x} here and as {:032x} there; these are different groups",
                self.group, ours.group_uuid, theirs.group_uuid
            ));
        }
        if ours.constants != theirs.constants {
            return Some(format!("group constants differ: {:?} here, {:?} there", ours.constants, theirs.constants));
        }
        if hello.to.is_some_and(|to| to != ours.id) {
            return Some(format!("this is node {}, not node {}", ours.id, hello.to.unwrap_or_default()));
        }
        if planted(Mutant::WipedNodeVotes) {
            return None;
        }
        match known(theirs.id) {
            Some(member) if member.incarnation != theirs.incarnation => Some(format!(
                "node {} is known with another store: its directory was wiped or replaced; \
                 remove it from the group and add it anew under a new id",
                theirs.id
            )),
            _ => None,
        }
    }
}

/// Dials `addr`, shakes hands for `purpose`, and checks that it is `to` with the incarnation the group knows.
///
/// # Errors
/// See [`DialError`].
pub async fn dial<R: Runtime>(
    local: &LocalPeer,
    addr: SocketAddr,
    purpose: Purpose,
    to: Option<(NodeId, u64)>,
) -> Result<Dialed<R::Stream>, DialError> {
    let unreachable = |reason: String| DialError::Unreachable { addr, reason };
    match R::timeout(HANDSHAKE_TIMEOUT, shake::<R>(local, addr, purpose, to)).await {
        Ok(done) => done,
        Err(_) => Err(unreachable("no answer to the handshake".to_owned())),
    }
}

async fn shake<R: Runtime>(
    local: &LocalPeer,
    addr: SocketAddr,
    purpose: Purpose,
    to: Option<(NodeId, u64)>,
) -> Result<Dialed<R::Stream>, DialError> {
    let unreachable = |e: io::Error| DialError::Unreachable { addr, reason: e.to_string() };
    let stream = R::connect(addr).await.map_err(|e| match e.kind() {
        io::ErrorKind::ConnectionRefused => DialError::Gone { addr },
        _ => unreachable(e),
    })?;
    let mut framed = Framed::new(stream, PeerCodec::<Hello, Welcome>::default());
    let hello = local.hello(purpose, to.map(|(id, _)| id));
    framed.send(Outgoing { header: &hello, raw: &[] }).await.map_err(unreachable)?;
    let welcome = match framed.next().await {
        Some(frame) => frame.map_err(unreachable)?.header,
        None => return Err(unreachable(io::ErrorKind::UnexpectedEof.into())),
    };
    match welcome {
        Welcome::Refused { reason } => Err(DialError::Refused { addr, reason }),
        Welcome::Accepted { incarnation, .. }
            if to.is_some_and(|(_, known)| known != 0 && known != incarnation) && !planted(Mutant::WipedNodeVotes) =>
        {
            let reason = "the node answers with another store than the group knows; was its directory wiped?";
            Err(DialError::Refused { addr, reason: reason.to_owned() })
        }
        Welcome::Accepted { incarnation, process } => {
            // The acceptor speaks only when asked, so nothing can be buffered behind its welcome.
            let FramedParts { io, .. } = framed.into_parts();
            Ok(Dialed { stream: io, incarnation, process })
        }
    }
}

/// Reads the dialer's hello and answers it. The inner error is the reason why the dialer was refused; it
/// has been told.
///
/// # Errors
/// The connection was lost, or what arrived is no hello.
pub async fn accept<R: Runtime>(
    local: &LocalPeer,
    stream: R::Stream,
    known: impl FnOnce(NodeId) -> Option<Member>,
) -> io::Result<Result<(R::Stream, Hello), String>> {
    let mut framed = Framed::new(stream, PeerCodec::<Welcome, Hello>::default());
    let hello = match framed.next().await {
        Some(frame) => frame?.header,
        None => return Err(io::ErrorKind::UnexpectedEof.into()),
    };
    if let Some(reason) = local.refusal(&hello, known) {
        let welcome = Welcome::Refused { reason: reason.clone() };
        framed.send(Outgoing { header: &welcome, raw: &[] }).await?;
        return Ok(Err(reason));
    }
    let incarnation = local.caller.as_ref().map_or(0, |c| c.incarnation);
    let welcome = Welcome::Accepted { incarnation, process: local.process };
    framed.send(Outgoing { header: &welcome, raw: &[] }).await?;
    let parts = framed.into_parts();
    if !parts.read_buf.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the dialer spoke before it was welcomed"));
    }
    Ok(Ok((parts.io, hello)))
}
