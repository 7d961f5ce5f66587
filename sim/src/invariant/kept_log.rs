//! Kept log: what was synced and committed on a node is in its log for ever: while the process lives and after every
//! restart, whatever ended it.

use std::collections::BTreeMap;

use quorumq_store::log_store::Positions;

use super::{Invariant, MemberKey, View};

/// See the module.
#[derive(Debug, Default)]
pub struct KeptLog {
    /// Index of the first entry that need not be kept.
    kept: BTreeMap<MemberKey, u64>,
}

impl KeptLog {
    fn note(&mut self, member: MemberKey, positions: &Positions) -> Result<(), String> {
        let next = |id: Option<quorumq_store::LogId>| id.map_or(0, |id| id.index.0 + 1);
        let kept = self.kept.entry(member).or_default();
        if next(positions.last) < *kept {
            let (last, kept) = (next(positions.last), *kept);
            return Err(format!("its log ends before index {last}; it had synced what is committed before {kept}"));
        }
        *kept = (*kept).max(next(positions.synced).min(next(positions.committed)));
        Ok(())
    }
}

impl Invariant for KeptLog {
    fn name(&self) -> &'static str {
        "kept-log"
    }

    fn step(&mut self, view: &View) -> Result<(), String> {
        for (at, group, seat, member) in view.running() {
            let noted = self.note((at, member.id()), &member.positions());
            noted.map_err(|what| format!("{} node {} at {}: {what}", group.name, member.id(), seat.ip))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use quorumq_store::{LogId, LogIndex, Term};

    use super::*;

    fn positions(synced: u64, committed: u64, last: u64) -> Positions {
        let id = |index| Some(LogId { term: Term(1), index: LogIndex(index) });
        Positions { synced: id(synced), committed: id(committed), last: id(last), ..Positions::default() }
    }

    #[test]
    fn only_what_was_not_synced_or_not_committed_may_go() {
        let mut rule = KeptLog::default();
        for (synced, committed, last) in [(5, 9, 20), (5, 5, 5), (9, 6, 12), (6, 6, 6)] {
            assert_eq!(rule.note((0, 1), &positions(synced, committed, last)), Ok(()));
        }
        assert_eq!(rule.note((0, 2), &positions(1, 1, 1)), Ok(()), "another member");
        let lost = rule.note((0, 1), &positions(5, 5, 5)).unwrap_err();
        assert_eq!(lost, "its log ends before index 6; it had synced what is committed before 7");
    }
}
