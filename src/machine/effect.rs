//! What the machine asks of the world after an entry: hints, each derivable from state.

use std::sync::Arc;

use quorumq_store::{PhysicalOffset, QueueOffset};

/// A hint to the broker around the machine. At most one of each kind an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Queues that got messages: wake long polls.
    MessagesArrived(Vec<Arrival>),
    /// Topics that were created, changed or deleted: register routes, release long polls of deleted ones.
    TopicsChanged(Vec<Arc<str>>),
    /// Subscription groups that were created, changed or deleted.
    GroupsChanged(Vec<Arc<str>>),
    /// The log may be dropped below this segment start.
    Purged {
        /// A segment start.
        to: PhysicalOffset,
    },
}

/// A queue that got messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The topic.
    pub topic: Arc<str>,
    /// The queue.
    pub queue_id: u32,
    /// The offset the queue's next message will get: everything below can be read.
    pub next: QueueOffset,
}

/// Effects of one entry, gathered by kind.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub topics: Vec<Arc<str>>,
    pub groups: Vec<Arc<str>>,
    pub purged: Option<PhysicalOffset>,
}

impl Gathered {
    pub fn push_to(self, effects: &mut Vec<Effect>) {
        if !self.topics.is_empty() {
            effects.push(Effect::TopicsChanged(self.topics));
        }
        if !self.groups.is_empty() {
            effects.push(Effect::GroupsChanged(self.groups));
        }
        effects.extend(self.purged.map(|to| Effect::Purged { to }));
    }
}
