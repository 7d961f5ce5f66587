//! Log matching: what a member knows to be committed is what every other member knows to be committed at that index, for
//! ever: term, place, content.

use std::collections::BTreeMap;

use quorumq_store::LogIndex;

use super::committed_log::{CommittedLogs, commit};
use super::{Invariant, Member, MemberKey, View};

/// See the module.
#[derive(Debug)]
pub struct LogMatching {
    committed: CommittedLogs,
    /// By member: its process's number, and the first index not compared yet.
    compared: BTreeMap<MemberKey, (u64, u64)>,
}

impl LogMatching {
    /// Writes down what is committed for the other rules too.
    pub(super) fn new(committed: CommittedLogs) -> Self {
        Self { committed, compared: BTreeMap::new() }
    }

    /// What a member has committed since the last look. Of a process that has just started, what it holds in memory: the
    /// rest is read from its files in the end, by the rule of equal CommitLogs.
    fn compare(&mut self, key: MemberKey, life: u64, member: &Member) -> Result<(), String> {
        let next = |id: Option<quorumq_store::LogId>| id.map_or(0, |id| id.index.0 + 1);
        let positions = member.positions();
        let (first, end) = (next(positions.purged), next(positions.committed));
        let from = match self.compared.get(&key) {
            Some((same, from)) if *same == life => (*from).max(first),
            _ => first,
        };
        if from < end {
            let mut committed = self.committed.lock();
            let log = committed.entry(key.0).or_default();
            let entries = member.entries_in_memory(LogIndex(from)..LogIndex(end));
            entries.iter().try_for_each(|entry| commit(log, entry))?;
        }
        self.compared.insert(key, (life, end));
        Ok(())
    }
}

impl Invariant for LogMatching {
    fn name(&self) -> &'static str {
        "log-matching"
    }

    fn looks_at_applies(&self) -> bool {
        true
    }

    fn step(&mut self, view: &View) -> Result<(), String> {
        for (at, group, seat, member) in view.running() {
            let compared = self.compare((at, member.id()), seat.life, member);
            compared.map_err(|what| format!("{} node {} at {}: {what}", group.name, member.id(), seat.ip))?;
        }
        Ok(())
    }
}
