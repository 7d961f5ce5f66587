//! Pins what `quorumq_raft::lost` takes from openraft: an openraft that behaves otherwise must fail here, not in a
//! failover. The nodes talk through function calls, and every vote asked for is noted.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::{CONSTANTS, Counter, until};
use bytes::Bytes;
use openraft::alias::SnapshotOf;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest, VoteRequest, VoteResponse,
};
use openraft::{Config, Raft, SnapshotPolicy};
use quorumq_raft::log_storage::LogStorage;
use quorumq_raft::runtime::tokio::Tokio;
use quorumq_raft::runtime::{Runtime, Serial};
use quorumq_raft::state_machine::{Place, Shell};
use quorumq_raft::types::{Member, NodeId, RaftVote, Types};
use quorumq_store::disk::MemoryDisk;
use quorumq_store::identity::Identity;
use quorumq_store::log_store::{FlushMode, LogStore};

type Config3 = Types<Tokio, Counter>;
type Node = Raft<Config3, Shell<Tokio, Counter>>;

/// What was asked of another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    PreVote,
    Vote,
}

#[derive(Default)]
struct State {
    nodes: BTreeMap<NodeId, Node>,
    dead: BTreeSet<NodeId>,
    asked: Vec<(NodeId, Asked, NodeId, bool)>,
}

/// Calls between nodes.
#[derive(Clone, Default)]
struct Wires(Arc<Mutex<State>>);

impl Wires {
    fn node(&self, id: NodeId) -> Node {
        self.0.lock().unwrap().nodes[&id].clone()
    }
    fn kill(&self, id: NodeId) {
        self.0.lock().unwrap().dead.insert(id);
    }
    fn note(&self, from: NodeId, what: Asked, to: NodeId, granted: bool) {
        self.0.lock().unwrap().asked.push((from, what, to, granted));
    }
    /// Votes asked for since the last call: by whom, of whom, and whether they were granted.
    fn asked(&self) -> Vec<(NodeId, Asked, NodeId, bool)> {
        std::mem::take(&mut self.0.lock().unwrap().asked)
    }
}

/// The wires of one node.
struct Factory {
    wires: Wires,
    from: NodeId,
}

struct Client {
    wires: Wires,
    from: NodeId,
    to: NodeId,
}

impl Client {
    fn node(&self) -> Result<Node, Unreachable<Config3>> {
        let state = self.wires.0.lock().unwrap();
        if state.dead.contains(&self.from) || state.dead.contains(&self.to) {
            return Err(Unreachable::from_string("cut"));
        }
        Ok(state.nodes[&self.to].clone())
    }
}

fn gone(e: impl ToString) -> RPCError<Config3> {
    RPCError::Unreachable(Unreachable::from_string(e))
}

impl RaftNetworkFactory<Config3> for Factory {
    type Network = Client;

    async fn new_client(&mut self, to: NodeId, _: &Member) -> Client {
        Client { wires: self.wires.clone(), from: self.from, to }
    }
}

impl RaftNetworkV2<Config3> for Client {
    type SnapshotData = Bytes;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Config3>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<Config3>, RPCError<Config3>> {
        self.node()?.append_entries(rpc).await.map_err(gone)
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<Config3>,
        _: RPCOption,
    ) -> Result<VoteResponse<Config3>, RPCError<Config3>> {
        let answer = self.node()?.vote(rpc).await.map_err(gone)?;
        self.wires.note(self.from, Asked::Vote, self.to, answer.vote_granted);
        Ok(answer)
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<Config3>,
        _: RPCOption,
    ) -> Result<VoteResponse<Config3>, RPCError<Config3>> {
        let answer = self.node()?.pre_vote(rpc).await.map_err(gone)?;
        self.wires.note(self.from, Asked::PreVote, self.to, answer.vote_granted);
        Ok(answer)
    }

