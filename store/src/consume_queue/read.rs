//! Reading units: from memory at once, from files without the machine's lock.

use std::sync::Arc;

use super::files::{Files, QueueFiles};
use super::unit::{LEN, UNIT_LEN, UNITS_PER_FILE, Unit};
use crate::StoreError;

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

    /// Reads, and appends the units to `out`. Blocks if it is not [`UnitRead::is_in_memory`].
    ///
    /// # Errors
    /// `Io` if the disk fails or a file is gone (the topic was deleted, or its messages purged, since the read was
    /// prepared); `Corrupt` where a unit that was flushed is missing. `out` is as before then.
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
        let mut bytes = Vec::new();
        while first < self.split {
            let (file, at) = (first / UNITS_PER_FILE, first % UNITS_PER_FILE);
            let units = (self.split - first).min(UNITS_PER_FILE - at);
            bytes.resize(units as usize * LEN, 0);
            self.files.read_units(&self.queue, file, at, &mut bytes)?;
            if self.queue.is_removed() {
                return Err(StoreError::Contract(format!(
                    "{} was removed while it was read",
                    self.queue.dir.display()
                )));
            }
            let (chunks, _) = bytes.as_chunks::<LEN>();
            for (i, chunk) in chunks.iter().enumerate() {
                let unit = Unit::from_bytes(chunk).ok_or_else(|| StoreError::Corrupt {
                    what: "ConsumeQueue unit",
                    path: self.queue.file_path(file),
                    offset: (at + i as u64) * UNIT_LEN,
                })?;
                out.push(unit);
            }
            first += units;
        }
        Ok(())
    }
}
