//! The NameServers: processes without a disk, each of which may be gone for a while.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use quorumq::nameserver::{NameServer, NameServerOptions};

use super::group::Group;
use crate::invariant::RouteView;
use crate::runtime::SimRuntime;
use crate::scenario::launch::NAMESRV_PORT;
use crate::tally::Fault;
use crate::world::{Death, Node as Host, World};

/// The NameServers of a run.
#[derive(Debug)]
pub struct NameServers {
    hosts: Vec<Host>,
    /// The processes, once they listen.
    running: Vec<Arc<Mutex<Option<NameServer>>>>,
}

impl NameServers {
    /// Starts `n`.
    #[must_use]
    pub fn start(world: &World, n: u8) -> Self {
        let hosts: Vec<_> = (1..=n).map(|n| world.add_node(Ipv4Addr::new(10, 0, 0, n).into())).collect();
        let running = hosts.iter().map(|_| Arc::default()).collect();
        let started = Self { hosts, running };
        (0..started.count()).for_each(|at| started.run(at));
        started
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.hosts.len()
    }

    /// Where they listen.
    #[must_use]
    pub fn addrs(&self) -> Vec<SocketAddr> {
        self.hosts.iter().map(|host| SocketAddr::new(host.ip(), NAMESRV_PORT)).collect()
    }

    /// The address of one.
    #[must_use]
    pub fn ip(&self, at: usize) -> IpAddr {
        self.hosts[at].ip()
    }

    /// Whether one was ended.
    #[must_use]
    pub fn is_down(&self, at: usize) -> bool {
        self.hosts[at].is_down()
    }

    /// Ends one.
    pub fn kill(&self, at: usize, death: Death) {
        *self.running[at].lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.hosts[at].kill_for(Fault::NameServerLoss, death);
    }

    /// Starts one that was ended.
    pub fn restart(&self, at: usize) {
        self.hosts[at].restart();
        self.run(at);
    }

    fn run(&self, at: usize) {
        let listen = SocketAddr::new(self.hosts[at].ip(), NAMESRV_PORT);
        let running = Arc::clone(&self.running[at]);
        drop(self.hosts[at].spawn(async move {
            // On a host of its own: the port is free.
            let server = NameServer::start::<SimRuntime>(NameServerOptions::new(listen)).await.ok();
            *running.lock().unwrap_or_else(PoisonError::into_inner) = server;
        }));
    }

    /// Where each sends clients of each group.
    #[must_use]
    pub fn routes(&self, groups: &[Group]) -> Vec<RouteView> {
        let mut routes = Vec::new();
        for (host, running) in self.hosts.iter().zip(&self.running) {
            let running = running.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(server) = running.as_ref() else { continue };
            routes.extend(groups.iter().map(|group| RouteView {
                nameserver: host.ip(),
                group: Arc::clone(&group.name),
                leader: server.leader_of(&group.name).and_then(|addr| addr.parse().ok()),
            }));
        }
        routes
    }
}
