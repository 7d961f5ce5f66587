//! Which files of a queue are there, and reading all of them to see that they are sound.

use super::files::Part;
use super::flush::Removal;
use super::read::UnitRead;
use super::unit::UNITS_PER_FILE;
use super::{ConsumeQueues, QueueHandle};
use crate::error::At;
use crate::{QueueOffset, StoreError};

impl ConsumeQueues {
    /// Looks which files of a queue are there, before anything is appended: units from `first` (or its min, if that is
    /// higher) on should be, and are its min from now on. Missing files are reported as damaged; files that hold nothing
    /// of the queue go with the next flush.
    ///
    /// # Errors
    /// `Io` if the directory cannot be listed.
    pub fn take_stock(&mut self, queue: QueueHandle, first: QueueOffset) -> Result<(), StoreError> {
        self.set_min(queue, first);
        let (min, next) = (self.min(queue).0, self.next(queue).0);
        let files = self.queue(queue).files.clone();
        let mut missing = if min < next { min / UNITS_PER_FILE..(next - 1) / UNITS_PER_FILE + 1 } else { 0..0 };
        let mut found = Vec::new();
        for name in self.files.disk.list(&files.dir).at("list", &files.dir)? {
            match Part::of_name(&name) {
                Some((file, part)) if (min / UNITS_PER_FILE..=next / UNITS_PER_FILE).contains(&file) => {
                    found.push((file, part));
                }
                _ => self.removals.push(Removal::File(files.dir.join(name))),
            }
        }
        let is_there = |file: u64| [Part::Units, Part::Sums].iter().all(|part| found.contains(&(file, *part)));
        while !missing.is_empty() && is_there(missing.start) {
            missing.start += 1;
        }
        while !missing.is_empty() && is_there(missing.end - 1) {
            missing.end -= 1;
        }
        if !missing.is_empty() {
            let units = (missing.start * UNITS_PER_FILE).max(min)..(missing.end * UNITS_PER_FILE).min(next);
            self.files.report(&files, units);
        }
        Ok(())
    }

    /// A read of up to `max` units from `from` on that looks at files only, to see that they are sound. `None` behind the
    /// last one that is in a file.
    pub fn plan_scrub(&self, queue: QueueHandle, from: QueueOffset, max: u64) -> Option<UnitRead> {
        let q = self.queue(queue);
        let from = from.0.max(q.min);
        let split = q.written.min(from.saturating_add(max));
        (from < split).then(|| UnitRead {
            files: self.files.clone(),
            queue: q.files.clone(),
            from,
            split,
            tail: Vec::new(),
        })
    }
}
