//! Members that have no room for entries: while they are so many that no majority could store one, a leader refuses sends
//! before it proposes them.
//!
//! A member that has less free than it is to keep still takes what fits into its allocated segments. That is kept for what
//! makes room again, a purge, and for elections: so sends are refused as soon as a majority is short of room, and everything
//! else only once a majority has refused entries.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::types::NodeId;

/// What the leader knows of full members.
#[derive(Debug, Default)]
pub struct FullMembers(Mutex<Known>);

/// Members and what they said.
#[derive(Debug, Default)]
struct Known {
    /// Those that have refused entries.
    refused: BTreeMap<NodeId, String>,
    /// Those that have less free than they are to keep.
    short: BTreeMap<NodeId, String>,
}

impl FullMembers {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A member has refused entries for lack of room: why, in its words.
    pub fn refused(&self, id: NodeId, why: &str) {
        self.lock().refused.insert(id, why.to_owned());
    }

    /// A member has taken entries.
    pub fn took(&self, id: NodeId) {
        self.lock().refused.remove(&id);
    }

    /// The members that have less free than they are to keep, and how much that is, as far as they answer.
    pub fn short(&self, members: BTreeMap<NodeId, String>) {
        self.lock().short = members;
    }

    /// Why a majority of one of `configs` (two while the membership changes) takes no entries, if that is so.
    pub fn no_majority(&self, configs: &[BTreeSet<NodeId>]) -> Option<String> {
        told(&self.lock().refused, configs)
    }

    /// Why a majority of one of `configs` has no room for sends, if that is so.
    pub fn no_majority_for_sends(&self, configs: &[BTreeSet<NodeId>]) -> Option<String> {
        let known = self.lock();
        if known.short.is_empty() {
            return told(&known.refused, configs);
        }
        let mut all = known.short.clone();
        all.extend(known.refused.clone());
        told(&all, configs)
    }
}

fn told(full: &BTreeMap<NodeId, String>, configs: &[BTreeSet<NodeId>]) -> Option<String> {
    if full.is_empty() {
        return None;
    }
    let of = |voters: &BTreeSet<NodeId>| full.iter().filter(|(id, _)| voters.contains(id)).collect::<Vec<_>>();
    let lacking = configs.iter().find(|voters| voters.len() - of(voters).len() <= voters.len() / 2)?;
    let found = of(lacking);
    let (id, why) = found.first()?;
    Some(format!("{} of {} members have no room for entries, e.g. node {id}: {why}", found.len(), lacking.len()))
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

    #[test]
    fn members_short_of_room_take_a_purge_and_no_sends() {
        let full = FullMembers::default();
        let three = [voters(&[1, 2, 3])];
        full.refused(2, "no space: /d");
        full.short([(3, "no space: /e".to_owned())].into());
        let told = full.no_majority_for_sends(&three).unwrap();
        assert_eq!(told, "2 of 3 members have no room for entries, e.g. node 2: no space: /d");
        assert_eq!(full.no_majority(&three), None);
        full.short(BTreeMap::new());
        assert_eq!(full.no_majority_for_sends(&three), None);
    }
}
