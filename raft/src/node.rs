//! One member of a group: propose, read barrier, transfer, membership, status.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::ClientWriteError;
use openraft::{Raft, ReadPolicy, ServerState};
use quorumq_store::consume_queue::ConsumeQueues;
use quorumq_store::disk::Disk;
use quorumq_store::identity::{GroupConstants, Identity};
use quorumq_store::index_file::IndexFiles;
use quorumq_store::log_store::{Entry, FlushMode, LogStore, OnInstall, Options, Positions, Promise, StoreTimes, Vote};
use quorumq_store::{LogId, LogIndex, StoreError};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::barrier::{Barrier, ReadError};
use crate::fatal::told;
use crate::form::{Desk, FormError, Start, form};
use crate::health::{self, Bar};
use crate::log_storage::{LogStorage, finish};
use crate::lost::LeaderWatch;
use crate::machine::{EffectSink, Machine};
use crate::outcome::{Once, Outcome, Refusal};
use crate::pace::{CatchUp, DEFAULT_BYTES_PER_SECOND, Pace};
use crate::peer::handshake::LocalPeer;
use crate::peer::message::{NodeStatus, Purpose, Request, Response, Role};
use crate::peer::mux::CallError;
use crate::peer::network::Network;
use crate::peer::peers::Peers;
use crate::peer::server::{Processes, serve};
use crate::prove::prove;
use crate::raft_config::raft_config;
use crate::runtime::{Runtime, Serial};
use crate::service::{AppHandler, Core, Service};
use crate::state_machine::{OnFatal, Place, Shared, Shell};
use crate::tasks;
use crate::types::{Callback, Member, NodeId, Proposal, RaftVote, Types, from_raft_log_id, from_raft_vote};
use crate::wire::store_id;

/// Longest a node that stops waits for its successor.
const HAND_OVER: Duration = Duration::from_secs(1);

/// Raft timing, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// A leader's heartbeats.
    pub heartbeat_ms: u64,
    /// Shortest election timeout; above the heartbeat.
    pub election_min_ms: u64,
    /// Longest election timeout and the leader's lease.
    pub election_max_ms: u64,
    /// Pause between syncs in ASYNC_FLUSH (RocketMQ's flushIntervalCommitLog, 500 ms).
    pub flush_interval_ms: u64,
    /// A node whose sync takes longer does not lead while another can.
    pub sync_stall_ms: u64,
    /// Bytes a second, over all members that are far behind, at which a leader catches them up; 0 for no limit. Can be
    /// changed while the node runs: [`Node::set_catch_up`].
    pub catch_up_bytes_per_second: u64,
}

impl Default for Timing {
    /// A frozen leader is replaced within `2 * election_max_ms`; a dead one within tens of milliseconds
    /// (see the module `lost`).
    fn default() -> Self {
        Self {
            heartbeat_ms: 150,
            election_min_ms: 600,
            election_max_ms: 1100,
            flush_interval_ms: 500,
            sync_stall_ms: 3000,
            catch_up_bytes_per_second: DEFAULT_BYTES_PER_SECOND,
        }
    }
}

