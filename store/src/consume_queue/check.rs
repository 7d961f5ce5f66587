//! Reading units from files: whole chunks, each against its sum.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, PoisonError};

use super::files::{Files, Part, QueueFiles};
use super::sums::{CHUNK_UNITS, Chunk, SUM_LEN, Sum, extend};
use super::unit::{LEN, UNIT_LEN, Unit};
use crate::StoreError;
use crate::error::At;
use crate::mutant::{Mutant, planted};

/// Reads before units that do not match their sum are taken for damaged: a flush may have gone on between both reads.
const ATTEMPTS: usize = 3;

/// Units of a queue that files do not hold as they should.
#[derive(Clone, Debug)]
pub(super) struct Report {
    pub queue: Arc<QueueFiles>,
    pub range: Range<u64>,
}

impl Files {
    /// Notes units that are damaged or missing, to be made again. Costs little, and no more for each time it is noted.
    pub fn report(&self, queue: &Arc<QueueFiles>, range: Range<u64>) {
        let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        let known =
            reports.entry(queue.serial).or_insert_with(|| Report { queue: Arc::clone(queue), range: range.clone() });
        known.range = known.range.start.min(range.start)..known.range.end.max(range.end);
    }

    /// What was reported, by queue.
    pub fn reports(&self) -> BTreeMap<u64, Report> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The units of a queue are as they should be, or are no longer wanted.
    pub fn settle(&self, queue: &QueueFiles) {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).remove(&queue.serial);
    }

    /// Appends units of one file, all of whose chunks are sound.
    ///
    /// # Errors
    /// `Corrupt` names the chunk that is damaged or missing, which is reported; `Contract` if the queue was removed or
    /// purged meanwhile; `Io` if the disk fails.
    pub fn read_checked(
        &self,
        queue: &Arc<QueueFiles>,
        units: Range<u64>,
        out: &mut Vec<Unit>,
    ) -> Result<(), StoreError> {
        let mut read = self.read_chunks(queue, units.clone());
        for _ in 1..ATTEMPTS {
            if matches!(read, Err(StoreError::Corrupt { .. })) {
                read = self.read_chunks(queue, units.clone());
            }
        }
        if queue.is_removed() || queue.min() > units.start {
            let dir = queue.dir.display();
            return Err(StoreError::Contract(format!("{dir} was removed or purged while it was read")));
        }
        let bytes = read.inspect_err(|e| {
            if matches!(e, StoreError::Corrupt { .. }) {
                self.report(queue, Chunk::of(units.start).first()..Chunk::of(units.end - 1).end());
            }
        })?;
        let skip = (units.start - Chunk::of(units.start).first()) as usize;
        for (bytes, offset) in bytes.as_chunks::<LEN>().0[skip..].iter().zip(units) {
            let unit = Unit::from_bytes(bytes).ok_or_else(|| corrupt("ConsumeQueue unit", queue, offset))?;
            out.push(unit);
        }
        Ok(())
    }

    /// The bytes of all chunks that `units` touch, checked; up to `units.end` at least.
    pub fn read_chunks(&self, queue: &QueueFiles, units: Range<u64>) -> Result<Vec<u8>, StoreError> {
        let (first, last) = (Chunk::of(units.start), Chunk::of(units.end - 1));
        let sums = self.sums(queue, first..Chunk { number: last.number + 1, ..last })?;
        let counted = |sum: Option<&Sum>| sum.map_or(0, |sum| u64::from(sum.count));
        for (number, sum) in (first.number..).zip(&sums) {
            let chunk = Chunk { number, ..first };
            if chunk.first() + u64::from(sum.count) < chunk.end().min(units.end) {
                return Err(corrupt("ConsumeQueue chunk (its sum is missing)", queue, chunk.first()));
            }
        }
        let covered = last.first() + counted(sums.last()) - first.first();
        let mut bytes = vec![0; covered as usize * LEN];
        match self.read_units(queue, first, &mut bytes) {
            Err(StoreError::Io { source, .. })
                if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof) =>
            {
                return Err(corrupt("ConsumeQueue file (it is missing or cut)", queue, first.first()));
            }
            read => read?,
        }
        for ((number, sum), chunk) in (first.number..).zip(&sums).zip(bytes.chunks(CHUNK_UNITS as usize * LEN)) {
            let is_sound = extend(0, &chunk[..sum.covers()]) == sum.crc || planted(Mutant::QueueChunkUnchecked);
            if !is_sound {
                return Err(corrupt("ConsumeQueue chunk", queue, Chunk { number, ..first }.first()));
            }
        }
        Ok(bytes)
    }

    /// The sums of consecutive chunks of one file, as far as there are any.
    fn sums(&self, queue: &QueueFiles, chunks: Range<Chunk>) -> Result<Vec<Sum>, StoreError> {
        let numbers = chunks.start.number..chunks.end.number;
        let mut sums = vec![Sum::default(); (numbers.end - numbers.start) as usize];
        let pending: Vec<_> = {
            let held = queue.sums.lock().unwrap_or_else(PoisonError::into_inner);
            held.pending.range(chunks.clone()).map(|(chunk, sum)| (chunk.number, *sum)).collect()
        };
        if pending.len() < sums.len() {
            let file = chunks.start.file;
            let path = queue.path(file, Part::Sums);
            let mut bytes = vec![0; sums.len() * SUM_LEN];
            match self.handle(queue, file, Part::Sums) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                opened => {
                    let opened = opened.at("open", &path)?;
                    let at = numbers.start * SUM_LEN as u64;
                    let held = opened.len().at("stat", &path)?.saturating_sub(at).min(bytes.len() as u64) as usize;
                    opened.read_at(at, &mut bytes[..held]).at("read", &path)?;
                }
            }
            for (sum, bytes) in sums.iter_mut().zip(bytes.as_chunks::<SUM_LEN>().0) {
                *sum = Sum::from_bytes(bytes);
            }
        }
        for (number, sum) in pending {
            sums[(number - numbers.start) as usize] = sum;
        }
        Ok(sums)
    }

    /// The CRC of the units of a chunk before `offset`, where a write is to go on. `None` if they are damaged, which is
    /// reported. Where the queue holds none of them, they are zeros.
    pub fn crc_before(&self, queue: &Arc<QueueFiles>, offset: u64) -> Result<Option<u32>, StoreError> {
        if let Some(known) = queue.sums.lock().unwrap_or_else(PoisonError::into_inner).known_before(offset) {
            return Ok(Some(known));
        }
        let first = Chunk::of(offset).first();
        let len = (offset - first) as usize * LEN;
        if let Ok(bytes) = self.read_chunks(queue, first..offset) {
            return Ok(Some(extend(0, &bytes[..len])));
        }
        if queue.min() < offset {
            tracing::warn!(queue = %queue.dir.display(), first, "units before those that are written are damaged");
            self.report(queue, first..offset);
            return Ok(None);
        }
        let zeros = vec![0; len];
        self.write_bytes(queue, first, &zeros)?;
        Ok(Some(extend(0, &zeros)))
    }
}

fn corrupt(what: &'static str, queue: &QueueFiles, offset: u64) -> StoreError {
    let file = Chunk::of(offset).file;
    let offset = (offset - Chunk { file, number: 0 }.first()) * UNIT_LEN;
    StoreError::Corrupt { what, path: queue.path(file, Part::Units), offset }
}
