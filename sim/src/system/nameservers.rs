//! The NameServers: processes without a disk, each of which may be gone for a while.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use quorumq::nameserver::{NameServer, NameServerOptions};

use crate::runtime::SimRuntime;
use crate::world::{Death, Node as Host, World};

/// Where NameServers listen.
const NAMESRV_PORT: u16 = 9876;

/// The NameServers of a run.
#[derive(Debug)]
pub struct NameServers {
    hosts: Vec<Host>,
}

impl NameServers {
    /// Starts `n`.
    #[must_use]
    pub fn start(world: &World, n: u8) -> Self {
        let hosts: Vec<_> = (1..=n).map(|n| world.add_node(Ipv4Addr::new(10, 0, 0, n).into())).collect();
        let started = Self { hosts };
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
        self.hosts[at].kill(death);
    }

    /// Starts one that was ended.
    pub fn restart(&self, at: usize) {
        self.hosts[at].restart();
        self.run(at);
    }

    fn run(&self, at: usize) {
        let listen = SocketAddr::new(self.hosts[at].ip(), NAMESRV_PORT);
        drop(self.hosts[at].spawn(async move {
            // Its own host: the port is free. It lives as long as this task.
            let server = NameServer::start::<SimRuntime>(NameServerOptions::new(listen)).await;
            std::future::pending::<()>().await;
            drop(server);
        }));
    }
}
