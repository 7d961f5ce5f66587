//! A start that finds its CommitLog damaged: it is filled from other members before Raft knows of it.
//!
//! Meanwhile the node neither votes nor stands for election. Peers get bytes of what is sound here, and how far it has
//! come; everything else is refused.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use quorumq_store::identity::Identity;
use quorumq_store::log_store::LogStore;
use quorumq_store::repair::{Damaged, corrupt_position};
use quorumq_store::{PhysicalOffset, StoreError, hard_state};

use super::{FillError, answer, fill_from};
use crate::form::{Desk, Start};
use crate::machine::Machine;
use crate::node::StartError;
use crate::peer::message::{LogHealth, NodeStatus, Request, Response, Role};
use crate::peer::peers::Peers;
use crate::runtime::Runtime;
use crate::service::Service;
use crate::state_machine::Place;
use crate::types::{Member, NodeId};
use crate::wire::decode_membership;

/// Pause after a round in which no member could help, doubled up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What a node tells its peers while it is being repaired.
#[derive(Debug)]
pub struct Repairing {
    damaged: Damaged,
    filled: AtomicU64,
    id: NodeId,
}

impl Repairing {
    fn health(&self) -> LogHealth {
        let bad = self.damaged.bad();
        LogHealth {
            bad_ranges: bad.len() as u64,
            bad_bytes: bad.iter().map(|bad| bad.len()).sum(),
            filled_bytes: self.filled.load(Ordering::Relaxed),
            ..LogHealth::default()
        }
    }

    /// Answers one request of a peer.
    pub async fn answer<R: Runtime>(self: Arc<Self>, request: Request) -> (Response, Vec<Bytes>) {
        match request {
            Request::Bytes { from, to } => {
                answer::<R>(move || self.damaged.bytes(PhysicalOffset(from), PhysicalOffset(to))).await
            }
            Request::Status => {
                let (id, log, wall_clock_ms) = (self.id, self.health(), R::wall_clock_ms());
                let status = NodeStatus { id, role: Role::Repairing, log, wall_clock_ms, ..NodeStatus::default() };
                (Response::Status(status), Vec::new())
            }
            _ => {
                let LogHealth { bad_bytes, .. } = self.health();
                let why = format!("node {} repairs its CommitLog, {bad_bytes} bytes of it are damaged", self.id);
                (Response::Error(why), Vec::new())
            }
        }
    }
}

/// What a start needs to repair its store.
pub struct Opening<'a, R: Runtime, M: Machine> {
    /// Where the store is.
    pub place: &'a Place,
    /// Whose it is.
    pub identity: &'a Identity,
    /// Names peers where nothing else does.
    pub start: &'a Start,
    /// Told that the store is not pristine.
    pub desk: &'a Desk,
    /// Told what peers get meanwhile.
    pub service: &'a Service<R, M>,
}

