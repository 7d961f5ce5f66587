//! Real-time order: a message acknowledged for a send that began after something was known of the queue stands behind
//! what was known: behind every message acknowledged or read before, and at or above every end told before.

use super::facts::Facts;
use super::{Checker, Verdict};

/// See the module.
#[derive(Debug)]
pub struct RealTimeOrder;

impl Checker for RealTimeOrder {
    fn name(&self) -> &'static str {
        "real-time-order"
    }

    fn check(&self, facts: &Facts<'_>) -> Verdict {
        for ((place, _), queue) in &facts.queues {
            for ack in &queue.acks {
                let known = queue.known_before(ack.op.begun_ns);
                if ack.offset < known {
                    let (key, offset) = (&ack.sent.key, ack.offset);
                    return Err(format!(
                        "{key} was acknowledged at {place} offset {offset}; offsets below {known} were taken before its send began"
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
    fn sends_at_the_same_time_may_be_stored_in_any_order() {
        let story = Story::default().stored("a", 0, 0).stored("b", 0, 2).stored("c", 0, 1).during(20, 29);
        story.stored("d", 0, 3).stored("e", 1, 0).passes(&RealTimeOrder);
        Story::default().stored("a", 0, 3).delete_topic().stored("b", 0, 0).passes(&RealTimeOrder);
    }

    #[test]
    fn a_later_send_is_stored_behind() {
        let acked = Story::default().stored("a", 0, 1).stored("b", 0, 0);
        acked.breaks(&RealTimeOrder, "b was acknowledged at orders@broker-a/0 offset 0; offsets below 2");
        Story::default().consume("c", 0, 4, "a").stored("b", 0, 4).breaks(&RealTimeOrder, "offsets below 5");
        Story::default().ends(0, 0, 7).stored("b", 0, 6).breaks(&RealTimeOrder, "offsets below 7");
        let batch = Story::default().batch(&["a", "b"], 0, 1).stored("c", 0, 2);
        batch.breaks(&RealTimeOrder, "offsets below 3");
    }
}
