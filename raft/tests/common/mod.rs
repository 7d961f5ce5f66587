//! A group of nodes in one process, over loopback, with a machine that counts.
#![allow(dead_code, reason = "each test file uses its part")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use quorumq_raft::form::Start;
use quorumq_raft::machine::{Machine, MachineError};
use quorumq_raft::node::{Node, Parts, Settings, Timing};
use quorumq_raft::outcome::Outcome;
use quorumq_raft::runtime::tokio::Tokio;
use quorumq_raft::state_machine::Place;
use quorumq_raft::types::Proposal;
use quorumq_store::PhysicalOffset;
use quorumq_store::consume_queue::FlushPlan;
use quorumq_store::disk::Disk;
use quorumq_store::frame::Kind;
use quorumq_store::identity::GroupConstants;
use quorumq_store::log_store::{Entry, FlushMode};

/// Counts entries, chains a digest, and purges where a command body says so.
#[derive(Debug, Default)]
pub struct Counter {
    pub entries: u64,
    pub digest: u64,
    pub retained: u64,
}

impl Machine for Counter {
    type Reply = u64;
    type Effect = u64;

    fn apply(&mut self, entry: &Entry, effects: &mut Vec<u64>) -> Result<u64, MachineError> {
        self.entries += 1;
        let crc = u64::from(crc32fast::hash(&entry.body)) + entry.id.index.0 + entry.position.0;
        self.digest = self.digest.rotate_left(7) ^ crc.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        if entry.kind == Kind::Command {
            self.retained = u64::from_be_bytes(entry.body[..8].try_into().unwrap());
        }
        effects.push(self.entries);
        Ok(self.entries)
    }
    fn encode(&self) -> Bytes {
        let words = [self.entries, self.digest, self.retained];
        words.iter().flat_map(|w| w.to_be_bytes()).collect::<Vec<_>>().into()
    }
    fn restore(&mut self, state: &[u8]) -> Result<(), MachineError> {
        let word = |i: usize| u64::from_be_bytes(state[i * 8..i * 8 + 8].try_into().unwrap());
        (self.entries, self.digest, self.retained) = (word(0), word(1), word(2));
        Ok(())
    }
    fn check_derived(&self, _log_first: PhysicalOffset) -> Result<(), MachineError> {
        Ok(())
    }
    fn digest(&self) -> u64 {
        self.digest
    }
    fn retained_from(&self) -> PhysicalOffset {
        PhysicalOffset(self.retained)
    }
    fn unflushed(&self) -> usize {
        0
    }
    fn plan_flush(&mut self) -> Option<FlushPlan> {
        None
    }
    fn flushed(&mut self, _plan: FlushPlan) {}
}

pub type TestNode = Arc<Node<Tokio, Counter>>;

pub const CONSTANTS: GroupConstants =
    GroupConstants { segment_size: 64 * 1024, max_entry: 16 * 1024, frame_version: 1, feature_level: 1 };

/// Where the fatal errors of nodes go.
pub type Fatals = Arc<Mutex<Vec<String>>>;

#[derive(Clone)]
pub struct Seat {
    pub disk: Arc<dyn Disk>,
    pub dir: PathBuf,
    pub addr: SocketAddr,
    pub fatals: Fatals,
}

pub fn free_addr() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

pub async fn start(seat: &Seat, start: Start, flush: FlushMode) -> Result<TestNode, String> {
    let settings = Settings {
        cluster: "c".to_owned(),
        group: "g".to_owned(),
        listen: seat.addr,
        client_addr: "127.0.0.1:1".to_owned(),
        constants: CONSTANTS,
        flush,
        timing: Timing::default(),
        start,
    };
    let fatals = Arc::clone(&seat.fatals);
    let parts = Parts::<Counter> {
        place: Place { disk: Arc::clone(&seat.disk), dir: seat.dir.clone(), reserve_bytes: 0 },
        machine: Box::new(|_| Ok(Counter::default())),
        sink: Arc::new(|_| {}),
        on_fatal: Arc::new(move |why| fatals.lock().unwrap().push(why)),
        process: rand::random(),
    };
    Node::start(settings, parts).await.map_err(|e| e.to_string())
}

/// Starts all seats as a new group.
pub async fn form(seats: &[Seat], flush: FlushMode) -> Vec<TestNode> {
    let peers: Vec<_> = seats.iter().map(|s| s.addr).collect();
    let starting = seats.iter().enumerate().map(|(me, seat)| {
        let peers = peers.clone();
        async move { start(seat, Start::Bootstrap { peers, me }, flush).await.unwrap() }
    });
    futures_util::future::join_all(starting).await
}

pub async fn until<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    for _ in 0..1500 {
        if let Some(found) = check() {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not reached within 15 s: {what}");
}

pub async fn leader(nodes: &[TestNode]) -> TestNode {
    until("a leader", || nodes.iter().find(|n| n.is_leader()).cloned()).await
}

pub async fn propose(node: &TestNode, body: Vec<u8>, kind: Kind) -> Outcome<u64> {
    let (tx, rx) = tokio::sync::oneshot::channel();
    node.propose(Proposal { kind, body: body.into() }, move |outcome| drop(tx.send(outcome))).await;
    rx.await.unwrap()
}

pub async fn write(node: &TestNode, n: usize, len: usize) {
    for i in 0..n {
        let outcome = propose(node, vec![i as u8; len], Kind::Records).await;
        assert!(matches!(outcome, Outcome::Applied { .. }), "{outcome:?}");
    }
}

/// Waits until every node has applied what `node` has, and compares digests.
pub async fn converge(nodes: &[TestNode]) {
    until("equal digests", || {
        let states: Vec<_> = nodes.iter().map(|n| (n.machine().entries, n.machine().digest)).collect();
        states.windows(2).all(|w| w[0] == w[1]).then_some(())
    })
    .await;
}
