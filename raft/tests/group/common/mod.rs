//! A group of nodes in one process, over loopback, with a machine that counts.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use quorumq_raft::form::Start;
use quorumq_raft::machine::{Machine, MachineError};
use quorumq_raft::node::{Node, Parts, Settings, Timing};
use quorumq_raft::outcome::Outcome;
use quorumq_raft::repair::scrub::Scrub;
use quorumq_raft::runtime::tokio::Tokio;
use quorumq_raft::state_machine::Place;
use quorumq_raft::types::{NodeId, Proposal};
use quorumq_store::PhysicalOffset;
use quorumq_store::commit_log::segment_path;
use quorumq_store::commit_log::verify::verify;
use quorumq_store::derived::DerivedFlush;
use quorumq_store::disk::{Disk, MemoryDisk, RealDisk};
use quorumq_store::frame::Kind;
use quorumq_store::identity::GroupConstants;
use quorumq_store::log_store::{Entry, FlushMode};

#[path = "../../../../tests/harness/free_addr.rs"]
mod free_addr;
pub mod gate;
pub mod proxy;

pub use free_addr::free_addr;
use proxy::{Net, Proxy};

/// The body on which [`Counter`] panics.
pub const PANIC: &[u8] = b"panic, please";

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
        assert_ne!(&entry.body[..], PANIC, "told to");
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
    fn digest(&self) -> u64 {
        self.digest
    }
    fn retained_from(&self) -> PhysicalOffset {
        PhysicalOffset(self.retained)
    }
    fn unflushed(&self) -> usize {
        0
    }
    fn plan_flush(&mut self, _whole: bool) -> Option<DerivedFlush> {
        None
    }
    fn flushed(&mut self, _plan: DerivedFlush) {}
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
    /// Where peers find the node.
    pub addr: SocketAddr,
    /// Where it listens.
    pub listen: SocketAddr,
    pub timing: Timing,
    pub scrub: Scrub,
    pub fatals: Fatals,
}

impl Seat {
    pub fn new(disk: Arc<dyn Disk>, dir: impl Into<PathBuf>) -> Self {
        let addr = free_addr();
        let (timing, fatals) = (Timing::default(), Fatals::default());
        // Tests that want damage to be found without a read ask for it.
        let scrub = Scrub { bytes_per_second: 0, ..Scrub::default() };
        Self { disk, dir: dir.into(), addr, listen: addr, timing, scrub, fatals }
    }

    /// Why the node had to end, if it had to.
    pub fn fatal(&self) -> Option<String> {
        self.fatals.lock().unwrap().first().cloned()
    }
}

/// Seats over disks in memory.
pub fn memory_seats(n: usize) -> (Vec<MemoryDisk>, Vec<Seat>) {
    let media: Vec<_> = (0..n).map(|_| MemoryDisk::new()).collect();
    let seats = media.iter().map(|medium| Seat::new(medium.mount(), "/store")).collect();
    (media, seats)
}

/// Seats over the machine's disk.
pub fn real_seats(n: usize, dir: &Path) -> Vec<Seat> {
    (0..n).map(|i| Seat::new(RealDisk::new(), dir.join(i.to_string()))).collect()
}

/// Puts a proxy before every seat.
pub async fn behind_proxies(seats: &mut [Seat]) -> Net {
    let mut net = Net(Vec::new());
    for seat in seats {
        let proxy = Proxy::start(seat.listen).await;
        seat.addr = proxy.addr;
        net.0.push(proxy);
    }
    net
}

/// Fails if any node had to end.
pub fn assert_sound(seats: &[Seat]) {
    let fatals: Vec<_> = seats.iter().map(Seat::fatal).collect();
    assert_eq!(fatals, vec![None; seats.len()]);
}

