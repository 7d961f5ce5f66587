//! The members of a group as DLedger's keys name them: `n0-127.0.0.1:40911;n1-127.0.0.1:40912`.

use std::fmt;

use super::address::HostPort;

/// DLedger's self id: a letter and a number, e.g. `n0`. Forming a group gives node ids 1, 2, … in the numbers' order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId {
    /// Says nothing; DLedger's samples have `n`.
    pub letter: char,
    /// Unlike every other member's.
    pub number: u32,
}

impl PeerId {
    /// Reads `n0`. Leading zeroes are refused: `n01` and `n1` would be one node.
    pub fn parse(text: &str) -> Option<Self> {
        let mut chars = text.chars();
        let letter = chars.next().filter(char::is_ascii_alphabetic)?;
        let digits = chars.as_str();
        let plain = digits.chars().all(|c| c.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
        let number = digits.parse().ok().filter(|_| plain)?;
        Some(Self { letter, number })
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.letter, self.number)
    }
}

/// A member of the group and where its peers reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its dLegerSelfId.
    pub id: PeerId,
    /// Address of its Raft port (not its `listenPort`).
    pub address: HostPort,
}

impl Peer {
    /// Reads `n0-127.0.0.1:40911`.
    pub fn parse(text: &str) -> Option<Self> {
        let (id, address) = text.split_once('-')?;
        Some(Self { id: PeerId::parse(id)?, address: HostPort::parse(address)? })
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.id, self.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_read_and_written_alike() {
        for text in ["n0-127.0.0.1:40911", "a12-my-host.example:1"] {
            assert_eq!(Peer::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_peer_id_is_refused() {
        for text in ["", "n", "0", "nn0", "n-1", "n1.5", "n01", "n4294967296", "ñ1", "n1 "] {
            assert_eq!(PeerId::parse(text), None, "{text:?}");
        }
    }
}
