//! Which damage a group can bear: kept within what its members can make good together.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;

/// What a damage hits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Site {
    /// This range of the CommitLog.
    CommitLog(Range<u64>),
    /// A file of a ConsumeQueue or of the key index.
    Derived,
    /// The hard state.
    HardState,
}

/// The damage a group bears at present.
///
/// * No two members have damage in overlapping ranges of the CommitLog: every range is sound on all members but one.
/// * The hard state is damaged in one place of one member at most. It is kept in copies; damage in several of them
///   would bring back an older vote.
/// * No member has damage in both, nor one in the first and another in the second. Without the last synced mark a damaged
///   frame would pass for a torn tail; and a member whose hard state is lost is replaced, with all that it held.
/// * What is derived from the log may be damaged anywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Atlas(BTreeMap<IpAddr, Vec<Site>>);

impl Atlas {
    /// A group without damage.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the group could bear this too.
    #[must_use]
    pub fn allows(&self, member: IpAddr, site: &Site) -> bool {
        let sites = || self.0.iter().flat_map(|(of, sites)| sites.iter().map(move |site| (*of, site)));
        match site {
            Site::Derived => true,
            // Wherever the log is damaged: the only other copy may be here.
            Site::HardState => sites().all(|(_, known)| *known == Site::Derived),
            Site::CommitLog(range) => sites().all(|(of, known)| match known {
                Site::Derived => true,
                Site::HardState => false,
                Site::CommitLog(known) => of == member || known.end <= range.start || range.end <= known.start,
            }),
        }
    }

    /// Notes a damage if the group can bear it.
    #[must_use]
    pub fn strike(&mut self, member: IpAddr, site: Site) -> bool {
        let allowed = self.allows(member, &site);
        if allowed {
            self.0.entry(member).or_default().push(site);
        }
        allowed
    }

    /// All damage of a member is gone: its disk was replaced, or repaired. How much there was.
    pub fn made_good(&mut self, member: IpAddr) -> usize {
        self.0.remove(&member).map_or(0, |sites| sites.len())
    }

    /// Whether no member has damage in its log or hard state.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.0.values().flatten().all(|site| *site == Site::Derived)
    }

    /// Whether no other member has damage in its log or hard state.
    #[must_use]
    pub fn is_sound_beside(&self, member: IpAddr) -> bool {
        let others = self.0.iter().filter(|(other, _)| **other != member).flat_map(|(_, sites)| sites);
        others.into_iter().all(|site| *site == Site::Derived)
    }

    /// Members with damage.
    pub fn damaged(&self) -> impl Iterator<Item = IpAddr> {
        self.0.keys().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::address;

    fn log(range: Range<u64>) -> Site {
        Site::CommitLog(range)
    }

    #[test]
    fn a_range_of_the_commit_log_is_damaged_on_one_member_only() {
        let mut atlas = Atlas::new();
        let (one, other) = (address(1), address(2));
        assert!(atlas.strike(one, log(100..200)));
        for overlapping in [100..200, 0..101, 199..300, 150..160, 0..1000] {
            assert!(!atlas.strike(other, log(overlapping)));
        }
        assert!(atlas.strike(one, log(150..160)), "the same member may be damaged there again");
        assert!(atlas.strike(other, log(200..300)), "the end of a range is not part of it");
        assert!(atlas.strike(other, log(0..100)));
        assert!(!atlas.strike(one, log(250..260)));
        assert_eq!(atlas.damaged().collect::<Vec<_>>(), [one, other]);
    }

    #[test]
    fn hard_state_is_damaged_once_and_not_beside_a_damaged_log() {
        let mut atlas = Atlas::new();
        let (one, other, third) = (address(1), address(2), address(3));
        assert!(atlas.strike(one, Site::HardState));
        assert!(!atlas.strike(other, Site::HardState));
        assert!(!atlas.strike(one, Site::HardState), "a second copy of the same member");
        assert!(!atlas.strike(one, log(0..10)) && !atlas.strike(other, log(0..10)));
        atlas.made_good(one);
        assert!(atlas.strike(other, log(0..10)));
        assert!(!atlas.strike(other, Site::HardState), "its log is damaged");
        assert!(!atlas.strike(third, Site::HardState), "what is damaged there may be nowhere but here");
        assert!(atlas.is_sound_beside(other) && !atlas.is_sound_beside(third) && !atlas.is_sound());
        atlas.made_good(other);
        assert!(atlas.strike(third, Site::HardState));
    }

    #[test]
    fn what_was_made_good_may_be_damaged_again() {
        let mut atlas = Atlas::new();
        let (one, other) = (address(1), address(2));
        assert!(atlas.strike(one, log(0..10)));
        assert!(!atlas.strike(other, log(5..6)));
        atlas.made_good(one);
        assert!(atlas.strike(other, log(5..6)));
        assert!(!atlas.allows(one, &log(0..10)));
    }

    #[test]
    fn what_is_derived_may_be_damaged_anywhere() {
        let mut atlas = Atlas::new();
        for n in 1..4 {
            assert!(atlas.strike(address(n), Site::Derived));
            assert!(atlas.strike(address(n), Site::Derived));
        }
        assert!(atlas.allows(address(1), &log(0..10)) && atlas.allows(address(1), &Site::HardState));
    }
}
