//! The NameServer as a service on a port.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use openraft_rt::{Instant, Select2};
use quorumq_raft::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::handlers::{self, Session};
use super::kv::{KvConfig, KvError, KvFile};
use super::kv_store::KvStore;
use super::registry::Registry;
use super::route_table::{MASTER_ID, Removed, RouteTable};
use crate::protocol::command::Command;
use crate::protocol::frame;
use crate::server::{BindError, Conn, Limits, Server, Service, bind, serve};

/// A broker not heard of for so long is taken out (RouteInfoManager's DEFAULT_BROKER_CHANNEL_EXPIRED_TIME).
pub const EXPIRY: Duration = Duration::from_secs(120);

/// How often we look for such brokers (NamesrvConfig's scanNotActiveBrokerInterval of 4.x).
pub const SCAN: Duration = Duration::from_secs(10);

/// The port by RocketMQ's habit.
pub const DEFAULT_PORT: u16 = 9876;

/// How long a stop waits for answers on their way.
const DRAIN: Duration = Duration::from_secs(1);

/// How a NameServer is set up.
#[derive(Clone, Debug)]
pub struct NameServerOptions {
    /// Where it listens; port 0 picks a free one.
    pub listen: SocketAddr,
    /// See [`EXPIRY`].
    pub expiry: Duration,
    /// See [`SCAN`].
    pub scan: Duration,
    /// Where the key-value configuration survives a restart; without it, it does not.
    pub kv: Option<KvFile>,
    /// Limits of its connections.
    pub limits: Limits,
}

impl NameServerOptions {
    /// The defaults, listening on `listen`.
    pub fn new(listen: SocketAddr) -> Self {
        Self { listen, expiry: EXPIRY, scan: SCAN, kv: None, limits: Limits::SERVER }
    }
}

/// Why a NameServer does not start.
#[derive(Debug, thiserror::Error)]
pub enum NameServerError {
    /// The port cannot be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The key-value configuration cannot be read.
    #[error(transparent)]
    Kv(#[from] KvError),
    /// The host failed otherwise.
    #[error("cannot start the NameServer: {0}")]
    Host(#[from] std::io::Error),
}

/// A running NameServer. Dropping it stops it without waiting.
pub struct NameServer {
    server: Server,
    addr: SocketAddr,
    stop: CancellationToken,
    registry: Arc<Registry>,
}

impl std::fmt::Debug for NameServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NameServer").field("addr", &self.addr).finish_non_exhaustive()
    }
}

impl NameServer {
    /// Starts a NameServer.
    ///
    /// # Errors
    /// [`NameServerError`], whose words tell the operator what to do.
    pub async fn start<R: Runtime>(options: NameServerOptions) -> Result<Self, NameServerError> {
        let NameServerOptions { listen, expiry, scan, kv, limits } = options;
        let kv = open_kv::<R>(kv).await?;
        let listener = bind::<R>(listen, "listenPort").await?;
        let started = R::Instant::now();
        let routes = RouteTable::new(u64::try_from(expiry.as_millis()).unwrap_or(u64::MAX));
        let registry = Arc::new(Registry::new(routes, kv, Box::new(move || started.elapsed())));
        let stop = CancellationToken::new();
        let service = Arc::new(NameService { registry: Arc::clone(&registry) });
        let server = serve::<R, _, _>(vec![listener], service, limits, stop.clone())?;
        drop(R::spawn(scan_loop::<R>(Arc::clone(&registry), scan, stop.clone())));
        let addr = server.local_addrs().first().copied().unwrap_or(listen);
        info!(%addr, "NameServer listens");
        Ok(Self { server, addr, stop, registry })
    }

    /// The address it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where clients are sent for sends to a group: the address registered with broker id 0.
    pub fn leader_of(&self, group: &str) -> Option<String> {
        let groups = self.registry.routes().groups();
        let addrs = groups.into_iter().find(|addrs| addrs.group == group)?.addrs;
        addrs.into_iter().find(|(id, _)| *id == MASTER_ID).map(|(_, addr)| addr)
    }

    /// Stops it, letting answers on their way out.
    pub async fn shutdown<R: Runtime>(self) {
        self.stop.cancel();
        self.server.drain::<R>(DRAIN).await;
        info!(addr = %self.addr, "NameServer stopped");
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn open_kv<R: Runtime>(file: Option<KvFile>) -> Result<KvStore, NameServerError> {
    let Some(file) = file else {
        return Ok(KvStore::new(KvConfig::default(), None));
    };
    let reader = file.clone();
    let config = R::offload(move || reader.load()).await??;
    Ok(KvStore::new(config, Some((file, Box::new(R::serial("kv-config"))))))
}

async fn scan_loop<R: Runtime>(registry: Arc<Registry>, every: Duration, stop: CancellationToken) {
    while let Select2::Second(()) = R::select2(stop.cancelled(), R::sleep(every)).await {
        let expired = registry.routes_mut().expire(registry.now_ms());
        for Removed { group, addr, broker_id } in expired {
            warn!(%group, %addr, broker_id, "broker taken out: not heard of for the expiry time");
        }
    }
}

struct NameService {
    registry: Arc<Registry>,
}

impl Service for NameService {
    type Session = Session;

    fn connected(&self, _conn: &Conn) -> Session {
        Session::default()
    }

    fn commands(&self, session: &mut Session, conn: &Conn, commands: &mut Vec<Command>) {
        let requests = commands.iter().filter(|command| !command.is_response());
        let answers: Vec<Command> = requests
            .filter_map(|request| {
                let answer = handlers::handle(&self.registry, session, conn, request);
                answer.filter(|_| !request.is_oneway())
            })
            .collect();
        if answers.is_empty() {
            return;
        }
        // A connection that has closed meanwhile wants no answer.
        let _ = conn.send_with(|out| answers.iter().for_each(|answer| frame::encode(answer, out.buffer())));
    }

    fn closed(&self, session: Session, conn: &Conn) {
        if !session.registered {
            return;
        }
        let removed = self.registry.routes_mut().connection_closed(conn.id(), self.registry.now_ms());
        for Removed { group, addr, broker_id } in removed {
            info!(%group, %addr, broker_id, "broker taken out: its connection closed");
        }
    }

    fn in_flight(&self) -> usize {
        self.registry.kv.pending()
    }
}
