//! Comparing a queue's files with what the log says they should hold.

use std::io;
use std::path::Path;

use super::files::Part;
use super::sums::{CHUNK_UNITS, Chunk, SUM_LEN, Sum, extend, sums_len};
use super::unit::{FILE_LEN, LEN, UNIT_LEN, UNITS_PER_FILE, Unit};
use super::{ConsumeQueues, check_topic};
use crate::disk::Disk;
use crate::error::At;
use crate::{QueueOffset, StoreError};

/// Compares the files of a queue below `dir` with its units from offset `from` on, as they were made again from the
/// log. Answers how many of them the files hold: fewer than all if the last ones were not flushed when the node
/// stopped.
///
/// # Errors
/// `Corrupt` names file and byte of the first unit that differs, or is missing before one that is there; `Io` if a file
/// cannot be read; `Contract` for a topic that cannot name a directory.
pub fn verify_queue(
    disk: &dyn Disk,
    dir: &Path,
    topic: &str,
    queue_id: u32,
    from: QueueOffset,
    expected: &[Unit],
) -> Result<u64, StoreError> {
    check_topic(topic)?;
    let dir = ConsumeQueues::path(dir, topic, queue_id);
    let mut held = 0;
    let mut missing = None;
    let mut rest = expected;
    while !rest.is_empty() {
        let first = from.0 + (expected.len() - rest.len()) as u64;
        let (file, at) = (first / UNITS_PER_FILE, first % UNITS_PER_FILE);
        let (now, later) = rest.split_at(rest.len().min((UNITS_PER_FILE - at) as usize));
        let path = dir.join(Part::Units.name_of(file));
        let bytes = read_bytes(disk, &path, at * UNIT_LEN, now.len() * LEN)?;
        for ((unit, bytes), offset) in now.iter().zip(bytes.as_chunks::<LEN>().0).zip(at..) {
            let corrupt = |path: &Path, offset: u64| StoreError::Corrupt {
                what: "ConsumeQueue unit",
                path: path.to_path_buf(),
                offset: offset * UNIT_LEN,
            };
            match (&missing, bytes.iter().all(|byte| *byte == 0)) {
                (None, true) => missing = Some((path.clone(), offset)),
                (Some(_), true) => {}
                (Some((path, offset)), false) => return Err(corrupt(path, *offset)),
                (None, false) if *bytes != unit.to_bytes() => return Err(corrupt(&path, offset)),
                (None, false) => held += 1,
            }
        }
        rest = later;
    }
    Ok(held)
}

/// Compares the files of sums of a queue below `dir` with its units in files from offset `min` up to `next`. Answers the
/// offset below which every unit is summed: lower than `next` if the last flush was not synced when the node stopped.
///
/// # Errors
/// As [`verify_queue`]: a sum that is not its chunk's, or is missing before one that is there.
pub fn verify_sums(
    disk: &dyn Disk,
    dir: &Path,
    topic: &str,
    queue_id: u32,
    (min, next): (QueueOffset, QueueOffset),
) -> Result<QueueOffset, StoreError> {
    check_topic(topic)?;
    let dir = ConsumeQueues::path(dir, topic, queue_id);
    let (mut at, mut summed, mut has_gap) = (min.0, min.0, false);
    while at < next.0 {
        let file = at / UNITS_PER_FILE;
        let end = next.0.min((file + 1) * UNITS_PER_FILE);
        let path = dir.join(Part::Sums.name_of(file));
        let sums = read_bytes(disk, &path, 0, sums_len(FILE_LEN) as usize)?;
        let units = read_bytes(disk, &dir.join(Part::Units.name_of(file)), 0, FILE_LEN as usize)?;
        while at < end {
            let chunk = Chunk::of(at);
            let from = chunk.number as usize * SUM_LEN;
            let corrupt = || StoreError::Corrupt { what: "ConsumeQueue sum", path: path.clone(), offset: from as u64 };
            let bytes = sums[from..].first_chunk().ok_or_else(corrupt)?;
            let sum = Sum::from_bytes(bytes);
            let covered = &units[(chunk.number * CHUNK_UNITS) as usize * LEN..][..sum.covers()];
            let is_sum = sum != Sum::default() || *bytes == [0; SUM_LEN];
            let covers_to = chunk.first() + u64::from(sum.count);
            if !is_sum || covers_to > at && has_gap || extend(0, covered) != sum.crc {
                return Err(corrupt());
            }
            if sum.count > 0 {
                summed = summed.max(covers_to.min(next.0));
            }
            has_gap |= covers_to < chunk.end().min(next.0);
            at = chunk.end();
        }
    }
    Ok(QueueOffset(summed))
}

/// Bytes of a file, zeros where it ends before or is not there.
fn read_bytes(disk: &dyn Disk, path: &Path, at: u64, len: usize) -> Result<Vec<u8>, StoreError> {
    let mut bytes = vec![0; len];
    let file = match disk.open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(bytes),
        opened => opened.at("open", path)?,
    };
    let held = file.len().at("stat", path)?.saturating_sub(at);
    let held = usize::try_from(held).map_or(len, |held| held.min(len));
    file.read_at(at, &mut bytes[..held]).at("read", path)?;
    Ok(bytes)
}
