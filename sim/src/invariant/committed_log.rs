//! What every group has committed, as far as any member knows: one record for the rules that compare with it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorumq_store::PhysicalOffset;
use quorumq_store::log_store::Entry;

use crate::trace::hash_of_bytes;

/// An entry that somebody knew to be committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    /// Its term.
    pub term: u64,
    /// Where its frame starts.
    pub position: PhysicalOffset,
    /// Bytes of the frame.
    pub frame_len: u64,
    /// Tells its kind and body from every other.
    pub content: u64,
}

impl Known {
    /// What there is to know of an entry.
    pub fn of(entry: &Entry) -> Self {
        let content = hash_of_bytes(&entry.body) ^ entry.kind as u64;
        Self { term: entry.id.term.0, position: entry.position, frame_len: entry.frame_len(), content }
    }
}

/// The committed entries of one group, by index.
pub(super) type CommittedLog = BTreeMap<u64, Known>;

/// Those of all groups, by the group's number. Shared by the rules.
#[derive(Clone, Debug, Default)]
pub(super) struct CommittedLogs(Arc<Mutex<BTreeMap<usize, CommittedLog>>>);

impl CommittedLogs {
    /// The record. Held while one rule looks.
    pub fn lock(&self) -> MutexGuard<'_, BTreeMap<usize, CommittedLog>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes an entry for committed.
///
/// # Errors
/// Another one was committed at its index before.
pub(super) fn commit(log: &mut CommittedLog, entry: &Entry) -> Result<(), String> {
    let now = Known::of(entry);
    let known = *log.entry(entry.id.index.0).or_insert(now);
    if known == now {
        Ok(())
    } else {
        Err(format!("{known:?} was committed at index {}, and it has {now:?}", entry.id.index))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use quorumq_store::frame::Kind;
    use quorumq_store::{LogId, LogIndex, Term};

    use super::*;

    pub fn entry(term: u64, index: u64, body: &'static str) -> Entry {
        Entry {
            id: LogId { term: Term(term), index: LogIndex(index) },
            kind: Kind::Records,
            position: PhysicalOffset(index * 100),
            body: body.into(),
        }
    }

    #[test]
    fn an_index_is_committed_once() {
        let mut log = CommittedLog::new();
        assert_eq!(commit(&mut log, &entry(1, 4, "a")), Ok(()));
        assert_eq!(commit(&mut log, &entry(1, 4, "a")), Ok(()));
        assert_eq!(commit(&mut log, &entry(2, 5, "b")), Ok(()));
        for other in [entry(2, 4, "a"), entry(1, 4, "b"), Entry { kind: Kind::Command, ..entry(1, 4, "a") }] {
            assert!(commit(&mut log, &other).unwrap_err().contains("committed at index 4"), "{other:?}");
        }
        let moved = Entry { position: PhysicalOffset(8), ..entry(1, 4, "a") };
        assert!(commit(&mut log, &moved).is_err());
    }
}
