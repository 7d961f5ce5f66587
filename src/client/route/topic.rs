//! Where the queues of one topic are.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use quorumq_raft::runtime::Runtime;
use quorumq_store::record::java_hash;

use super::Group;
use crate::client::queue::MessageQueue;
use crate::client::time::now;
use crate::protocol::body::route::TopicRouteData;
use crate::protocol::body::topic::{PERM_READ, PERM_WRITE};

/// Most queues of one group that are believed: what a NameServer says costs us memory.
const MAX_QUEUES: i32 = 65_536;

/// A queue and the group that holds it.
#[derive(Debug)]
pub struct RoutedQueue<R: Runtime> {
    /// The queue.
    pub queue: MessageQueue,
    /// Its group.
    pub group: Arc<Group<R>>,
}

impl<R: Runtime> Clone for RoutedQueue<R> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), group: Arc::clone(&self.group) }
    }
}

/// Where the queues of one topic are, as a NameServer told.
#[derive(Debug)]
pub struct TopicRoute<R: Runtime> {
    /// The topic.
    pub topic: Arc<str>,
    /// Queues that may be written, sorted.
    pub write: Vec<RoutedQueue<R>>,
    /// Queues that may be read, sorted.
    pub read: Vec<RoutedQueue<R>>,
    /// Every group that has the topic.
    pub groups: Vec<Arc<Group<R>>>,
    /// Round-robin over `write`; goes on when the route is fetched again.
    pub(super) next: Arc<AtomicUsize>,
    /// When it was fetched.
    pub fetched: R::Instant,
}

impl<R: Runtime> TopicRoute<R> {
    pub(super) fn new(
        topic: &Arc<str>,
        data: &TopicRouteData,
        mut groups: Vec<Arc<Group<R>>>,
        next: Arc<AtomicUsize>,
    ) -> Self {
        groups.sort_by(|a, b| a.name().cmp(b.name()));
        let queues = |perm: i32, count: fn(&_) -> i32| -> Vec<RoutedQueue<R>> {
            let mut queues = Vec::new();
            for group in &groups {
                let Some(data) = data.queue_datas.iter().find(|data| *data.broker_name == **group.name()) else {
                    continue;
                };
                let usable = data.perm & perm != 0 && !group.is_empty();
                let count = if usable { count(data).clamp(0, MAX_QUEUES) } else { 0 };
                queues.extend((0..count.cast_unsigned()).map(|queue_id| RoutedQueue {
                    queue: MessageQueue { topic: Arc::clone(topic), broker_name: Arc::clone(group.name()), queue_id },
                    group: Arc::clone(group),
                }));
            }
            queues
        };
        Self {
            topic: Arc::clone(topic),
            write: queues(PERM_WRITE, |data| data.write_queue_nums),
            read: queues(PERM_READ, |data| data.read_queue_nums),
            groups,
            next,
            fetched: now::<R>(),
        }
    }

    /// The queues a topic created on the fly would get: the first `limit` of each group of the default topic's route.
    pub(in crate::client) fn of_default(topic: &Arc<str>, default: &Self, limit: u32) -> Self {
        let first = default.write.iter().filter(|routed| routed.queue.queue_id < limit);
        let write = first.map(|routed| RoutedQueue {
            queue: MessageQueue { topic: Arc::clone(topic), ..routed.queue.clone() },
            group: Arc::clone(&routed.group),
        });
        Self {
            topic: Arc::clone(topic),
            write: write.collect(),
            read: Vec::new(),
            groups: default.groups.clone(),
            next: Arc::clone(&default.next),
            fetched: default.fetched,
        }
    }

    /// The next queue to write, round-robin, among those whose group `usable` accepts.
    pub(in crate::client) fn round_robin(&self, usable: impl Fn(&Group<R>) -> bool) -> Option<&RoutedQueue<R>> {
        let count = self.write.len();
        (0..count).find_map(|_| {
            let at = self.next.fetch_add(1, Ordering::Relaxed) % count;
            Some(&self.write[at]).filter(|routed| usable(&routed.group))
        })
    }

    /// The queue of a key: the one SelectMessageQueueByHash.java chooses, as long as the number of queues stays.
    pub(in crate::client) fn by_key(&self, key: &str) -> Option<&RoutedQueue<R>> {
        let count = i32::try_from(self.write.len()).ok().filter(|count| *count > 0)?;
        self.write.get((java_hash(key) % count).unsigned_abs() as usize)
    }

    /// The route of one queue, if the topic has it.
    pub fn find(&self, queue: &MessageQueue) -> Option<&RoutedQueue<R>> {
        let has = |routed: &&RoutedQueue<R>| routed.queue == *queue;
        self.write.iter().find(has).or_else(|| self.read.iter().find(has))
    }
}
