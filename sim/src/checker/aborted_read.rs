//! Aborted read: a message whose send was refused is never seen.

use super::facts::Facts;
use super::{Checker, Verdict};
use crate::history::Ended;

/// See the module.
#[derive(Debug)]
pub struct AbortedRead;

impl Checker for AbortedRead {
    fn name(&self) -> &'static str {
        "aborted-read"
    }

    fn check(&self, facts: &Facts<'_>) -> Verdict {
        for ((place, _), look) in facts.copies() {
            let key = &look.read.key;
            if let Some(message) = facts.sent.get(&**key)
                && let Ended::Refused(why) = &message.op.ended
            {
                let offset = look.read.offset;
                return Err(format!("{key} was refused ({why}), and is read at {place} offset {offset}"));
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
    fn a_message_of_unknown_outcome_may_be_seen_and_a_refused_one_may_not() {
        Story::default().stored("a", 0, 0).unknown().scan(0, 0, &["a"]).passes(&AbortedRead);
        let refused = || Story::default().stored("a", 0, 0).refused();
        refused().scan(0, 0, &["b"]).passes(&AbortedRead);
        refused()
            .scan(0, 0, &["a"])
            .breaks(&AbortedRead, "a was refused (busy), and is read at orders@broker-a/0 offset 0");
        refused().pull("c", 0, 3, &["x", "a"]).breaks(&AbortedRead, "offset 4");
        let batch = Story::default().batch(&["a", "b"], 0, 0).refused();
        batch.consume("c", 0, 1, "b").breaks(&AbortedRead, "b was refused");
    }
}
