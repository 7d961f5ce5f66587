//! One member of a group: propose, read barrier, transfer, membership, status.

mod observe;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use openraft::errors::ClientWriteError;
use openraft::{ReadPolicy, ServerState};
use quorumq_store::StoreError;
use quorumq_store::identity::{GroupConstants, Identity};
use quorumq_store::log_store::FlushMode;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::barrier::{Barrier, ReadError};
use crate::form::{Desk, FormError, Start, form};
use crate::health;
use crate::log_storage::finish;
use crate::lost::LeaderWatch;
use crate::machine::{EffectSink, Machine};
use crate::membership::ChangeError;
use crate::opening::Opening;
use crate::outcome::{Once, Outcome, Refusal};
use crate::pace::DEFAULT_BYTES_PER_SECOND;
use crate::peer::message::{NodeStatus, Purpose, Request, Response, Role};
use crate::peer::mux::CallError;
use crate::peer::server::serve;
use crate::prove::prove;
use crate::repair;
use crate::repair::scrub::Scrub;
use crate::runtime::Runtime;
use crate::service::{Core, Service};
use crate::state_machine::{OnFatal, Place};
use crate::tasks;
use crate::types::{Callback, Member, NodeId, Proposal, RaftVote, Types, from_raft_log_id};

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
    /// How the CommitLog is looked through for damage.
    pub scrub: Scrub,
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
    /// Nothing says what this node has voted and acknowledged.
    #[error(
        "{0}. Without its hard state a node cannot come back under its old id: remove it with `quorumq group remove`, empty \
         its directory, start it with join, and add it with `quorumq group add`"
    )]
    HardStateLost(StoreError),
    /// The CommitLog is damaged, and nobody can have a copy.
    #[error("{0}; no other member is known that could have a copy")]
    NoOtherMember(String),
    /// openraft would not start.
    #[error("raft: {0}")]
    Raft(String),
}

/// Makes an empty machine for a store.
pub type MakeMachine<M> = Box<dyn Fn(&Identity) -> Result<M, StoreError> + Send + Sync>;

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
        let Settings { listen, start, flush, scrub, timing, constants, .. } = settings.clone();
        let names = (settings.cluster.clone(), settings.group.clone());
        let joining = start == Start::Join;
        let client = (settings.client_addr.clone(), joining);
        let desk = Arc::new(Desk::open(parts.place.clone(), names, constants, parts.process, client)?);
        let listener = R::bind(listen).await.map_err(|source| StartError::Listen { addr: listen, source })?;
        let peer_addr = crate::runtime::Listener::local_addr(&listener).unwrap_or(listen);
        let stop = CancellationToken::new();
        let (lost_tx, lost_rx) = mpsc::channel(64);
        let service = Arc::new(Service::<R, M>::new(Arc::clone(&desk), lost_tx.clone()));
        let mut listener = Some(listener);
        let mut listen = || {
            let served = |listener| serve::<R, Service<R, M>>(listener, Arc::clone(&service), stop.clone());
            listener.take().into_iter().for_each(|listener| drop(R::spawn(served(listener))));
        };
        // Whoever gives the start up also ends what it has begun.
        let given_up = stop.clone().drop_guard();
        let opening =
            Opening::new(parts, (Arc::clone(&desk), Arc::clone(&service)), start.clone(), (flush, timing), lost_tx);
        // Opened before anyone is asked: whether the group was formed already is what this node's own store says.
        let store = match desk.identity() {
            Some(identity) => Some(opening.store(&identity, &mut listen).await?),
            None => None,
        };
        listen();
        let formed = form::<R>(&desk, &start).await?;
        let identity = desk.identity().ok_or_else(|| FormError::NotAsked { dir: opening.dir() })?;
        let store = match store {
            Some(store) => store,
            None => opening.store(&identity, &mut listen).await?,
        };
        let core = opening.core(&identity, store).await?;
        service.set_core(&core);
        let node =
            Arc::new(Self { core, identity, barrier: Barrier::default(), stop, retain: Arc::default(), peer_addr });
        node.initialize(formed).await?;
        given_up.disarm();
        node.spawn_tasks(lost_rx, (flush, scrub, timing));
        Ok(node)
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

    fn spawn_tasks(self: &Arc<Self>, lost: mpsc::Receiver<NodeId>, (flush, scrub, timing): (FlushMode, Scrub, Timing)) {
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
        tasks.spawn(repair::running::keep_sound(Arc::clone(core)));
        tasks.spawn(repair::scrub::scrub(Arc::clone(core), scrub));
        tasks.spawn(health::watch_room(Arc::clone(core)));
        tasks.spawn(health::watch_disk(Arc::clone(core), Duration::from_millis(timing.sync_stall_ms)));
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

    /// Whether it may lack entries that it has acknowledged: it neither votes nor leads until it holds what is committed.
    pub fn is_unproven(&self) -> bool {
        self.core.is_unproven()
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

    /// Hands leadership to `to`, or to the healthiest voter. Returns once another node leads.
    ///
    /// # Errors
    /// This node does not lead, or nobody took over in time.
    pub async fn transfer_leadership(&self, to: Option<NodeId>, limit: Duration) -> Result<NodeId, String> {
        self.core.transfer(to, limit).await
    }

    /// Hands leadership to the voter `to`, or to the healthiest one, unless that had better not lead now: it answers, its
    /// disk works and has room, and its log is close to this node's. Answers who leads then.
    ///
    /// # Errors
    /// Refused if this node does not lead or `to` is not fit to. Unknown if nobody was seen to take over within `limit`.
    pub async fn transfer_to(&self, to: Option<NodeId>, limit: Duration) -> Result<NodeId, ChangeError> {
        self.core.transfer_to(to, limit).await
    }

    /// Hands leadership over, then stops.
    pub async fn shutdown(&self) {
        self.hand_over().await;
        self.stop().await;
    }

    /// Hands leadership over if this node leads, waiting at most a second; the group elects by itself otherwise.
    pub async fn hand_over(&self) {
        if self.is_leader()
            && let Err(e) = self.core.hand_over(HAND_OVER).await
        {
            tracing::info!("leadership was not handed over: {e}");
        }
    }

    /// Stops: writes out what is derived, flushes the log, closes the store.
    pub async fn stop(&self) {
        self.stop.cancel();
        if let Err(e) = self.core.raft.shutdown().await {
            tracing::error!("raft did not stop cleanly: {e}");
        }
        self.core.peers.close().await;
        self.flush_at_stop().await;
        let closed = finish(|done| {
            self.core.store.close(done);
            Ok(())
        });
        if let Err(e) = closed.await {
            tracing::error!("the store did not close cleanly: {e}");
        }
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
