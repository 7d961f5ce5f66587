//! Reading units: from memory at once, from files without the machine's lock.

use std::sync::Arc;

use super::files::{Files, QueueFiles};
use super::unit::{UNITS_PER_FILE, Unit};
use crate::{QueueOffset, StoreError};

/// A read of units that was prepared under the machine's lock.
#[derive(Debug)]
pub struct UnitRead {
    pub(super) files: Arc<Files>,
    pub(super) queue: Arc<QueueFiles>,
    pub(super) from: u64,
    /// Units [from, split) come from files, the rest is `tail`.
    pub(super) split: u64,
    pub(super) tail: Vec<Unit>,
}

impl UnitRead {
    /// Whether it needs no file: [`UnitRead::run`] does not block then.
    pub fn is_in_memory(&self) -> bool {
        self.from == self.split
    }

    /// Units it will give.
    pub fn len(&self) -> usize {
        (self.split - self.from) as usize + self.tail.len()
    }

    /// Whether there is nothing to read.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The offset behind the last unit it will give.
    pub fn end(&self) -> QueueOffset {
        QueueOffset(self.split + self.tail.len() as u64)
    }

    /// Reads, and appends the units to `out`. Blocks if it is not [`UnitRead::is_in_memory`].
    ///
    /// # Errors
    /// `Contract` if the topic was deleted, or its messages purged, since the read was prepared; `Io` if the disk fails;
    /// `Corrupt` where a chunk is damaged or missing: it is reported, to be [made again](super::Mend). `out` is as before
    /// then.
    pub fn run(&self, out: &mut Vec<Unit>) -> Result<(), StoreError> {
        let before = out.len();
        let read = self.read_files(out);
        if read.is_err() {
            out.truncate(before);
            return read;
        }
        out.extend_from_slice(&self.tail);
        Ok(())
    }

    fn read_files(&self, out: &mut Vec<Unit>) -> Result<(), StoreError> {
        let mut first = self.from;
        while first < self.split {
            let units = (self.split - first).min(UNITS_PER_FILE - first % UNITS_PER_FILE);
            self.files.read_checked(&self.queue, first..first + units, out)?;
            first += units;
        }
        Ok(())
    }
}
