//! What a node does for its peers.

use std::collections::BTreeSet;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use openraft::Raft;
use openraft::alias::{SnapshotMetaOf, SnapshotOf};
use openraft::async_runtime::watch::WatchReceiver;
use openraft::raft::{AppendEntriesRequest, TransferLeaderRequest};
use quorumq_store::PhysicalOffset;
use quorumq_store::log_store::{LogStore, Promise};
use tokio::sync::mpsc;

use crate::barrier::ReadError;
use crate::form::Desk;
use crate::health::Fitness;
use crate::machine::Machine;
use crate::node::{READ_POLICY, role_of};
use crate::pace::Pace;
use crate::peer::full::FullMembers;
use crate::peer::handshake::LocalPeer;
use crate::peer::log_server;
use crate::peer::message::{NodeStatus, Purpose, Request, Response};
use crate::peer::mux::CallError;
use crate::peer::peers::Peers;
use crate::peer::server::{Answer, PeerService, Processes};
use crate::repair::running::Mending;
use crate::repair::start::Repairing;
use crate::repair::{self, Suspects};
use crate::runtime::Runtime;
use crate::state_machine::{OnFatal, Place, Shared, Shell};
use crate::types::{Member, NodeId, StoredMembership, Types};
use crate::wire::{WireAppend, WireAppended, WireLogId, WireStoredMembership, WireVote, WireVoteResponse};

/// Answers a call of a peer's application.
pub type AppHandler = Arc<dyn Fn(NodeId, Bytes) -> Pin<Box<dyn Future<Output = Bytes> + Send>> + Send + Sync>;

/// Longest a follower waits for the leader's read index.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// The running node behind its public face.
pub struct Core<R: Runtime, M: Machine> {
    pub raft: Raft<Types<R, M>, Shell<R, M>>,
    pub shared: Arc<Shared<M>>,
    pub store: Arc<LogStore>,
    pub peers: Arc<Peers<R>>,
    pub processes: Arc<Processes>,
    pub handler: OnceLock<AppHandler>,
    pub on_fatal: OnFatal,
    pub place: Place,
    pub fitness: Arc<Fitness>,
    pub pace: Arc<Pace<R::Instant>>,
    pub suspects: Suspects,
    pub mending: Mending,
    pub id: NodeId,
}

/// Longest that entries are behind a request to lead which has overtaken them.
const OVERTAKEN: Duration = Duration::from_millis(500);

impl<R: Runtime, M: Machine> Core<R, M> {
    pub fn member(&self, id: NodeId) -> Option<Member> {
        self.raft.server_metrics().borrow_watched().membership_config.membership().get_node(&id).cloned()
    }

    pub fn members(&self) -> Vec<(NodeId, Member, bool)> {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        let voters: Vec<NodeId> = membership.voter_ids().collect();
        membership.nodes().map(|(id, member)| (*id, member.clone(), voters.contains(id))).collect()
    }

    /// Room for an entry with a body of `bytes`, until the promise is dropped. Besides what the store needs, the volume
    /// keeps a reserve free, so that everything else on it goes on working.
    ///
    /// # Errors
    /// Why there is none.
    pub fn room(&self, bytes: u64) -> Result<Promise, String> {
        let room = self.room_at_all(bytes)?;
        let lacking = self.no_reserve().or_else(|| self.as_leader(FullMembers::no_majority_for_sends));
        lacking.map_or(Ok(room), Err)
    }

    /// Room for what a leader sends: in what is allocated, even where the volume has less free than it is to keep. What
    /// was under way when the leader's own reserve was reached has to find a place, or nobody can lead.
    ///
    /// # Errors
    /// Why there is none.
    pub fn room_to_follow(&self, bytes: u64) -> Result<Promise, String> {
        let room = self.room_at_all(bytes)?;
        match self.store.holds_promises() {
            true => Ok(room),
            false => self.no_reserve().map_or(Ok(room), Err),
        }
    }

    /// Why this node, if it leads, could not get an entry stored by a majority: too many others have no room.
    pub fn no_majority(&self) -> Option<String> {
        self.as_leader(FullMembers::no_majority)
    }

    fn as_leader(&self, ask: fn(&FullMembers, &[BTreeSet<NodeId>]) -> Option<String>) -> Option<String> {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        if metrics.state != openraft::ServerState::Leader {
            return None;
        }
        ask(self.peers.full(), metrics.membership_config.membership().get_joint_config())
    }

