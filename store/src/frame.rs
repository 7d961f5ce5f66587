//! Entry frames: header, CRCs, chain. The only place that knows those bytes.
//!
//! Contract for other modules; the byte layout is this module's own.

/// Bytes of a frame header. An entry's body starts this far behind its frame.
pub const HEADER_LEN: u64 = 48;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Fills the end of a segment. Takes no log index.
    Filler = 0,
    /// A leader's first entry of its term.
    Blank = 1,
    /// A membership of the group, encoded by `raft`.
    Membership = 2,
    /// 1..n records in RocketMQ's stored layout, one after the other.
    Records = 3,
    /// A command of the state machine, encoded by `machine`.
    Command = 4,
}

impl Kind {
    /// The kind of a number.
    #[must_use]
    pub fn from_u8(n: u8) -> Option<Self> {
        [
            Self::Filler,
            Self::Blank,
            Self::Membership,
            Self::Records,
            Self::Command,
        ]
        .into_iter()
        .find(|k| *k as u8 == n)
    }
}
