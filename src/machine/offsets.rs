//! Consumer offsets: the next offset a group will read, per topic and queue.

use std::collections::BTreeMap;

use super::reply::Refusal;

/// Most consumer offsets a group of brokers can hold.
pub const MAX_OFFSETS: usize = 2_000_000;

/// Offsets by queue id.
pub(super) type QueueOffsets = BTreeMap<u32, u64>;

/// Every consumer offset: by group, topic and queue id.
#[derive(Debug, Default)]
pub(super) struct Offsets {
    pub by_group: BTreeMap<String, BTreeMap<String, QueueOffsets>>,
    count: usize,
}

impl Offsets {
    /// Offsets as they were encoded.
    pub fn restored(by_group: BTreeMap<String, BTreeMap<String, QueueOffsets>>) -> Self {
        let count = by_group.values().flat_map(BTreeMap::values).map(BTreeMap::len).sum();
        Self { by_group, count }
    }

    pub fn get(&self, group: &str, topic: &str, queue_id: u32) -> Option<u64> {
        self.by_group.get(group)?.get(topic)?.get(&queue_id).copied()
    }

    /// Sets an offset, forward or back: RocketMQ's operators reset offsets with the code consumers commit with.
    pub fn set(&mut self, group: &str, topic: &str, queue_id: u32, offset: u64) -> Result<(), Refusal> {
        if let Some(known) = self.by_group.get_mut(group).and_then(|topics| topics.get_mut(topic)?.get_mut(&queue_id)) {
            *known = offset;
            return Ok(());
        }
        if self.count >= MAX_OFFSETS {
            return Err(Refusal::TooManyOffsets);
        }
        let topics = self.by_group.entry(group.to_owned()).or_default();
        topics.entry(topic.to_owned()).or_default().insert(queue_id, offset);
        self.count += 1;
        Ok(())
    }

    /// Drops every offset in a topic.
    pub fn remove_topic(&mut self, topic: &str) {
        let count = &mut self.count;
        self.by_group.retain(|_, topics| {
            *count -= topics.remove(topic).map_or(0, |queues| queues.len());
            !topics.is_empty()
        });
    }

    /// Drops every offset of a group; whether there was one.
    pub fn remove_group(&mut self, group: &str) -> bool {
        let removed = self.by_group.remove(group);
        self.count -= removed.iter().flat_map(BTreeMap::values).map(BTreeMap::len).sum::<usize>();
        removed.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_follows_what_is_held() {
        let mut offsets = Offsets::default();
        for group in ["a", "b"] {
            for queue in 0..3 {
                offsets.set(group, "t", queue, 7).unwrap();
                offsets.set(group, "t", queue, 5).unwrap();
                offsets.set(group, "u", queue, 1).unwrap();
            }
        }
        assert_eq!((offsets.count, offsets.get("a", "t", 2)), (12, Some(5)), "an offset may go back");
        offsets.remove_topic("t");
        assert_eq!((offsets.count, offsets.get("a", "t", 2)), (6, None));
        assert!(offsets.remove_group("a") && !offsets.remove_group("a"));
        assert_eq!(offsets.count, 3);
        offsets.remove_topic("u");
        assert_eq!(offsets.count, 0);
        assert!(offsets.by_group.is_empty(), "a group without offsets leaves nothing behind");
        assert_eq!(Offsets::restored(offsets.by_group.clone()).count, 0);
    }
}
