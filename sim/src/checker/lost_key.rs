//! Lost key: a message is found by its key from its acknowledgement on, until it is purged; and nothing else is.

use std::collections::BTreeMap;

use super::facts::{Ack, Facts, Queue};
use super::{Checker, Verdict};
use crate::history::{Action, Ended, Op, Read};

/// See the module.
#[derive(Debug)]
pub struct LostKey;

impl Checker for LostKey {
    fn name(&self) -> &'static str {
        "lost-key"
    }

    fn check(&self, facts: &Facts<'_>) -> Verdict {
        facts.queues.iter().try_for_each(|((place, _), queue)| {
            check(queue).map_err(|what| format!("a query by key in {place}: {what}"))
        })
    }
}

fn check(queue: &Queue<'_>) -> Verdict {
    let acks: BTreeMap<&str, &Ack<'_>> = queue.acks.iter().map(|ack| (&*ack.sent.key, ack)).collect();
    for op in &queue.ops {
        let (Action::Query { key, .. }, Ended::Read { messages, .. }) = (&op.action, &op.ended) else { continue };
        if let Some(other) = messages.iter().find(|read| read.key != *key) {
            return Err(format!("{} is found for {key}", other.key));
        }
        if let Some(ack) = acks.get(&**key) {
            find(queue, op, ack, messages)?;
        }
    }
    Ok(())
}

fn find(queue: &Queue<'_>, op: &Op, ack: &Ack<'_>, messages: &[Read]) -> Verdict {
    // Of a queue that does not live on nobody knows what was purged; nor when, of what lies below the first offset.
    let may_be_gone = !queue.lives_on || queue.scan.is_none() || ack.offset < queue.min();
    if ack.op.ended_ns >= op.begun_ns || may_be_gone || messages.iter().any(|read| read.offset == ack.offset) {
        return Ok(());
    }
    let Action::Query { stored_ms, .. } = &op.action else { return Ok(()) };
    let (asked_ms, then) = (op.begun_ns / 1_000_000, stored_ms.map_or_else(String::new, |ms| format!(" as of {ms}")));
    let Ack { sent, offset, .. } = ack;
    Err(format!("{} was acknowledged at offset {offset} and is not found{then}, asked at {asked_ms} ms", sent.key))
}

#[cfg(test)]
mod tests {
    use super::super::testing::Story;
    use super::*;

    fn stored() -> Story {
        Story::default().stored("a", 0, 0).stored("b", 0, 1)
    }

    #[test]
    fn what_is_found_was_purged_or_is_acknowledged_only_later_breaks_nothing() {
        stored().query("a", 0, &[("a", 0)]).query("b", 0, &[("b", 1)]).scan(0, 0, &["a", "b"]).passes(&LostKey);
        stored().query("a", 0, &[("a", 0), ("a", 7)]).scan(0, 0, &["a", "b"]).passes(&LostKey);
        stored().query("a", 0, &[]).query("nobody sent it", 0, &[]).scan(0, 1, &["b"]).passes(&LostKey);
        stored().query("a", 0, &[]).during(12, 14).scan(0, 0, &["a", "b"]).passes(&LostKey);
        stored().query("a", 0, &[]).delete_topic().passes(&LostKey);
    }

    #[test]
    fn what_is_not_found_or_is_something_else_is_told() {
        let found = |found: &[(&str, u64)]| stored().query("b", 0, found).scan(0, 0, &["a", "b"]);
        found(&[]).breaks(&LostKey, "b was acknowledged at offset 1 and is not found");
        found(&[("b", 0)]).breaks(&LostKey, "b was acknowledged at offset 1 and is not found");
        found(&[("b", 1), ("a", 0)]).breaks(&LostKey, "orders@broker-a/0: a is found for b");
    }
}
