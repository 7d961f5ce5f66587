//! Members that said they have no room for entries: while they are so many that no majority could store an entry, a leader
//! refuses it before it proposes it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::types::NodeId;

/// What the leader knows of full members.
#[derive(Debug, Default)]
pub struct FullMembers(Mutex<BTreeMap<NodeId, String>>);

impl FullMembers {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A member has refused entries for lack of room: why, in its words.
    pub fn refused(&self, id: NodeId, why: &str) {
        self.lock().insert(id, why.to_owned());
    }

    /// A member has taken entries.
    pub fn took(&self, id: NodeId) {
        self.lock().remove(&id);
    }

    /// Why a majority of one of `configs` (two while the membership changes) has no room, if that is so.
    pub fn no_majority(&self, configs: &[BTreeSet<NodeId>]) -> Option<String> {
        let full = self.lock();
        if full.is_empty() {
            return None;
        }
        let of = |voters: &BTreeSet<NodeId>| full.iter().filter(|(id, _)| voters.contains(id)).collect::<Vec<_>>();
        let lacking = configs.iter().find(|voters| voters.len() - of(voters).len() <= voters.len() / 2)?;
        let told = of(lacking);
        let (id, why) = told.first()?;
        Some(format!("{} of {} members have no room for entries, e.g. node {id}: {why}", told.len(), lacking.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voters(ids: &[NodeId]) -> BTreeSet<NodeId> {
        ids.iter().copied().collect()
    }

    #[test]
    fn a_majority_without_room_is_told_until_one_takes_entries_again() {
        let full = FullMembers::default();
        let three = [voters(&[1, 2, 3])];
        assert_eq!(full.no_majority(&three), None);
        full.refused(2, "no space: /d");
        full.refused(9, "no space: not one of them");
        assert_eq!(full.no_majority(&three), None, "two of three can store");
        full.refused(3, "no space: /e");
        let told = full.no_majority(&three).unwrap();
        assert_eq!(told, "2 of 3 members have no room for entries, e.g. node 2: no space: /d");
        assert!(full.no_majority(&[voters(&[1, 4, 5]), voters(&[1, 2, 3])]).is_some(), "each of two has to agree");
        full.took(2);
        assert_eq!(full.no_majority(&three), None);
    }
}
