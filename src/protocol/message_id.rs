//! The offsetMsgId: where a message is stored, as 32 upper-case hex digits of `ip4 | port i32 | PhysicalOffset i64`.
//! Clients take it apart again to view a message or send it back (clients.md 3.11).

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::Deref;

use quorumq_store::PhysicalOffset;

/// Broker address and position of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetMsgId {
    pub store_host: SocketAddrV4,
    pub offset: PhysicalOffset,
}

impl OffsetMsgId {
    /// The 32 digits, without an allocation.
    pub fn to_hex(self) -> HexId {
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        let mut bytes = [0u8; 16];
        bytes[..4].copy_from_slice(&self.store_host.ip().octets());
        bytes[4..8].copy_from_slice(&u32::from(self.store_host.port()).to_be_bytes());
        bytes[8..].copy_from_slice(&self.offset.0.to_be_bytes());
        let mut hex = [0u8; 32];
        for (pair, byte) in hex.chunks_exact_mut(2).zip(bytes) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        HexId(hex)
    }

    /// Reads the 32 digits, in either case; `None` if it is anything else.
    pub fn parse(hex: &str) -> Option<Self> {
        if hex.len() != 32 || !hex.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        let ip = u32::from_str_radix(&hex[..8], 16).ok()?;
        let port = u32::from_str_radix(&hex[8..16], 16).ok()?;
        let offset = u64::from_str_radix(&hex[16..], 16).ok()?;
        let store_host = SocketAddrV4::new(Ipv4Addr::from(ip), u16::try_from(port).ok()?);
        Some(Self { store_host, offset: PhysicalOffset(offset) })
    }
}

impl fmt::Display for OffsetMsgId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

/// The text of an offsetMsgId.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HexId([u8; 32]);

impl Deref for HexId {
    type Target = str;

    fn deref(&self) -> &str {
        match std::str::from_utf8(&self.0) {
            Ok(text) => text,
            Err(_) => unreachable!("hex digits are ASCII"),
        }
    }
}

impl fmt::Debug for HexId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_message_of_a_captured_broker_gets_its_id() {
        let id = OffsetMsgId { store_host: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 30911), offset: PhysicalOffset(48) };
        assert_eq!(&*id.to_hex(), "7F000001000078BF0000000000000030");
        assert_eq!(OffsetMsgId::parse("7F000001000078BF0000000000000030"), Some(id));
        assert_eq!(OffsetMsgId::parse("7f000001000078bf0000000000000030"), Some(id));
        assert_eq!(id.to_string(), "7F000001000078BF0000000000000030");
    }

    #[test]
    fn other_texts_are_no_ids() {
        for text in [
            "",
            "7F000001000078BF000000000000003",
            "7F000001000078BF00000000000000300",
            "7F000001FFFFFFFF0000000000000030",
            "+F000001000078BF0000000000000030",
            "7F000001000078BF00000000000000é",
        ] {
            assert_eq!(OffsetMsgId::parse(text), None, "{text}");
        }
    }
}
