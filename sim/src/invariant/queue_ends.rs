//! Queue ends: a queue's first offset and its end never fall on a member while it lives, and the first is never beyond
//! the end. (A process that starts again applies from its last checkpoint, and is behind for a moment.)

use std::collections::BTreeMap;

use super::{Invariant, MemberKey, View};

/// A queue of one life of a topic: the topic, its incarnation, the queue's number.
type QueueKey = (String, u64, u32);

/// See the module.
#[derive(Debug, Default)]
pub struct QueueEnds {
    members: BTreeMap<MemberKey, Seen>,
}

/// What a member showed when it was last looked at.
#[derive(Debug, Default)]
struct Seen {
    life: u64,
    applied: u64,
    ends: BTreeMap<QueueKey, (u64, u64)>,
}

impl Seen {
    fn note(&mut self, queue: QueueKey, (min, max): (u64, u64)) -> Result<(), String> {
        let (topic, _, id) = &queue;
        if min > max {
            return Err(format!("{topic}/{id} begins at {min} and ends at {max}"));
        }
        let before = *self.ends.get(&queue).unwrap_or(&(0, 0));
        if min < before.0 || max < before.1 {
            return Err(format!("{topic}/{id} was {}..{}, and is {min}..{max}", before.0, before.1));
        }
        self.ends.insert(queue, (min, max));
        Ok(())
    }
}

impl Invariant for QueueEnds {
    fn name(&self) -> &'static str {
        "queue-ends"
    }

    fn step(&mut self, view: &View) -> Result<(), String> {
        for (at, group, seat, member) in view.running() {
            let machine = member.machine();
            let Some(applied) = machine.applied().map(|id| id.index.0) else { continue };
            let seen = self.members.entry((at, member.id())).or_default();
            if seen.life != seat.life {
                *seen = Seen { life: seat.life, ..Seen::default() };
            } else if seen.applied == applied {
                continue;
            }
            seen.applied = applied;
            for (topic, id, queue) in machine.queues() {
                let key = (topic.to_owned(), machine.topic_incarnation(topic).unwrap_or_default(), id);
                let noted = seen.note(key, (queue.min_offset().0, queue.max_offset().0));
                noted.map_err(|what| format!("{} at {}: {what}", group.name, seat.ip))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_only_rise_but_for_another_life_of_the_topic() {
        let key = |incarnation| ("t".to_owned(), incarnation, 3);
        let mut seen = Seen::default();
        for ends in [(0, 5), (2, 5), (2, 9)] {
            assert_eq!(seen.note(key(1), ends), Ok(()));
        }
        assert_eq!(seen.note(key(2), (0, 1)), Ok(()));
        assert_eq!(seen.note(key(1), (1, 9)).unwrap_err(), "t/3 was 2..9, and is 1..9");
        assert_eq!(seen.note(key(1), (2, 8)).unwrap_err(), "t/3 was 2..9, and is 2..8");
        assert_eq!(seen.note(key(1), (12, 11)).unwrap_err(), "t/3 begins at 12 and ends at 11");
    }
}
