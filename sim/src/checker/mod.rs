//! What must be true of what clients saw: one rule a file, each a pass over the history.
//!
//! Messages differ and offsets are totally ordered, so every rule is a pass over sorted facts; none has to search.

use crate::history::History;

mod aborted_read;
mod batch;
mod changed_message;
mod consumer_offset;
mod dense_offsets;
mod duplicate;
pub mod facts;
mod inconsistent_offset;
mod lost_key;
mod lost_write;
mod phantom;
mod poll;
mod real_time_order;
mod skipped_message;
mod stale_read;
#[cfg(test)]
mod testing;
mod unseen;

use facts::Facts;

/// What a rule answers: `Err` says what does not hold.
pub type Verdict = Result<(), String>;

/// A rule of the outside.
pub trait Checker: Sync {
    /// Its name, as failures and the table of mutants print it.
    fn name(&self) -> &'static str;

    /// Judges a run that has ended with a scan of every queue.
    ///
    /// # Errors
    /// What does not hold.
    fn check(&self, facts: &Facts<'_>) -> Verdict;
}

/// Every checker. The most telling come first: a lost message breaks more than one rule.
#[must_use]
pub fn all() -> &'static [&'static dyn Checker] {
    &[
        &lost_write::LostWrite,
        &inconsistent_offset::InconsistentOffset,
        &aborted_read::AbortedRead,
        &phantom::Phantom,
        &changed_message::ChangedMessage,
        &duplicate::Duplicate,
        &batch::BatchAtomic,
        &dense_offsets::DenseOffsets,
        &real_time_order::RealTimeOrder,
        &stale_read::StaleRead,
        &poll::PollSkip,
        &skipped_message::SkippedMessage,
        &unseen::Unseen,
        &consumer_offset::ConsumerOffset,
        &lost_key::LostKey,
    ]
}

/// Judges a history by every rule: the name of the first that does not hold, and what it saw.
///
/// # Errors
/// See above.
pub fn judge(history: &History) -> Result<(), (&'static str, String)> {
    let facts = Facts::of(history);
    all().iter().try_for_each(|checker| checker.check(&facts).map_err(|what| (checker.name(), what)))
}

#[cfg(test)]
mod tests {
    use super::testing::Story;
    use super::*;

    #[test]
    fn a_long_history_without_a_fault_keeps_every_rule() {
        const MESSAGES: u64 = 20_000;
        let keys: Vec<String> = (0..MESSAGES).map(|n| format!("message-{n}")).collect();
        let mut story = Story::default();
        for (offset, key) in (0..).zip(&keys) {
            story = story.stored(key, 0, offset).pull("reader", 0, offset, &[key]).consume("worker", 0, offset, key);
        }
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let story = story.ends(0, 0, MESSAGES).committed(0, MESSAGES).scan(0, 0, &keys);
        assert_eq!(judge(&story.history), Ok(()));
        let mut names: Vec<_> = all().iter().map(|checker| checker.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all().len(), "a failure names its rule");
    }

    #[test]
    fn the_first_rule_that_does_not_hold_is_named() {
        let story = Story::default().stored("a", 0, 0).scan(0, 0, &[]);
        assert_eq!(judge(&story.history).unwrap_err().0, "lost-write");
    }
}
