//! The bytes of one file in memory: sparse pages, and what each was when it was last durable.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;

use super::Losses;
use super::rot::Rot;

/// Bytes of a page: what a sync and a crash work on.
pub(super) const PAGE: u64 = 4096;
/// Bytes that a power loss keeps or drops as one.
const SECTOR: usize = 512;

type Page = Box<[u8; PAGE as usize]>;

/// The content of a file. A page that is absent is all zeroes.
#[derive(Debug)]
pub(super) struct Inode {
    len: u64,
    /// The first bytes that take room, written or not.
    allocated: u64,
    /// Pages written behind those: what lies between is a hole, which takes none.
    scattered: BTreeSet<u64>,
    pages: BTreeMap<u64, Page>,
    durable_len: u64,
    /// For every page changed since the last sync: what it was then.
    before: BTreeMap<u64, Option<Page>>,
    /// Pages whose sync failed: they count as clean, yet the medium still holds what stands here.
    lost: BTreeMap<u64, Option<Page>>,
    rot: Rot,
}

/// The parts of `range` page by page: number of the page, and the bytes of it.
fn parts(range: Range<u64>) -> impl Iterator<Item = (u64, Range<usize>)> {
    let last = if range.is_empty() { 0 } else { range.end.div_ceil(PAGE) };
    (range.start / PAGE..last).map(move |number| {
        let start = number * PAGE;
        let from = range.start.max(start) - start;
        let to = range.end.min(start + PAGE) - start;
        (number, from as usize..to as usize)
    })
}

fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

impl Inode {
    pub(super) fn new(len: u64) -> Self {
        let (scattered, pages, before, lost) = Default::default();
        Self { len, allocated: len, scattered, pages, durable_len: 0, before, lost, rot: Rot::default() }
    }

    /// Bytes of the volume it takes.
    pub(super) fn room(&self) -> u64 {
        self.allocated + self.scattered.len() as u64 * PAGE
    }

    /// Bytes of the volume it would take more, were `range` written.
    pub(super) fn room_for(&self, range: Range<u64>) -> u64 {
        if range.start <= self.allocated {
            return range.end.saturating_sub(self.allocated);
        }
        parts(range).filter(|(number, _)| !self.scattered.contains(number)).count() as u64 * PAGE
    }

    /// Takes room for `range`.
    fn take_room(&mut self, range: Range<u64>) {
        if range.start > self.allocated {
            self.scattered.extend(parts(range).map(|(number, _)| number));
        } else if range.end > self.allocated {
            self.allocated = range.end;
            self.scattered = self.scattered.split_off(&range.end.div_ceil(PAGE));
        }
    }

    /// Makes the file at least that long, and takes room for all of it.
    pub(super) fn allocate(&mut self, len: u64) {
        self.take_room(0..len);
        self.set_len(len.max(self.len));
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    fn page_mut(&mut self, number: u64) -> &mut Page {
        let Self { pages, before, lost, .. } = self;
        before.entry(number).or_insert_with(|| lost.remove(&number).unwrap_or_else(|| pages.get(&number).cloned()));
        self.pages.entry(number).or_insert_with(|| Box::new([0; PAGE as usize]))
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        let range = offset..offset + bytes.len() as u64;
        self.rot.overwrite(range.clone());
        self.len = self.len.max(range.end);
        self.take_room(range.clone());
        let mut rest = bytes;
        for (number, within) in parts(range) {
            let (now, later) = rest.split_at(within.len());
            rest = later;
            // Zeroes written ahead into what is zero already cost no page.
            if self.pages.contains_key(&number) || !is_blank(now) {
                self.page_mut(number)[within].copy_from_slice(now);
            }
        }
    }

    /// Fills `buf`. Whether it met a flipped bit.
    pub(super) fn read(&self, offset: u64, buf: &mut [u8]) -> io::Result<bool> {
        let range = offset..offset + buf.len() as u64;
        if range.end > self.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        copy(buf, range.clone(), |number| self.pages.get(&number));
        Ok(self.rot.meets(range))
    }

    /// The page as the medium holds it for certain.
    fn durable_page(&self, number: u64) -> Option<&Page> {
        let old = self.lost.get(&number).or_else(|| self.before.get(&number));
        old.map_or_else(|| self.pages.get(&number), Option::as_ref)
    }

    /// How many bytes a power loss without luck leaves.
    pub(super) fn durable_len(&self) -> u64 {
        self.durable_len
    }

    /// Bytes as a power loss without luck leaves them.
    pub(super) fn durable(&self, range: Range<u64>) -> io::Result<Vec<u8>> {
        if range.end > self.durable_len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut bytes = vec![0; usize::try_from(range.end - range.start).map_err(io::Error::other)?];
        copy(&mut bytes, range, |number| self.durable_page(number));
        Ok(bytes)
    }

    /// Whether no power loss can change these bytes.
    pub(super) fn is_durable(&self, range: Range<u64>) -> bool {
        range.end <= self.durable_len.min(self.len)
            && parts(range).all(|(number, within)| {
                let changed = self.before.contains_key(&number) || self.lost.contains_key(&number);
                !changed || {
                    let of = |page: Option<&Page>| page.map_or([0; PAGE as usize], |page| **page);
                    of(self.pages.get(&number))[within.clone()] == of(self.durable_page(number))[within]
                }
            })
    }

    /// The pages that were ever written and are durable as they are.
    pub(super) fn clean_pages(&self) -> Vec<Range<u64>> {
        let clean = self.pages.keys().filter(|n| !self.before.contains_key(n) && !self.lost.contains_key(n));
        let ranges = clean.map(|number| number * PAGE..(number * PAGE + PAGE).min(self.durable_len));
        ranges.filter(|range| !range.is_empty()).collect()
    }

    /// The parts from `offset` on that were ever written.
    pub(super) fn data_ranges(&self, offset: u64) -> Vec<Range<u64>> {
        let pages = self.pages.range(offset / PAGE..).map(|(number, _)| number * PAGE);
        pages.map(|at| at.max(offset)..(at + PAGE).min(self.len)).filter(|range| !range.is_empty()).collect()
    }

    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.len {
            self.rot.overwrite(len..self.len);
            let from = (len % PAGE) as usize;
            if self.pages.contains_key(&(len / PAGE)) {
                self.page_mut(len / PAGE)[from..].fill(0);
            }
            for (number, page) in self.pages.split_off(&len.div_ceil(PAGE)) {
                let Self { before, lost, .. } = self;
                before.entry(number).or_insert_with(|| lost.remove(&number).unwrap_or(Some(page)));
            }
            self.allocated = self.allocated.min(len);
            self.scattered.split_off(&len.div_ceil(PAGE));
        }
        self.len = len;
    }

