//! Sums of a queue's units, by chunks: what shows that units are those that were written.
//!
//! ```text
//! <topic>/<queueId>/%020d.crc     beside the file of units of that name, 8 bytes a chunk of 204 units (a 4 KiB page)
//! count u16 | 0 u16 | crc u32     CRC-32 of the chunk's first `count` units; all zero where nothing is summed yet
//! ```
//!
//! A sum reaches the disk only after the units it covers are durable: until then it is in memory, and units without
//! one are made again by the replay. So whatever a crash leaves, a sum that is there tells of units that must be there.
//! A sum never lies across two sectors. Chunks begin anew with each file; units below the queue's min may be zeros.

use std::collections::BTreeMap;

use super::unit::{LEN, UNITS_PER_FILE};

/// Units of a chunk; the last one of a file has the 120 that are left.
pub(super) const CHUNK_UNITS: u64 = 204;
/// Bytes of a sum.
pub(super) const SUM_LEN: usize = 8;

/// A chunk of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Chunk {
    /// Number of the file.
    pub file: u64,
    /// Number in the file.
    pub number: u64,
}

impl Chunk {
    /// The one that holds the unit at `offset`.
    pub fn of(offset: u64) -> Self {
        Self { file: offset / UNITS_PER_FILE, number: offset % UNITS_PER_FILE / CHUNK_UNITS }
    }

    /// Offset of its first unit.
    pub fn first(self) -> u64 {
        self.file * UNITS_PER_FILE + self.number * CHUNK_UNITS
    }

    /// Offset behind its last unit.
    pub fn end(self) -> u64 {
        self.file * UNITS_PER_FILE + ((self.number + 1) * CHUNK_UNITS).min(UNITS_PER_FILE)
    }
}

/// The sum of a chunk's first units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub count: u16,
    pub crc: u32,
}

impl Sum {
    pub fn to_bytes(self) -> [u8; SUM_LEN] {
        let mut bytes = [0; SUM_LEN];
        bytes[..2].copy_from_slice(&self.count.to_be_bytes());
        bytes[4..].copy_from_slice(&self.crc.to_be_bytes());
        bytes
    }

    /// What cannot be a sum counts as none.
    pub fn from_bytes(bytes: &[u8; SUM_LEN]) -> Self {
        let [high, low, 0, 0, crc @ ..] = *bytes else { return Self::default() };
        let count = u16::from_be_bytes([high, low]);
        if u64::from(count) > CHUNK_UNITS {
            return Self::default();
        }
        Self { count, crc: u32::from_be_bytes(crc) }
    }

    /// Bytes of the units it covers.
    pub fn covers(self) -> usize {
        usize::from(self.count) * LEN
    }
}

/// The CRC of units behind others whose CRC is `crc`; that of none is 0.
pub(super) fn extend(crc: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(crc);
    hasher.update(bytes);
    hasher.finalize()
}

/// Bytes of a file of sums beside a file of units of `len` bytes that goes on.
pub(super) fn sums_len(len: u64) -> u64 {
    let chunks = len.div_ceil(CHUNK_UNITS * LEN as u64);
    (chunks * SUM_LEN as u64).next_multiple_of(4096)
}

/// What a queue's files hold and its files of sums do not tell yet.
#[derive(Debug, Default)]
pub(super) struct Sums {
    /// Sums that are not on disk; they count before those that are.
    pub pending: BTreeMap<Chunk, Sum>,
    /// Where the last write ended, and the CRC of its chunk up to there.
    tail: Option<(u64, u32)>,
}

impl Sums {
    /// The CRC of the chunk's units before `offset`, if it is known without reading them.
    pub fn known_before(&self, offset: u64) -> Option<u32> {
        if Chunk::of(offset).first() == offset {
            return Some(0);
        }
        self.tail.filter(|(end, _)| *end == offset).map(|(_, crc)| crc)
    }

    /// Units were written from `first` on, behind units with that CRC in the same chunk; `None` if those are damaged: the
    /// chunk's sum stays what it was then.
    pub fn note(&mut self, first: u64, bytes: &[u8], before: Option<u32>) {
        let (mut at, mut rest, mut crc) = (first, bytes, before);
        while !rest.is_empty() {
            let chunk = Chunk::of(at);
            let (now, later) = rest.split_at(rest.len().min((chunk.end() - at) as usize * LEN));
            at += (now.len() / LEN) as u64;
            self.tail = crc.map(|before| (at, extend(before, now)));
            match self.tail {
                Some((_, crc)) => drop(self.set(at, crc)),
                None => drop(self.pending.remove(&chunk)),
            }
            (crc, rest) = (Some(0), later);
        }
    }

    /// The units of a chunk up to `end`, which is not its start, have that CRC.
    pub fn set(&mut self, end: u64, crc: u32) -> Option<Sum> {
        let chunk = Chunk::of(end - 1);
        self.pending.insert(chunk, Sum { count: (end - chunk.first()) as u16, crc })
    }

    /// What the last write left is no longer where the next one begins.
    pub fn forget_tail(&mut self) {
        self.tail = None;
    }

    /// The queue's files are gone.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_begin_anew_with_each_file() {
        let last = Chunk::of(UNITS_PER_FILE - 1);
        assert_eq!(last, Chunk { file: 0, number: 1470 });
        assert_eq!((last.first(), last.end()), (299_880, UNITS_PER_FILE));
        let next = Chunk::of(UNITS_PER_FILE);
        assert_eq!((next, next.first(), next.end()), (Chunk { file: 1, number: 0 }, 300_000, 300_204));
    }

    #[test]
    fn a_sum_takes_eight_bytes_and_what_is_none_counts_as_none() {
        let sum = Sum { count: 204, crc: 0x0102_0304 };
        assert_eq!(sum.to_bytes(), [0, 204, 0, 0, 1, 2, 3, 4]);
        assert_eq!(Sum::from_bytes(&sum.to_bytes()), sum);
        for bytes in [[0, 205, 0, 0, 1, 2, 3, 4], [0, 204, 0, 1, 1, 2, 3, 4], [0; 8]] {
            assert_eq!(Sum::from_bytes(&bytes), Sum::default());
        }
        assert_eq!((sums_len(1), sums_len(6_000_000)), (4096, 12_288));
    }

    #[test]
    fn sums_of_pieces_are_those_of_the_whole() {
        let bytes: Vec<u8> = (0..500 * LEN).map(|n| n as u8).collect();
        let mut whole = Sums::default();
        whole.note(0, &bytes, Some(0));
        let mut pieces = Sums::default();
        for (first, end) in [(0, 7), (7, 203), (203, 410), (410, 500)] {
            let before = pieces.known_before(first);
            assert!(before.is_some(), "{first}");
            pieces.note(first, &bytes[first as usize * LEN..end * LEN], before);
        }
        assert_eq!(pieces.pending, whole.pending);
        assert_eq!(whole.pending.values().map(|sum| sum.count).collect::<Vec<_>>(), [204, 204, 92]);
        assert_eq!(whole.known_before(450), None);
        assert_eq!(whole.known_before(408), Some(0));
    }

    #[test]
    fn behind_damaged_units_a_chunk_gets_no_sum_but_the_next_one_does() {
        let bytes = vec![1; 300 * LEN];
        let mut sums = Sums::default();
        sums.note(100, &bytes, None);
        assert_eq!(sums.pending.keys().copied().collect::<Vec<_>>(), [Chunk { file: 0, number: 1 }]);
    }
}
