//! Entry frames: header, CRCs, chain. The only place that knows those bytes.
//!
//! A frame is a header of [`HEADER_LEN`] bytes and a body. All integers are big-endian:
//!
//! ```text
//!  0 magic u32      4 version u8    5 kind u8       6 zero u16      8 body length u32    12 chain u32
//! 16 term u64      24 index u64    32 position u64 40 body CRC u32  44 CRC of bytes 0..44 u32
//! ```
//!
//! `chain` is the header CRC of the frame before (fillers included), so a frame validates only behind the very
//! history it was written for; `position` is the frame's own [`PhysicalOffset`], so a moved or recycled block never
//! validates. Every future version keeps magic, version and header CRC where they are, so that an unknown version
//! can be told from a damaged header.

use crc32fast::Hasher;

use crate::identity::Identity;
use crate::{LogId, LogIndex, PhysicalOffset, Term};

/// Bytes of a frame header. An entry's body starts this far behind its frame.
pub const HEADER_LEN: u64 = 48;
/// Version of the frame layout that this build writes and reads.
pub const VERSION: u8 = 1;

/// First bytes of every frame: `QMQF`.
pub(crate) const MAGIC: u32 = 0x514D_5146;

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
        Some(match n {
            0 => Self::Filler,
            1 => Self::Blank,
            2 => Self::Membership,
            3 => Self::Records,
            4 => Self::Command,
            _ => return None,
        })
    }
}

/// The encoded form of a header.
pub(crate) type HeaderBytes = [u8; HEADER_LEN as usize];

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the frame holds.
    pub kind: Kind,
    /// Bytes of the body.
    pub body_len: u32,
    /// The entry; for a filler, the last entry before it.
    pub id: LogId,
    /// Where the frame starts.
    pub position: PhysicalOffset,
    /// Header CRC of the frame before.
    pub chain: u32,
    /// CRC-32 of the body; 0 for a filler, whose body is all zeroes.
    pub body_crc: u32,
}

/// Why bytes are no frame header of the asked position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// All bytes are zero: nothing was written here.
    Blank,
    /// The bytes do not start with the magic number.
    Magic,
    /// The header's CRC does not match.
    Checksum,
    /// A sound header of a version this build does not know.
    Version(u8),
    /// A sound header of a kind this build does not know.
    Kind(u8),
    /// A sound header of another position.
    Position,
    /// A sound header whose length does not fit its segment.
    Length,
    /// A sound header that does not chain to the frame before.
    Chain,
    /// A sound header whose term or index does not follow the entry before.
    Order,
    /// The body's CRC does not match, or a filler's body is not zero.
    Body,
}

impl Flaw {
    /// The flaw in words, as object of "corrupt".
    pub fn what(self) -> &'static str {
        match self {
            Self::Blank => "frame (its header is blank)",
            Self::Magic => "frame magic",
            Self::Checksum => "frame header (its CRC does not match)",
            Self::Version(_) => "frame version",
            Self::Kind(_) => "frame kind",
            Self::Position => "frame position",
            Self::Length => "frame length",
            Self::Chain => "frame chain",
            Self::Order => "order of entries",
            Self::Body => "frame body (its CRC does not match)",
        }
    }
}

impl Header {
    /// Bytes of the whole frame.
    pub fn frame_len(&self) -> u64 {
        HEADER_LEN + u64::from(self.body_len)
    }

    /// First byte behind the frame.
    pub fn end(&self) -> PhysicalOffset {
        self.position + self.frame_len()
    }

    /// The header's bytes and its CRC, which is the chain value of the next frame.
    pub fn encode(&self) -> (HeaderBytes, u32) {
        let mut bytes = [0; HEADER_LEN as usize];
        bytes[0..4].copy_from_slice(&MAGIC.to_be_bytes());
        bytes[4] = VERSION;
        bytes[5] = self.kind as u8;
        bytes[8..12].copy_from_slice(&self.body_len.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.chain.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.id.term.0.to_be_bytes());
        bytes[24..32].copy_from_slice(&self.id.index.0.to_be_bytes());
        bytes[32..40].copy_from_slice(&self.position.0.to_be_bytes());
        bytes[40..44].copy_from_slice(&self.body_crc.to_be_bytes());
        let crc = crc32fast::hash(&bytes[..44]);
        bytes[44..48].copy_from_slice(&crc.to_be_bytes());
        (bytes, crc)
    }