    pub(super) fn sync(&mut self) {
        self.durable_len = self.len;
        self.before.clear();
        let lost = &self.lost;
        self.rot.synced(|offset| !lost.contains_key(&(offset / PAGE)));
    }

    /// What Linux does after a failed writeback: nothing is durable, and no later sync tries again.
    pub(super) fn fail_sync(&mut self) {
        for (number, old) in std::mem::take(&mut self.before) {
            self.lost.entry(number).or_insert(old);
        }
    }

    /// Back to the last sync, but for the sectors that `kept` spares: asked once for each changed page, a bit for each
    /// sector. Pages whose sync failed are gone.
    pub(super) fn lose_power(&mut self, kept: &mut dyn FnMut() -> u8, losses: &mut Losses) {
        for (number, old) in std::mem::take(&mut self.lost) {
            self.take_back(number, old, 0, losses);
        }
        for (number, old) in std::mem::take(&mut self.before) {
            let within = number * PAGE < self.durable_len;
            let kept = kept();
            self.take_back(number, old, if within { kept } else { 0 }, losses);
        }
        self.set_len(self.durable_len);
        self.before.clear();
        self.rot.settle(self.durable_len..u64::MAX, true);
    }

    /// Puts the old sectors of a page back, but for those that are kept.
    fn take_back(&mut self, number: u64, old: Option<Page>, kept: u8, losses: &mut Losses) {
        let old = old.unwrap_or_else(|| Box::new([0; PAGE as usize]));
        let page = self.pages.entry(number).or_insert_with(|| Box::new([0; PAGE as usize]));
        let (mut lost, mut spared) = (false, false);
        let sectors = page.chunks_exact_mut(SECTOR).zip(old.chunks_exact(SECTOR)).enumerate();
        for (i, (new, old)) in sectors {
            let (keep, start) = (kept >> i & 1 == 1, number * PAGE + (i * SECTOR) as u64);
            self.rot.settle(start..start + SECTOR as u64, keep);
            if new != old {
                *if keep { &mut spared } else { &mut lost } = true;
            }
            if !keep {
                new.copy_from_slice(old);
            }
        }
        match (lost, spared) {
            (true, true) => losses.pages_torn += 1,
            (true, false) => losses.pages_lost += 1,
            (false, _) => {}
        }
    }

    /// Damages the medium behind the back of every reader: what is written and what is durable.
    pub(super) fn flip(&mut self, offset: u64, mask: u8) {
        let (number, at) = (offset / PAGE, (offset % PAGE) as usize);
        self.pages.entry(number).or_insert_with(|| Box::new([0; PAGE as usize]))[at] ^= mask;
        for changed in [&mut self.before, &mut self.lost] {
            if let Some(old) = changed.get_mut(&number) {
                old.get_or_insert_with(|| Box::new([0; PAGE as usize]))[at] ^= mask;
            }
        }
        self.rot.add(offset, mask);
    }

    /// Bytes that are wrong now, with the bits that are.
    pub(super) fn rotten(&self) -> Vec<(u64, u8)> {
        self.rot.wrong()
    }
}

/// Fills `buf` with `range` of a file of these pages.
fn copy<'a>(buf: &mut [u8], range: Range<u64>, page: impl Fn(u64) -> Option<&'a Page>) {
    let mut rest = buf;
    for (number, within) in parts(range) {
        let (head, tail) = rest.split_at_mut(within.len());
        match page(number) {
            Some(page) => head.copy_from_slice(&page[within]),
            None => head.fill(0),
        }
        rest = tail;
    }
}
