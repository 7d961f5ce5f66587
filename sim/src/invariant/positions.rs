//! Positions: purged ≤ applied ≤ committed ≤ last, and none of purged, applied and committed goes back while a process
//! lives. (What a process that starts again must still have is the rule of the kept log.)

use std::collections::BTreeMap;

use quorumq_store::LogId;

use super::{Invariant, MemberKey, View};

/// See the module.
#[derive(Debug, Default)]
pub struct PositionsOrdered {
    last: BTreeMap<MemberKey, (u64, Seen)>,
}

/// Indexes plus one; 0 stands for "nothing yet".
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    purged: u64,
    applied: u64,
    committed: u64,
    last: u64,
}

fn next(id: Option<LogId>) -> u64 {
    id.map_or(0, |id| id.index.0 + 1)
}

impl Seen {
    /// The order at one moment. `before` is the moment before.
    fn check(&self, before: Option<&Self>) -> Result<(), String> {
        let Self { purged, applied, committed, last } = *self;
        // While a snapshot is installed the log begins behind it already, and the machine is still to be replaced. A log
        // that was purged otherwise held what it dropped, committed.
        let installing = purged == committed || before.is_none_or(|before| before.committed <= purged);
        if purged > applied && !installing {
            return Err(format!("{self:?}: entries were purged that are not applied"));
        }
        if applied > committed || committed > last {
            return Err(format!("{self:?}: applied ≤ committed ≤ last does not hold"));
        }
        let Some(before) = before else { return Ok(()) };
        let fell = before.purged > purged || before.applied > applied || before.committed > committed;
        if fell { Err(format!("{before:?} became {self:?}")) } else { Ok(()) }
    }
}

impl Invariant for PositionsOrdered {
    fn name(&self) -> &'static str {
        "positions-ordered"
    }

    fn step(&mut self, view: &View) -> Result<(), String> {
        for (at, group, seat, member) in view.running() {
            let applied = member.machine().applied();
            let positions = member.positions();
            let now = Seen {
                purged: next(positions.purged),
                applied: next(applied),
                committed: next(positions.committed),
                last: next(positions.last),
            };
            let before = self.last.insert((at, member.id()), (seat.life, now));
            let before = before.filter(|(life, _)| *life == seat.life).map(|(_, seen)| seen);
            let checked = now.check(before.as_ref());
            checked.map_err(|what| format!("{} node {} at {}: {what}", group.name, member.id(), seat.ip))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen([purged, applied, committed, last]: [u64; 4]) -> Seen {
        Seen { purged, applied, committed, last }
    }

    #[test]
    fn a_log_that_grows_and_one_that_starts_behind_a_snapshot_pass() {
        let steps = [[0, 0, 0, 0], [0, 3, 5, 9], [2, 5, 5, 6], [20, 5, 20, 20], [20, 5, 20, 25], [20, 25, 25, 25]];
        for pair in steps.windows(2) {
            assert_eq!(seen(pair[1]).check(Some(&seen(pair[0]))), Ok(()), "{pair:?}");
        }
        let restarted = seen([2, 2, 5, 6]);
        assert_eq!(restarted.check(None), Ok(()));
    }

    #[test]
    fn disorder_is_noticed() {
        let before = seen([2, 5, 9, 9]);
        let wrong = |now| seen(now).check(Some(&before)).unwrap_err();
        assert!(wrong([6, 5, 9, 9]).contains("entries were purged that are not applied"));
        assert!(wrong([2, 10, 9, 9]).contains("does not hold"));
        assert!(wrong([2, 5, 10, 9]).contains("does not hold"));
        for fell in [[1, 5, 9, 9], [2, 4, 9, 9], [2, 5, 8, 9]] {
            assert!(wrong(fell).contains("became"), "{fell:?}");
        }
    }
}
