//! Digest: members that have applied the same entries have the same digest chain, at whatever time; and in the end the
//! same state.

use std::collections::BTreeMap;

use quorumq_raft::machine::Machine as _;

use super::{GroupView, Invariant, View};

/// See the module.
#[derive(Debug, Default)]
pub struct Digest {
    /// By group and index of the last applied entry.
    digests: BTreeMap<(usize, u64), u64>,
}

impl Digest {
    fn note(&mut self, group: usize, applied: u64, digest: u64) -> Result<(), String> {
        let known = *self.digests.entry((group, applied)).or_insert(digest);
        if known == digest {
            return Ok(());
        }
        Err(format!("the digest after entry {applied} is {digest:016x}, and was {known:016x} on another member"))
    }
}

impl Invariant for Digest {
    fn name(&self) -> &'static str {
        "digest"
    }

    fn step(&mut self, view: &View) -> Result<(), String> {
        for (at, group, seat, member) in view.running() {
            let (applied, digest) = {
                let machine = member.machine();
                (machine.applied(), machine.digest())
            };
            if let Some(applied) = applied {
                let noted = self.note(at, applied.index.0, digest);
                noted.map_err(|what| format!("{} at {}: {what}", group.name, seat.ip))?;
            }
        }
        Ok(())
    }

    fn at_rest(&mut self, view: &View) -> Result<(), String> {
        view.groups.iter().try_for_each(|group| equal_states(group).map_err(|what| format!("{}: {what}", group.name)))
    }
}

fn equal_states(group: &GroupView) -> Result<(), String> {
    let mut first = None;
    for (seat, member) in group.members() {
        let machine = member.machine();
        let (applied, state) = (machine.applied(), machine.encode());
        let (ip, same_applied, same_state) = first.get_or_insert_with(|| (seat.ip, applied, state.clone()));
        if *same_applied != applied {
            return Err(format!("{ip} has applied {same_applied:?} at rest, and {} {applied:?}", seat.ip));
        }
        if *same_state != state {
            return Err(format!("the states of {ip} and {} differ after {applied:?}", seat.ip));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_digest_at_the_same_entry_is_noticed() {
        let mut rule = Digest::default();
        for (group, applied, digest) in [(0, 1, 7), (0, 2, 8), (1, 1, 9), (0, 1, 7)] {
            assert_eq!(rule.note(group, applied, digest), Ok(()));
        }
        assert!(
            rule.note(0, 1, 9).unwrap_err().contains("after entry 1 is 0000000000000009, and was 0000000000000007")
        );
    }
}