/// How a node is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// RocketMQ's `brokerClusterName`.
    pub cluster: String,
    /// RocketMQ's `brokerName`.
    pub group: String,
    /// Where to listen for peers.
    pub listen: SocketAddr,
    /// Where clients reach this node, `ip:port`.
    pub client_addr: String,
    /// The group's constants.
    pub constants: GroupConstants,
    /// When an append counts as done.
    pub flush: FlushMode,
    /// Raft timing.
    pub timing: Timing,
    /// What to do with an empty directory.
    pub start: Start,
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's message names its fields")]
pub enum StartError {
    #[error("cannot listen for peers on {addr}: {source}")]
    Listen { addr: SocketAddr, source: std::io::Error },
    /// The node has no place in a group.
    #[error(transparent)]
    Form(#[from] FormError),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// openraft would not start.
    #[error("raft: {0}")]
    Raft(String),
}

/// Makes an empty machine for a store.
pub type MakeMachine<M> = Box<dyn Fn(&Identity) -> Result<M, StoreError> + Send>;

/// What a node is given besides its settings.
pub struct Parts<M: Machine> {
    /// Where its files are.
    pub place: Place,
    /// Makes an empty machine; it is restored from a checkpoint if there is one.
    pub machine: MakeMachine<M>,
    /// Takes the effects of applied entries.
    pub sink: EffectSink<M::Effect>,
    /// Called once when the node must end; the process exits, the simulator notes it.
    pub on_fatal: OnFatal,
    /// Random number of this process.
    pub process: u64,
}

/// A running member.
pub struct Node<R: Runtime, M: Machine> {
    pub(crate) core: Arc<Core<R, M>>,
    identity: Identity,
    barrier: Barrier,
    stop: CancellationToken,
    retain: Arc<Notify>,
    peer_addr: SocketAddr,
}

impl<R: Runtime, M: Machine> Node<R, M> {
    /// Starts a node: listens for peers, forms or opens the store, recovers, joins its group.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start(settings: Settings, parts: Parts<M>) -> BoxFuture<'static, Result<Arc<Self>, StartError>> {
        // Boxed, so that callers need not prove the whole start to be Send again.
        Box::pin(Self::start_unboxed(settings, parts))
    }

    async fn start_unboxed(settings: Settings, parts: Parts<M>) -> Result<Arc<Self>, StartError> {
        let Settings { listen, start, flush, timing, constants, .. } = settings.clone();
        let names = (settings.cluster.clone(), settings.group.clone());
        let joining = start == Start::Join;
        let client = (settings.client_addr.clone(), joining);
        let desk = Arc::new(Desk::open(parts.place.clone(), names, constants, parts.process, client)?);
        let listener = R::bind(listen).await.map_err(|source| StartError::Listen { addr: listen, source })?;
        let peer_addr = crate::runtime::Listener::local_addr(&listener).unwrap_or(listen);
        let stop = CancellationToken::new();
        let (lost_tx, lost_rx) = mpsc::channel(64);
        // Opened before anyone is asked: whether the group was formed already is what this node's own store says.
        let mut store = None;
        if let Some(identity) = desk.identity() {
            store = Some(open_store::<R>(&parts.place, &identity, flush, &desk, Arc::clone(&parts.on_fatal)).await?);
        }
        let service = Arc::new(Service::<R, M>::new(Arc::clone(&desk), lost_tx.clone()));
        drop(R::spawn(serve::<R, Service<R, M>>(listener, Arc::clone(&service), stop.clone())));
        let formed = match form::<R>(&desk, &start).await {
            Ok(formed) => formed,
            Err(e) => {
                stop.cancel();
                return Err(e.into());
            }
        };
        let identity = desk.identity().ok_or(FormError::NotAsked { dir: parts.place.dir.display().to_string() })?;
        let store = match store {
            Some(store) => store,
            None => open_store::<R>(&parts.place, &identity, flush, &desk, Arc::clone(&parts.on_fatal)).await?,
        };
        let core = Self::open(desk.local(), &identity, parts, store, (flush, timing), lost_tx).await?;
        service.set_core(&core);
        let node =
            Arc::new(Self { core, identity, barrier: Barrier::default(), stop, retain: Arc::default(), peer_addr });
        node.initialize(formed).await?;
        node.spawn_tasks(lost_rx, (flush, timing));
        Ok(node)
    }

