//! Who leads, and whether this node may propose and serve: a new leader first applies its own blank entry.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use quorumq_raft::node::Node;
use quorumq_raft::runtime::Runtime;
use quorumq_raft::types::NodeId;
use tokio::sync::Notify;

use crate::machine::Machine;

/// Who a request goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leader {
    /// This node leads and has applied everything before its term.
    Here,
    /// This node leads and is not ready yet.
    Becoming,
    /// Another node leads.
    There(NodeId),
    /// Nobody is known to lead.
    Nobody,
}

/// This node's view of who leads.
#[derive(Debug, Default)]
pub struct Leadership {
    term: AtomicU64,
    /// Node id of the leader plus one; 0 for nobody.
    leader: AtomicU64,
    /// The term in which this node became ready to lead.
    ready_term: AtomicU64,
    changed: Notify,
}

impl Leadership {
    /// The term this node knows of.
    pub fn term(&self) -> u64 {
        self.term.load(Ordering::Acquire)
    }

    /// The leader's id, if one is known.
    pub fn leader_id(&self) -> Option<NodeId> {
        self.leader.load(Ordering::Acquire).checked_sub(1)
    }

    /// Who leads, as seen by node `me`.
    pub fn now(&self, me: NodeId) -> Leader {
        match self.leader_id() {
            None => Leader::Nobody,
            Some(id) if id != me => Leader::There(id),
            Some(_) if self.ready_term.load(Ordering::Acquire) == self.term() => Leader::Here,
            Some(_) => Leader::Becoming,
        }
    }

    /// Waits, at most `limit`, until somebody is ready to lead.
    pub async fn settled<R: Runtime>(&self, me: NodeId, limit: Duration) -> Leader {
        let deadline = <R::Instant as openraft_rt::Instant>::now() + limit;
        loop {
            let changed = self.changed.notified();
            let mut changed = std::pin::pin!(changed);
            // Registered before the look, so that no change falls between the two.
            changed.as_mut().enable();
            let leader = self.now(me);
            if matches!(leader, Leader::Here | Leader::There(_)) {
                return leader;
            }
            if R::timeout_at(deadline, changed).await.is_err() {
                return self.now(me);
            }
        }
    }

    /// Waits until node `leader` is no longer known to lead.
    pub async fn lost(&self, leader: NodeId) {
        loop {
            let changed = self.changed.notified();
            let mut changed = std::pin::pin!(changed);
            // Registered before the look, so that no change falls between the two.
            changed.as_mut().enable();
            if self.leader_id() != Some(leader) {
                return;
            }
            changed.await;
        }
    }

    /// Follows the node's view until the node is gone. `on_change` runs after every change.
    pub async fn follow<R: Runtime>(
        self: Arc<Self>,
        node: Arc<Node<R, Machine>>,
        on_change: impl Fn(Leader) + Send + Sync + 'static,
    ) {
        let mut changes = node.leadership_changes();
        loop {
            let (term, named) = node.leadership();
            // A new member hears from its leader before it has the entry that says where that one is.
            let leader = named.filter(|id| node.member(*id).is_some());
            let news = self.term() != term || self.leader_id() != leader;
            self.term.store(term, Ordering::Release);
            self.leader.store(leader.map_or(0, |id| id + 1), Ordering::Release);
            if news {
                self.changed.notify_waiters();
                on_change(self.now(node.id()));
            }
            if self.now(node.id()) == Leader::Becoming && node.read_barrier().await.is_ok() {
                // The barrier's read index is at or above this term's blank entry, and it is applied here.
                self.ready_term.store(term, Ordering::Release);
                self.changed.notify_waiters();
                on_change(self.now(node.id()));
                continue;
            }
            let is_soon = leader != named || self.now(node.id()) == Leader::Becoming;
            let wait = if is_soon { 10 } else { 3_600_000 };
            match R::timeout(Duration::from_millis(wait), changes.changed()).await {
                Ok(Err(_)) => return,
                _ => continue,
            }
        }
    }
}
