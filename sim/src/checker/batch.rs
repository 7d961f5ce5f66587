//! Batch: the messages of a batch are stored together or not at all: one behind the other, in their order.

use std::collections::BTreeMap;

use super::facts::{Facts, Scan};
use super::{Checker, Verdict};
use crate::history::{Action, Sent};

/// See the module.
#[derive(Debug)]
pub struct BatchAtomic;

/// Each message of a batch by its key: the messages of its batch, and which of them it is.
type Members<'a> = BTreeMap<&'a str, (&'a [Sent], usize)>;

impl Checker for BatchAtomic {
    fn name(&self) -> &'static str {
        "batch-atomic"
    }

    fn check(&self, facts: &Facts<'_>) -> Verdict {
        let batches = facts.sent.values().filter_map(|message| match &message.op.action {
            Action::Send { messages, .. } if messages.len() > 1 && messages[0].key == message.sent.key => {
                Some(messages)
            }
            _ => None,
        });
        let members: Members<'_> =
            batches.flat_map(|batch| (0..batch.len()).map(move |at| (&*batch[at].key, (&**batch, at)))).collect();
        let scans = facts.queues.iter().filter_map(|((place, _), queue)| Some((place, queue.scan?)));
        scans.into_iter().try_for_each(|(place, scan)| check(&scan, &members).map_err(|what| format!("{place} {what}")))
    }
}

/// Every message of a batch must have its neighbours next to it; only those before the queue's first may be missing.
fn check(scan: &Scan<'_>, members: &Members<'_>) -> Verdict {
    for (i, read) in scan.messages.iter().enumerate() {
        let Some((batch, at)) = members.get(&*read.key) else { continue };
        let before = at.checked_sub(1).map(|at| (&batch[at].key, i.checked_sub(1).map(|i| &scan.messages[i].key)));
        let after = batch.get(at + 1).map(|next| (&next.key, scan.messages.get(i + 1).map(|read| &read.key)));
        let purged = i == 0 && scan.min > 0;
        for (wanted, found) in before.filter(|_| !purged).into_iter().chain(after) {
            if found != Some(wanted) {
                let found = found.map_or("nothing", |key| key);
                return Err(format!(
                    "offset {}: {found} is next to {}, not {wanted} of its batch",
                    read.offset, read.key
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::Story;
    use super::*;

    #[test]
    fn a_whole_batch_may_be_there_any_number_of_times() {
        let sent = || Story::default().batch(&["a", "b", "c"], 0, 0).unknown();
        sent().scan(0, 0, &[]).passes(&BatchAtomic);
        sent().scan(0, 0, &["x", "a", "b", "c", "a", "b", "c"]).passes(&BatchAtomic);
        sent().scan(0, 5, &["c", "x"]).passes(&BatchAtomic);
    }

    #[test]
    fn half_a_batch_and_one_with_a_stranger_in_it_are_noticed() {
        let sent = || Story::default().batch(&["a", "b", "c"], 0, 0).unknown();
        sent().scan(0, 0, &["a", "b"]).breaks(&BatchAtomic, "nothing is next to b, not c of its batch");
        sent().scan(0, 0, &["b", "c"]).breaks(&BatchAtomic, "nothing is next to b, not a of its batch");
        sent().scan(0, 0, &["a", "x", "b", "c"]).breaks(&BatchAtomic, "x is next to a, not b");
        sent().scan(0, 0, &["a", "c", "b"]).breaks(&BatchAtomic, "c is next to a, not b");
    }
}
