//! The way of the news that groups changed, from the leader to every node: one call at a time each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use quorumq_raft::runtime::Runtime;
use quorumq_raft::types::NodeId;

use crate::broker::Broker;
use crate::broker::call::{self, Call};

/// Groups of one call.
const BATCH: usize = 10_000;
/// Longest a call may take.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Pause before a node that was not reached is tried again.
const PAUSE: Duration = Duration::from_millis(200);
/// Attempts in a row; a node that is gone has no members to tell, and clients look for themselves every 20 s.
const ATTEMPTS: usize = 10;

/// News on their way.
#[derive(Debug, Default)]
pub(super) struct Notifier(Mutex<BTreeMap<NodeId, Due>>);

/// What a node is to be told.
#[derive(Debug, Default)]
struct Due {
    groups: BTreeSet<String>,
    /// A task is telling it.
    busy: bool,
}

impl Notifier {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, Due>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds news for a node. Whether a task has to be started for it.
    fn add(&self, node: NodeId, groups: &BTreeSet<String>) -> bool {
        let mut due = self.lock();
        let due = due.entry(node).or_default();
        due.groups.extend(groups.iter().cloned());
        !std::mem::replace(&mut due.busy, true)
    }

    /// What to tell a node next; when there is nothing, its task ends.
    fn next(&self, node: NodeId) -> Vec<String> {
        let mut all = self.lock();
        let Some(due) = all.get_mut(&node) else { return Vec::new() };
        let mut groups = Vec::new();
        while groups.len() < BATCH
            && let Some(group) = due.groups.pop_first()
        {
            groups.push(group);
        }
        if groups.is_empty() {
            all.remove(&node);
        }
        groups
    }

    /// A node was not told.
    fn put_back(&self, node: NodeId, groups: Vec<String>) {
        self.lock().entry(node).or_default().groups.extend(groups);
    }

    /// Gives a node up: its task ends.
    fn give_up(&self, node: NodeId) {
        self.lock().remove(&node);
    }
}

impl<R: Runtime> Broker<R> {
    /// Tells every member of the Raft group, this node included, that consumer groups changed.
    pub(super) fn notify_all(self: &Arc<Self>, members: &[NodeId], groups: &BTreeSet<String>) {
        for id in members {
            if *id == self.node.id() {
                let groups: Vec<String> = groups.iter().cloned().collect();
                self.notify_members(&groups);
            } else if self.sessions.notifier.add(*id, groups) {
                self.spawn(Arc::clone(self).notify_node(*id));
            }
        }
    }

    async fn notify_node(self: Arc<Self>, id: NodeId) {
        let notifier = &self.sessions.notifier;
        let mut attempts = 0;
        loop {
            let groups = notifier.next(id);
            if groups.is_empty() {
                return;
            }
            let told = match call::encode(&Call::Notify(groups.clone()), &[]) {
                Ok(bytes) => self.node.call(id, bytes, TIMEOUT).await.map_err(|e| e.to_string()),
                Err(e) => Err(e.to_string()),
            };
            match told {
                Ok(Bytes { .. }) => attempts = 0,
                Err(why) if attempts + 1 < ATTEMPTS && self.node.is_leader() => {
                    tracing::debug!(node = id, "news of consumer groups did not arrive: {why}");
                    attempts += 1;
                    notifier.put_back(id, groups);
                    R::sleep(PAUSE).await;
                }
                Err(why) => {
                    tracing::info!(node = id, groups = groups.len(), "news of consumer groups was dropped: {why}");
                    return notifier.give_up(id);
                }
            }
        }
    }
}