    async fn open(
        local: LocalPeer,
        identity: &Identity,
        parts: Parts<M>,
        store: Arc<LogStore>,
        (flush, timing): (FlushMode, Timing),
        lost: mpsc::Sender<NodeId>,
    ) -> Result<Arc<Core<R, M>>, StartError> {
        let Parts { place, machine, sink, on_fatal, .. } = parts;
        let (opening, fatal, shelf) = (Arc::clone(&store), Arc::clone(&on_fatal), place.clone());
        let whose = identity.clone();
        let shell = R::offload(move || Shell::<R, M>::open(|| machine(&whose), opening, shelf, sink, fatal))
            .await
            .map_err(|e| StartError::Raft(e.to_string()))??;
        let shared = shell.shared();
        let on_lost: crate::peer::peers::OnLost = Arc::new(move |id| {
            // A full queue already holds news that this node has lost connections.
            let _ = lost.try_send(id);
        });
        let peers = Peers::<R>::new(local, on_lost);
        let config =
            Arc::new(raft_config(&identity.group, timing, &store, flush).map_err(|e| StartError::Raft(e.to_string()))?);
        let pace = Arc::new(Pace::new(CatchUp::from_setting(timing.catch_up_bytes_per_second)));
        let log = LogStorage::paced(Arc::clone(&store), Arc::clone(&pace));
        let raft = Raft::new(identity.node_id, config, Network::new(Arc::clone(&peers)), log, shell)
            .await
            .map_err(|e| StartError::Raft(e.to_string()))?;
        let processes = Arc::new(Processes::default());
        let handler = OnceLock::new();
        let (fitness, id) = (Arc::default(), identity.node_id);
        let core = Core { raft, shared, store, peers, processes, handler, on_fatal, place, fitness, pace, id };
        core.set_bar(Bar::Unproven, core.is_unproven());
        Ok(Arc::new(core))
    }

    /// The coordinator of a new group writes its first entry.
    async fn initialize(&self, formed: Option<Vec<(NodeId, Member)>>) -> Result<(), StartError> {
        let Some(members) = formed.filter(|members| !members.is_empty()) else {
            return Ok(());
        };
        let initialized = self.core.raft.is_initialized().await.map_err(|e| StartError::Raft(e.to_string()))?;
        if initialized {
            return Ok(());
        }
        let members: std::collections::BTreeMap<_, _> = members.into_iter().collect();
        tracing::info!(group = %self.identity.group, members = members.len(), "forming the group");
        self.core.raft.initialize(members).await.map_err(|e| StartError::Raft(e.to_string()))
    }

    fn spawn_tasks(self: &Arc<Self>, lost: mpsc::Receiver<NodeId>, (flush, timing): (FlushMode, Timing)) {
        let core = &self.core;
        let watch = LeaderWatch {
            raft: core.raft.clone(),
            peers: Arc::clone(&core.peers),
            processes: Arc::clone(&core.processes),
            fitness: Arc::clone(&core.fitness),
            me: core.id,
        };
        let tasks = tasks::Tasks::<R>::new(self.stop.clone(), Arc::clone(&core.on_fatal));
        tasks.spawn(watch.run(lost));
        tasks.spawn(tasks::keep_links(Arc::clone(core)));
        tasks.spawn(tasks::watch_fatal(Arc::clone(core), self.stop.clone()));
        tasks.spawn(tasks::persist_marks(Arc::clone(core), flush, timing.flush_interval_ms));
        tasks.spawn(tasks::retain(Arc::clone(core), Arc::clone(&self.retain)));
        tasks.spawn(tasks::log_elections(Arc::clone(core)));
        tasks.spawn(prove(Arc::clone(core)));
        tasks.spawn(health::watch_disk(Arc::clone(core), Duration::from_millis(timing.sync_stall_ms)));
    }

