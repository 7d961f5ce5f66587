//! Comparing a queue's files with what the log says they should hold.

use std::io;
use std::path::Path;

use super::files::file_name;
use super::unit::{LEN, UNIT_LEN, UNITS_PER_FILE, Unit};
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
        let path = dir.join(file_name(file));
        let bytes = read_units(disk, &path, at, now.len())?;
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

/// The bytes of units, zeros where the file ends before or is not there.
fn read_units(disk: &dyn Disk, path: &Path, at: u64, units: usize) -> Result<Vec<u8>, StoreError> {
    let mut bytes = vec![0; units * LEN];
    let file = match disk.open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(bytes),
        opened => opened.at("open", path)?,
    };
    let held = file.len().at("stat", path)?.saturating_sub(at * UNIT_LEN);
    let held = usize::try_from(held).map_or(bytes.len(), |held| held.min(bytes.len()));
    file.read_at(at * UNIT_LEN, &mut bytes[..held]).at("read", path)?;
    Ok(bytes)
}