    async fn full_snapshot(
        &mut self,
        _: RaftVote,
        _: SnapshotOf<Config3, Bytes>,
        _: impl Future<Output = ReplicationClosed> + Send + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<Config3>, StreamingError<Config3>> {
        unreachable!("nothing is purged here")
    }
}

async fn start(id: NodeId, wires: &Wires) -> Node {
    let (disk, dir) = (MemoryDisk::new().mount(), PathBuf::from("/store"));
    let (cluster, group) = ("c".to_owned(), "g".to_owned());
    let identity = Identity { cluster, group, group_uuid: 1, node_id: id, incarnation: id, constants: CONSTANTS };
    identity.format(&*disk, &dir).unwrap();
    let serial = Tokio::serial("disk");
    let cell: Arc<std::sync::OnceLock<std::sync::Weak<LogStore>>> = Arc::default();
    let woken = Arc::clone(&cell);
    let wake = Box::new(move || {
        if let Some(store) = woken.get().and_then(std::sync::Weak::upgrade) {
            serial.submit(Box::new(move || store.run_pending()));
        }
    });
    let (store, _) = LogStore::open(Arc::clone(&disk), &dir, CONSTANTS, FlushMode::Sync, wake).unwrap();
    cell.set(Arc::downgrade(&store)).unwrap();
    let place = Place { disk, dir, reserve_bytes: 0 };
    let on_fatal = Arc::new(|why| panic!("{why}"));
    let shell = Shell::open(|| Ok(Counter::default()), Arc::clone(&store), place, Arc::new(|_| {}), on_fatal).unwrap();
    // Only elections that the test asks for: the timeout is far beyond it.
    let config = Config {
        heartbeat_interval: 20,
        election_timeout_min: 60_000,
        election_timeout_max: 61_000,
        enable_leader_restore: Some(false),
        enable_pre_vote: Some(true),
        snapshot_policy: SnapshotPolicy::Never,
        ..Config::default()
    };
    let factory = Factory { wires: wires.clone(), from: id };
    let log = LogStorage::new(store);
    let raft = Raft::new(id, Arc::new(config.validate().unwrap()), factory, log, shell).await.unwrap();
    wires.0.lock().unwrap().nodes.insert(id, raft.clone());
    raft
}

/// Three nodes; node 1 leads, and its heartbeats have reached the others.
async fn group() -> (Wires, u64) {
    let wires = Wires::default();
    for id in 1..=3 {
        start(id, &wires).await;
    }
    let members: BTreeMap<NodeId, Member> = (1..=3).map(|id| (id, Member::default())).collect();
    wires.node(1).initialize(members).await.unwrap();
    until("node 1 leads, and all know it", || {
        let all = (1..=3).all(|id| {
            let metrics = wires.node(id).metrics().borrow_watched().clone();
            metrics.current_leader == Some(1) && metrics.current_term > 0 && metrics.last_applied.is_some()
        });
        all.then_some(())
    })
    .await;
    let term = wires.node(1).metrics().borrow_watched().current_term;
    wires.asked();
    (wires, term)
}

fn known(wires: &Wires, id: NodeId) -> (u64, Option<NodeId>) {
    let metrics = wires.node(id).metrics().borrow_watched().clone();
    (metrics.current_term, metrics.current_leader)
}

/// What `quorumq_raft::lost` does to drop a node's own lease.
async fn drop_lease(wires: &Wires, id: NodeId, leader: NodeId) {
    let node = wires.node(id);
    let (vote, last) = {
        let metrics = node.metrics();
        let metrics = metrics.borrow_watched();
        (metrics.vote, metrics.last_applied)
    };
    node.handle_transfer_leader(TransferLeaderRequest::new(vote, leader, last)).await.unwrap().unwrap();
}

/// Whether a node would vote for `candidate` in the next term.
async fn would_vote(wires: &Wires, id: NodeId, candidate: NodeId, term: u64) -> bool {
    let last = wires.node(candidate).metrics().borrow_watched().last_applied;
    let request = VoteRequest::new(RaftVote::new(term + 1, candidate), last);
    wires.node(id).pre_vote(request).await.unwrap().vote_granted
}

/// The core has worked off what came before.
async fn settle(wires: &Wires, id: NodeId) {
    wires.node(id).with_raft_state(|_| ()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_hears_the_leader_asks_for_no_votes() {
    let (wires, term) = group().await;
    wires.node(2).trigger().elect(true).await.unwrap();
    settle(&wires, 2).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(wires.asked(), []);
    assert_eq!(known(&wires, 2), (term, Some(1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn naming_another_node_drops_only_this_nodes_own_lease() {
    let (wires, term) = group().await;
    assert!(!would_vote(&wires, 2, 3, term).await && !would_vote(&wires, 3, 2, term).await);
    drop_lease(&wires, 2, 1).await;
    settle(&wires, 2).await;
    assert!(would_vote(&wires, 2, 3, term).await, "the lease still stands");
    assert!(!would_vote(&wires, 3, 2, term).await, "another node's lease is gone as well");
    assert!(!would_vote(&wires, 1, 2, term).await, "the leader itself, heard by a quorum, would vote");
    // Nothing else happened: no vote, no new term, the leader goes on.
    assert_eq!(wires.asked(), []);
    for id in 1..=3 {
        assert_eq!(known(&wires, id), (term, Some(1)));
    }
    // It stays off while the same leader goes on: not to be done on a mere disconnect.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(would_vote(&wires, 2, 3, term).await, "the lease came back: lost.rs no longer has to be careful");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn voters_that_hear_the_leader_refuse_one_that_does_not() {
    let (wires, term) = group().await;
    for _ in 0..5 {
        drop_lease(&wires, 2, 1).await;
        wires.node(2).trigger().elect(true).await.unwrap();
        let mut asked = until("both were asked", || {
            let count = wires.0.lock().unwrap().asked.len();
            (count == 2).then(|| wires.asked())
        })
        .await;
        asked.sort_by_key(|asked| asked.2);
        assert_eq!(asked, [(2, Asked::PreVote, 1, false), (2, Asked::PreVote, 3, false)]);
    }
    settle(&wires, 2).await;
    for id in 1..=3 {
        assert_eq!(known(&wires, id), (term, Some(1)), "the living leader was deposed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_dropped_their_leases_elect_one_of_them_at_once() {
    let (wires, term) = group().await;
    wires.kill(1);
    drop_lease(&wires, 2, 1).await;
    drop_lease(&wires, 3, 1).await;
    settle(&wires, 3).await;
    wires.node(2).trigger().elect(true).await.unwrap();
    until("node 2 leads", || (known(&wires, 3) == (term + 1, Some(2))).then_some(())).await;
    let of = |what| wires.0.lock().unwrap().asked.iter().any(|asked| (asked.1, asked.2, asked.3) == (what, 3, true));
    assert!(of(Asked::PreVote) && of(Asked::Vote), "{:?}", wires.asked());
}