    /// Who this node is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }
    /// This node's id.
    pub fn id(&self) -> NodeId {
        self.core.id
    }
    /// Where it listens for peers.
    pub fn peer_addr(&self) -> SocketAddr {
        self.peer_addr
    }
    /// The machine, for reads. Hold the guard briefly, never over an await.
    pub fn machine(&self) -> std::sync::RwLockReadGuard<'_, M> {
        self.core.shared.read()
    }
    /// The machine's shell.
    pub fn shared(&self) -> Arc<Shared<M>> {
        Arc::clone(&self.core.shared)
    }
    /// Reads record bytes at or below applied.
    ///
    /// # Errors
    /// Out of the log's range, or the disk failed.
    pub fn bytes(&self, at: quorumq_store::PhysicalOffset, len: u32) -> Result<Bytes, StoreError> {
        self.core.store.bytes(at, len)
    }
    /// Whether a read of record bytes at `at` is answered from memory or page cache.
    pub fn is_hot(&self, at: quorumq_store::PhysicalOffset) -> bool {
        self.core.store.is_hot(at)
    }
    /// Room for an entry with a body of `bytes`. Asked for before its proposal, kept until its outcome.
    ///
    /// # Errors
    /// Why there is none.
    pub fn room(&self, bytes: u64) -> Result<Promise, String> {
        self.core.room(bytes)
    }

    /// The same without the reserve: for small entries that go on while the volume is nearly full. What is allocated is
    /// there for them, once [`Node::room`] keeps the large ones away.
    ///
    /// # Errors
    /// Why there is none.
    pub fn room_at_all(&self, bytes: u64) -> Result<Promise, String> {
        self.core.room_at_all(bytes)
    }
    /// Notes the times for RocketMQ's `checkpoint` file; see [`LogStore::note_times`].
    pub fn note_times(&self, times: StoreTimes) {
        self.core.store.note_times(times);
    }
    /// Where the log stands.
    pub fn positions(&self) -> Positions {
        self.core.store.positions()
    }
    /// How often entries were dropped from the end of the log since the process started.
    pub fn truncations(&self) -> u64 {
        self.core.store.truncations()
    }

    /// Whether the start of this process cut a torn tail off the log.
    pub fn had_torn_tail(&self) -> bool {
        self.core.store.had_torn_tail()
    }
    /// Entries of the log that are in memory; see [`LogStore::entries_in_memory`].
    pub fn entries_in_memory(&self, range: Range<LogIndex>) -> Vec<Entry> {
        self.core.store.entries_in_memory(range)
    }
    /// Who this process is, for handshakes of its own.
    pub fn local_peer(&self) -> LocalPeer {
        self.core.peers.local().clone()
    }
    /// Answers calls of peers' applications.
    pub fn set_handler(&self, handler: AppHandler) {
        // A second handler would be a bug of the caller; the first stays.
        let _ = self.core.handler.set(handler);
    }

    /// The last vote this node has taken in, durable or not yet.
    pub fn vote(&self) -> Option<Vote> {
        self.core.store.vote()
    }
    /// The last vote this node has made durable.
    pub fn durable_vote(&self) -> Vote {
        let metrics = self.core.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        from_raft_vote(&metrics.vote)
    }
    /// The term and the leader this node knows of.
    pub fn leadership(&self) -> (u64, Option<NodeId>) {
        let metrics = self.core.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        leadership_of(&metrics.vote, metrics.current_leader)
    }
    /// Whether this node leads, by its own knowledge.
    pub fn is_leader(&self) -> bool {
        self.leadership().1 == Some(self.core.id)
    }
    /// What the membership knows of a node.
    pub fn member(&self, id: NodeId) -> Option<Member> {
        self.core.member(id)
    }
    /// Members of the group: id, member, whether it votes.
    pub fn members(&self) -> Vec<(NodeId, Member, bool)> {
        self.core.members()
    }
    /// The sets of voters a majority of each of which decides: two while a change of membership is under way.
    pub fn voter_sets(&self) -> Vec<BTreeSet<NodeId>> {
        let metrics = self.core.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        metrics.membership_config.membership().get_joint_config().clone()
    }
    /// Changes of term, leader, state or membership.
    pub fn leadership_changes(
        &self,
    ) -> openraft::alias::WatchReceiverOf<Types<R, M>, openraft::metrics::RaftServerMetrics<Types<R, M>>> {
        self.core.raft.server_metrics()
    }

    /// Proposes an entry; `done` is called exactly once, on the task that ends it: keep it short.
    pub async fn propose(&self, proposal: Proposal, done: impl FnOnce(Outcome<M::Reply>) + Send + 'static) {
        let once = Arc::new(Once::new(done));
        let answer = Arc::clone(&once);
        let responder = Callback::new(move |result: openraft::raft::ClientWriteResult<Types<R, M>>| {
            answer.call(match result {
                Ok(written) => Outcome::Applied { id: from_raft_log_id(&written.log_id), reply: written.data },
                Err(ClientWriteError::ForwardToLeader(to)) => {
                    Outcome::Refused(Refusal::NotLeader { leader: to.leader_id })
                }
                Err(e) => Outcome::Unknown(e.to_string()),
            });
        });
        if let Err(e) = self.core.raft.client_write_ff(proposal, Some(responder)).await {
            // The core takes messages in order or not at all: this one was never taken.
            once.call(Outcome::Refused(Refusal::Stopped(e.to_string())));
        }
    }

    /// Waits until this node has applied everything that was committed when the call began.
    ///
    /// # Errors
    /// No leader confirmed in time.
    pub async fn read_barrier(&self) -> Result<(), ReadError> {
        let core = Arc::clone(&self.core);
        self.barrier.pass::<R, _, _>(move || Arc::clone(&core).read_round()).await
    }

    /// Calls the application of another member.
    ///
    /// # Errors
    /// `NotSent` if it never left, `Unknown` if it may have been handled.
    pub async fn call(&self, to: NodeId, request: Bytes, limit: Duration) -> Result<Bytes, CallError> {
        let member = self.member(to).ok_or_else(|| CallError::NotSent(format!("node {to} is no member")))?;
        match self.core.peers.call((to, &member), Purpose::Forward, Request::Call, &[request], limit).await? {
            (Response::Called, raw) => Ok(raw),
            (other, _) => Err(CallError::Unknown(format!("unexpected answer {other:?}"))),
        }
    }

    /// How this node stands.
    pub fn status(&self) -> NodeStatus {
        self.core.status()
    }

    /// How a member stands, asked over the network if it is another one.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn status_of(&self, id: NodeId) -> Result<NodeStatus, CallError> {
        if id == self.core.id {
            return Ok(self.status());
        }
        let member = self.member(id).ok_or_else(|| CallError::NotSent(format!("node {id} is no member")))?;
        self.core.ask_status(id, &member).await
    }

    /// Cuts the log at the machine's retention boundary, in the background.
    pub fn retain(&self) {
        self.retain.notify_one();
    }

    /// Hands leadership to `to`, or to the voter that is furthest along. Returns once another node leads.
    ///
    /// # Errors
    /// This node does not lead, or nobody took over in time.
    pub async fn transfer_leadership(&self, to: Option<NodeId>, limit: Duration) -> Result<NodeId, String> {
        self.core.transfer(to, limit).await
    }

    /// Hands leadership over, then stops.
    pub async fn shutdown(&self) {
        self.hand_over().await;
        self.stop().await;
    }

    /// Hands leadership over if this node leads, waiting at most a second; the group elects by itself otherwise.
    pub async fn hand_over(&self) {
        if self.is_leader()
            && let Err(e) = self.transfer_leadership(None, HAND_OVER).await
        {
            tracing::info!("leadership was not handed over: {e}");
        }
    }

    /// Stops: flushes, closes the store.
    pub async fn stop(&self) {
        self.stop.cancel();
        if let Err(e) = self.core.raft.shutdown().await {
            tracing::error!("raft did not stop cleanly: {e}");
        }
        self.core.peers.close().await;
        let closed = finish(|done| {
            self.core.store.close(done);
            Ok(())
        });
        if let Err(e) = closed.await {
            tracing::error!("the store did not close cleanly: {e}");
        }
    }

    /// Last applied entry.
    pub fn applied(&self) -> Option<LogId> {
        let metrics = self.core.raft.data_metrics();
        let metrics = metrics.borrow_watched();
        store_id(metrics.last_applied.as_ref())
    }
}

