//! Phantom: whatever is read was sent, to that topic, and before it was read.

use super::facts::Facts;
use super::{Checker, Verdict};

/// See the module.
#[derive(Debug)]
pub struct Phantom;

impl Checker for Phantom {
    fn name(&self) -> &'static str {
        "phantom"
    }

    fn check(&self, facts: &Facts<'_>) -> Verdict {
        for ((place, _), queue) in &facts.queues {
            for look in &queue.looks {
                let (key, offset) = (&look.read.key, look.read.offset);
                let wrong = match facts.sent.get(&**key) {
                    None => "nobody sent it".to_owned(),
                    Some(message) if *message.topic != *place.topic => format!("it was sent to {}", message.topic),
                    Some(message) if message.op.begun_ns > look.op.ended_ns => "it was only sent later".to_owned(),
                    Some(_) => continue,
                };
                return Err(format!("{key} is read at {place} offset {offset}: {wrong}"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Story;
    use super::*;
    use crate::history::Action;

    #[test]
    fn only_what_was_sent_may_be_read() {
        let sent = || Story::default().stored("a", 0, 0);
        sent().pull("c", 0, 0, &["a"]).passes(&Phantom);
        sent().pull("c", 0, 0, &["b"]).breaks(&Phantom, "b is read at orders@broker-a/0 offset 0: nobody sent it");
        Story::default().pull("c", 0, 0, &["a"]).stored("a", 0, 0).breaks(&Phantom, "it was only sent later");
        let mut story = sent().pull("c", 0, 0, &["a"]);
        if let Action::Send { topic, .. } = &mut story.history.ops[0].action {
            *topic = "bills".into();
        }
        story.breaks(&Phantom, "it was sent to bills");
    }
}
