//! Skipped message: a group of push consumers is handed the messages of a queue in order, and commits only what it was
//! handed: when one of them is handed a message, or an offset is found committed, everything before was handed to some
//! consumer of the group already.
//!
//! That holds over rebalances: whoever takes a queue over begins at the committed offset, which covers only what was
//! consumed. Messages may come again, and late; they may be passed over only where they were purged, or where the offset
//! was set by hand. Groups are taken to begin at a queue's first message.

use std::collections::{BTreeMap, BTreeSet};

use super::facts::{Facts, Queue};
use super::{Checker, Verdict};
use crate::history::{Action, Ended, Op};

/// See the module.
#[derive(Debug)]
pub struct SkippedMessage;

impl Checker for SkippedMessage {
    fn name(&self) -> &'static str {
        "skipped-message"
    }

    fn check(&self, facts: &Facts<'_>) -> Verdict {
        for ((place, _), queue) in &facts.queues {
            let groups: BTreeSet<&str> = queue.ops.iter().filter_map(|op| consuming_group(op)).collect();
            for group in groups {
                check(queue, group).map_err(|what| format!("{group} at {place}: {what}"))?;
            }
        }
        Ok(())
    }
}

fn consuming_group(op: &Op) -> Option<&str> {
    match &op.action {
        Action::Consume { group, .. } => Some(group),
        _ => None,
    }
}

/// How far a group has come in a queue.
#[derive(Default)]
struct Progress {
    /// Everything below was handed out, or need not be.
    next: u64,
    /// What was handed out above.
    ahead: BTreeSet<u64>,
}

impl Progress {
    fn hand_out(&mut self, offset: u64) {
        if offset >= self.next {
            self.ahead.insert(offset);
        }
        while self.ahead.remove(&self.next) {
            self.next += 1;
        }
    }

    /// Nothing below `offset` has to be handed out any more.
    fn pass_over(&mut self, offset: u64) {
        if offset > self.next {
            self.next = offset;
            self.ahead = self.ahead.split_off(&offset);
            while self.ahead.remove(&self.next) {
                self.next += 1;
            }
        }
    }
}

fn check(queue: &Queue<'_>, group: &str) -> Verdict {
    let mut progress = Progress::default();
    // Purges may come at any time. They never go beyond where the queue begins in the end.
    let purged = queue.min();
    for (_, op, what) in in_time(queue, group) {
        let reached = match what {
            Event::Moved(offset) => {
                progress.pass_over(offset);
                continue;
            }
            Event::HandedOut(offset) => {
                progress.hand_out(offset);
                offset
            }
            Event::Committed(offset) => offset,
        };
        progress.pass_over(reached.min(purged));
        if progress.next < reached {
            let (what, next) = (op.action.name(), progress.next);
            return Err(format!("a {what} came to {reached}; nobody was handed {next} before"));
        }
    }
    Ok(())
}

enum Event {
    HandedOut(u64),
    /// Found committed: a proof that everything before was consumed.
    Committed(u64),
    /// Set by hand.
    Moved(u64),
}

/// What happened to a group in a queue, by when it could first be seen.
fn in_time<'a>(queue: &Queue<'a>, group: &str) -> Vec<(u64, &'a Op, Event)> {
    let event = |op: &&'a Op| {
        let (at, of, event) = match (&op.action, &op.ended) {
            (Action::Consume { group, .. }, Ended::Read { messages, .. }) => {
                (op.begun_ns, group, Event::HandedOut(messages.first()?.offset))
            }
            (Action::Committed { group, .. }, Ended::Offset(Some(offset))) => {
                (op.ended_ns, group, Event::Committed(*offset))
            }
            (Action::Commit { .. }, Ended::Refused(_)) => return None,
            (Action::Commit { group, offset, .. }, _) => (op.begun_ns, group, Event::Moved(*offset)),
            _ => return None,
        };
        (**of == *group).then_some((at, *op, event))
    };
    let mut events: Vec<_> = queue.ops.iter().filter_map(event).collect();
    // Stable: what happens at one instant stays in the order in which it was written down.
    events.sort_by_key(|(at, ..)| *at);
    events
}

/// Offsets of a queue that each group of push consumers was handed.
pub(super) fn handed_out<'a>(queue: &Queue<'a>) -> BTreeMap<&'a str, BTreeSet<u64>> {
    let mut handed: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
    for op in &queue.ops {
        if let (Action::Consume { group, .. }, Ended::Read { messages, .. }) = (&op.action, &op.ended) {
            handed.entry(&**group).or_default().extend(messages.iter().map(|read| read.offset));
        }
    }
    handed
}

#[cfg(test)]
mod tests {
    use super::super::testing::Story;
    use super::*;

    #[test]
    fn messages_may_come_again_and_from_another_consumer() {
        let story = Story::default().consume("c", 0, 0, "a").consume("c", 0, 1, "b").consume("d", 0, 1, "b");
        let story = story.consume("d", 0, 2, "x").consume("c", 0, 0, "a").committed(0, 3).consume("c", 0, 3, "y");
        story.passes(&SkippedMessage);
        let purged = Story::default().consume("c", 0, 0, "a").consume("c", 0, 4, "e").scan(0, 4, &["e"]);
        purged.passes(&SkippedMessage);
        let purged_further = Story::default().consume("c", 0, 2, "b").consume("c", 0, 3, "c").scan(0, 9, &[]);
        purged_further.passes(&SkippedMessage);
        let set = Story::default().consume("c", 0, 0, "a").reset(0, 3).consume("c", 0, 3, "d").consume("c", 0, 4, "e");
        set.passes(&SkippedMessage);
    }

    #[test]
    fn a_message_passed_over_is_noticed() {
        let begun = || Story::default().consume("c", 0, 0, "a");
        begun().consume("c", 0, 2, "c").breaks(&SkippedMessage, "a consume came to 2; nobody was handed 1 before");
        begun().consume("d", 0, 2, "c").consume("c", 0, 1, "b").breaks(&SkippedMessage, "nobody was handed 1");
        begun().committed(0, 2).breaks(&SkippedMessage, "a query offset came to 2; nobody was handed 1");
        Story::default().consume("c", 0, 1, "b").breaks(&SkippedMessage, "nobody was handed 0");
        let too_far = begun().consume("c", 0, 5, "x").scan(0, 4, &["e", "x"]);
        too_far.breaks(&SkippedMessage, "nobody was handed 4 before");
        let set = begun().reset(0, 3).consume("c", 0, 4, "e");
        set.breaks(&SkippedMessage, "nobody was handed 3");
    }
}
