//! This node's connections to its peers, dialled on demand and kept.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::full::FullMembers;
use super::handshake::{DialError, Dialed, LocalPeer, dial};
use super::message::{Purpose, Request, Response};
use super::mux::{CallError, Mux};
use crate::runtime::Runtime;
use crate::types::{Member, NodeId};

/// Called with a peer's id when a connection to it ends.
pub type OnLost = Arc<dyn Fn(NodeId) + Send + Sync>;

/// Where a connection is kept; locked while it is dialled, so that one dial serves all who wait.
type Slot = Arc<tokio::sync::Mutex<Option<Link>>>;

struct Link {
    mux: Arc<Mux>,
    process: u64,
}

/// Multiplexed connections by peer and purpose.
pub struct Peers<R> {
    local: LocalPeer,
    links: Mutex<BTreeMap<(NodeId, Purpose), Slot>>,
    on_lost: OnLost,
    full: Arc<FullMembers>,
    _runtime: std::marker::PhantomData<fn() -> R>,
}

impl<R> std::fmt::Debug for Peers<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peers").field("local", &self.local).finish_non_exhaustive()
    }
}

impl<R: Runtime> Peers<R> {
    pub fn new(local: LocalPeer, on_lost: OnLost) -> Arc<Self> {
        let (full, _runtime) = (Arc::default(), std::marker::PhantomData);
        Arc::new(Self { local, links: Mutex::default(), on_lost, full, _runtime })
    }

    /// Members that have no room for entries, as far as they told.
    pub fn full(&self) -> &Arc<FullMembers> {
        &self.full
    }

    /// Who this process is.
    pub fn local(&self) -> &LocalPeer {
        &self.local
    }

    fn slot(&self, key: (NodeId, Purpose)) -> Slot {
        let mut links: MutexGuard<'_, _> = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(links.entry(key).or_default())
    }

    /// The living connection to `id` for `purpose`, dialled if there is none.
    ///
    /// # Errors
    /// See [`DialError`].
    pub async fn link(&self, id: NodeId, member: &Member, purpose: Purpose) -> Result<(Arc<Mux>, u64), DialError> {
        let slot = self.slot((id, purpose));
        let mut link = slot.lock().await;
        if let Some(Link { mux, process }) = &*link
            && !mux.is_lost()
        {
            return Ok((Arc::clone(mux), *process));
        }
        let Dialed { stream, process, .. } = self.dial(id, member, purpose).await?;
        let on_lost = Arc::clone(&self.on_lost);
        let mux = Mux::start::<R>(stream, move || on_lost(id));
        *link = Some(Link { mux: Arc::clone(&mux), process });
        Ok((mux, process))
    }

    /// A new connection to `id`, not shared.
    ///
    /// # Errors
    /// See [`DialError`].
    pub async fn dial(&self, id: NodeId, member: &Member, purpose: Purpose) -> Result<Dialed<R::Stream>, DialError> {
        let addr = parse_addr(&member.peer_addr)?;
        dial::<R>(&self.local, addr, purpose, Some((id, member.incarnation))).await
    }

    /// Calls a peer and waits at most `limit`.
    ///
    /// # Errors
    /// `NotSent` if it never left, `Unknown` if it may have been handled.
    pub async fn call(
        &self,
        (id, member): (NodeId, &Member),
        purpose: Purpose,
        request: Request,
        raw: &[Bytes],
        limit: Duration,
    ) -> Result<(Response, Bytes), CallError> {
        let deadline = <R::Instant as openraft_rt::Instant>::now() + limit;
        let (mux, _) = match R::timeout_at(deadline, self.link(id, member, purpose)).await {
            Ok(Ok(link)) => link,
            Ok(Err(e)) => return Err(CallError::NotSent(e.to_string())),
            Err(_) => {
                return Err(CallError::NotSent(format!("no connection to node {id} within {limit:?}")));
            }
        };
        match R::timeout_at(deadline, mux.call(request, raw)).await {
            Ok(answer) => answer,
            Err(_) => Err(CallError::Unknown(format!("no answer from node {id} within {limit:?}"))),
        }
    }

    /// Ends every connection.
    pub async fn close(&self) {
        let links: Vec<_> = self.links.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        for slot in links {
            if let Some(link) = slot.lock().await.take() {
                link.mux.close();
            }
        }
    }
}

/// Reads `ip:port`.
///
/// # Errors
/// `Unreachable` naming the text.
pub fn parse_addr(text: &str) -> Result<SocketAddr, DialError> {
    text.parse().map_err(|_| DialError::Unreachable {
        addr: SocketAddr::from(([0, 0, 0, 0], 0)),
        reason: format!("{text:?} is no ip:port"),
    })
}
