//! A start that finds its CommitLog damaged: it is filled from other members before Raft knows of it.
//!
//! Meanwhile the node neither votes nor stands for election. Peers get bytes of what is sound here, and how far it has
//! come; everything else is refused.

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use quorumq_store::PhysicalOffset;
use quorumq_store::identity::Identity;
use quorumq_store::repair::Damaged;

use super::{FillError, answer, fill_from};
use crate::form::Start;
use crate::machine::Machine;
use crate::node::StartError;
use crate::opening::Opening;
use crate::peer::message::{LogHealth, NodeStatus, Request, Response, Role};
use crate::peer::peers::Peers;
use crate::runtime::Runtime;
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

/// Fills what is damaged, and says whether there was anything. `found` is what the damage was first seen by.
///
/// # Errors
/// Nobody can have a copy; the disk failed.
pub async fn repair<R: Runtime, M: Machine>(
    opening: &Opening<R, M>,
    identity: &Identity,
    found: &(impl Display + Sync),
) -> Result<bool, StartError> {
    let place = opening.place().clone();
    let assessed = R::offload(move || Damaged::assess(place.disk, &place.dir)).await;
    let Some(damaged) = assessed.map_err(|e| StartError::Raft(e.to_string()))?? else { return Ok(false) };
    let members = members(damaged.memberships(), &opening.start, identity.node_id);
    if members.is_empty() && !damaged.bad().is_empty() {
        return Err(StartError::NoOtherMember(found.to_string()));
    }
    let (id, filled) = (identity.node_id, AtomicU64::default());
    let repairing = Arc::new(Repairing { damaged, filled, id });
    let LogHealth { bad_ranges, bad_bytes, .. } = repairing.health();
    tracing::warn!(bad_ranges, bad_bytes, "{found}: asking the other members for what stood there");
    opening.desk.note_damaged();
    opening.service.set_repairing(Some(Arc::clone(&repairing)));
    let peers = Peers::<R>::new(opening.desk.local(), Arc::new(|_| {}));
    let filled = fill_all(&peers, &members, &repairing).await;
    peers.close().await;
    opening.service.set_repairing(None);
    // Somebody may still be reading what is sound: the lock must not wait for that.
    repairing.damaged.release();
    filled?;
    tracing::warn!(bytes = repairing.health().filled_bytes, "the CommitLog is repaired");
    Ok(true)
}

/// Whom to ask: the members of the newest membership that can be read, and those the configuration names.
fn members(memberships: &[Bytes], start: &Start, me: NodeId) -> Vec<(NodeId, Member)> {
    let known = memberships.iter().find_map(|encoded| decode_membership(encoded).ok());
    let mut members: Vec<(NodeId, Member)> =
        known.iter().flat_map(|known| known.nodes()).map(|(id, member)| (*id, member.clone())).collect();
    // The peers of a new group: their ids follow their order.
    let configured: &[SocketAddr] = match start {
        Start::Bootstrap { peers, .. } => peers,
        Start::Existing | Start::Join => &[],
    };
    for (id, addr) in (1..).zip(configured) {
        if !members.iter().any(|(known, member)| *known == id || member.peer_addr == addr.to_string()) {
            // Whatever its incarnation is: what it answers is checked.
            members.push((id, Member { peer_addr: addr.to_string(), ..Member::default() }));
        }
    }
    members.retain(|(id, _)| *id != me);
    members
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
                    Err(e) => {
                        // One that does not answer is asked for the other ranges in the next round.
                        let is_silent = matches!(e, FillError::Silent(..));
                        reasons.push(e.to_string());
                        if is_silent {
                            break;
                        }
                    }
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