pub async fn start(seat: &Seat, start: Start, flush: FlushMode) -> Result<TestNode, String> {
    let settings = Settings {
        cluster: "c".to_owned(),
        group: "g".to_owned(),
        listen: seat.listen,
        client_addr: "127.0.0.1:1".to_owned(),
        constants: CONSTANTS,
        flush,
        scrub: seat.scrub,
        timing: seat.timing,
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

/// A node in a runtime of its own, so that it can end like a process.
pub struct Host {
    pub node: TestNode,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Host {
    pub async fn start(seat: &Seat, how: Start, flush: FlushMode) -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let seat = seat.clone();
        let started = runtime.spawn(async move { start(&seat, how, flush).await }).await.unwrap();
        match started {
            Ok(node) => Ok(Self { node, runtime: Some(runtime) }),
            Err(e) => {
                runtime.shutdown_background();
                Err(e)
            }
        }
    }

    /// Starts the node on its store again. Its port may take a moment to be free.
    pub async fn restart(seat: &Seat, flush: FlushMode) -> Self {
        for _ in 0..200 {
            match Self::start(seat, Start::Existing, flush).await {
                Ok(host) => return host,
                Err(e) if e.contains("listen") || e.contains("in use") => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(e) => panic!("{e}"),
            }
        }
        panic!("the node did not start again");
    }

    /// Ends every task, listener and connection at once. Nothing is handed over, flushed or closed.
    pub fn kill(self) {
        drop(self);
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Starts all seats as a new group, each in a runtime of its own.
pub async fn form_hosts(seats: &[Seat], flush: FlushMode) -> Vec<Host> {
    let peers: Vec<_> = seats.iter().map(|s| s.addr).collect();
    let starting = seats.iter().enumerate().map(|(me, seat)| {
        let peers = peers.clone();
        async move { Host::start(seat, Start::Bootstrap { peers, me }, flush).await.unwrap() }
    });
    futures_util::future::join_all(starting).await
}

pub fn nodes_of(hosts: &[Host]) -> Vec<TestNode> {
    hosts.iter().map(|host| Arc::clone(&host.node)).collect()
}

/// Where node `id` is among `nodes`.
pub fn at(nodes: &[TestNode], id: NodeId) -> usize {
    nodes.iter().position(|node| node.id() == id).unwrap()
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

/// A leader that takes proposals: a quorum has acknowledged its first entry.
pub async fn leader(nodes: &[TestNode]) -> TestNode {
    let is_ready = |node: &&TestNode| {
        let (term, leader) = node.leadership();
        leader == Some(node.id()) && node.applied().is_some_and(|id| id.term.0 == term)
    };
    until("a leader", || nodes.iter().find(is_ready).cloned()).await
}

/// A proposal's outcome, once there is one.
pub type Pending = tokio::sync::oneshot::Receiver<Outcome<u64>>;

pub async fn proposed(node: &TestNode, body: Vec<u8>, kind: Kind) -> Pending {
    let (tx, rx) = tokio::sync::oneshot::channel();
    node.propose(Proposal { kind, body: body.into() }, move |outcome| drop(tx.send(outcome))).await;
    rx
}

pub async fn propose(node: &TestNode, body: Vec<u8>, kind: Kind) -> Outcome<u64> {
    proposed(node, body, kind).await.await.unwrap()
}

/// Fails if a proposal ends within the time that hundreds of replication rounds take.
pub async fn stays_unanswered(pending: &mut Pending) {
    let answer = tokio::time::timeout(Duration::from_millis(300), pending).await;
    assert!(answer.is_err(), "answered: {answer:?}");
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

/// Waits until `node` has synced everything it has.
pub async fn synced(node: &TestNode) {
    until("everything is synced", || {
        let positions = node.positions();
        (positions.synced == positions.last).then_some(())
    })
    .await;
}

/// The bytes of a file.
pub fn content(disk: &dyn Disk, path: &Path) -> Vec<u8> {
    let file = disk.open(path).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_at(0, &mut bytes).unwrap();
    bytes
}

/// Checks the CommitLogs of stopped stores, and compares them byte for byte over their common range; their checkpoints
/// where two have one of the same place. Returns how many segments the range spans.
pub fn same_logs(seats: &[Seat]) -> u64 {
    let checked = seats.iter().map(|seat| verify(&seat.disk, &seat.dir, &mut |_| Ok(())).unwrap());
    let ranges: Vec<_> = checked.map(|found| (found.first.0, found.end.0)).collect();
    let first = ranges.iter().map(|range| range.0).max().unwrap();
    let end = ranges.iter().map(|range| range.1).min().unwrap();
    let size = CONSTANTS.segment_size;
    for start in (first..end).step_by(size as usize) {
        let len = size.min(end - start) as usize;
        let file = |seat: &Seat| content(&*seat.disk, &segment_path(&seat.dir, PhysicalOffset(start)));
        let files: Vec<_> = seats.iter().map(file).collect();
        for (i, other) in files.iter().enumerate() {
            let differs = (0..len).find(|at| files[0][*at] != other[*at]);
            assert_eq!(differs, None, "segment {start}: first store and store {i}, of {ranges:?}");
        }
    }
    let checkpoints = |seat: &Seat| -> BTreeSet<String> {
        seat.disk.list(&seat.dir.join("checkpoints")).unwrap().into_iter().collect()
    };
    for pair in seats.windows(2) {
        for name in &checkpoints(&pair[0]) & &checkpoints(&pair[1]) {
            let file = |seat: &Seat| content(&*seat.disk, &seat.dir.join("checkpoints").join(&name));
            assert!(file(&pair[0]) == file(&pair[1]), "checkpoints {name} differ");
        }
    }
    println!("CommitLogs are equal over {first}..{end} of {ranges:?}");
    end.div_ceil(size) - first / size
}
