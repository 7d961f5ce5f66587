//! Poll: a pull gets what it asks for, without a gap, and a consumer that pulls goes on where it was told to.
//!
//! A pull from `from` gets the messages from `from` on; or none, if the queue ends there, or if it begins further on: then
//! `next` is where. A consumer begins where it likes; from then on it pulls from the `next` of its last answer, unless an
//! operator has reset an offset of the queue.

use std::collections::BTreeMap;

use super::facts::{Facts, Queue};
use super::{Checker, Verdict};
use crate::history::{Action, Ended, Op, Read};

/// See the module.
#[derive(Debug)]
pub struct PollSkip;

impl Checker for PollSkip {
    fn name(&self) -> &'static str {
        "poll-skip"
    }

    fn check(&self, facts: &Facts<'_>) -> Verdict {
        for ((place, _), queue) in &facts.queues {
            check_queue(queue).map_err(|what| format!("{place}: {what}"))?;
        }
        Ok(())
    }
}

fn check_queue(queue: &Queue<'_>) -> Verdict {
    let resets: Vec<&Op> =
        queue.ops.iter().filter(|op| matches!(op.action, Action::Commit { reset: true, .. })).copied().collect();
    // By consumer: where to go on, and when it was told so.
    let mut due: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for op in &queue.ops {
        let Action::Pull { consumer, from, .. } = &op.action else { continue };
        if let Some((next, told_ns)) = due.get(&**consumer)
            && next != from
            && !resets.iter().any(|reset| reset.begun_ns < op.begun_ns && reset.ended_ns > *told_ns)
        {
            return Err(format!("{consumer} was to go on at {next}, and pulled from {from}"));
        }
        if let Ended::Read { messages, next, min, max } = &op.ended {
            let asked = (*from, *next, *min, *max);
            check_pull(messages, asked).map_err(|what| format!("{consumer} pulled from {from} and {what}"))?;
            due.insert(consumer, (*next, op.begun_ns));
        }
    }
    Ok(())
}

fn check_pull(messages: &[Read], (from, next, min, max): (u64, u64, u64, u64)) -> Verdict {
    let mut due = from;
    for read in messages {
        if read.offset != due {
            return Err(format!("got {} at offset {} where {due} was due", read.key, read.offset));
        }
        due += 1;
    }
    if messages.is_empty() {
        // Told where the queue begins, or where it ends.
        due = from.max(min).min(max);
        if from >= min && from < max {
            return Err(format!("got nothing of a queue of {min}..{max}"));
        }
    } else if due > max || from < min {
        return Err(format!("got up to {due} of a queue of {min}..{max}"));
    }
    if next == due { Ok(()) } else { Err(format!("was to go on at {next}, not at {due}")) }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Story;
    use super::*;

    fn empty(next: u64, min: u64, max: u64) -> Ended {
        Ended::Read { messages: Vec::new(), next, min, max }
    }

    #[test]
    fn a_consumer_that_goes_on_where_it_was_told_passes() {
        let story = Story::default().pull("c", 0, 0, &["a", "b"]).pull("c", 0, 2, &[]).pull("d", 0, 1, &["b"]);
        story.pull("c", 0, 2, &["x"]).unknown().pull("c", 0, 2, &["x"]).pull("c", 1, 9, &[]).passes(&PollSkip);
        let purged = Story::default().pull("c", 0, 2, &[]).ended(empty(5, 5, 6)).pull("c", 0, 5, &["a"]);
        purged.passes(&PollSkip);
        let reset = Story::default().pull("c", 0, 0, &["a", "b"]).reset(0, 1).pull("c", 0, 1, &["b"]);
        reset.passes(&PollSkip);
    }

    #[test]
    fn going_back_and_skipping_are_noticed() {
        let pulled = || Story::default().pull("c", 0, 0, &["a", "b"]);
        pulled().pull("c", 0, 1, &["b"]).breaks(&PollSkip, "c was to go on at 2, and pulled from 1");
        pulled().pull("c", 0, 3, &["d"]).breaks(&PollSkip, "c was to go on at 2, and pulled from 3");
        pulled()
            .reset(0, 1)
            .pull("c", 0, 2, &[])
            .pull("c", 0, 1, &["b"])
            .breaks(&PollSkip, "go on at 2, and pulled from 1");
    }

    #[test]
    fn a_gap_in_an_answer_is_noticed() {
        let pulled = || Story::default().pull("c", 0, 4, &["a", "b"]);
        pulled()
            .but(|read| read.offset += u64::from(&*read.key == "b"))
            .breaks(&PollSkip, "got b at offset 6 where 5 was due");
        pulled().but(|read| read.offset += 1).breaks(&PollSkip, "got a at offset 5 where 4 was due");
        let nothing = |next, min, max| Story::default().pull("c", 0, 4, &[]).ended(empty(next, min, max));
        nothing(4, 0, 6).breaks(&PollSkip, "got nothing of a queue of 0..6");
        nothing(6, 0, 6).breaks(&PollSkip, "got nothing of a queue of 0..6");
        nothing(7, 5, 8).breaks(&PollSkip, "was to go on at 7, not at 5");
        nothing(5, 0, 4).breaks(&PollSkip, "was to go on at 5, not at 4");
    }
}