async fn open_store<R: Runtime>(
    place: &Place,
    identity: &Identity,
    flush: FlushMode,
    desk: &Desk,
    on_fatal: OnFatal,
) -> Result<Arc<LogStore>, StartError> {
    let serial = R::serial("quorumq-disk");
    let cell: Arc<OnceLock<Weak<LogStore>>> = Arc::default();
    let woken = Arc::clone(&cell);
    let wake = Box::new(move || {
        if let Some(store) = woken.get().and_then(Weak::upgrade) {
            let on_fatal = Arc::clone(&on_fatal);
            serial.submit(Box::new(move || told(&on_fatal, "the disk thread", || store.run_pending())));
        }
    });
    let (place, constants) = (place.clone(), identity.constants);
    let derived = place.clone();
    let on_install: OnInstall = Arc::new(move || {
        ConsumeQueues::wipe(&*derived.disk, &derived.dir)?;
        IndexFiles::wipe(&*derived.disk, &derived.dir)
    });
    let options = Options { mode: flush, on_install: Some(on_install), ..Options::default() };
    let opened = R::offload(move || {
        let options = Options { boot_id: boot_id(&*place.disk, flush)?, ..options };
        LogStore::open(place.disk, &place.dir, constants, options, wake)
    });
    let opened = opened.await;
    let (store, recovered) = opened.map_err(|e| StartError::Raft(e.to_string()))??;
    // Nothing was queued yet: the cell is set before anyone else holds the store.
    let _ = cell.set(Arc::downgrade(&store));
    if let Some((at, bytes)) = recovered.torn_tail {
        tracing::info!(%at, bytes, "cut a torn tail off the log");
    }
    desk.set_store(&store);
    Ok(store)
}

