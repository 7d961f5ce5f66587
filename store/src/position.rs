//! The positions of the log, each one newtype with one name.
//!
//! ```text
//! purged ≤ snapshot ≤ applied ≤ committed ≤ last          (LogIndex)
//! synced ≤ written                                        (LogIndex)
//! ```

use std::fmt;

macro_rules! position {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl $name {
            /// The next position.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }

            /// The position as RocketMQ writes it on the wire and in files, a signed 64-bit number.
            #[must_use]
            pub const fn to_i64(self) -> i64 {
                self.0.cast_signed()
            }
        }

        impl std::ops::Add<u64> for $name {
            type Output = Self;
            fn add(self, n: u64) -> Self {
                Self(self.0 + n)
            }
        }
    };
}

position!(
    /// Position of an entry in the Raft log. The first entry of a group has index 0.
    LogIndex
);
position!(
    /// A Raft term.
    Term
);
position!(
    /// Byte position in the CommitLog, counted from the start of the group's life.
    PhysicalOffset
);
position!(
    /// Dense position 0, 1, 2, … of a message in one (topic, queue id).
    QueueOffset
);

/// Term and index of an entry: with one leader per term, its identity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId {
    /// Term of the leader that proposed the entry.
    pub term: Term,
    /// Index of the entry.
    pub index: LogIndex,
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.term, self.index)
    }
}
