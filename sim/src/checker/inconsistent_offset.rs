//! Inconsistent offset: an offset of a queue ever stands for one message, at one place of the CommitLog, whoever says
//! so: acknowledgements, pulls, listeners, scans. And no place of a CommitLog holds two messages.

use std::collections::BTreeMap;

use super::facts::{Facts, Queue};
use super::{Checker, Verdict};
use crate::history::BodyHash;

/// See the module.
#[derive(Debug)]
pub struct InconsistentOffset;

/// What an offset stands for.
struct Stored<'a> {
    key: &'a str,
    /// Known from reads.
    content: Option<(BodyHash, u64)>,
}

impl Checker for InconsistentOffset {
    fn name(&self) -> &'static str {
        "inconsistent-offset"
    }

    fn check(&self, facts: &Facts<'_>) -> Verdict {
        for ((place, _), queue) in &facts.queues {
            one_message_an_offset(queue).map_err(|what| format!("{place} {what}"))?;
        }
        let mut places = BTreeMap::new();
        for ((place, life), look) in facts.copies() {
            let read = look.read;
            let before = places.insert((&place.broker, read.physical), (place, life, read.offset));
            if let Some((other, _, offset)) = before {
                let (broker, physical) = (&place.broker, read.physical);
                return Err(format!(
                    "place {physical} of the CommitLog of {broker} is {other} offset {offset} and {place} offset {}",
                    read.offset
                ));
            }
        }
        Ok(())
    }
}

fn one_message_an_offset(queue: &Queue<'_>) -> Verdict {
    let mut known: BTreeMap<u64, Stored<'_>> = BTreeMap::new();
    for ack in &queue.acks {
        let before = known.insert(ack.offset, Stored { key: &ack.sent.key, content: None });
        if let Some(before) = before {
            return Err(format!("offset {}: {} and {} were acknowledged there", ack.offset, before.key, ack.sent.key));
        }
    }
    for look in &queue.looks {
        let read = look.read;
        let now = (read.body, read.physical);
        let before = known.entry(read.offset).or_insert(Stored { key: &read.key, content: None });
        let content = *before.content.get_or_insert(now);
        if *before.key != *read.key || content != now {
            let ((_, was), key) = (content, before.key);
            return Err(format!(
                "offset {}: {key} at {was} of the CommitLog, and {} at {} with body {:016x} to a {}",
                read.offset,
                read.key,
                read.physical,
                read.body,
                look.op.action.name()
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::Story;
    use super::*;

    #[test]
    fn everybody_may_see_the_same() {
        let story = Story::default().stored("a", 0, 0).unknown().pull("c", 0, 0, &["a", "b"]).consume("c", 0, 1, "b");
        story.scan(0, 0, &["a", "b"]).scan(1, 0, &["c"]).passes(&InconsistentOffset);
        let deleted = Story::default().stored("a", 0, 0).delete_topic().stored("b", 0, 0);
        deleted.scan(0, 0, &["b"]).passes(&InconsistentOffset);
    }

    #[test]
    fn two_messages_at_one_offset_are_noticed() {
        let acked = || Story::default().stored("a", 0, 0);
        acked().stored("b", 0, 0).breaks(&InconsistentOffset, "a and b were acknowledged there");
        acked().pull("c", 0, 0, &["b"]).breaks(&InconsistentOffset, "offset 0: a at 0 of the CommitLog, and b at 0");
        let pulled = || Story::default().pull("c", 0, 3, &["a"]);
        pulled().consume("d", 0, 3, "b").breaks(&InconsistentOffset, "to a consume");
        pulled().scan(0, 3, &["a"]).but(|read| read.physical += 1).breaks(&InconsistentOffset, "and a at 301");
        pulled().scan(0, 3, &["a"]).but(|read| read.body += 1).breaks(&InconsistentOffset, "with body");
    }

    #[test]
    fn two_messages_at_one_place_of_the_log_are_noticed() {
        let story = Story::default().scan(0, 0, &["a"]).scan(1, 0, &["b"]).but(|read| read.physical = 0);
        story.breaks(&InconsistentOffset, "place 0 of the CommitLog of broker-a is orders@broker-a/0 offset 0 and");
    }
}
