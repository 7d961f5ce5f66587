//! Membership: at rest every member knows the same members, no change is left half done, and all members run.

use std::collections::BTreeSet;

use quorumq_raft::types::NodeId;

use super::{GroupView, Invariant, View};

/// See the module.
#[derive(Debug, Default)]
pub struct MembershipUniform;

/// Sets of voters, and the set of learners behind them.
type Known = Vec<BTreeSet<NodeId>>;

fn check(running: &BTreeSet<NodeId>, known: &[(NodeId, Known)]) -> Result<(), String> {
    for (id, sets) in known {
        if *sets != known[0].1 {
            return Err(format!("node {} knows members {:?}, node {id} knows {sets:?}", known[0].0, known[0].1));
        }
        let [voters, learners] = &sets[..] else {
            return Err(format!("node {id} is left with a change under way: {sets:?}"));
        };
        if let Some(gone) = voters.union(learners).find(|member| !running.contains(member)) {
            return Err(format!("node {gone} is a member and does not run; members: {sets:?}"));
        }
    }
    Ok(())
}

fn check_group(group: &GroupView) -> Result<(), String> {
    let running = group.running().map(|(_, member)| member.id()).collect();
    let known = group.members().into_iter().map(|(_, member)| {
        let learners = member.members().into_iter().filter(|(_, _, votes)| !votes).map(|(id, ..)| id).collect();
        let mut sets = member.voter_sets();
        sets.push(learners);
        (member.id(), sets)
    });
    check(&running, &known.collect::<Vec<_>>())
}

impl Invariant for MembershipUniform {
    fn name(&self) -> &'static str {
        "membership-uniform"
    }

    fn at_rest(&mut self, view: &View) -> Result<(), String> {
        view.groups.iter().try_for_each(|group| check_group(group).map_err(|what| format!("{}: {what}", group.name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ids: &[NodeId]) -> BTreeSet<NodeId> {
        ids.iter().copied().collect()
    }

    #[test]
    fn one_membership_without_a_change_under_way_passes() {
        let of = |voters: &[NodeId]| vec![set(voters), set(&[4])];
        let running = set(&[1, 2, 3, 4]);
        assert_eq!(check(&running, &[(1, of(&[1, 2, 3])), (2, of(&[1, 2, 3]))]), Ok(()));
        let other = check(&running, &[(1, of(&[1, 2, 3])), (2, of(&[1, 2]))]);
        assert!(other.unwrap_err().contains("node 1 knows members [{1, 2, 3}, {4}], node 2 knows [{1, 2}, {4}]"));
        let joint = check(&running, &[(1, vec![set(&[1, 2]), set(&[1, 3]), set(&[])])]);
        assert!(joint.unwrap_err().contains("a change under way"));
        let gone = check(&set(&[1, 2, 3]), &[(1, of(&[1, 2, 3]))]);
        assert!(gone.unwrap_err().contains("node 4 is a member and does not run"));
    }
}
