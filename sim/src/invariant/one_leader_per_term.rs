//! One leader per term: nobody ever says of a term that another node leads it than was said before.

use std::collections::BTreeMap;

use quorumq_raft::types::NodeId;

use super::{Invariant, View};

/// See the module.
#[derive(Debug, Default)]
pub struct OneLeaderPerTerm {
    /// By group and term.
    leaders: BTreeMap<(usize, u64), NodeId>,
}

impl OneLeaderPerTerm {
    fn note(&mut self, group: usize, term: u64, leader: NodeId) -> Result<(), String> {
        let known = *self.leaders.entry((group, term)).or_insert(leader);
        if known == leader { Ok(()) } else { Err(format!("term {term} is led by node {known} and by node {leader}")) }
    }
}

impl Invariant for OneLeaderPerTerm {
    fn name(&self) -> &'static str {
        "one-leader-per-term"
    }

    fn step(&mut self, view: &View) -> Result<(), String> {
        for (at, group, seat, member) in view.running() {
            let (term, leader) = member.leadership();
            if let Some(leader) = leader {
                let noted = self.note(at, term, leader);
                noted.map_err(|what| format!("{}: {what}, says {}", group.name, seat.ip))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_leader_of_a_term_is_noticed() {
        let mut rule = OneLeaderPerTerm::default();
        for (group, term, leader) in [(0, 1, 1), (0, 2, 2), (1, 1, 2), (0, 1, 1)] {
            assert_eq!(rule.note(group, term, leader), Ok(()));
        }
        assert_eq!(rule.note(0, 2, 3), Err("term 2 is led by node 2 and by node 3".to_owned()));
    }
}
