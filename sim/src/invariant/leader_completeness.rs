//! Leader completeness: a leader has every entry that was committed in its own term and those before.

use std::collections::BTreeSet;

use quorumq_store::LogIndex;
use quorumq_store::log_store::Entry;

use super::committed_log::{CommittedLog, CommittedLogs, Known};
use super::{Invariant, Member, MemberKey, View};

/// See the module.
#[derive(Debug)]
pub struct LeaderCompleteness {
    committed: CommittedLogs,
    /// Leaders looked at, by term.
    known: BTreeSet<(MemberKey, u64)>,
}

impl LeaderCompleteness {
    /// Compares with what is written down in `committed`.
    pub(super) fn new(committed: CommittedLogs) -> Self {
        Self { committed, known: BTreeSet::new() }
    }
}

/// `entries` are all that the leader of `term` has from `from` on.
fn check(log: &CommittedLog, term: u64, from: u64, entries: &[Entry]) -> Result<(), String> {
    let mut entries = entries.iter();
    for (index, known) in log.range(from..).filter(|(_, known)| known.term <= term) {
        match entries.find(|entry| entry.id.index.0 == *index).map(Known::of) {
            Some(found) if found == *known => {}
            Some(found) => return Err(format!("{known:?} was committed at index {index}, and it has {found:?}")),
            None => return Err(format!("it has no entry {index}, where {known:?} was committed")),
        }
    }
    Ok(())
}

/// A member's entries that it does not know to be committed: all that a new leader can lack or have otherwise.
fn unproven(member: &Member) -> (u64, Vec<Entry>) {
    let positions = member.positions();
    let from = positions.committed.map_or(0, |id| id.index.0 + 1);
    let end = positions.last.map_or(0, |id| id.index.0 + 1);
    (from, member.entries_in_memory(LogIndex(from)..LogIndex(end)))
}

impl Invariant for LeaderCompleteness {
    fn name(&self) -> &'static str {
        "leader-completeness"
    }

    fn step(&mut self, view: &View) -> Result<(), String> {
        for (at, group, seat, member) in view.running() {
            let (term, leader) = member.leadership();
            if leader != Some(member.id()) || !self.known.insert(((at, member.id()), term)) {
                continue;
            }
            let committed = self.committed.lock();
            let Some(log) = committed.get(&at) else { continue };
            let (from, entries) = unproven(member);
            let checked = check(log, term, from, &entries);
            checked.map_err(|what| format!("{}: {} leads term {term}: {what}", group.name, seat.ip))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::committed_log::commit;
    use super::super::committed_log::tests::entry;
    use super::*;

    #[test]
    fn a_leader_has_what_was_committed_up_to_its_term() {
        let mut log = CommittedLog::new();
        let all = [entry(1, 4, "a"), entry(2, 5, "b"), entry(4, 6, "c")];
        all.iter().for_each(|entry| commit(&mut log, entry).unwrap());
        assert_eq!(check(&log, 3, 4, &all[..2]), Ok(()), "the third is of a later term");
        assert_eq!(check(&log, 4, 5, &all[1..]), Ok(()));
        assert!(check(&log, 4, 4, &all[..2]).unwrap_err().contains("it has no entry 6"));
        assert!(check(&log, 3, 4, &[]).unwrap_err().contains("it has no entry 4"));
        let other = [entry(1, 4, "x"), entry(2, 5, "b")];
        assert!(check(&log, 3, 4, &other).unwrap_err().contains("committed at index 4, and it has"));
    }
}
