//! The bytes of an IndexFile, big-endian, as RocketMQ lays them out.
//!
//! ```text
//!  0 header   beginTs i64 | endTs i64 | beginPhy i64 | endPhy i64 | slotCount i32 (in use) | indexCount i32 (from 1)
//! 40 slots    i32 each: the newest unit of its keys, 0 if it has none
//!    units    keyHash i32 | phyOffset i64 | timeDiff i32 (seconds after beginTs) | prevIndex i32; unit 0 is never used
//! ```

use std::ops::RangeInclusive;

use crate::mutant::{Mutant, planted};
use crate::record::java_hash_of;
use crate::{PhysicalOffset, StoreError};

/// Bytes of the header.
pub const HEADER_LEN: u64 = 40;
/// Bytes of a slot.
pub const SLOT_LEN: u64 = 4;
/// Bytes of a unit.
pub const INDEX_UNIT_LEN: u64 = 20;

/// [`INDEX_UNIT_LEN`] as a length in memory.
pub(super) const LEN: usize = INDEX_UNIT_LEN as usize;

/// Where a unit's fields begin.
pub(super) const HASH: u64 = 0;
pub(super) const POSITION: u64 = 4;
pub(super) const SECONDS: u64 = 12;
pub(super) const PREV: u64 = 16;

/// How many slots and units a file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexSizes {
    /// Slots (RocketMQ's `maxHashSlotNum`).
    pub slots: u32,
    /// Units (RocketMQ's `maxIndexNum`), of which the first is never used.
    pub units: u32,
}

impl Default for IndexSizes {
    fn default() -> Self {
        Self { slots: 5_000_000, units: 20_000_000 }
    }
}

impl IndexSizes {
    /// Bytes of a file.
    pub fn file_len(self) -> u64 {
        self.unit_at(self.units)
    }

    /// Units that a full file holds.
    pub fn capacity(self) -> u32 {
        self.units - 1
    }

    /// Where a slot begins.
    pub(super) fn slot_at(self, slot: u32) -> u64 {
        HEADER_LEN + u64::from(slot) * SLOT_LEN
    }

    /// Where a unit begins.
    pub(super) fn unit_at(self, index: u32) -> u64 {
        self.slot_at(self.slots) + u64::from(index) * INDEX_UNIT_LEN
    }

    pub(super) fn slot_of(self, hash: u32) -> u32 {
        hash % self.slots
    }

    /// A file needs a slot and a unit to use, and RocketMQ's numbers are signed.
    pub(super) fn check(self) -> Result<(), StoreError> {
        if self.is_sound() {
            return Ok(());
        }
        Err(StoreError::Contract(format!("an IndexFile of {} slots and {} units", self.slots, self.units)))
    }

    pub(super) fn is_sound(self) -> bool {
        let max = i32::MAX as u32;
        (1..=max).contains(&self.slots) && (2..=max).contains(&self.units)
    }
}

/// RocketMQ's hash of a key of a topic: the absolute value of Java's hash of `topic#key`, 0 where there is none.
pub fn key_hash(topic: &str, key: &[u8]) -> u32 {
    let hash = java_hash_of(&[topic.as_bytes(), b"#", key]);
    hash.checked_abs().map_or(0, i32::cast_unsigned)
}

/// One key of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IndexUnit {
    pub hash: u32,
    pub position: PhysicalOffset,
    pub seconds: i32,
    /// The unit before it in its slot's chain; 0 if it is the first.
    pub prev: u32,
}

impl IndexUnit {
    pub fn to_bytes(self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[..4].copy_from_slice(&self.hash.to_be_bytes());
        bytes[4..12].copy_from_slice(&self.position.to_i64().to_be_bytes());
        bytes[12..16].copy_from_slice(&self.seconds.to_be_bytes());
        bytes[16..].copy_from_slice(&self.prev.to_be_bytes());
        bytes
    }

    pub fn from_bytes(bytes: &[u8; LEN]) -> Self {
        let mut fields = Fields(bytes);
        Self {
            hash: fields.u32(),
            position: PhysicalOffset(fields.i64().cast_unsigned()),
            seconds: fields.u32().cast_signed(),
            prev: fields.u32(),
        }
    }
}

/// A file's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub begin_ms: i64,
    pub end_ms: i64,
    pub begin: PhysicalOffset,
    pub end: PhysicalOffset,
    /// Slots in use.
    pub slots: u32,
    /// The index that the next unit gets.
    pub next: u32,
}

impl Header {
    /// Of a file that begins at that record.
    pub fn new(position: PhysicalOffset, store_timestamp_ms: i64) -> Self {
        Self {
            begin_ms: store_timestamp_ms,
            end_ms: store_timestamp_ms,
            begin: position,
            end: position,
            slots: 0,
            next: 1,
        }
    }

