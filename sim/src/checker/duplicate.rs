//! Duplicate: a message is stored more than once only if its client sent it more than once: it said so with the
//! acknowledgement, or does not know the outcome. One-way messages are sent once.

use std::collections::BTreeMap;

use super::facts::Facts;
use super::{Checker, Verdict};
use crate::history::{Action, Ended, Op, SendKind};

/// See the module.
#[derive(Debug)]
pub struct Duplicate;

fn may_be_twice(op: &Op) -> bool {
    match (&op.action, &op.ended) {
        (Action::Send { kind: SendKind::OneWay, .. }, _) => false,
        (_, Ended::Stored { maybe_duplicate, .. }) => *maybe_duplicate,
        (_, Ended::Unknown(_)) => true,
        _ => false,
    }
}

impl Checker for Duplicate {
    fn name(&self) -> &'static str {
        "duplicate"
    }

    fn check(&self, facts: &Facts<'_>) -> Verdict {
        let mut first = BTreeMap::new();
        for ((place, _), look) in facts.copies() {
            let (key, offset) = (&*look.read.key, look.read.offset);
            let Some((other, at)) = first.insert(key, (place, offset)) else { continue };
            if facts.sent.get(key).is_some_and(|message| !may_be_twice(message.op)) {
                return Err(format!(
                    "{key} was sent once, and is at {other} offset {at} and at {place} offset {offset}"
                ));
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
    fn only_what_was_retried_may_be_there_twice() {
        let twice = |story: Story| story.scan(0, 0, &["a", "a"]);
        twice(Story::default().stored("a", 0, 0).after_a_retry()).passes(&Duplicate);
        twice(Story::default().stored("a", 0, 0).unknown()).passes(&Duplicate);
        twice(Story::default().stored("a", 0, 0))
            .breaks(&Duplicate, "a was sent once, and is at orders@broker-a/0 offset 0");
        twice(Story::default().one_way("a")).breaks(&Duplicate, "a was sent once");
    }

    #[test]
    fn a_message_read_twice_at_one_place_is_no_duplicate() {
        let story = Story::default().stored("a", 0, 0).pull("c", 0, 0, &["a"]).consume("d", 0, 0, "a");
        story.scan(0, 0, &["a"]).passes(&Duplicate);
        let purged_since = Story::default().stored("a", 0, 0).pull("c", 0, 0, &["a"]).scan(1, 2, &["a"]);
        purged_since.breaks(&Duplicate, "orders@broker-a/1 offset 2");
    }
}
