//! A file that is being filled, or is full and not wholly written yet.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::layout::{Header, IndexSizes, IndexUnit, LEN};
use super::slots::Slots;
use crate::PhysicalOffset;

/// Which file it is. One that is made again at the same path is another.
#[derive(Debug)]
pub(super) struct IndexFile {
    pub path: PathBuf,
    /// The millisecond it is named by.
    pub name_ms: i64,
    /// Start of the segment of its records.
    pub segment: u64,
    pub sizes: IndexSizes,
    /// Tells this file from every other this process opened.
    pub serial: u64,
    /// Set once it is dropped or replaced: what is read from its path from then on may be another's.
    pub removed: AtomicBool,
}

impl IndexFile {
    pub fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Acquire)
    }

    pub fn remove(&self) {
        self.removed.store(true, Ordering::Release);
    }
}

/// A file that is wholly written.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub file: Arc<IndexFile>,
    pub header: Header,
}

/// A file with something that is in memory only.
#[derive(Debug)]
pub(super) struct Filling {
    pub file: Arc<IndexFile>,
    pub header: Header,
    /// Shared with a plan that writes them; a push meanwhile takes a copy.
    pub slots: Arc<Slots>,
    /// Units [written, header.next).
    pub pending: Vec<[u8; LEN]>,
    /// Units below are in the file.
    pub written: u32,
    /// What header.next was when header and slots were last written, 0 if they never were.
    pub tables_at: u32,
    /// No unit comes any more: the next file has begun, or the next segment.
    pub is_sealed: bool,
}

impl Filling {
    /// A file that begins at that record.
    pub fn new(file: Arc<IndexFile>, position: PhysicalOffset, store_timestamp_ms: i64) -> Self {
        let slots = Arc::new(Slots::new(file.sizes));
        let header = Header::new(position, store_timestamp_ms);
        Self { file, header, slots, pending: Vec::new(), written: 1, tables_at: 0, is_sealed: false }
    }

    pub fn is_full(&self) -> bool {
        self.header.next == self.file.sizes.units
    }

    /// Adds a key of a record.
    pub fn push(&mut self, hash: u32, position: PhysicalOffset, store_timestamp_ms: i64) {
        let index = self.header.next;
        let prev = Arc::make_mut(&mut self.slots).replace(self.file.sizes.slot_of(hash), index);
        let seconds = self.header.add(position, store_timestamp_ms, prev == 0);
        self.pending.push(IndexUnit { hash, position, seconds, prev }.to_bytes());
    }

    /// A unit that is in memory.
    pub fn pending_unit(&self, index: u32) -> Option<IndexUnit> {
        let at = index.checked_sub(self.written)? as usize;
        self.pending.get(at).map(IndexUnit::from_bytes)
    }

    /// The first `units` pending units were written.
    pub fn written(&mut self, units: u32) {
        self.pending.drain(..units as usize);
        self.written += units;
    }

    /// Whether the file holds all of it, for good.
    pub fn is_stored(&self) -> bool {
        self.is_sealed && self.pending.is_empty() && self.tables_at == self.header.next
    }
}