    /// Counts the unit of a record in, and answers its timeDiff.
    pub fn add(&mut self, position: PhysicalOffset, store_timestamp_ms: i64, is_first_of_slot: bool) -> i32 {
        (self.end, self.end_ms) = (position, store_timestamp_ms);
        self.next += 1;
        self.slots += u32::from(is_first_of_slot);
        if self.begin_ms <= 0 {
            return 0;
        }
        let seconds = store_timestamp_ms.saturating_sub(self.begin_ms) / 1000;
        i32::try_from(seconds.max(0)).unwrap_or(i32::MAX)
    }

    /// The times of which one is a unit's: its file tells it in whole seconds.
    pub fn times_of(&self, seconds: i32) -> RangeInclusive<i64> {
        let from = self.begin_ms.saturating_add(i64::from(seconds) * 1000);
        if planted(Mutant::IndexTimesCut) { from..=from } else { from..=from.saturating_add(999) }
    }

    /// Whether any record of the file can lie within these times.
    pub fn overlaps(&self, begin_ms: i64, end_ms: i64) -> bool {
        begin_ms <= self.end_ms && self.begin_ms <= end_ms
    }

    pub fn to_bytes(self) -> [u8; HEADER_LEN as usize] {
        let mut bytes = [0; HEADER_LEN as usize];
        let longs = [self.begin_ms, self.end_ms, self.begin.to_i64(), self.end.to_i64()];
        for (field, long) in bytes.chunks_exact_mut(8).zip(longs) {
            field.copy_from_slice(&long.to_be_bytes());
        }
        bytes[32..36].copy_from_slice(&self.slots.to_be_bytes());
        bytes[36..].copy_from_slice(&self.next.to_be_bytes());
        bytes
    }

    /// The header of a file of `sizes`' first bytes; `None` if no file of that size can have it.
    pub fn from_bytes(bytes: &[u8; HEADER_LEN as usize], sizes: IndexSizes) -> Option<Self> {
        let mut fields = Fields(bytes);
        let (begin_ms, end_ms) = (fields.i64(), fields.i64());
        let [begin, end] = [fields.i64(), fields.i64()].map(|at| PhysicalOffset(at.cast_unsigned()));
        let header = Self { begin_ms, end_ms, begin, end, slots: fields.u32(), next: fields.u32() };
        let is_sound = header.begin <= header.end
            && (2..=sizes.units).contains(&header.next)
            && (1..=sizes.slots.min(header.next - 1)).contains(&header.slots);
        is_sound.then_some(header)
    }
}

/// Reads fields one after the other.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let Some((field, rest)) = self.0.split_first_chunk() else {
            unreachable!("the caller's bytes hold all fields")
        };
        self.0 = rest;
        *field
    }

    fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.take())
    }

    fn i64(&mut self) -> i64 {
        i64::from_be_bytes(self.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_rocketmqs_sizes_has_rocketmqs_length() {
        assert_eq!(IndexSizes::default().file_len(), 420_000_040);
    }

    #[test]
    fn a_key_hashes_with_its_topic_and_never_below_zero() {
        assert_eq!(key_hash("", b""), 35);
        assert_eq!(key_hash("T", b"k"), 84 * 961 + 35 * 31 + 107);
        // Seven characters from '@' on are the digits, in base 31, of whatever is missing to i32::MIN.
        let zero = java_hash_of(&[b"T#@@@@@@@"]);
        let mut missing = i32::MIN.wrapping_sub(zero).cast_unsigned();
        let mut key = [b'@'; 7];
        for digit in key.iter_mut().rev() {
            *digit += (missing % 31) as u8;
            missing /= 31;
        }
        assert_eq!(java_hash_of(&[b"T#", &key]), i32::MIN);
        assert_eq!(key_hash("T", &key), 0, "its absolute value overflows in Java, and RocketMQ takes 0 then");
    }

    #[test]
    fn time_differences_are_whole_seconds_and_never_negative() {
        let mut header = Header::new(PhysicalOffset(7), 10_000);
        assert_eq!(header.add(PhysicalOffset(7), 10_000, true), 0);
        assert_eq!(header.add(PhysicalOffset(8), 11_999, false), 1);
        assert_eq!(header.add(PhysicalOffset(9), 9_000, true), 0);
        assert_eq!(header.add(PhysicalOffset(10), i64::MAX, true), i32::MAX);
        assert_eq!(
            (header.next, header.slots, header.begin, header.end),
            (5, 3, PhysicalOffset(7), PhysicalOffset(10))
        );
        assert_eq!(
            Header::new(PhysicalOffset(7), 0).add(PhysicalOffset(7), 5_000, true),
            0,
            "without a begin, no time"
        );
    }
}
