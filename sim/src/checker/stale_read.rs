//! Stale read: who asks where a queue ends, or pulls and is told that it has ended, is told of everything that was known
//! before the asking began.
//!
//! A pull that does get messages may be answered by a member that lags: those it gets are what it asked for, and the end
//! told with them is no promise. So is the first offset told to a pull from below it.

use super::facts::Facts;
use super::{Checker, Verdict};
use crate::history::{Action, Ended, Op};

/// See the module.
#[derive(Debug)]
pub struct StaleRead;

/// The end an answer stands for.
fn end_told(op: &Op) -> Option<u64> {
    match (&op.action, &op.ended) {
        (Action::Ends { .. }, Ended::Ends { max, .. }) => Some(*max),
        (Action::Pull { from, .. }, Ended::Read { messages, next, min, max })
            if messages.is_empty() && !(*from < *min && *next == *min) =>
        {
            Some(*max)
        }
        _ => None,
    }
}

impl Checker for StaleRead {
    fn name(&self) -> &'static str {
        "stale-read"
    }

    fn check(&self, facts: &Facts<'_>) -> Verdict {
        for ((place, _), queue) in &facts.queues {
            // Of queries, which answer for the moment, the first offset never goes back.
            let mut highest_min = 0;
            for op in &queue.ops {
                let Some(end) = end_told(op) else { continue };
                let known = queue.known_before(op.begun_ns);
                if end < known {
                    let (name, at_ns) = (op.action.name(), op.begun_ns);
                    return Err(format!(
                        "{place}: a {name} that began at {at_ns} ns was told that the queue ends at {end}; offsets below \
                         {known} were known to be taken"
                    ));
                }
                if let Ended::Ends { min, .. } = op.ended {
                    highest_min = highest_min.max(min);
                }
            }
            if let Some(scan) = queue.scan
                && scan.min < highest_min
            {
                return Err(format!("{place} began at {highest_min} once, and begins at {} in the end", scan.min));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Story;
    use super::*;

    fn empty_pull(from: u64, min: u64, max: u64) -> Ended {
        Ended::Read { messages: Vec::new(), next: from.clamp(min, max), min, max }
    }

    #[test]
    fn answers_that_were_true_at_some_time_since_the_asking_pass() {
        let story = Story::default().stored("a", 0, 0).ends(0, 0, 0).during(14, 30).ends(0, 0, 1);
        story.pull("c", 0, 1, &[]).passes(&StaleRead);
        let lagging = Story::default().stored("a", 0, 0).stored("b", 0, 1).pull("c", 0, 0, &["a"]);
        lagging.passes(&StaleRead);
        let below = Story::default().stored("a", 0, 9).pull("c", 0, 2, &[]).ended(empty_pull(2, 5, 8));
        below.passes(&StaleRead);
    }

    #[test]
    fn an_end_below_what_was_known_is_stale() {
        let acked = || Story::default().stored("a", 0, 0).stored("b", 0, 1);
        acked().ends(0, 0, 1).breaks(&StaleRead, "a query ends that began at 30 ns was told that the queue ends at 1");
        acked().pull("c", 0, 1, &[]).breaks(&StaleRead, "a pull that began at 30 ns was told that the queue ends at 1");
        let consumed = Story::default().consume("c", 0, 4, "a").pull("d", 0, 4, &[]);
        consumed.breaks(&StaleRead, "offsets below 5 were known");
    }

    #[test]
    fn a_queue_never_begins_lower_again() {
        let story = || Story::default().ends(0, 3, 5);
        story().scan(0, 3, &["a", "b"]).passes(&StaleRead);
        story().scan(0, 2, &["x", "a", "b"]).breaks(&StaleRead, "began at 3 once, and begins at 2");
    }
}
