//! Consumer offset: what is found committed was committed by somebody, was not overwritten before the asking began, and is
//! not beyond the queue's end.
//!
//! Several consumers of a group may commit at the same time, and a commit of unknown outcome may take effect at any time
//! after it began. Push consumers commit by themselves: what their groups find is judged by the rule of skipped messages.

use std::collections::BTreeMap;

use super::facts::{Facts, Queue};
use super::{Checker, Verdict};
use crate::history::{Action, Ended, Op};

/// See the module.
#[derive(Debug)]
pub struct ConsumerOffset;

impl Checker for ConsumerOffset {
    fn name(&self) -> &'static str {
        "consumer-offset"
    }

    fn check(&self, facts: &Facts<'_>) -> Verdict {
        for ((place, _), queue) in &facts.queues {
            let commits = commits_by_group(queue);
            for op in &queue.ops {
                if let (Action::Committed { group, .. }, Ended::Offset(found)) = (&op.action, &op.ended) {
                    let judged = check(queue, commits.get(&**group), op, *found);
                    judged.map_err(|what| format!("{group} at {place}, asked at {} ns: {what}", op.begun_ns))?;
                }
            }
        }
        Ok(())
    }
}

/// The commits of one group to one queue; `None` stands for a group of push consumers.
type OfGroup = Option<Commits>;

fn commits_by_group<'a>(queue: &Queue<'a>) -> BTreeMap<&'a str, OfGroup> {
    let mut by_group: BTreeMap<&str, OfGroup> = BTreeMap::new();
    for op in &queue.ops {
        match (&op.action, &op.ended) {
            (Action::Consume { group, .. }, _) => drop(by_group.insert(group, None)),
            (Action::Commit { .. }, Ended::Refused(_)) => {}
            (Action::Commit { group, offset, .. }, ended) => {
                if let Some(commits) = by_group.entry(group).or_insert_with(|| Some(Commits::default())) {
                    // One beyond the end counts as the end at that time.
                    commits.add(op, *offset, queue.known_before(op.begun_ns), matches!(ended, Ended::Done));
                }
            }
            _ => {}
        }
    }
    by_group.values_mut().flatten().for_each(Commits::sort);
    by_group
}

/// Commits, ready to be searched.
#[derive(Default)]
struct Commits {
    /// By offset: when each began, and the latest time until which one of them or of those before may take effect.
    by_offset: BTreeMap<u64, Vec<(u64, u64)>>,
    /// The same of commits beyond what was known to be the end: they may have become any offset from there on.
    beyond: Vec<(u64, u64, u64)>,
    /// By the time at which one had surely taken effect: the latest beginning of those so far.
    overwritten: Vec<(u64, u64)>,
}

impl Commits {
    fn add(&mut self, op: &Op, offset: u64, end: u64, done: bool) {
        let until = if done { op.ended_ns } else { u64::MAX };
        if offset > end {
            self.beyond.push((op.begun_ns, until, end));
        }
        self.by_offset.entry(offset).or_default().push((op.begun_ns, until));
        if done {
            self.overwritten.push((op.ended_ns, op.begun_ns));
        }
    }

    fn sort(&mut self) {
        let rise = |times: &mut Vec<(u64, u64)>| {
            times.sort_unstable();
            let mut latest = 0;
            for (_, time) in times {
                latest = latest.max(*time);
                *time = latest;
            }
        };
        self.by_offset.values_mut().for_each(rise);
        rise(&mut self.overwritten);
    }

    /// When the last commit began that had surely taken effect before `at_ns`: whatever was done before that is gone.
    fn overwritten_before(&self, at_ns: u64) -> Option<u64> {
        let before = self.overwritten.partition_point(|(done_ns, _)| *done_ns < at_ns);
        before.checked_sub(1).map(|last| self.overwritten[last].1)
    }

    /// Whether a query can find `offset`.
    fn explain(&self, offset: u64, asked: &Op) -> bool {
        let since = self.overwritten_before(asked.begun_ns).unwrap_or_default();
        let exact = self.by_offset.get(&offset).is_some_and(|commits| {
            let begun = commits.partition_point(|(begun_ns, _)| *begun_ns < asked.ended_ns);
            begun.checked_sub(1).is_some_and(|last| commits[last].1 >= since)
        });
        let cut = |(begun, until, end): &(u64, u64, u64)| *begun < asked.ended_ns && *until >= since && *end <= offset;
        exact || self.beyond.iter().any(cut)
    }
}