    /// Reads the header of the frame at `at`. Returns it with its own CRC, the chain value of the next frame.
    ///
    /// # Errors
    /// The first flaw found; whether chain, term, index and body fit is the caller's to check.
    pub fn decode(bytes: &HeaderBytes, at: PhysicalOffset) -> Result<(Self, u32), Flaw> {
        if is_blank(bytes) {
            return Err(Flaw::Blank);
        }
        if u32_at(bytes, 0) != MAGIC {
            return Err(Flaw::Magic);
        }
        let crc = crc32fast::hash(&bytes[..44]);
        if crc != u32_at(bytes, 44) {
            return Err(Flaw::Checksum);
        }
        if bytes[4] != VERSION {
            return Err(Flaw::Version(bytes[4]));
        }
        let kind = Kind::from_u8(bytes[5]).ok_or(Flaw::Kind(bytes[5]))?;
        let position = PhysicalOffset(u64_at(bytes, 32));
        if position != at {
            return Err(Flaw::Position);
        }
        let id = LogId { term: Term(u64_at(bytes, 16)), index: LogIndex(u64_at(bytes, 24)) };
        let header = Self {
            kind,
            body_len: u32_at(bytes, 8),
            id,
            position,
            chain: u32_at(bytes, 12),
            body_crc: u32_at(bytes, 40),
        };
        Ok((header, crc))
    }

    /// Whether `body` is the body this header was written for.
    pub fn matches(&self, body: &[u8]) -> bool {
        if body.len() as u64 != u64::from(self.body_len) {
            return false;
        }
        match self.kind {
            Kind::Filler => self.body_crc == 0 && is_blank(body),
            _ => crc32fast::hash(body) == self.body_crc,
        }
    }
}

/// Whether all bytes are zero. Compares whole blocks, which is fast in every build.
pub(crate) fn is_blank(bytes: &[u8]) -> bool {
    static ZEROES: [u8; 4096] = [0; 4096];
    bytes.chunks(ZEROES.len()).all(|block| block == &ZEROES[..block.len()])
}

/// The chain value of a group's very first frame: a constant of the group, so that a frame of another group, or of
/// another segment size, never validates.
pub fn genesis(identity: &Identity) -> u32 {
    let mut crc = Hasher::new();
    crc.update(&identity.group_uuid.to_be_bytes());
    crc.update(&identity.constants.segment_size.to_be_bytes());
    crc.update(&[identity.constants.frame_version]);
    crc.finalize()
}

fn u32_at(bytes: &HeaderBytes, at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &HeaderBytes, at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) << 32 | u64::from(u32_at(bytes, at + 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            kind: Kind::Records,
            body_len: 5,
            id: LogId { term: Term(7), index: LogIndex(9) },
            position: PhysicalOffset(4096),
            chain: 0xAABB_CCDD,
            body_crc: crc32fast::hash(b"hello"),
        }
    }

    #[test]
    fn a_header_has_the_documented_bytes() {
        let (bytes, crc) = header().encode();
        let mut want = Vec::new();
        want.extend_from_slice(b"QMQF\x01\x03\0\0");
        want.extend_from_slice(&[0, 0, 0, 5, 0xAA, 0xBB, 0xCC, 0xDD]);
        want.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0x10, 0]);
        want.extend_from_slice(&0x3610_A686u32.to_be_bytes());
        want.extend_from_slice(&crc.to_be_bytes());
        assert_eq!(bytes.as_slice(), want);
        assert_eq!(Header::decode(&bytes, PhysicalOffset(4096)), Ok((header(), crc)));
        assert!(header().matches(b"hello") && !header().matches(b"hellp") && !header().matches(b"hell"));
    }

    #[test]
    fn every_flipped_bit_of_a_header_is_noticed() {
        let (bytes, _) = header().encode();
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::decode(&bad, PhysicalOffset(4096)).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn an_unknown_version_or_kind_is_told_from_damage() {
        let (good, _) = header().encode();
        for (at, byte, want) in [(4, 2, Flaw::Version(2)), (5, 99, Flaw::Kind(99))] {
            let mut bytes = good;
            bytes[at] = byte;
            assert_eq!(Header::decode(&bytes, PhysicalOffset(4096)), Err(Flaw::Checksum));
            let crc = crc32fast::hash(&bytes[..44]);
            bytes[44..].copy_from_slice(&crc.to_be_bytes());
            assert_eq!(Header::decode(&bytes, PhysicalOffset(4096)), Err(want));
        }
    }

    #[test]
    fn a_frame_of_another_position_never_validates() {
        let (bytes, _) = header().encode();
        assert_eq!(Header::decode(&bytes, PhysicalOffset(8192)), Err(Flaw::Position));
        assert_eq!(Header::decode(&[0; 48], PhysicalOffset(0)), Err(Flaw::Blank));
    }
}
