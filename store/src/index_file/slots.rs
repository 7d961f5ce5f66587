//! The slot table of a file that is being filled.

use std::ops::Range;

use super::layout::{HEADER_LEN, IndexSizes, SLOT_LEN};

/// Slots are written by the pages they lie on.
const PAGE: u64 = 4096;
/// Most bytes of slots written at once.
const RUN_LEN: u64 = 1 << 20;

/// Every slot's newest unit. Memory that is zero takes none until it is written: a file of a few keys costs a few pages.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    newest: Vec<u32>,
    /// A bit for each page of the file in which a slot is in use.
    pages: Vec<u64>,
}

impl Slots {
    pub fn new(sizes: IndexSizes) -> Self {
        let pages = sizes.slot_at(sizes.slots).div_ceil(PAGE);
        Self { newest: vec![0; sizes.slots as usize], pages: vec![0; pages.div_ceil(64) as usize] }
    }

    pub fn get(&self, slot: u32) -> u32 {
        self.newest[slot as usize]
    }

    /// Puts a unit at the head of its slot's chain, and answers the one that was.
    pub fn replace(&mut self, slot: u32, index: u32) -> u32 {
        let page = (HEADER_LEN + u64::from(slot) * SLOT_LEN) / PAGE;
        self.pages[(page / 64) as usize] |= 1 << (page % 64);
        std::mem::replace(&mut self.newest[slot as usize], index)
    }

    /// The slots of the pages in use, in runs.
    pub fn runs(&self) -> Vec<Range<u32>> {
        let is_used = |page: u64| self.pages[(page / 64) as usize] >> (page % 64) & 1 == 1;
        let slots = self.newest.len() as u64;
        // No slot lies across two pages: the header's length and the page's are multiples of a slot's.
        let first_of = |page: u64| ((page * PAGE).saturating_sub(HEADER_LEN) / SLOT_LEN).min(slots) as u32;
        let mut runs: Vec<Range<u32>> = Vec::new();
        for page in (0..self.pages.len() as u64 * 64).filter(|page| is_used(*page)) {
            let (first, end) = (first_of(page), first_of(page + 1));
            match runs.last_mut() {
                Some(run) if run.end == first && u64::from(end - run.start) * SLOT_LEN <= RUN_LEN => run.end = end,
                _ => runs.push(first..end),
            }
        }
        runs
    }

    /// The bytes of slots in a file.
    pub fn to_bytes(&self, run: Range<u32>) -> Vec<u8> {
        self.newest[run.start as usize..run.end as usize].iter().flat_map(|newest| newest.to_be_bytes()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_in_use_are_written() {
        let mut slots = Slots::new(IndexSizes { slots: 1_000_000, units: 2 });
        assert_eq!(slots.runs(), []);
        // The first page holds the header and 1014 slots, every other 1024.
        assert_eq!(slots.replace(1013, 1), 0);
        assert_eq!(slots.runs(), [Range { start: 0, end: 1014 }]);
        assert_eq!(slots.replace(1014, 2), 0);
        assert_eq!(slots.replace(999_999, 3), 0);
        assert_eq!(slots.replace(1014, 4), 2);
        assert_eq!(slots.runs(), [0..2038, 999_414..1_000_000]);
        assert_eq!(slots.to_bytes(1013..1016), [0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 0]);
    }
}