    /// The same without the reserve.
    ///
    /// # Errors
    /// Why there is none.
    pub fn room_at_all(&self, bytes: u64) -> Result<Promise, String> {
        self.store.promise(bytes).inspect_err(|_| {
            // No append will find out, as none is let through.
            if let Some(e) = self.store.failure() {
                (self.on_fatal)(e.to_string());
            }
        })
    }

    /// Why the volume has less free than it is to keep.
    pub fn no_reserve(&self) -> Option<String> {
        let (place, reserve) = (self.place.dir.display(), self.place.reserve_bytes);
        match self.place.disk.space(&self.place.dir) {
            Ok(space) if space.available >= reserve => None,
            Ok(space) => {
                let free = space.available;
                Some(format!("no space: {place} has {free} bytes free, diskSpaceReserveBytes keeps {reserve}"))
            }
            Err(e) => Some(format!("cannot tell the free space of {place}: {e}")),
        }
    }

    pub fn status(&self) -> NodeStatus {
        let positions = self.store.positions();
        let metrics = self.raft.metrics().borrow_watched().clone();
        let voter = metrics.membership_config.membership().voter_ids().any(|id| id == self.id);
        NodeStatus {
            id: self.id,
            term: metrics.current_term,
            leader: metrics.current_leader.filter(|_| metrics.current_term > 0),
            role: role_of(metrics.state),
            voter,
            purged: positions.purged.map(Into::into),
            last: positions.last.map(Into::into),
            synced: positions.synced.map(Into::into),
            committed: metrics.local_committed.as_ref().map(Into::into),
            applied: metrics.last_applied.as_ref().map(Into::into),
            first_offset: positions.first.0,
            end_offset: positions.end.0,
            digest: self.shared.read().digest(),
            snapshots_installed: self.shared.snapshots_installed(),
            is_fit: !self.fitness.is_barred(),
            unproven: self.is_unproven(),
            space: self.place.disk.space(&self.place.dir).ok().map(|space| (space.available, space.total)),
            wall_clock_ms: R::wall_clock_ms(),
            log: self.log_health(),
        }
    }

