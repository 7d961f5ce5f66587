//! A node whose disk is sick does not lead while another can: one whose sync stalls, whose CommitLog is damaged, or whose
//! volume is full.
//!
//! A stalled or damaged node follows on, and does not stand for election until that is over. One without room stays
//! eligible: it can lead, and says why it refuses sends; it only prefers another.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use openraft::async_runtime::watch::WatchReceiver;
use openraft_rt::Instant;
use quorumq_store::LogIndex;
use quorumq_store::log_store::Positions;
use quorumq_store::repair::BadRange;

use crate::machine::Machine;
use crate::membership::ChangeError;
use crate::peer::message::NodeStatus;
use crate::runtime::Runtime;
use crate::service::Core;
use crate::types::NodeId;

/// Pause between looks.
const LOOK: Duration = Duration::from_millis(200);
/// Pause after an attempt to hand leadership over.
const TRY_AGAIN: Duration = Duration::from_secs(5);
/// Pause between a leader's looks at the room that the others have.
const ASK_FOR_ROOM: Duration = Duration::from_secs(1);
/// How long a successor may take.
const HAND_OVER: Duration = Duration::from_secs(1);
/// A successor lacks at most so many entries.
const CLOSE_BEHIND: u64 = 1000;

/// How long the disk has been busy with one sync, seen from outside.
#[derive(Debug)]
struct SyncWatch<I> {
    /// The last entry synced, and when the log was first seen to have more.
    stuck: Option<(Option<LogIndex>, I)>,
}

impl<I: Instant> SyncWatch<I> {
    /// How long the synced position has stood still while there was more to sync.
    fn look(&mut self, positions: &Positions, now: I) -> Duration {
        let (last, synced) = (positions.last.map(|id| id.index), positions.synced.map(|id| id.index));
        if last == synced {
            self.stuck = None;
            return Duration::ZERO;
        }
        match self.stuck {
            Some((then, since)) if then == synced => now - since,
            _ => {
                self.stuck = Some((synced, now));
                Duration::ZERO
            }
        }
    }
}

/// Why a node must not lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bar {
    /// A sync of the log has stalled.
    Stalled,
    /// Bytes of the CommitLog are damaged and wait for repair.
    Damaged,
    /// It may lack entries that it has acknowledged.
    Unproven,
}

/// Whether this node may stand for election.
#[derive(Debug, Default)]
pub struct Fitness {
    bars: Mutex<BTreeSet<Bar>>,
    barred: AtomicBool,
}

impl Fitness {
    /// Whether anything bars it.
    pub fn is_barred(&self) -> bool {
        self.barred.load(Ordering::Acquire)
    }

    /// Sets or takes away a reason not to lead, and tells `elect` whether it may. Returns whether the reason is new, or gone.
    pub fn set(&self, bar: Bar, holds: bool, elect: impl FnOnce(bool)) -> bool {
        let mut bars = self.bars.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = if holds { bars.insert(bar) } else { bars.remove(&bar) };
        if changed {
            // Under the lock: of two who set reasons, the last must be heard last.
            self.barred.store(!bars.is_empty(), Ordering::Release);
            elect(bars.is_empty());
        }
        changed
    }
}

/// Keeps a leader informed of members that are short of room, as long as the node runs.
pub async fn watch_room<R: Runtime, M: Machine>(core: Arc<Core<R, M>>) {
    loop {
        R::sleep(ASK_FOR_ROOM).await;
        let short = if core.leads() { core.short_of_room().await } else { BTreeMap::new() };
        core.peers.full().short(short);
    }
}

