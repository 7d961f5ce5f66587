//! Bugs that can be planted in a process, to show that the simulator finds them.
//!
//! Each is a line of wrong behaviour at the place where such a bug would sit, behind `planted(Mutant::…)`. A process has
//! one at most, chosen at its start. Without debug assertions there is none: `planted` is `false` while the compiler
//! looks at it, and neither a name nor a text of this file is in the binary.

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};

/// Makes the enum and its table out of one list: variant, name, what is wrong, who should see it.
macro_rules! mutants {
    ($($variant:ident $name:literal $about:literal [$($rule:literal),+])+) => {
        /// A bug that can be planted.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Mutant {
            $(#[doc = $about] $variant),+
        }

        impl Mutant {
            /// Every one; none without debug assertions.
            #[cfg(debug_assertions)]
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            #[cfg(debug_assertions)]
            const fn row(self) -> Row {
                match self {
                    $(Self::$variant => Row { name: $name, about: $about, expected: &[$($rule),+] }),+
                }
            }
        }
    };
}

/// What the table says of a mutant.
struct Row {
    name: &'static str,
    about: &'static str,
    expected: &'static [&'static str],
}

mutants! {
    // What a disk keeps (store).
    VoteNotSynced "vote-not-synced"
        "a vote is answered once it is written, not once it is synced"
        ["hard-state-monotonic", "one-leader-per-term"]
    TwoVotesInATerm "two-votes-in-a-term"
        "only votes for established leaders are saved: a granted vote is forgotten by a restart"
        ["hard-state-monotonic", "one-leader-per-term"]
    FrameCrcUnchecked "frame-crc-unchecked"
        "a frame's body is taken as it is read, whatever its CRC says"
        ["commit-logs-equal", "changed-message", "durable-quorum"]
    FailedSyncIgnored "failed-sync-ignored"
        "a sync that failed counts as one that did not, though the pages are gone"
        ["durable-quorum", "lost-write", "restart"]
    SyncedMarkAhead "synced-mark-ahead"
        "the synced mark is made durable before what it covers"
        ["restart"]
}

#[cfg(not(debug_assertions))]
impl Mutant {
    /// Every one; none without debug assertions.
    pub const ALL: &[Self] = &[];

    const fn row(self) -> Row {
        Row { name: "", about: "", expected: &[] }
    }
}

impl Mutant {
    /// Its name, in kebab case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// What is wrong, in a line.
    #[must_use]
    pub const fn about(self) -> &'static str {
        self.row().about
    }

    /// The rules of the simulator that should see it, the likeliest first.
    #[must_use]
    pub const fn expected(self) -> &'static [&'static str] {
        self.row().expected
    }

    /// The one of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|mutant| mutant.name() == name)
    }
}

impl fmt::Debug for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The planted one, as its number plus one; 0 for none.
static PLANTED: AtomicU8 = AtomicU8::new(0);

/// Plants a bug in this process.
///
/// # Panics
/// If one is planted already.
pub fn plant(mutant: Mutant) {
    let before = PLANTED.swap(mutant as u8 + 1, Ordering::Relaxed);
    assert_eq!(before, 0, "a process has one planted bug");
}

/// Whether that bug is planted here.
#[cfg(debug_assertions)]
#[inline]
#[must_use]
pub fn planted(mutant: Mutant) -> bool {
    PLANTED.load(Ordering::Relaxed) == mutant as u8 + 1
}

/// No bug is planted in a release.
#[cfg(not(debug_assertions))]
#[inline(always)]
#[must_use]
pub const fn planted(_: Mutant) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_kebab_case_and_read_back() {
        let names: BTreeSet<_> = Mutant::ALL.iter().map(|mutant| mutant.name()).collect();
        assert_eq!(names.len(), Mutant::ALL.len());
        for mutant in Mutant::ALL {
            let name = mutant.name();
            assert!(name.contains('-') && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{name}");
            assert_eq!(Mutant::parse(name), Some(*mutant));
            assert!(!mutant.about().is_empty() && !mutant.expected().is_empty(), "{name}");
        }
        assert_eq!(Mutant::parse("no-such-bug"), None);
    }

    #[test]
    fn nothing_is_planted_unless_asked() {
        assert!(Mutant::ALL.iter().all(|mutant| !planted(*mutant)));
    }
}
