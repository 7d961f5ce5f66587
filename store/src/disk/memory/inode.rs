//! The bytes of one file in memory: sparse pages, and what each was when it was last durable.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

/// Bytes of a page: what a sync and a crash work on.
const PAGE: u64 = 4096;
/// Bytes that a power loss keeps or drops as one.
const SECTOR: usize = 512;

type Page = Box<[u8; PAGE as usize]>;

/// The content of a file. A page that is absent is all zeroes.
#[derive(Debug)]
pub(super) struct Inode {
    len: u64,
    pages: BTreeMap<u64, Page>,
    durable_len: u64,
    /// For every page changed since the last sync: what it was then.
    before: BTreeMap<u64, Option<Page>>,
    /// Pages whose sync failed: they count as clean, yet the medium still holds what stands here.
    lost: BTreeMap<u64, Option<Page>>,
}

impl Inode {
    pub(super) fn new(len: u64) -> Self {
        Self { len, pages: BTreeMap::new(), durable_len: 0, before: BTreeMap::new(), lost: BTreeMap::new() }
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
        let mut at = offset;
        let mut rest = bytes;
        while !rest.is_empty() {
            let from = (at % PAGE) as usize;
            let n = rest.len().min(PAGE as usize - from);
            self.page_mut(at / PAGE)[from..from + n].copy_from_slice(&rest[..n]);
            rest = &rest[n..];
            at += n as u64;
        }
        self.len = self.len.max(at);
    }

    pub(super) fn read(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        if offset + buf.len() as u64 > self.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut at = offset;
        let mut rest = buf;
        while !rest.is_empty() {
            let from = (at % PAGE) as usize;
            let n = rest.len().min(PAGE as usize - from);
            let (head, tail) = rest.split_at_mut(n);
            match self.pages.get(&(at / PAGE)) {
                Some(page) => head.copy_from_slice(&page[from..from + n]),
                None => head.fill(0),
            }
            rest = tail;
            at += n as u64;
        }
        Ok(())
    }

    /// The parts from `offset` on that were ever written.
    pub(super) fn data_ranges(&self, offset: u64) -> Vec<Range<u64>> {
        let pages = self.pages.range(offset / PAGE..).map(|(number, _)| number * PAGE);
        pages.map(|at| at.max(offset)..(at + PAGE).min(self.len)).filter(|range| !range.is_empty()).collect()
    }

    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.len {
            let from = (len % PAGE) as usize;
            if self.pages.contains_key(&(len / PAGE)) {
                self.page_mut(len / PAGE)[from..].fill(0);
            }
            for (number, page) in self.pages.split_off(&len.div_ceil(PAGE)) {
                let Self { before, lost, .. } = self;
                before.entry(number).or_insert_with(|| lost.remove(&number).unwrap_or(Some(page)));
            }
        }
        self.len = len;
    }

    pub(super) fn sync(&mut self) {
        self.durable_len = self.len;
        self.before.clear();
    }

    /// What Linux does after a failed writeback: nothing is durable, and no later sync tries again.
    pub(super) fn fail_sync(&mut self) {
        for (number, old) in std::mem::take(&mut self.before) {
            self.lost.entry(number).or_insert(old);
        }
    }

    /// Back to the last sync, but for the sectors that `keep` spares.
    pub(super) fn crash(&mut self, keep: &mut dyn FnMut() -> bool) {
        let mut changed = std::mem::take(&mut self.lost);
        changed.append(&mut self.before);
        for (number, old) in changed {
            let old = old.unwrap_or_else(|| Box::new([0; PAGE as usize]));
            let page = self.pages.entry(number).or_insert_with(|| Box::new([0; PAGE as usize]));
            for (new, old) in page.chunks_exact_mut(SECTOR).zip(old.chunks_exact(SECTOR)) {
                if !keep() {
                    new.copy_from_slice(old);
                }
            }
        }
        self.set_len(self.durable_len);
        self.before.clear();
    }

    /// The bytes of `range` as the last sync left them.
    pub(super) fn durable(&self, range: Range<u64>) -> io::Result<Vec<u8>> {
        if range.end > self.durable_len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let of_page = |number: u64| {
            let before = self.lost.get(&number).or_else(|| self.before.get(&number));
            before.map_or_else(|| self.pages.get(&number), Option::as_ref)
        };
        let mut bytes = Vec::new();
        let mut at = range.start;
        while at < range.end {
            let page_end = (at / PAGE + 1) * PAGE;
            let within = (at % PAGE) as usize..(at % PAGE + range.end.min(page_end) - at) as usize;
            match of_page(at / PAGE) {
                Some(page) => bytes.extend_from_slice(&page[within]),
                None => bytes.resize(bytes.len() + within.len(), 0),
            }
            at = page_end;
        }
        Ok(bytes)
    }

    /// Damages the medium behind the back of every reader.
    pub(super) fn flip_bit(&mut self, offset: u64, bit: u8) {
        let page = self.pages.entry(offset / PAGE).or_insert_with(|| Box::new([0; PAGE as usize]));
        page[(offset % PAGE) as usize] ^= 1 << bit;
    }
}
