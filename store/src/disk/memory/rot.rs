//! Bits that flipped on the medium, for as long as they are there.

use std::collections::BTreeMap;
use std::ops::Range;

/// The flipped bits of one file, by byte.
#[derive(Debug, Default)]
pub(super) struct Rot(BTreeMap<u64, Flip>);

#[derive(Debug)]
struct Flip {
    /// The bits that are wrong.
    mask: u8,
    /// Whether the byte was written since. A power loss may bring the flip back until that is synced.
    overwritten: bool,
}

impl Rot {
    pub(super) fn add(&mut self, offset: u64, mask: u8) {
        let flip = self.0.entry(offset).or_insert(Flip { mask: 0, overwritten: false });
        flip.mask ^= mask;
        if flip.mask == 0 {
            self.0.remove(&offset);
        }
    }

    /// Bytes were written.
    pub(super) fn overwrite(&mut self, range: Range<u64>) {
        self.0.range_mut(range).for_each(|(_, flip)| flip.overwritten = true);
    }

    /// What was overwritten is durable, where `durable` says so of a byte.
    pub(super) fn synced(&mut self, durable: impl Fn(u64) -> bool) {
        self.0.retain(|offset, flip| !(flip.overwritten && durable(*offset)));
    }

    /// A power loss has left what was written to some bytes, or has taken it back.
    pub(super) fn settle(&mut self, range: Range<u64>, kept: bool) {
        let within = range.clone();
        if kept {
            self.0.retain(|offset, flip| !(within.contains(offset) && flip.overwritten));
        } else {
            self.0.range_mut(range).for_each(|(_, flip)| flip.overwritten = false);
        }
    }

    /// Whether a reader of these bytes gets a flipped bit.
    pub(super) fn meets(&self, range: Range<u64>) -> bool {
        !self.0.is_empty() && self.0.range(range).any(|(_, flip)| !flip.overwritten)
    }

    /// Bytes that are wrong now, with the bits that are.
    pub(super) fn wrong(&self) -> Vec<(u64, u8)> {
        self.0.iter().filter(|(_, flip)| !flip.overwritten).map(|(offset, flip)| (*offset, flip.mask)).collect()
    }
}
