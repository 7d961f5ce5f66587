//! What handlers read, under the machine's read lock. Everything here is as of the last applied entry.

use quorumq_store::consume_queue::{ConsumeQueues, QueueHandle, Unit, UnitRead};
use quorumq_store::derived::Covered;
use quorumq_store::{LogId, PhysicalOffset, QueueOffset, StoreError};

use super::Machine;
use super::groups::SubscriptionGroupConfig;
use super::names::is_system_topic;
use super::retention::SegmentTime;
use super::topics::{DataVersion, TopicConfig};

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Topics but for RocketMQ's own.
    pub topics: usize,
    /// Messages that can be read, over all topics.
    pub messages: u64,
}

/// A segment of the log that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its first byte.
    pub start: PhysicalOffset,
    /// When its last entry was stored, in milliseconds since the epoch.
    pub last_ms: i64,
    /// The topic with messages in it that is to be kept longest, by its attribute `reserve.time`, and its hours.
    pub reserved: Option<(String, u32)>,
}

impl Machine {
    /// The segments that are kept, oldest first; the last one is still written.
    pub fn segments(&self) -> Vec<Segment> {
        let unreserved =
            |time: &SegmentTime| Segment { start: PhysicalOffset(time.start), last_ms: time.last_ms, reserved: None };
        let mut segments: Vec<_> = self.retention.segments.iter().map(unreserved).collect();
        for topic in self.topics.by_name.values() {
            let Some(hours) = topic.config.reserve_hours() else { continue };
            for mark in topic.queues.iter().flatten().flat_map(|queue| &queue.marks) {
                let Ok(at) = segments.binary_search_by_key(&mark.segment, |segment| segment.start.0) else { continue };
                let reserved = &mut segments[at].reserved;
                if reserved.as_ref().is_none_or(|(_, longest)| *longest < hours) {
                    *reserved = Some((topic.name.to_string(), hours));
                }
            }
        }
        segments
    }

    /// A topic's settings.
    pub fn topic(&self, name: &str) -> Option<&TopicConfig> {
        self.topics.get(name).map(|topic| &topic.config)
    }

    /// Which life of its name a topic lives: rises when it is deleted and created again.
    pub fn topic_incarnation(&self, name: &str) -> Option<u64> {
        self.topics.get(name).map(|topic| topic.incarnation)
    }

    /// Every topic's settings, by name.
    pub fn topics(&self) -> impl Iterator<Item = &TopicConfig> {
        self.topics.by_name.values().map(|topic| &topic.config)
    }

    /// Tells that topics changed: what registrations with NameServers carry.
    pub fn topic_version(&self) -> DataVersion {
        self.topics.version
    }

    /// A subscription group's settings.
    pub fn group(&self, name: &str) -> Option<&SubscriptionGroupConfig> {
        self.groups.get(name)
    }

    /// Every subscription group's settings, by name.
    pub fn groups(&self) -> impl Iterator<Item = &SubscriptionGroupConfig> {
        self.groups.by_name.values()
    }

    /// Tells that subscription groups changed.
    pub fn group_version(&self) -> DataVersion {
        self.groups.version
    }