/// Looks after the disk as long as the node runs. A sync that takes longer than `stall` bars the node from leading.
pub async fn watch_disk<R: Runtime, M: Machine>(core: Arc<Core<R, M>>, stall: Duration) {
    let mut syncs = SyncWatch { stuck: None };
    let mut tried: Option<R::Instant> = None;
    let mut is_news = true;
    loop {
        R::sleep(LOOK).await;
        let now = <R::Instant as Instant>::now();
        let stuck = syncs.look(&core.store.positions(), now);
        let is_stalled = stuck > stall;
        if core.bar(Bar::Stalled, is_stalled) {
            match is_stalled {
                true => tracing::warn!(?stuck, "a sync of the log has stalled: this node does not lead until it ends"),
                false => tracing::info!("the disk syncs again: this node may lead"),
            }
        }
        let why = match core.no_reserve() {
            _ if is_stalled => "its sync has stalled".to_owned(),
            // It was made leader all the same, or nobody could take over when it was found.
            _ if core.fitness.is_barred() => "its CommitLog is damaged".to_owned(),
            Some(why) => why,
            None => {
                is_news = true;
                continue;
            }
        };
        let may_try = tried.is_none_or(|tried| now - tried >= TRY_AGAIN);
        if core.leads() && may_try {
            tried = Some(now);
            core.hand_over_to_a_healthy_one(&why, std::mem::replace(&mut is_news, false)).await;
        }
    }
}

impl<R: Runtime, M: Machine> Core<R, M> {
    /// Sets or takes away a reason not to lead. Returns whether it is new, or gone.
    pub fn bar(&self, bar: Bar, holds: bool) -> bool {
        self.fitness.set(bar, holds, |may| self.raft.runtime_config().elect(may))
    }

    pub fn leads(&self) -> bool {
        self.raft.metrics().borrow_watched().state == openraft::ServerState::Leader
    }

    /// Hands leadership to the healthiest other voter, if there is one.
    /// An operator is told once, `is_news`, if there is none.
    pub async fn hand_over_to_a_healthy_one(&self, why: &str, is_news: bool) {
        let failed = match self.healthy_successor().await {
            None => "no other voter is better off".to_owned(),
            Some(to) => match self.transfer(Some(to), HAND_OVER).await {
                Ok(leader) => return tracing::warn!(leader, "this node has handed leadership over: {why}"),
                Err(e) => e,
            },
        };
        match is_news {
            true => tracing::warn!("this node leads on although {why}: {failed}"),
            false => tracing::debug!("this node still leads although {why}: {failed}"),
        }
    }

    /// The other voters that have less free than they are to keep, and what they have.
    async fn short_of_room(&self) -> BTreeMap<NodeId, String> {
        let others: Vec<_> = self.members().into_iter().filter(|(id, _, voter)| *voter && *id != self.id).collect();
        let asked = others.iter().map(|(id, member, _)| self.ask_status(*id, member));
        let reserve = self.place.reserve_bytes;
        let short = join_all(asked).await.into_iter().flatten().filter_map(|status| {
            let (available, _) = status.space.filter(|(available, _)| *available < reserve)?;
            let why = format!("no space: its volume has {available} bytes free, diskSpaceReserveBytes keeps {reserve}");
            Some((status.id, why))
        });
        short.collect()
    }

    /// The voter with a working disk that is furthest along.
    pub async fn healthy_successor(&self) -> Option<NodeId> {
        let others: Vec<_> = self.members().into_iter().filter(|(id, _, voter)| *voter && *id != self.id).collect();
        let asked = others.iter().map(|(id, member, _)| self.ask_status(*id, member));
        let healthy = join_all(asked).await.into_iter().flatten().filter(|status| self.objection(status).is_none());
        healthy.max_by_key(|status| status.synced.as_ref().map(|id| id.1)).map(|status| status.id)
    }

