//! Damaged or missing units made again from the log, in place.

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::check::Report;
use super::files::{Files, QueueFiles};
use super::sums::{Chunk, extend};
use super::unit::{LEN, UNITS_PER_FILE};
use super::{ConsumeQueues, QueueHandle};
use crate::{QueueOffset, StoreError};

/// Writes units of one queue again. On the disk thread, between flushes.
#[derive(Debug)]
pub struct Mend {
    files: Arc<Files>,
    queue: Arc<QueueFiles>,
    units: Range<u64>,
    /// Up to where units were written, and the CRC of the last chunk up to there.
    done: (u64, u32),
}

impl ConsumeQueues {
    /// Queues with units in files that were found damaged or missing. Units not wanted any more are forgotten.
    pub fn damaged(&self) -> Vec<Mend> {
        let mut reports = self.files.reports();
        let mut damaged = Vec::with_capacity(reports.len());
        if reports.is_empty() {
            return damaged;
        }
        for queue in self.slots.iter().flatten() {
            let Some(Report { range, .. }) = reports.remove(&queue.files.serial) else { continue };
            let units = range.start.max(queue.min)..range.end.min(queue.written);
            if units.is_empty() {
                self.files.settle(&queue.files);
                continue;
            }
            let done = (Chunk::of(units.start).first(), 0);
            damaged.push(Mend { files: self.files.clone(), queue: queue.files.clone(), units, done });
        }
        // Of queues that were removed.
        reports.values().for_each(|report| self.files.settle(&report.queue));
        damaged
    }

    /// The offset below which units are in files.
    pub fn written(&self, queue: QueueHandle) -> QueueOffset {
        QueueOffset(self.queue(queue).written)
    }
}

impl Mend {
    /// Topic and id of the queue.
    pub fn queue(&self) -> (&str, u32) {
        (&self.queue.topic, self.queue.queue_id)
    }

    /// The units that are wanted.
    pub fn units(&self) -> Range<QueueOffset> {
        QueueOffset(self.units.start)..QueueOffset(self.units.end)
    }

    /// Whether all units that are wanted were written, and those behind them in the same chunk: it has one sum.
    pub fn is_written(&self) -> bool {
        self.done.0 >= Chunk::of(self.units.end - 1).end()
    }

    /// Writes units, `bytes` from offset `first` on, as far as they are wanted: in whole chunks, if there are as many.
    /// They come in order, without a gap.
    ///
    /// # Errors
    /// `Contract` if some are left out, `Closed` if a snapshot replaced the queues meanwhile, `Io` if the disk fails.
    pub fn write(&mut self, first: QueueOffset, bytes: &[u8]) -> Result<(), StoreError> {
        self.check_alive()?;
        let end = first.0 + (bytes.len() / LEN) as u64;
        let wanted = Chunk::of(self.units.end - 1).end().min(end);
        let min = self.queue.min();
        if self.done.0 < min && min <= wanted {
            // The log no longer tells what stood there: the queue begins behind it.
            self.blank_below(min)?;
        }
        if self.queue.is_removed() || wanted <= self.done.0 {
            return Ok(());
        }
        if first.0 > self.done.0 {
            let (dir, done) = (self.queue.dir.display(), self.done.0);
            return Err(StoreError::Contract(format!("{dir}: units from {first} on come behind {done}")));
        }
        let bytes = &bytes[(self.done.0 - first.0) as usize * LEN..(wanted - first.0) as usize * LEN];
        self.put(bytes)
    }

    fn check_alive(&self) -> Result<(), StoreError> {
        if self.files.alive.load(Ordering::Acquire) { Ok(()) } else { Err(StoreError::Closed) }
    }

    /// Blank units up to `min`, from where its chunk begins; what lies before belongs to no one.
    fn blank_below(&mut self, min: u64) -> Result<(), StoreError> {
        let start = Chunk::of(min).first();
        self.done = (start.max(self.done.0), if start > self.done.0 { 0 } else { self.done.1 });
        self.put(&vec![0; (min - self.done.0) as usize * LEN])
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let (first, crc) = self.done;
            let room = (UNITS_PER_FILE - first % UNITS_PER_FILE) as usize * LEN;
            let (now, later) = rest.split_at(rest.len().min(room));
            self.files.write_bytes(&self.queue, first, now)?;
            self.sum(crc, now);
            rest = later;
        }
        Ok(())
    }

    /// Sums what was written; chunks that are whole now are sound from now on.
    fn sum(&mut self, crc: u32, bytes: &[u8]) {
        let (mut rest, mut crc) = (bytes, crc);
        let mut sums = self.queue.sums.lock().unwrap_or_else(PoisonError::into_inner);
        while !rest.is_empty() {
            let (at, chunk_end) = (self.done.0, Chunk::of(self.done.0).end());
            let (now, later) = rest.split_at(rest.len().min((chunk_end - at) as usize * LEN));
            crc = extend(crc, now);
            let end = at + (now.len() / LEN) as u64;
            if end == chunk_end {
                sums.set(end, crc);
                crc = 0;
            }
            self.done = (end, crc);
            rest = later;
        }
    }

    /// Nothing more comes. `written` is the offset below which units of the queue are in files now: a chunk that is not
    /// full is sound if all of those were written again.
    fn close(&mut self, written: u64) {
        let (end, crc) = self.done;
        if end >= written && Chunk::of(end).first() < end && !self.queue.is_removed() {
            let mut sums = self.queue.sums.lock().unwrap_or_else(PoisonError::into_inner);
            sums.set(end, crc);
            sums.forget_tail();
        }
    }

    /// Makes all of it durable. `written` gives the offset below which units of a queue are in files, if it is there. Only
    /// for units whose records are in the synced log. What comes back is to be [settled](Mend::settle).
    ///
    /// # Errors
    /// `Closed` if a snapshot replaced the queues meanwhile, `Io` if the disk fails. After a failed sync the process must
    /// end.
    pub fn finish(
        mends: Vec<Self>,
        written: &dyn Fn(&str, u32) -> Option<QueueOffset>,
    ) -> Result<Vec<Self>, StoreError> {
        let mut closed = Vec::with_capacity(mends.len());
        for mut mend in mends {
            mend.check_alive()?;
            let (topic, queue_id) = mend.queue();
            if let Some(written) = written(topic, queue_id) {
                mend.close(written.0);
                closed.push(mend);
            } else {
                mend.files.settle(&mend.queue);
            }
        }
        if let Some(mend) = closed.first() {
            mend.files.sync()?;
        }
        Ok(closed)
    }

    /// Reads what was made again. Answers how many queues still want some: they are [damaged](ConsumeQueues::damaged)
    /// still. On any thread that may block.
    pub fn settle(finished: Vec<Self>) -> usize {
        let mut left = 0;
        for mend in finished {
            let start = mend.units.start.max(mend.queue.min());
            if start >= mend.units.end || mend.is_sound(start) {
                mend.files.settle(&mend.queue);
            } else {
                left += 1;
            }
        }
        left
    }

    /// Reads the units again, file by file.
    fn is_sound(&self, start: u64) -> bool {
        let mut first = start;
        while first < self.units.end {
            let end = self.units.end.min((first / UNITS_PER_FILE + 1) * UNITS_PER_FILE);
            if self.files.read_chunks(&self.queue, first..end).is_err() {
                return self.queue.is_removed();
            }
            first = end;
        }
        true
    }
}
