//! Damage met while the store is open: ranges that are not read until another member's copy has taken their place.
//!
//! Only what is committed, written and no longer needed in memory is looked at: nothing else is ever read from the files.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::LogStore;
use crate::commit_log::reader::Follow;
use crate::mutant::{Mutant, planted};
use crate::repair::{BadRange, Patch, Walk, read_piece};
use crate::{PhysicalOffset, StoreError};

/// Most ranges kept. Reads check what they read all the same.
const MAX_RANGES: usize = 256;

/// Ranges that are not to be read.
#[derive(Debug, Default)]
pub(super) struct Quarantine {
    ranges: Mutex<Vec<BadRange>>,
    /// How many there are, for the many reads that need no more.
    count: AtomicUsize,
}

impl Quarantine {
    fn lock(&self) -> MutexGuard<'_, Vec<BadRange>> {
        self.ranges.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Vec<BadRange>) -> T) -> T {
        let mut ranges = self.lock();
        let changed = change(&mut ranges);
        self.count.store(ranges.len(), Ordering::Release);
        changed
    }

    /// Refuses a read that would touch a range.
    pub(super) fn check(&self, from: PhysicalOffset, to: PhysicalOffset) -> Result<(), StoreError> {
        if self.count.load(Ordering::Acquire) == 0 || planted(Mutant::QuarantineServed) {
            return Ok(());
        }
        match self.lock().iter().find(|bad| bad.overlaps(from, to)) {
            Some(bad) => Err(StoreError::Quarantined { from: bad.from, to: bad.to }),
            None => Ok(()),
        }
    }

    /// Only where such a bug is planted.
    pub(super) fn is_served(&self, at: PhysicalOffset) -> bool {
        planted(Mutant::QuarantineServed) && self.lock().iter().any(|bad| bad.overlaps(at, at + 1))
    }

    /// The end of the last range of a segment that ends at or before `at`: a frame starts there.
    pub(super) fn frame_behind(&self, start: PhysicalOffset, at: PhysicalOffset) -> Option<PhysicalOffset> {
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.lock().iter().map(|bad| bad.to).filter(|to| (start..=at).contains(to)).max()
    }
}

impl LogStore {
    /// Ranges that are not read at present, in the order they were found.
    pub fn quarantined(&self) -> Vec<BadRange> {
        self.quarantine.lock().clone()
    }

    /// Looks for damage at a place where a frame starts, as an error names it. Blocks.
    ///
    /// # Errors
    /// `Io`; `UnknownVersion`.
    pub fn examine(&self, at: PhysicalOffset) -> Result<Option<BadRange>, StoreError> {
        if !self.is_in_files(at) {
            return Ok(None);
        }
        let mut bad = self.walk(at).step(at + 1, 1, &mut |_| {})?;
        Ok(bad.pop().filter(|bad| self.holds(bad.from)))
    }

    /// Starts a walk where a frame starts, to the end of what is read from the files.
    pub(crate) fn walk(&self, at: PhysicalOffset) -> Walk {
        let end = self.lock().view.file_end();
        let (disk, dir) = (Arc::clone(&self.disk), self.dir.clone());
        Walk::new(disk, dir, self.layout(), (at, Follow::UNKNOWN), end)
    }

    /// Whether the log holds a position, and not only in memory.
    fn is_in_files(&self, at: PhysicalOffset) -> bool {
        let fifo = self.lock();
        at >= fifo.view.first && at < fifo.view.file_end().end
    }

    /// Lets nobody read a range. Returns whether it is a new one, and there was room for it.
    pub fn quarantine(&self, bad: &BadRange) -> bool {
        self.frames.forget(bad.from, bad.to);
        self.quarantine.change(|ranges| {
            let is_new = ranges.len() < MAX_RANGES && !ranges.iter().any(|known| known.overlaps(bad.from, bad.to));
            if is_new {
                ranges.push(bad.clone());
            }
            is_new
        })
    }

    /// Lets a range be read again that is filled or no longer held, and with it all that seemed bad within.
    pub fn lift(&self, range: &BadRange) {
        self.quarantine.change(|ranges| ranges.retain(|bad| !bad.overlaps(range.from, range.to)));
    }

    /// Whether the log still holds a position.
    pub fn holds(&self, at: PhysicalOffset) -> bool {
        self.lock().view.first <= at
    }

    /// The work of filling a range.
    pub fn patch(&self, bad: BadRange) -> Patch {
        Patch::new(self.walk(bad.from), bad)
    }

    /// Bytes of the files as they are, for another member's repair, which checks them. Blocks.
    ///
    /// # Errors
    /// `OutOfRange` if they are not all written, `Quarantined`, `Contract` for more than [`crate::repair::MAX_PIECE`] or
    /// over a segment's end, `Io`.
    pub fn piece(&self, from: PhysicalOffset, to: PhysicalOffset) -> Result<Bytes, StoreError> {
        let (first, end) = {
            let fifo = self.lock();
            (fifo.view.first, fifo.view.files_reach())
        };
        if from < first || to > end {
            return Err(StoreError::OutOfRange { at: from, first, end });
        }
        self.quarantine.check(from, to)?;
        read_piece(&*self.disk, &self.dir, self.layout(), from, to)
    }
}