    /// Why the node of this status had better not lead now.
    fn objection(&self, status: &NodeStatus) -> Option<String> {
        let last = self.store.positions().last.map_or(0, |id| id.index.0);
        // With ASYNC_FLUSH the synced end lags; a disk that does not keep up is not fit.
        let behind = last.saturating_sub(status.last.as_ref().map_or(0, |id| id.1));
        let lacks_damaged = |bad: &BadRange| status.end_offset <= bad.from.0;
        let reserve = self.place.reserve_bytes;
        let available = status.space.map_or(0, |(available, _)| available);
        if status.unproven {
            Some("it is unproven: it may lack what it acknowledged before its machine went down".to_owned())
        } else if !status.is_fit {
            Some("its disk does not keep up, or its CommitLog waits for repair".to_owned())
        } else if available < reserve {
            Some(format!("its volume has {available} bytes free, diskSpaceReserveBytes keeps {reserve}"))
        } else if self.store.quarantined().iter().any(lacks_damaged) {
            Some("it lacks what is damaged here, and cannot be sent it".to_owned())
        } else if behind > CLOSE_BEHIND {
            Some(format!("it lacks the last {behind} entries, more than {CLOSE_BEHIND}"))
        } else {
            None
        }
    }

    /// Hands leadership to the voter `to`, or to the healthiest one, and answers who leads then. Done already if `to` is
    /// this node.
    ///
    /// # Errors
    /// Refused if this node does not lead, or `to` is no voter, does not answer, or had better not lead. Unknown if nobody
    /// was seen to take over within `limit`.
    pub async fn transfer_to(&self, to: Option<NodeId>, limit: Duration) -> Result<NodeId, ChangeError> {
        let refused = |why: String| Err(ChangeError::Refused(why));
        if !self.leads() {
            return refused(format!("node {} does not lead", self.id));
        }
        let target = match to {
            Some(id) if id == self.id => return Ok(id),
            Some(id) => id,
            None => match self.healthy_successor().await {
                Some(id) => id,
                None => return refused("no other voter answers that could lead".to_owned()),
            },
        };
        let members = self.members();
        let Some((_, member, _)) = members.iter().find(|(id, _, voter)| *id == target && *voter) else {
            return refused(format!("node {target} is no voter"));
        };
        match self.ask_status(target, member).await {
            Err(e) => return refused(format!("node {target} does not answer: {e}")),
            Ok(status) => {
                if let Some(why) = self.objection(&status) {
                    return refused(format!("node {target} had better not lead: {why}"));
                }
            }
        }
        self.transfer(Some(target), limit).await.map_err(ChangeError::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use openraft_rt_tokio::TokioInstant;
    use quorumq_store::{LogId, Term};

    use super::*;

    fn positions(last: u64, synced: u64) -> Positions {
        let id = |index| Some(LogId { term: Term(1), index: LogIndex(index) });
        Positions { last: id(last), synced: id(synced), ..Positions::default() }
    }

    #[test]
    fn a_node_may_lead_again_once_no_reason_is_left() {
        let fitness = Fitness::default();
        let told = std::cell::RefCell::new(Vec::new());
        let set = |bar, holds| fitness.set(bar, holds, |may| told.borrow_mut().push(may));
        assert!(set(Bar::Stalled, true) && !set(Bar::Stalled, true) && set(Bar::Damaged, true));
        assert!(set(Bar::Stalled, false) && fitness.is_barred());
        assert!(!set(Bar::Stalled, false) && set(Bar::Damaged, false) && !fitness.is_barred());
        assert_eq!(told.take(), [false, false, false, true]);
    }

    #[test]
    fn a_sync_is_stalled_while_there_is_more_to_sync_and_nothing_moves() {
        let mut watch = SyncWatch { stuck: None };
        let begun = TokioInstant::now();
        let mut look = |last, synced, ms| watch.look(&positions(last, synced), begun + Duration::from_millis(ms));
        assert_eq!(look(5, 5, 0), Duration::ZERO);
        assert_eq!(look(6, 5, 9_000), Duration::ZERO, "it stood still for lack of work");
        assert_eq!(look(9, 5, 11_000), Duration::from_secs(2));
        assert_eq!(look(12, 8, 12_000), Duration::ZERO, "it moves");
        assert_eq!(look(12, 8, 13_000), Duration::from_secs(1));
        assert_eq!(look(12, 12, 14_000), Duration::ZERO);
        assert_eq!(look(13, 12, 30_000), Duration::ZERO);
    }
}