/// Without it, a reboot cannot be told from a restart, which only ASYNC_FLUSH relies on.
fn boot_id(disk: &dyn Disk, flush: FlushMode) -> Result<Option<u128>, StoreError> {
    match disk.boot_id() {
        Ok(id) => Ok(id),
        Err(_) if flush == FlushMode::Sync => Ok(None),
        Err(source) => Err(StoreError::Io { verb: "read", path: "/proc/sys/kernel/random/boot_id".into(), source }),
    }
}

/// openraft's server state in the field's words.
pub(crate) fn role_of(state: ServerState) -> Role {
    match state {
        ServerState::Leader => Role::Leader,
        ServerState::Candidate => Role::Candidate,
        ServerState::Learner => Role::Learner,
        ServerState::Follower => Role::Follower,
        ServerState::Shutdown => Role::Stopped,
    }
}

/// Term and leader that belong together, from openraft's vote, which is the last one flushed, and its leader, which may
/// be of a vote still to be flushed. Whoever forms a group passes for the leader of term 0 until its first election.
pub(crate) fn leadership_of(vote: &RaftVote, leader: Option<NodeId>) -> (u64, Option<NodeId>) {
    let of = vote.leader_id();
    (of.term, leader.filter(|leader| of.term > 0 && of.voted_for == *leader))
}

/// The policy of every linearizable read: never a lease, see [`crate::lost`].
pub(crate) const READ_POLICY: ReadPolicy = ReadPolicy::ReadIndex;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_is_only_told_with_the_term_it_leads() {
        let voted = |term, node| RaftVote::new(term, node);
        assert_eq!(leadership_of(&voted(3, 2), Some(2)), (3, Some(2)));
        assert_eq!(leadership_of(&voted(3, 2), None), (3, None));
        assert_eq!(leadership_of(&voted(3, 2), Some(1)), (3, None), "node 1 leads a later term, not yet flushed here");
        assert_eq!(leadership_of(&voted(0, 1), Some(1)), (0, None), "forming is not leading");
    }
}
