//! Unseen: once all faults are over, every group of push consumers was handed every acknowledged message of the topics it
//! consumes, but for what was purged or passed over by a reset.

use std::collections::{BTreeMap, BTreeSet};

use super::facts::Facts;
use super::skipped_message::handed_out;
use super::{Checker, Verdict};

/// See the module.
#[derive(Debug)]
pub struct Unseen;

impl Checker for Unseen {
    fn name(&self) -> &'static str {
        "unseen"
    }

    fn check(&self, facts: &Facts<'_>) -> Verdict {
        let handed: Vec<_> = facts.queues.iter().map(|((place, _), queue)| (place, queue, handed_out(queue))).collect();
        let mut groups: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (place, _, by_group) in &handed {
            groups.entry(&place.topic).or_default().extend(by_group.keys());
        }
        for (place, queue, by_group) in handed.iter().filter(|(_, queue, _)| queue.lives_on) {
            for group in groups.get(&*place.topic).into_iter().flatten() {
                let passed_over = queue.moves(group, true).map(|(_, offset)| offset).max().unwrap_or_default();
                let from = queue.min().max(passed_over);
                let seen = |offset| by_group.get(group).is_some_and(|offsets| offsets.contains(&offset));
                let mut unseen = queue.acks.iter().filter(|ack| ack.offset >= from && !seen(ack.offset));
                if let Some(ack) = unseen.next() {
                    let (key, offset, more) = (&ack.sent.key, ack.offset, unseen.count());
                    return Err(format!(
                        "{group} was never handed {key}, {place} offset {offset}, nor {more} more there"
                    ));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Story;
    use super::*;

    #[test]
    fn what_was_purged_or_never_acknowledged_need_not_be_seen() {
        let sent = || Story::default().stored("a", 0, 0).stored("b", 0, 1);
        sent().passes(&Unseen);
        sent().consume("c", 0, 1, "b").scan(0, 1, &["b"]).passes(&Unseen);
        sent().consume("c", 0, 0, "a").consume("d", 0, 1, "b").stored("x", 0, 2).unknown().passes(&Unseen);
        sent().reset(0, 1).consume("c", 0, 1, "b").passes(&Unseen);
    }

    #[test]
    fn an_acknowledged_message_that_nobody_was_handed_is_noticed() {
        let sent = || Story::default().stored("a", 0, 0).stored("b", 0, 1).stored("c", 1, 0);
        let seen = sent().consume("c", 0, 0, "a").consume("c", 1, 0, "c");
        seen.breaks(&Unseen, "g was never handed b, orders@broker-a/0 offset 1, nor 0 more there");
        sent().consume("c", 0, 0, "a").consume("c", 0, 1, "b").breaks(&Unseen, "never handed c, orders@broker-a/1");
    }
}