    /// How another member stands.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn ask_status(&self, id: NodeId, member: &Member) -> Result<NodeStatus, CallError> {
        let limit = Duration::from_secs(1);
        match self.peers.call((id, member), Purpose::Control, Request::Status, &[], limit).await? {
            (Response::Status(status), _) => Ok(status),
            (other, _) => Err(CallError::Unknown(format!("unexpected answer {other:?}"))),
        }
    }

    /// One ReadIndex round: the leader's confirmed read index, then wait until it is applied here.
    pub async fn read_round(self: Arc<Self>) -> Result<(), ReadError> {
        let unavailable = |e: String| ReadError::Unavailable(e);
        let leader = self.raft.server_metrics().borrow_watched().current_leader;
        let at = match leader {
            Some(leader) if leader == self.id => self.read_index().await.map_err(unavailable)?,
            Some(leader) => self.ask_read_index(leader).await.map_err(unavailable)?,
            None => return Err(unavailable("no leader is known".to_owned())),
        };
        let Some(WireLogId(_, index)) = at else { return Ok(()) };
        let waited = R::timeout(READ_TIMEOUT, self.shared.wait_applied(index)).await;
        waited.map_err(|_| unavailable(format!("entry {index} is not applied here after {READ_TIMEOUT:?}")))
    }

    async fn read_index(&self) -> Result<Option<WireLogId>, String> {
        let (read, _) = self.raft.get_read_log_id(READ_POLICY).await.map_err(|e| e.to_string())?;
        Ok(Some(WireLogId::from(read.log_id())))
    }

    pub async fn ask_read_index(&self, leader: NodeId) -> Result<Option<WireLogId>, String> {
        let member = self.member(leader).ok_or_else(|| format!("the leader, node {leader}, is no member"))?;
        let asked = self.peers.call((leader, &member), Purpose::Control, Request::ReadIndex, &[], READ_TIMEOUT);
        match asked.await {
            Ok((Response::ReadIndex { at }, _)) => Ok(at),
            Ok((other, _)) => Err(format!("unexpected answer {other:?}")),
            Err(e) => Err(e.to_string()),
        }
    }

    pub async fn transfer(&self, to: Option<NodeId>, limit: Duration) -> Result<NodeId, String> {
        let target = match to {
            Some(to) => to,
            None => self.healthy_successor().await.ok_or("no other voter answers that could lead")?,
        };
        self.raft.trigger().transfer_leader(target).await.map_err(|e| e.to_string())?;
        let mut changes = self.raft.server_metrics();
        let deadline = <R::Instant as openraft_rt::Instant>::now() + limit;
        loop {
            let leader = changes.borrow_watched().current_leader;
            if let Some(leader) = leader.filter(|leader| *leader != self.id) {
                return Ok(leader);
            }
            match R::timeout_at(deadline, changes.changed()).await {
                Ok(Ok(())) => {}
                _ => return Err(format!("node {target} did not take over within {limit:?}")),
            }
        }
    }

    /// Hands leadership over because this node goes: to the healthiest voter, or else to any.
    pub async fn hand_over(&self, limit: Duration) -> Result<NodeId, String> {
        // A member that does not answer must not use up the time.
        let healthy = R::timeout(limit / 4, self.healthy_successor()).await.ok().flatten();
        let to = healthy.or_else(|| self.best_successor()).ok_or("no other voter keeps up")?;
        self.transfer(Some(to), limit).await
    }

    /// The other voter whose log is furthest along.
    fn best_successor(&self) -> Option<NodeId> {
        let metrics = self.raft.metrics().borrow_watched().clone();
        let voters: Vec<NodeId> = metrics.membership_config.membership().voter_ids().collect();
        let replication = metrics.replication?;
        let others = replication.iter().filter(|(id, _)| **id != self.id && voters.contains(id));
        others.max_by_key(|(_, matched)| matched.as_ref().map(openraft::LogId::index)).map(|(id, _)| *id)
    }

    /// Waits a moment until the log ends at `index`: the request to lead overtakes what the leader has sent before, and one
    /// whose log is shorter ignores it, while nobody writes any more.
    async fn catch_up_to(&self, index: u64) {
        let deadline = <R::Instant as openraft_rt::Instant>::now() + OVERTAKEN;
        let is_behind = || self.store.positions().last.is_none_or(|last| last.index.0 < index);
        while is_behind() && <R::Instant as openraft_rt::Instant>::now() < deadline {
            R::sleep(Duration::from_millis(2)).await;
        }
    }

    /// This node votes for nobody, and says nothing of its log, which proves nothing.
    fn no_vote(&self) -> WireVoteResponse {
        let vote = self.raft.server_metrics().borrow_watched().vote;
        WireVoteResponse { vote: (&vote).into(), granted: false, last: None }
    }

    async fn heartbeat(&self, append: WireAppend) -> Response {
        let request = AppendEntriesRequest::<Types<R, M>> {
            vote: append.vote.into(),
            prev_log_id: append.prev.map(Into::into),
            entries: Vec::new(),
            leader_commit: append.commit.map(Into::into),
        };
        let prev = request.prev_log_id;
        match self.raft.append_entries(request).await {
            Ok(answer) => Response::Appended(WireAppended::from_unary::<R, M>(answer, prev, prev)),
            Err(e) => Response::Error(e.to_string()),
        }
    }

    async fn snapshot(
        &self,
        vote: WireVote,
        last: Option<WireLogId>,
        membership: WireStoredMembership,
        blob: Bytes,
    ) -> Result<Response, String> {
        let last_membership = StoredMembership::try_from(membership).map_err(|e| e.to_string())?;
        let meta = SnapshotMetaOf::<Types<R, M>> { last_log_id: last.map(Into::into), last_membership };
        let snapshot = SnapshotOf::<Types<R, M>, Bytes> { meta, snapshot: blob };
        let installed = self.raft.install_full_snapshot(vote.into(), snapshot).await.map_err(|e| e.to_string())?;
        Ok(Response::Installed { vote: (&installed.vote).into() })
    }

    async fn answer(&self, from: Option<NodeId>, request: Request, raw: Bytes) -> (Response, Vec<Bytes>) {
        let failed = |e: String| Response::Error(e);
        let response = match request {
            Request::Vote(_) | Request::PreVote(_) if self.is_unproven() => Response::Vote(self.no_vote()),
            Request::TransferLeader { to, .. } if to == self.id && self.is_unproven() => {
                Response::Transferred(Err(format!("node {to} is unproven: it may lack what it has acknowledged")))
            }
            Request::Vote(req) => match self.raft.vote(req.into_raft()).await {
                Ok(answer) => Response::Vote(WireVoteResponse::new(&answer)),
                Err(e) => failed(e.to_string()),
            },
            Request::PreVote(req) => match self.raft.pre_vote(req.into_raft()).await {
                Ok(answer) => Response::Vote(WireVoteResponse::new(&answer)),
                Err(e) => failed(e.to_string()),
            },
            Request::Heartbeat(append) => self.heartbeat(append).await,
            Request::TransferLeader { from, to, last } => {
                if to == self.id {
                    self.catch_up_to(last.map_or(0, |id| id.1)).await;
                }
                let request = TransferLeaderRequest::new(from.into(), to, last.map(Into::into));
                match self.raft.handle_transfer_leader(request).await {
                    Ok(done) => Response::Transferred(done.map_err(|e| e.to_string())),
                    Err(e) => failed(e.to_string()),
                }
            }
            Request::ReadIndex => match self.read_index().await {
                Ok(at) => Response::ReadIndex { at },
                Err(e) => failed(e),
            },
            Request::Call => match self.handler.get() {
                Some(handler) => return (Response::Called, vec![handler(from.unwrap_or_default(), raw).await]),
                None => failed("the node is starting".to_owned()),
            },
            Request::Snapshot { vote, last, membership } => {
                self.snapshot(vote, last, membership, raw).await.unwrap_or_else(failed)
            }
            Request::Status => Response::Status(self.status()),
            Request::Bytes { from, to } => {
                let store = Arc::clone(&self.store);
                return repair::answer::<R>(move || store.piece(PhysicalOffset(from), PhysicalOffset(to))).await;
            }
            Request::Probe | Request::Format { .. } => failed("only on a Form connection".to_owned()),
        };
        (response, Vec::new())
    }
}