impl<R: Runtime, M: Machine> Opening<'_, R, M> {
    /// Opens the store with `open`. As long as its CommitLog is found damaged, `listen` is called and it is filled.
    ///
    /// # Errors
    /// What `open` answers, where no repair can help; the disk failed.
    pub async fn run<F>(&self, open: impl Fn() -> F, mut listen: impl FnMut()) -> Result<Arc<LogStore>, StartError>
    where
        F: Future<Output = Result<Arc<LogStore>, StartError>>,
    {
        let mut before = None;
        loop {
            let e = match open().await {
                Err(StartError::Store(e)) => e,
                other => return other,
            };
            if is_hard_state(&e, self.place) {
                return Err(StartError::HardStateLost(e));
            }
            // Where the same place is corrupt once more, what was filled has not helped.
            let at = corrupt_position(&e);
            if at.is_none() || at == before {
                return Err(e.into());
            }
            before = at;
            listen();
            self.repair(e).await?;
        }
    }

    async fn repair(&self, found: StoreError) -> Result<(), StartError> {
        let place = self.place.clone();
        let assessed = R::offload(move || Damaged::assess(place.disk, &place.dir)).await;
        let Some(damaged) = assessed.map_err(|e| StartError::Raft(e.to_string()))?? else {
            return Err(found.into());
        };
        let members = self.members(damaged.memberships());
        if members.is_empty() && !damaged.bad().is_empty() {
            return Err(StartError::NoOtherMember(found));
        }
        let (id, filled) = (self.identity.node_id, AtomicU64::default());
        let repairing = Arc::new(Repairing { damaged, filled, id });
        let LogHealth { bad_ranges, bad_bytes, .. } = repairing.health();
        tracing::warn!(bad_ranges, bad_bytes, "{found}: asking the other members for what stood there");
        self.desk.note_damaged();
        self.service.set_repairing(Some(Arc::clone(&repairing)));
        let peers = Peers::<R>::new(self.desk.local(), Arc::new(|_| {}));
        let filled = fill_all(&peers, &members, &repairing).await;
        peers.close().await;
        self.service.set_repairing(None);
        // Somebody may still be reading what is sound: the lock must not wait for that.
        repairing.damaged.release();
        filled?;
        tracing::warn!(bytes = repairing.health().filled_bytes, "the CommitLog is repaired");
        Ok(())
    }

    /// Whom to ask: the members of the newest membership that can be read, and those the configuration names.
    fn members(&self, memberships: &[Bytes]) -> Vec<(NodeId, Member)> {
        let known = memberships.iter().find_map(|encoded| decode_membership(encoded).ok());
        let mut members: Vec<(NodeId, Member)> =
            known.iter().flat_map(|known| known.nodes()).map(|(id, member)| (*id, member.clone())).collect();
        for (id, addr) in self.configured() {
            if !members.iter().any(|(known, member)| *known == id || member.peer_addr == addr.to_string()) {
                // Whatever its incarnation is: what it answers is checked.
                members.push((id, Member { peer_addr: addr.to_string(), ..Member::default() }));
            }
        }
        members.retain(|(id, _)| *id != self.identity.node_id);
        members
    }

    /// The peers of a new group, whose ids follow their order.
    fn configured(&self) -> impl Iterator<Item = (NodeId, SocketAddr)> {
        let peers: &[SocketAddr] = match self.start {
            Start::Bootstrap { peers, .. } => peers,
            Start::Existing | Start::Join => &[],
        };
        peers.iter().enumerate().map(|(i, addr)| (i as NodeId + 1, *addr))
    }
}

/// Asks one member after the other until every range is filled.
async fn fill_all<R: Runtime>(
    peers: &Peers<R>,
    members: &[(NodeId, Member)],
    repairing: &Repairing,
) -> Result<(), StartError> {
    let mut pause = FIRST_PAUSE;
    let mut is_told = false;
    loop {
        let mut reasons = Vec::new();
        for (id, member) in members {
            let mut behind = PhysicalOffset(0);
            while let Some(bad) = repairing.damaged.next_bad(behind) {
                behind = bad.from + 1;
                match fill_from(peers, (*id, member), repairing.damaged.patch(bad)).await {
                    Ok(filled) => {
                        repairing.damaged.filled(&filled);
                        repairing.filled.fetch_add(filled.len(), Ordering::Relaxed);
                        pause = FIRST_PAUSE;
                    }
                    Err(FillError::Store(e)) if !e.is_full() => return Err(e.into()),
                    Err(e) => reasons.push(e.to_string()),
                }
            }
        }
        if repairing.damaged.bad().is_empty() {
            return Ok(());
        }
        if !std::mem::replace(&mut is_told, true) {
            tracing::warn!("no sound copy of damaged bytes yet, asking on: {}", reasons.join("; "));
        }
        R::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn is_hard_state(e: &StoreError, place: &Place) -> bool {
    let hard: PathBuf = hard_state::path(&place.dir);
    matches!(e, StoreError::Corrupt { path, .. } if *path == hard)
}
