//! A group of three brokers over memory disks, with the captured names.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use quorumq::broker::{BrokerOptions, Running};
use quorumq::protocol::code::request;
use quorumq::server::Limits;
use quorumq_raft::form::Start;
use quorumq_raft::node::{Settings, Timing};
use quorumq_raft::repair::scrub::Scrub;
use quorumq_raft::runtime::tokio::Tokio;
use quorumq_raft::state_machine::Place;
use quorumq_store::disk::MemoryDisk;
use quorumq_store::identity::GroupConstants;
use quorumq_store::log_store::FlushMode;

use crate::harness::cluster::READY;
use crate::harness::ports::Ports;
use crate::harness::until;
use crate::harness::wire::Wire;

const CLUSTER: &str = "RaftCluster";
const BROKER_NAME: &str = "RaftNode00";
const SEGMENT: u64 = 1 << 20;

/// The brokers, the leader first.
pub struct Group {
    brokers: Vec<(Running<Tokio>, Ports)>,
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn settings(ports: &Ports, peers: Vec<SocketAddr>, me: usize) -> Settings {
    Settings {
        cluster: CLUSTER.to_owned(),
        group: BROKER_NAME.to_owned(),
        listen: loopback(ports.raft()),
        client_addr: loopback(ports.listen()).to_string(),
        constants: GroupConstants {
            segment_size: SEGMENT,
            max_entry: (SEGMENT / 4) as u32,
            frame_version: 1,
            feature_level: 1,
        },
        flush: FlushMode::Sync,
        scrub: Scrub::default(),
        timing: Timing::default(),
        start: Start::Bootstrap { peers, me },
    }
}

fn options(ports: &Ports) -> BrokerOptions {
    BrokerOptions {
        cluster: CLUSTER.to_owned(),
        name: BROKER_NAME.to_owned(),
        listen: loopback(ports.listen()),
        vip: true,
        advertised: SocketAddrV4::new(Ipv4Addr::LOCALHOST, ports.listen()),
        namesrv: Vec::new(),
        register_period: Duration::from_secs(30),
        auto_create_topic: true,
        auto_create_group: true,
        default_topic_queues: 8,
        max_message_size: 4 << 20,
        max_pending_bytes: 64 << 20,
        client_expiry: Duration::from_secs(120),
        max_clock_skew: Duration::from_secs(5),
        retention: quorumq::broker::retention::RetentionOptions::default(),
        scrub: quorumq_raft::repair::scrub::Scrub::default(),
        index: quorumq_store::index_file::IndexSizes { slots: 64, units: 256 },
        limits: Limits::SERVER,
    }
}

impl Group {
    /// Starts it, and waits until it has a leader and the topics and groups of a new broker.
    pub async fn start() -> Self {
        let ports: Vec<_> = (0..3).map(|_| Ports::take()).collect();
        let peers: Vec<_> = ports.iter().map(|ports| loopback(ports.raft())).collect();
        let starting = ports.into_iter().enumerate().map(|(me, ports)| {
            let (settings, options) = (settings(&ports, peers.clone(), me), options(&ports));
            let place = Place { disk: MemoryDisk::new().mount(), dir: PathBuf::from("/store"), reserve_bytes: 0 };
            let on_fatal = Arc::new(|why: String| panic!("fatal: {why}"));
            async move { (Running::<Tokio>::start(settings, options, place, on_fatal).await.expect("a broker"), ports) }
        });
        let mut brokers = join_all(starting).await;
        until("a leader", READY, async || brokers.iter().any(|(b, _)| b.broker.node().is_leader()).then_some(())).await;
        brokers.sort_by_key(|(broker, _)| !broker.broker.node().is_leader());
        let group = Self { brokers };
        group.until_complete().await;
        group
    }

    /// The groups come last of what a new group's leader creates.
    async fn until_complete(&self) {
        let mut client = Wire::connect(self.addr("n0")).await;
        let look = async || {
            let groups = client.call(request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG, &[], "").await;
            String::from_utf8_lossy(&groups.body).contains("CID_ONSAPI_OWNER").then_some(())
        };
        until("the groups of a new broker", READY, look).await;
    }

    /// Where the captured broker of this name is with us.
    pub fn addr(&self, broker: &str) -> SocketAddr {
        let (at, is_vip) = match broker {
            "n0" => (0, false),
            "n1" => (1, false),
            "n2" => (2, false),
            "n0vip" => (0, true),
            other => panic!("no broker is called {other}"),
        };
        let ports = &self.brokers[at].1;
        loopback(if is_vip { ports.vip() } else { ports.listen() })
    }

    pub async fn stop(self) {
        join_all(self.brokers.into_iter().map(|(broker, _)| broker.shutdown())).await;
    }
}
