//! Unproven: a member that may lack what it had acknowledged gives its vote to nobody who stands for election, itself
//! included. It may take the word of a leader that others have elected.

use std::collections::BTreeMap;

use quorumq_store::Term;
use quorumq_store::log_store::Vote;

use super::{Invariant, MemberKey, View};

/// See the module.
#[derive(Debug, Default)]
pub struct UnprovenVote {
    /// By member: its process's number, and the vote with which that began.
    begun: BTreeMap<MemberKey, (u64, Vote)>,
}

impl UnprovenVote {
    fn note(&mut self, member: MemberKey, life: u64, unproven: bool, now: Vote) -> Result<(), String> {
        let (of, before) = *self.begun.entry(member).or_insert((life, now));
        if of != life {
            self.begun.insert(member, (life, now));
        } else if unproven && !now.committed && now != before {
            return Err(format!("it is unproven, and has voted: {now:?}"));
        }
        Ok(())
    }
}

impl Invariant for UnprovenVote {
    fn name(&self) -> &'static str {
        "unproven-vote"
    }

    fn step(&mut self, view: &View) -> Result<(), String> {
        for (at, group, seat, member) in view.running() {
            let vote = member.durable_vote();
            // A node that has just started has not said yet what it found.
            if vote.term == Term(0) {
                continue;
            }
            let noted = self.note((at, member.id()), seat.life, member.is_unproven(), vote);
            noted.map_err(|what| format!("{} node {} at {}: {what}", group.name, member.id(), seat.ip))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vote(term: u64, node: u64, committed: bool) -> Vote {
        Vote { term: Term(term), node, committed }
    }

    #[test]
    fn only_a_vote_of_this_life_for_one_who_stands_is_wrong() {
        let mut rule = UnprovenVote::default();
        let mut note = |life, unproven, vote| rule.note((0, 1), life, unproven, vote);
        assert_eq!(note(1, false, vote(3, 2, false)), Ok(()));
        assert_eq!(note(1, false, vote(4, 2, false)), Ok(()), "it is proven");
        assert_eq!(note(2, true, vote(5, 2, false)), Ok(()), "it voted before");
        assert_eq!(note(2, true, vote(6, 3, true)), Ok(()), "others have elected it");
        assert!(note(2, true, vote(7, 3, false)).unwrap_err().contains("it is unproven, and has voted"));
        assert!(note(2, true, vote(7, 1, false)).unwrap_err().contains("and has voted"), "for itself");
    }
}
