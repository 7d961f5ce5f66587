//! From units to the bytes of an answer.

use std::path::PathBuf;

use bytes::{Bytes, BytesMut};
use quorumq_store::consume_queue::{Unit, UnitRead};
use quorumq_store::mutant::{Mutant, planted};
use quorumq_store::record::{self, Record};
use quorumq_store::{PhysicalOffset, QueueOffset, StoreError};

use super::request::Pull;

/// Units a pull takes, with their queue offsets, and where the next pull goes on.
#[derive(Debug, Default)]
pub struct Chosen {
    units: Vec<(QueueOffset, Unit)>,
    next: u64,
    topic: String,
    queue_id: u32,
}

/// Records on their way into an answer.
#[derive(Debug, Default)]
pub struct Fetched {
    units: Vec<(QueueOffset, Unit)>,
    /// The bytes of the units, in their order; records that lie side by side in the log share a run.
    runs: Vec<Bytes>,
    /// Where the next pull goes on.
    pub next: u64,
}

/// Takes the units a pull wants, up to its limits. Reads a file unless the read is in memory.
///
/// # Errors
/// As [`UnitRead::run`].
pub fn choose<I>(read: &UnitRead, pull: &Pull<I>) -> Result<Chosen, StoreError> {
    let mut units = Vec::with_capacity(read.len());
    read.run(&mut units)?;
    if let Some(unit) = first_behind_its_next(&units) {
        return Err(corrupt("ConsumeQueue unit (its position)", unit));
    }
    let mut chosen = Chosen {
        units: Vec::with_capacity(units.len().min(pull.max_messages)),
        next: pull.offset,
        topic: pull.topic.to_string(),
        queue_id: pull.queue_id,
    };
    let mut bytes = 0;
    for unit in units {
        if pull.filter.wants(unit.tags_code) {
            bytes += unit.size as usize;
            let is_first = chosen.units.is_empty();
            if !is_first && (bytes > pull.max_bytes || chosen.units.len() >= pull.max_messages) {
                break;
            }
            chosen.units.push((QueueOffset(chosen.next), unit));
        }
        chosen.next += 1;
    }
    Ok(chosen)
}

impl Chosen {
    /// Where the first, and so oldest, record lies.
    pub fn first_position(&self) -> Option<PhysicalOffset> {
        self.units.first().map(|(_, unit)| unit.position)
    }

    /// Reads the records: `bytes` gives bytes of the log.
    ///
    /// # Errors
    /// What `bytes` answers; `Corrupt` where a unit points at no sound record of its size.
    pub fn fetch(
        self,
        bytes: impl Fn(PhysicalOffset, u32) -> Result<Bytes, StoreError>,
    ) -> Result<Fetched, StoreError> {
        let mut runs = Vec::new();
        let mut at = 0;
        while let Some((_, first)) = self.units.get(at) {
            let (start, mut end) = (first.position, first.position);
            let run = at;
            while let Some((_, unit)) = self.units.get(at)
                && unit.position == end
            {
                end = end + u64::from(unit.size);
                at += 1;
            }
            let Ok(len) = u32::try_from(end.0 - start.0) else {
                unreachable!("records side by side lie in one entry, which is far below 4 GiB")
            };
            let read = bytes(start, len)?;
            check_run((&self.topic, self.queue_id), &self.units[run..at], &read)?;
            runs.push(read);
        }
        Ok(Fetched { units: self.units, runs, next: self.next })
    }
}

/// A queue's records come in the log's order.
fn first_behind_its_next(units: &[Unit]) -> Option<&Unit> {
    let ends_behind = |pair: &[Unit]| pair[0].position + u64::from(pair[0].size) > pair[1].position;
    units.windows(2).find(|pair| ends_behind(pair)).map(|pair| &pair[1])
}

fn corrupt(what: &'static str, unit: &Unit) -> StoreError {
    StoreError::Corrupt { what, path: PathBuf::from("commitlog"), offset: unit.position.0 }
}

/// A unit or a record whose file was damaged must not make us hand out other bytes, or another queue's, as a message.
fn check_run((topic, queue_id): (&str, u32), units: &[(QueueOffset, Unit)], run: &[u8]) -> Result<(), StoreError> {
    let is_ours = |record: &Record<'_>| record.topic() == topic && record.queue_id() == queue_id;
    let mut rest = run;
    for (_, unit) in units {
        let size = unit.size as usize;
        let is_record = rest.len() >= size
            && Record::parse(&rest[..size])
                .is_ok_and(|record| record.len() == size && record.body_crc_matches() && is_ours(&record));
        if !is_record {
            return Err(corrupt("record a ConsumeQueue unit points at", unit));
        }
        rest = &rest[size..];
    }
    Ok(())
}

impl Fetched {
    /// Whether the filter left nothing.
    pub fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    /// Bytes of all records.
    pub fn len(&self) -> usize {
        self.runs.iter().map(Bytes::len).sum()
    }

    /// Appends the records with their queue and physical offsets set.
    pub fn copy_into(&self, out: &mut BytesMut) {
        let mut at = out.len();
        self.runs.iter().for_each(|run| out.extend_from_slice(run));
        for (offset, unit) in &self.units {
            let end = at + unit.size as usize;
            let stored = |record| Record::parse(record).map_or(*offset, |record| record.queue_offset());
            let offset = if planted(Mutant::QueueOffsetByLeader) { stored(&out[at..end]) } else { *offset };
            record::patch(&mut out[at..end], offset, unit.position);
            at = end;
        }
    }
}