/// The acceptor's service: the desk until the node runs, then the node.
pub struct Service<R: Runtime, M: Machine> {
    desk: Arc<Desk>,
    core: OnceLock<Arc<Core<R, M>>>,
    /// What is told while the store is being repaired.
    repairing: Mutex<Option<Arc<Repairing>>>,
    lost: mpsc::Sender<NodeId>,
}

impl<R: Runtime, M: Machine> Service<R, M> {
    pub fn new(desk: Arc<Desk>, lost: mpsc::Sender<NodeId>) -> Self {
        Self { desk, core: OnceLock::new(), repairing: Mutex::default(), lost }
    }
    pub fn set_core(&self, core: &Arc<Core<R, M>>) {
        let _ = self.core.set(Arc::clone(core));
    }
    pub fn set_repairing(&self, repairing: Option<Arc<Repairing>>) {
        *self.repairing.lock().unwrap_or_else(PoisonError::into_inner) = repairing;
    }
    fn repairing(&self) -> Option<Arc<Repairing>> {
        self.repairing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl<R: Runtime, M: Machine> PeerService<R> for Service<R, M> {
    fn local(&self) -> LocalPeer {
        self.desk.local()
    }

    fn known(&self, id: NodeId) -> Option<Member> {
        self.core.get()?.member(id)
    }

    fn answer(self: Arc<Self>, from: Option<NodeId>, request: Request, raw: Bytes) -> Answer {
        Box::pin(async move {
            match request {
                Request::Probe => return (Response::Probed(self.desk.probed()), Vec::new()),
                Request::Format { group_uuid, id, constants } => {
                    let response = match self.desk.format::<R>(group_uuid, id, constants.into()).await {
                        Ok(incarnation) => {
                            Response::Formatted { incarnation, client_addr: self.desk.client_addr.clone() }
                        }
                        Err(e) => Response::Error(e),
                    };
                    return (response, Vec::new());
                }
                _ => {}
            }
            match (self.core.get(), self.repairing()) {
                (Some(core), _) => core.answer(from, request, raw).await,
                (None, Some(repairing)) => repairing.answer::<R>(request).await,
                (None, None) => (Response::Error("the node is starting".to_owned()), Vec::new()),
            }
        })
    }

    fn serve_log(self: Arc<Self>, stream: R::Stream) -> Pin<Box<dyn Future<Output = io::Result<()>> + Send>> {
        Box::pin(async move {
            // The node is starting: the leader dials again.
            let Some(core) = self.core.get() else { return Ok(()) };
            log_server::serve_log::<R, M>(stream, &core.raft, |bytes| core.room_to_follow(bytes)).await
        })
    }

    fn lost(&self, from: NodeId) {
        // A full queue already holds news that this node has lost connections.
        let _ = self.lost.try_send(from);
    }
}
