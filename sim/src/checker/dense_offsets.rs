//! Dense offsets: from its first offset to its end a queue has no gap, and its messages lie in the CommitLog in the
//! queue's order.

use super::facts::{Facts, Scan};
use super::{Checker, Verdict};

/// See the module.
#[derive(Debug)]
pub struct DenseOffsets;

impl Checker for DenseOffsets {
    fn name(&self) -> &'static str {
        "dense-offsets"
    }

    fn check(&self, facts: &Facts<'_>) -> Verdict {
        let scans = facts.queues.iter().filter_map(|((place, _), queue)| Some((place, queue.scan?)));
        scans.into_iter().try_for_each(|(place, scan)| check(&scan).map_err(|what| format!("{place}: {what}")))
    }
}

fn check(scan: &Scan<'_>) -> Verdict {
    let (mut due, mut above) = (scan.min, None);
    for read in scan.messages {
        if read.offset != due {
            return Err(format!("{} has offset {} where {due} was due", read.key, read.offset));
        }
        if above >= Some(read.physical) {
            return Err(format!("{} at offset {due} lies at {}, before its predecessor", read.key, read.physical));
        }
        (due, above) = (due + 1, Some(read.physical));
    }
    if due == scan.max {
        Ok(())
    } else {
        Err(format!("it says it ends at {}, and its last message at {due}", scan.max))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Story;
    use super::*;

    #[test]
    fn gaps_and_disorder_are_noticed() {
        let scan = || Story::default().scan(0, 7, &["a", "b"]);
        scan().passes(&DenseOffsets);
        Story::default().scan(0, 0, &[]).passes(&DenseOffsets);
        scan().but(|read| read.offset += 1).breaks(&DenseOffsets, "a has offset 8 where 7 was due");
        let gap = scan().but(|read| read.offset += u64::from(&*read.key == "b"));
        gap.breaks(&DenseOffsets, "b has offset 9 where 8 was due");
        scan().but(|read| read.physical = 5).breaks(&DenseOffsets, "b at offset 8 lies at 5, before its predecessor");
        let mut cut = scan();
        if let crate::history::Ended::Read { messages, .. } = &mut cut.history.ops[0].ended {
            messages.pop();
        }
        cut.breaks(&DenseOffsets, "it says it ends at 9, and its last message at 8");
    }
}
