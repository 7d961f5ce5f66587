//! Lost write: what was acknowledged is found in the end, at the place it was acknowledged at.
//!
//! Not what was purged, which lies below the queue's first offset, nor what went with its topic.

use std::collections::BTreeMap;

use super::facts::{Ack, Facts, Queue};
use super::{Checker, Verdict};

/// See the module.
#[derive(Debug)]
pub struct LostWrite;

impl Checker for LostWrite {
    fn name(&self) -> &'static str {
        "lost-write"
    }

    fn check(&self, facts: &Facts<'_>) -> Verdict {
        let living = facts.queues.iter().filter(|(_, queue)| queue.lives_on);
        living.into_iter().try_for_each(|((place, _), queue)| {
            check(queue).map_err(|(ack, found)| {
                format!("{} was acknowledged at {place} offset {}, and in the end {found}", ack.sent.key, ack.offset)
            })
        })
    }
}

fn check<'a>(queue: &Queue<'a>) -> Result<(), (Ack<'a>, String)> {
    let scan = match (queue.scan, queue.acks.first()) {
        (Some(scan), _) => scan,
        (None, None) => return Ok(()),
        (None, Some(ack)) => return Err((*ack, "nobody looked into the queue".to_owned())),
    };
    let held: BTreeMap<u64, &str> = scan.messages.iter().map(|read| (read.offset, &*read.key)).collect();
    for ack in queue.acks.iter().filter(|ack| ack.offset >= scan.min) {
        match held.get(&ack.offset) {
            Some(key) if **key == *ack.sent.key => {}
            Some(key) => return Err((*ack, format!("{key} is there"))),
            None => return Err((*ack, format!("the queue holds {}..{}", scan.min, scan.max))),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::Story;
    use super::*;

    #[test]
    fn what_is_there_or_was_purged_or_deleted_is_not_lost() {
        let story = Story::default().stored("a", 0, 0).stored("b", 0, 1).stored("c", 1, 0);
        story.scan(0, 1, &["b"]).scan(1, 0, &["c"]).passes(&LostWrite);
        Story::default().stored("a", 0, 0).delete_topic().passes(&LostWrite);
        Story::default().stored("a", 0, 0).delete_topic().stored("b", 0, 0).scan(0, 0, &["b"]).passes(&LostWrite);
        Story::default().stored("a", 0, 0).unknown().scan(0, 0, &[]).passes(&LostWrite);
        let deleted_meanwhile = Story::default().stored("a", 0, 0).during(10, 90).delete_topic();
        deleted_meanwhile.scan(0, 0, &[]).during(100, 110).passes(&LostWrite);
    }

    #[test]
    fn what_was_acknowledged_and_is_gone_is_lost() {
        let sent = || Story::default().stored("a", 0, 0).stored("b", 0, 1);
        sent().scan(0, 0, &["a"]).breaks(&LostWrite, "b was acknowledged at orders@broker-a/0 offset 1");
        sent().scan(0, 0, &["a", "x"]).breaks(&LostWrite, "in the end x is there");
        sent().scan(1, 0, &["a", "b"]).breaks(&LostWrite, "nobody looked into the queue");
        let batch = Story::default().batch(&["a", "b"], 0, 3);
        batch.scan(0, 3, &["a"]).breaks(&LostWrite, "b was acknowledged");
        let again = Story::default().delete_topic().stored("a", 0, 0).scan(0, 0, &[]);
        again.breaks(&LostWrite, "the queue holds 0..0");
    }
}
