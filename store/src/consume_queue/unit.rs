//! A ConsumeQueue's unit: `offset i64 | size i32 | tagsCode i64`, big-endian.

use crate::PhysicalOffset;

/// Bytes of a unit.
pub const UNIT_LEN: u64 = 20;
/// Units of a file (RocketMQ: 300,000, so 6,000,000 bytes).
pub const UNITS_PER_FILE: u64 = 300_000;
/// Bytes of a full file.
pub const FILE_LEN: u64 = UNIT_LEN * UNITS_PER_FILE;

/// [`UNIT_LEN`] as a length in memory.
pub(super) const LEN: usize = UNIT_LEN as usize;

/// One message of a queue: where its record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Where the record starts in the CommitLog.
    pub position: PhysicalOffset,
    /// Bytes of the record, never 0.
    pub size: u32,
    /// Java's `String.hashCode` of the tag, sign-extended; 0 without a tag.
    pub tags_code: i64,
}

impl Unit {
    /// The unit's bytes in a file.
    pub fn to_bytes(self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[..8].copy_from_slice(&self.position.to_i64().to_be_bytes());
        bytes[8..12].copy_from_slice(&self.size.to_be_bytes());
        bytes[12..].copy_from_slice(&self.tags_code.to_be_bytes());
        bytes
    }

    /// The unit of a file's bytes; `None` where nothing was written (a hole, or blocks only allocated).
    pub fn from_bytes(bytes: &[u8; LEN]) -> Option<Self> {
        let (position, rest) = bytes.split_first_chunk::<8>()?;
        let (size, rest) = rest.split_first_chunk::<4>()?;
        let (tags_code, _) = rest.split_first_chunk::<8>()?;
        let size = u32::from_be_bytes(*size);
        (size != 0).then(|| Self {
            position: PhysicalOffset(u64::from_be_bytes(*position)),
            size,
            tags_code: i64::from_be_bytes(*tags_code),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_takes_rocketmqs_twenty_bytes() {
        let unit = Unit { position: PhysicalOffset(0x0102_0304_0506_0708), size: 0xE5, tags_code: i64::from(i32::MIN) };
        let bytes = unit.to_bytes();
        assert_eq!(bytes, *b"\x01\x02\x03\x04\x05\x06\x07\x08\0\0\0\xE5\xFF\xFF\xFF\xFF\x80\0\0\0");
        assert_eq!(Unit::from_bytes(&bytes), Some(unit));
        assert_eq!(Unit::from_bytes(&[0; LEN]), None);
    }
}
