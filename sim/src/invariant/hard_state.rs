//! Hard state: the vote that a node has made durable, over all of its restarts, is of a later term, or of the same term
//! for the same node, and is on its disk, synced. So a node votes once per term. It may accept the leader that others have
//! elected in a term in which its own vote went elsewhere: the vote of an established leader replaces one that came to
//! nothing.

use std::collections::BTreeMap;
use std::path::Path;

use quorumq_store::Term;
use quorumq_store::log_store::Vote;

use super::{Invariant, MemberKey, SeatView, View};
use crate::disk::durable;
use crate::scenario::seat::DIR;

/// See the module.
#[derive(Debug, Default)]
pub struct HardStateMonotonic {
    last: BTreeMap<MemberKey, Vote>,
}

impl HardStateMonotonic {
    fn note(&mut self, member: MemberKey, now: Vote) -> Result<(), String> {
        let Some(before) = self.last.insert(member, now) else { return Ok(()) };
        let stands = (before.term, before.committed) <= (now.term, now.committed) || before.term < now.term;
        if before.term > now.term {
            Err(format!("it voted in term {}, and is back in term {}", before.term, now.term))
        } else if before.term == now.term && before.node != now.node && (before.committed || !now.committed) {
            Err(format!("it voted for node {} and for node {} in term {}", before.node, now.node, now.term))
        } else if !stands {
            Err(format!("it had accepted node {} as leader of term {}, and forgot", now.node, now.term))
        } else {
            Ok(())
        }
    }
}

/// Whether the vote that a node calls durable would survive a power loss now, or a later one stands in its place.
fn survives(seat: &SeatView, vote: Vote) -> Result<(), String> {
    let on_disk = durable::hard_state(&seat.disk, Path::new(DIR)).map(|state| state.vote);
    match on_disk {
        Ok(Some(durable)) if durable == vote || durable.term > vote.term => Ok(()),
        Ok(Some(durable)) if durable.term == vote.term && durable.committed => Ok(()),
        other => Err(format!("it says that its vote {vote:?} is durable; a power loss would leave {other:?}")),
    }
}

impl Invariant for HardStateMonotonic {
    fn name(&self) -> &'static str {
        "hard-state-monotonic"
    }

    fn step(&mut self, view: &View) -> Result<(), String> {
        for (at, group, seat, member) in view.running() {
            let vote = member.durable_vote();
            if vote.term == Term(0) {
                // A node that has just started has not said yet what it found.
                continue;
            }
            let key = (at, member.id());
            let is_new = self.last.get(&key) != Some(&vote);
            let survives = if is_new && !seat.doomed { survives(seat, vote) } else { Ok(()) };
            let noted = survives.and_then(|()| self.note(key, vote));
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

    fn after(before: Vote, now: Vote) -> Result<(), String> {
        let mut rule = HardStateMonotonic::default();
        assert_eq!(rule.note((0, 1), before), Ok(()));
        assert_eq!(rule.note((0, 2), vote(9, 9, true)), Ok(()), "another member");
        rule.note((0, 1), now)
    }

    #[test]
    fn later_terms_and_the_same_vote_pass() {
        assert_eq!(after(vote(3, 1, false), vote(3, 1, true)), Ok(()));
        assert_eq!(after(vote(3, 1, true), vote(4, 2, false)), Ok(()));
        assert_eq!(after(vote(3, 1, false), vote(3, 2, true)), Ok(()), "elected by others");
    }

    #[test]
    fn an_older_term_and_a_second_vote_do_not() {
        assert_eq!(
            after(vote(3, 1, false), vote(2, 1, true)).unwrap_err(),
            "it voted in term 3, and is back in term 2"
        );
        assert!(
            after(vote(3, 1, false), vote(3, 2, false)).unwrap_err().contains("for node 1 and for node 2 in term 3")
        );
        assert!(after(vote(3, 1, true), vote(3, 2, true)).unwrap_err().contains("for node 1 and for node 2 in term 3"));
        assert!(after(vote(3, 1, true), vote(3, 1, false)).unwrap_err().ends_with("leader of term 3, and forgot"));
    }
}