    /// A queue; `None` if there is no such topic, or the topic has no such queue.
    pub fn queue(&self, topic: &str, queue_id: u32) -> Option<QueueView<'_>> {
        let topic = self.topics.get(topic)?;
        let handle = topic.queue(queue_id).map(|queue| queue.handle);
        topic.has_queue(queue_id).then_some(QueueView { queues: &self.queues, handle })
    }

    /// Every queue that has or had messages: topic, queue id, queue; in that order.
    pub fn queues(&self) -> impl Iterator<Item = (&str, u32, QueueView<'_>)> {
        self.topics.by_name.values().flat_map(move |topic| {
            topic.queues.iter().zip(0_u32..).filter_map(move |(queue, id)| {
                let handle = Some(queue.as_ref()?.handle);
                Some((&*topic.name, id, QueueView { queues: &self.queues, handle }))
            })
        })
    }

    /// The next offset a group will read of a queue; `None` if it never committed one.
    pub fn consumer_offset(&self, group: &str, topic: &str, queue_id: u32) -> Option<QueueOffset> {
        self.offsets.get(group, topic, queue_id).map(QueueOffset)
    }

    /// Every consumer offset: group, topic, queue id, offset; in that order.
    pub fn consumer_offsets(&self) -> impl Iterator<Item = (&str, &str, u32, QueueOffset)> {
        self.offsets.by_group.iter().flat_map(|(group, topics)| {
            topics.iter().flat_map(move |(topic, queues)| {
                queues.iter().map(move |(queue, offset)| (group.as_str(), topic.as_str(), *queue, QueueOffset(*offset)))
            })
        })
    }

    /// The latest time any entry carried, in milliseconds since the epoch: a leader stamps none before it.
    pub fn time_ms(&self) -> i64 {
        self.time_ms
    }

    /// The newest store times that files of ConsumeQueues and key index cover; what is newer waits in memory.
    pub fn covered(&self) -> Covered {
        self.covered
    }

    /// The last applied entry.
    pub fn applied(&self) -> Option<LogId> {
        self.applied
    }

    /// The highest node id given out or reserved.
    pub fn last_node_id(&self) -> u64 {
        self.members.last()
    }

    /// How many topics and messages there are.
    pub fn counts(&self) -> Counts {
        let topics = self.topics.by_name.keys().filter(|name| !is_system_topic(name)).count();
        let messages = self.queues().map(|(_, _, queue)| queue.max_offset().0 - queue.min_offset().0).sum();
        Counts { topics, messages }
    }
}

/// One queue.
#[derive(Clone, Copy, Debug)]
pub struct QueueView<'a> {
    queues: &'a ConsumeQueues,
    /// `None` before the queue's first message.
    handle: Option<QueueHandle>,
}

impl QueueView<'_> {
    /// The first offset that can be read: RocketMQ's minOffset.
    pub fn min_offset(&self) -> QueueOffset {
        self.handle.map_or(QueueOffset(0), |handle| self.queues.min(handle))
    }

    /// The offset the next message will get: RocketMQ's maxOffset.
    pub fn max_offset(&self) -> QueueOffset {
        self.handle.map_or(QueueOffset(0), |handle| self.queues.next(handle))
    }

    /// Up to `max` units from `from` on, appended to `out`; fewer only at the queue's end. May read a file: see
    /// [`QueueView::plan_read`].
    ///
    /// # Errors
    /// `Contract` if `from` lies below [`QueueView::min_offset`]; `Io` and `Corrupt` as [`UnitRead::run`].
    pub fn read(&self, from: QueueOffset, max: usize, out: &mut Vec<Unit>) -> Result<(), StoreError> {
        self.handle.map_or(Ok(()), |handle| self.queues.read(handle, from, max, out))
    }

    /// As [`QueueView::read`], but what must come from a file is read by [`UnitRead::run`], after the lock is released
    /// and, if it is not in memory, off the runtime's threads. `None` before the queue's first message.
    ///
    /// # Errors
    /// `Contract` if `from` lies below [`QueueView::min_offset`].
    pub fn plan_read(&self, from: QueueOffset, max: usize) -> Result<Option<UnitRead>, StoreError> {
        self.handle.map(|handle| self.queues.plan_read(handle, from, max)).transpose()
    }

    /// A read of files only, to see that they are sound; see [`ConsumeQueues::plan_scrub`].
    pub fn plan_scrub(&self, from: QueueOffset, max: u64) -> Option<UnitRead> {
        self.handle.and_then(|handle| self.queues.plan_scrub(handle, from, max))
    }

    /// The first offset whose message lies at or above a position of the log, [`QueueView::max_offset`] if none does.
    /// Reads files where the queue is not in memory.
    ///
    /// # Errors
    /// `Io` and `Corrupt` as [`UnitRead::run`].
    pub fn first_at_or_above(&self, position: PhysicalOffset) -> Result<QueueOffset, StoreError> {
        self.handle.map_or(Ok(QueueOffset(0)), |handle| self.queues.first_at_or_above(handle, position))
    }
}
