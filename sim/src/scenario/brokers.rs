//! A NameServer and a group of brokers: the product's own processes, each on a seat of the world.

use std::net::{IpAddr, SocketAddr};

use futures_util::future::try_join_all;
use quorumq::broker::retention::RetentionOptions;
use quorumq::broker::{BrokerOptions, Running};
use quorumq::client::ClientOptions;
use quorumq::machine::Machine;
use quorumq::nameserver::{NameServer, NameServerOptions};
use quorumq_raft::form::Start;
use quorumq_store::log_store::FlushMode;

use super::blow::Cluster;
use super::launch::{CONSTANTS, Launch, NAMESRV_PORT, PEER_PORT};
use super::nodes::Nodes;
use super::watch::Watch;
use super::{Verdict, address};
use crate::invariant::{GroupView, RouteView};
use crate::runtime::SimRuntime;
use crate::world::{Death, Node as Host, World};

/// RocketMQ's brokerName of the group.
pub const GROUP: &str = "broker-a";
/// The NameServer's number among the world's addresses; brokers have 1, 2, 3.
const NAMESRV: u8 = 10;

/// A running NameServer and a group of brokers.
pub struct Brokers {
    /// The brokers' consensus nodes.
    pub nodes: Nodes<Machine>,
    running: Vec<Option<Running<SimRuntime>>>,
    flush: FlushMode,
    retention: RetentionOptions,
    namesrv: Host,
    nameserver: NameServer,
    watch: Watch,
}

impl std::fmt::Debug for Brokers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Brokers").field("nodes", &self.nodes).finish_non_exhaustive()
    }
}

impl Brokers {
    /// Starts a NameServer and `n` brokers with empty disks, which form a group; waits until each serves.
    ///
    /// # Errors
    /// One of them did not start.
    pub async fn form(world: &World, n: u8, flush: FlushMode) -> Result<Self, String> {
        Self::form_with(world, n, flush, RetentionOptions::default()).await
    }

    /// The same with other settings of retention.
    ///
    /// # Errors
    /// One of them did not start.
    pub async fn form_with(
        world: &World,
        n: u8,
        flush: FlushMode,
        retention: RetentionOptions,
    ) -> Result<Self, String> {
        let namesrv = world.add_node(address(NAMESRV));
        let listen = SocketAddr::new(namesrv.ip(), NAMESRV_PORT);
        let starting = namesrv.spawn(NameServer::start::<SimRuntime>(NameServerOptions::new(listen)));
        let nameserver = starting.await.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
        let nodes = Nodes::new(world, n, CONSTANTS);
        let running = (0..n).map(|_| None).collect();
        let group = GroupView { name: GROUP.into(), flush, segment_size: CONSTANTS.segment_size, seats: Vec::new() };
        let watch = Watch::begin(world, group);
        (0..nodes.count()).for_each(|at| watch.add_seat(nodes.seat(at)));
        let mut brokers = Self { nodes, running, flush, retention, namesrv, nameserver, watch };
        let starting = (0..brokers.nodes.count()).map(|me| brokers.start(me));
        for (at, started) in try_join_all(starting).await?.into_iter().enumerate() {
            brokers.set_running(at, started);
        }
        Ok(brokers)
    }

    /// Settings of a client of this group on the host `ip`.
    #[must_use]
    pub fn client_options(&self, ip: IpAddr) -> ClientOptions {
        let mut options = ClientOptions::new(vec![SocketAddr::new(self.namesrv.ip(), NAMESRV_PORT)]);
        options.client_ip = ip;
        options
    }

    fn start(&self, me: usize) -> impl Future<Output = Result<Running<SimRuntime>, String>> + use<> {
        let (ip, peer) = (self.nodes.ip(me), |at| SocketAddr::new(self.nodes.ip(at), PEER_PORT));
        let start = Start::Bootstrap { peers: (0..self.nodes.count()).map(peer).collect(), me };
        let namesrv = vec![SocketAddr::new(self.namesrv.ip(), NAMESRV_PORT)];
        let Launch { settings, options } = Launch::new(ip, GROUP, self.flush, start, namesrv);
        let options = BrokerOptions { retention: self.retention.clone(), ..options };
        let (place, fatal) = (self.nodes.seat(me).place(), self.nodes.on_fatal(me));
        let starting = Running::<SimRuntime>::start(settings, options, place, fatal);
        let starting = self.nodes.seat(me).host().spawn(starting);
        async move { starting.await.map_err(|e| e.to_string())?.map_err(|e| format!("{ip} does not start: {e}")) }
    }

    fn set_running(&mut self, at: usize, running: Running<SimRuntime>) {
        self.nodes.set_running(at, running.broker.node().clone());
        self.watch.up(at, running.broker.node().clone());
        self.running[at] = Some(running);
    }

    /// All members agree: no rule of the inside is broken, or ever was.
    ///
    /// # Errors
    /// The first rule that was.
    pub fn at_rest(&self) -> Verdict {
        let leader = self.nameserver.leader_of(GROUP).and_then(|addr| addr.parse().ok());
        let route = RouteView { nameserver: self.namesrv.ip(), group: GROUP.into(), leader };
        self.watch.rest(vec![route])
    }
}

impl Cluster for Brokers {
    type Machine = Machine;

    fn nodes(&mut self) -> &mut Nodes<Machine> {
        &mut self.nodes
    }

    fn kill(&mut self, at: usize, death: Death) {
        self.watch.down(at);
        self.running[at] = None;
        self.nodes.kill(at, death);
    }

    async fn stop(&mut self, at: usize) {
        if let Some(running) = self.running[at].take() {
            // The node's host may not be killed meanwhile: an error is impossible.
            let _ = self.nodes.seat(at).host().spawn(running.shutdown()).await;
        }
        self.watch.down(at);
        self.nodes.stopped(at);
    }

    async fn restart(&mut self, at: usize) -> Verdict {
        self.nodes.seat(at).host().restart();
        let running = self.start(at).await?;
        self.set_running(at, running);
        Ok(())
    }
}
