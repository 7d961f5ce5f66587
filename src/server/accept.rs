//! Listening: one service on one or several addresses, one task per connection.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use openraft_rt::Select2;
use quorumq_raft::runtime::{Listener, Runtime};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::conn::{CloseReason, Conn};
use super::limits::Limits;
use super::pump::pump;
use super::service::{Served, Service};

/// Pause after a failed accept: out of file descriptors or memory, which only time mends.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// A listening address that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process has the port.
    #[error(
        "port {} is taken ({addr}, setting {setting}): stop the process that uses it (`ss -ltnp 'sport = :{}'` \
         names it) or set {setting} to a free port", .addr.port(), .addr.port()
    )]
    Taken {
        /// The address asked for.
        addr: SocketAddr,
        /// The setting it comes from.
        setting: &'static str,
    },
    /// The host refuses for another reason.
    #[error("cannot listen on {addr} (setting {setting}): {source}")]
    Refused {
        /// The address asked for.
        addr: SocketAddr,
        /// The setting it comes from.
        setting: &'static str,
        /// The host's answer.
        source: io::Error,
    },
}

/// Binds `addr`, which the operator knows as `setting`.
///
/// # Errors
/// [`BindError`], whose words tell the operator what to do.
pub async fn bind<R: Runtime>(addr: SocketAddr, setting: &'static str) -> Result<R::Listener, BindError> {
    R::bind(addr).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => BindError::Taken { addr, setting },
        _ => BindError::Refused { addr, setting, source },
    })
}

/// A running server. Dropping it stops accepting and closes every connection, without waiting.
#[derive(Debug)]
pub struct Server {
    pub(super) shared: Arc<Shared>,
    addrs: Vec<SocketAddr>,
}

pub(super) struct Shared {
    pub(super) stop: CancellationToken,
    limits: Limits,
    next_id: AtomicU64,
    conns: Mutex<BTreeMap<u64, Conn>>,
    /// Signalled when the last connection is gone.
    pub(super) empty: Notify,
    pub(super) in_flight: Box<dyn Fn() -> usize + Send + Sync>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("limits", &self.limits).field("connections", &self.count()).finish()
    }
}

/// Serves `service` on every listener until `stop` is cancelled or the server is drained or dropped.
///
/// # Errors
/// A listener whose address the host no longer knows.
pub fn serve<R, L, S>(listeners: Vec<L>, service: Arc<S>, limits: Limits, stop: CancellationToken) -> io::Result<Server>
where
    R: Runtime,
    L: Listener<Stream = R::Stream>,
    S: Service,
{
    let addrs = listeners.iter().map(Listener::local_addr).collect::<io::Result<Vec<_>>>()?;
    let counted = Arc::clone(&service);
    let shared = Arc::new(Shared {
        // A child: ending one server must not end its owner.
        stop: stop.child_token(),
        limits,
        next_id: AtomicU64::new(1),
        conns: Mutex::default(),
        empty: Notify::new(),
        in_flight: Box::new(move || counted.in_flight()),
    });
    for (listener, &local) in listeners.into_iter().zip(&addrs) {
        // The task ends with `stop`; nobody needs its result.
        drop(R::spawn(accept::<R, L, S>(listener, local, Arc::clone(&service), Arc::clone(&shared))));
    }
    Ok(Server { shared, addrs })
}

impl Server {
    /// The addresses it listens on, in the order of the listeners.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// Connections open now.
    pub fn connections(&self) -> usize {
        self.shared.count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stop.cancel();
        self.shared.close_all();
    }
}

impl Shared {
    pub(super) fn count(&self) -> usize {
        self.conns().len()
    }

    /// Calls `f` on every connection open now.
    pub(super) fn each(&self, f: impl FnMut(&Conn)) {
        // A copy, because `f` may end a connection.
        let open: Vec<Conn> = self.conns().values().cloned().collect();
        open.iter().for_each(f);
    }

    pub(super) fn close_all(&self) {
        self.each(|conn| conn.close(CloseReason::Shutdown));
    }

    fn conns(&self) -> MutexGuard<'_, BTreeMap<u64, Conn>> {
        self.conns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a new connection, unless there are too many.
    fn admit(&self, peer: SocketAddr, local: SocketAddr) -> Option<Conn> {
        let mut conns = self.conns();
        if conns.len() >= self.limits.max_connections {
            return None;
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let conn = Conn::new(id, peer, local, &self.limits);
        conns.insert(id, conn.clone());
        Some(conn)
    }

    fn forget(&self, id: u64) {
        let mut conns = self.conns();
        conns.remove(&id);
        if conns.is_empty() {
            self.empty.notify_waiters();
        }
    }
}

/// Accepts until told to stop. No error ends it: what fails one connection may spare the next.
async fn accept<R, L, S>(mut listener: L, local: SocketAddr, service: Arc<S>, shared: Arc<Shared>)
where
    R: Runtime,
    L: Listener<Stream = R::Stream>,
    S: Service,
{
    let stop = shared.stop.clone();
    let mut failing = false;
    let mut full = false;
    loop {
        let accepted = match R::select2(stop.cancelled(), listener.accept()).await {
            Select2::First(()) => return,
            Select2::Second(accepted) => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                if !failing {
                    warn!(%local, %error, "cannot accept connections; trying on");
                }
                failing = true;
                R::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        if std::mem::take(&mut failing) {
            info!(%local, "accepting connections again");
        }
        let Some(conn) = shared.admit(peer, local) else {
            if !full {
                warn!(%local, %peer, limit = shared.limits.max_connections, "connection refused: too many are open");
            }
            full = true;
            continue;
        };
        full = false;
        drop(R::spawn(connection::<R, S>(stream, conn, Arc::clone(&service), Arc::clone(&shared))));
    }
}

async fn connection<R: Runtime, S: Service>(stream: R::Stream, conn: Conn, service: Arc<S>, shared: Arc<Shared>) {
    let _registered = Registered { shared: &shared, id: conn.id() };
    if shared.stop.is_cancelled() {
        // Accepted while the server stopped, after it closed the others.
        conn.close(CloseReason::Shutdown);
    }
    let mut served = Served::new(service, conn.clone());
    let reason = pump::<R, _, _>(stream, &conn, &mut served, &shared.limits).await;
    drop(served);
    log_end(&conn, &reason);
}

/// Takes the connection off the list however its task ends.
struct Registered<'a> {
    shared: &'a Shared,
    id: u64,
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.shared.forget(self.id);
    }
}

fn log_end(conn: &Conn, reason: &CloseReason) {
    let (id, peer, port) = (conn.id(), conn.peer(), conn.local_port());
    match reason {
        CloseReason::BadFrame(_) | CloseReason::OutboundLimit { .. } => {
            info!(id, %peer, port, %reason, "connection closed");
        }
        _ => debug!(id, %peer, port, %reason, "connection closed"),
    }
}