fn check(queue: &Queue<'_>, commits: Option<&OfGroup>, asked: &Op, found: Option<u64>) -> Verdict {
    if let (Some(offset), Some(scan)) = (found, queue.scan)
        && offset > scan.max
    {
        return Err(format!("{offset} is committed, the queue ends at {}", scan.max));
    }
    let commits = match commits {
        Some(None) => return Ok(()),
        Some(Some(commits)) => commits,
        None => &Commits::default(),
    };
    let overwritten = commits.overwritten_before(asked.begun_ns);
    match found {
        // A group that has committed nothing begins at 0 in a young queue.
        None | Some(0) if overwritten.is_none() => Ok(()),
        None => Err("nothing is committed, though something was before".to_owned()),
        Some(offset) if commits.explain(offset, asked) => Ok(()),
        Some(offset) => Err(format!("{offset} is committed; nobody committed that, or it was overwritten before")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Story;
    use super::*;

    fn young() -> Story {
        Story::default().ends(0, 0, 100)
    }

    #[test]
    fn the_last_commit_is_found() {
        young().committed(0, None).committed(0, 0).commit(0, 5).committed(0, 5).passes(&ConsumerOffset);
        young().commit(0, 5).commit(0, 3).committed(0, 3).passes(&ConsumerOffset);
        young().commit(0, 5).commit(0, 3).refused().committed(0, 5).passes(&ConsumerOffset);
        young().commit(0, 5).reset(0, 0).committed(0, 0).passes(&ConsumerOffset);
        young().commit(0, 5).commit(1, 7).committed(0, 5).delete_topic().passes(&ConsumerOffset);
    }

    #[test]
    fn commits_at_the_same_time_and_of_unknown_outcome_may_count_or_not() {
        for found in [5, 6, 7] {
            let story = young().commit(0, 5).during(20, 40).commit(0, 6).during(30, 50).commit(0, 7).during(35, 36);
            story.committed(0, found).during(60, 70).passes(&ConsumerOffset);
        }
        let late = |found| young().commit(0, 5).unknown().commit(0, 6).commit(0, 7).committed(0, found);
        late(5).passes(&ConsumerOffset);
        late(7).passes(&ConsumerOffset);
        late(6).breaks(&ConsumerOffset, "6 is committed; nobody committed that, or it was overwritten before");
    }

    #[test]
    fn a_commit_that_is_gone_or_came_from_nowhere_is_noticed() {
        let twice = || young().commit(0, 5).commit(0, 9);
        twice().committed(0, None).breaks(&ConsumerOffset, "nothing is committed, though something was before");
        twice().committed(0, 0).breaks(&ConsumerOffset, "0 is committed");
        twice().committed(0, 5).breaks(&ConsumerOffset, "5 is committed; nobody");
        twice().committed(0, 8).breaks(&ConsumerOffset, "8 is committed; nobody");
        young().committed(0, 4).commit(0, 4).breaks(&ConsumerOffset, "4 is committed; nobody");
        young().commit(0, 4).refused().committed(0, 4).breaks(&ConsumerOffset, "4 is committed; nobody");
    }

    #[test]
    fn a_commit_beyond_the_end_counts_as_the_end() {
        let story = |found| Story::default().ends(0, 0, 3).commit(0, 9).committed(0, found).scan(0, 0, &["a"; 5]);
        story(3).passes(&ConsumerOffset);
        story(5).passes(&ConsumerOffset);
        story(2).breaks(&ConsumerOffset, "2 is committed; nobody");
        story(9).breaks(&ConsumerOffset, "9 is committed, the queue ends at 5");
    }

    #[test]
    fn groups_of_push_consumers_are_judged_elsewhere_but_for_the_end() {
        let story = || Story::default().consume("c", 0, 0, "a");
        story().committed(0, 1).scan(0, 0, &["a"]).passes(&ConsumerOffset);
        story().committed(0, 2).scan(0, 0, &["a"]).breaks(&ConsumerOffset, "2 is committed, the queue ends at 1");
    }
}
