//! Zeroes what stands behind the end of the log, so that nothing stale ever validates later and the files of two
//! members stay equal byte for byte.

use std::ops::Range;
use std::path::Path;

use super::{Layout, segment_path, segment_start};
use crate::disk::{Disk, DiskFile};
use crate::error::At;
use crate::frame::is_blank;
use crate::mutant::{Mutant, planted};
use crate::{PhysicalOffset, StoreError};

/// Bytes read or written at once.
const CHUNK: usize = 1 << 20;
/// Bytes compared with zero at once.
const BLOCK: usize = 4096;

/// Starts of the segment files below `dir`, ascending. Other names are left alone.
pub(crate) fn segment_starts(disk: &dyn Disk, dir: &Path) -> Result<Vec<PhysicalOffset>, StoreError> {
    let log = dir.join(super::DIR);
    let names = disk.list(&log).at("list", &log)?;
    let mut starts: Vec<_> = names.iter().filter_map(|name| segment_start(name)).collect();
    starts.sort_unstable();
    Ok(starts)
}

/// Removes the segment files at `starts` in the given order, durably.
pub(crate) fn remove_segments(
    disk: &dyn Disk,
    dir: &Path,
    starts: impl Iterator<Item = PhysicalOffset>,
) -> Result<(), StoreError> {
    let mut removed = false;
    for start in starts {
        let path = segment_path(dir, start);
        disk.remove(&path).at("remove", &path)?;
        removed = true;
    }
    if removed {
        let log = dir.join(super::DIR);
        disk.sync_dir(&log).at("sync", &log)?;
    }
    Ok(())
}

/// Zeroes `from..to` of a file (offsets in the file), newest first. Not yet durable.
pub(crate) fn zero(file: &dyn DiskFile, path: &Path, from: u64, to: u64) -> Result<(), StoreError> {
    let zeroes = vec![0; CHUNK.min(usize::try_from(to - from).unwrap_or(CHUNK))];
    let mut at = to;
    while at > from {
        let n = (at - from).min(CHUNK as u64);
        at -= n;
        file.write_at(at, &[&zeroes[..n as usize]]).at("zero", path)?;
    }
    Ok(())
}

/// Drops the log's bytes `from..to`, durably: zeroes them in `from`'s segment, removes the later segments. Writes even
/// where zeroes are read: after a failed sync what is read need not be on disk.
pub(crate) fn erase_range(
    disk: &dyn Disk,
    dir: &Path,
    layout: Layout,
    from: PhysicalOffset,
    to: PhysicalOffset,
) -> Result<(), StoreError> {
    let start = layout.segment_of(from);
    let segment_end = layout.segment_end(from);
    if to > segment_end {
        // Newest first: a crash in between leaves no gap in the row of files.
        let later = segment_starts(disk, dir)?.into_iter().filter(|later| *later > start).rev();
        remove_segments(disk, dir, later)?;
    }
    if planted(Mutant::TruncationOnlyInMemory) {
        return Ok(());
    }
    let path = segment_path(dir, start);
    let file = disk.open(&path).at("open", &path)?;
    zero(&*file, &path, from.0 - start.0, to.min(segment_end).0 - start.0)?;
    file.sync_data().at("sync", &path)
}

/// The parts of a file from `from` on that are not blank, chunk by chunk, until `gap` blank bytes in a row or the end.
fn dirty_parts(file: &dyn DiskFile, path: &Path, from: u64, gap: u64) -> Result<Vec<Range<u64>>, StoreError> {
    let mut buffer = vec![0; CHUNK];
    let (mut dirty, mut blank_from) = (Vec::new(), from);
    for range in file.data_ranges(from).at("search", path)? {
        let mut at = range.start;
        while at < range.end && at - blank_from < gap {
            let n = (range.end - at).min(CHUNK as u64);
            let chunk = &mut buffer[..n as usize];
            file.read_at(at, chunk).at("read", path)?;
            if let Some(last) = last_byte(chunk) {
                blank_from = at + last as u64 + 1;
                dirty.push(at..blank_from);
            }
            at += n;
        }
    }
    Ok(dirty)
}

/// The position of the last byte that is not zero.
fn last_byte(bytes: &[u8]) -> Option<usize> {
    let block = bytes.chunks(BLOCK).rposition(|block| !is_blank(block))? * BLOCK;
    let in_block = bytes[block..].iter().take(BLOCK).rposition(|b| *b != 0)?;
    Some(block + in_block)
}

/// Makes everything behind `end` blank, durably. Searches the rest of `end`'s segment until `gap` blank bytes in a row;
/// later segments are removed, except the next one if it is blank that far. Returns how many bytes behind `end` had to go
/// (up to the last one that was not zero).
pub(crate) fn erase_behind(
    disk: &dyn Disk,
    dir: &Path,
    layout: Layout,
    end: PhysicalOffset,
    gap: u64,
) -> Result<u64, StoreError> {
    let current = layout.segment_of(end);
    let mut dropped = 0;
    let mut doomed = Vec::new();
    for start in segment_starts(disk, dir)?.into_iter().filter(|start| *start > current) {
        let path = segment_path(dir, start);
        let file = disk.open(&path).at("open", &path)?;
        let dirty = dirty_parts(&*file, &path, 0, gap)?;
        if let Some(last) = dirty.last() {
            dropped = start.0 + last.end - end.0;
        }
        if !dirty.is_empty() || start > current + layout.segment_size {
            doomed.push(start);
        }
    }
    // Newest first: a crash in between leaves no gap in the row of files.
    remove_segments(disk, dir, doomed.into_iter().rev())?;
    let path = segment_path(dir, current);
    let file = disk.open(&path).at("open", &path)?;
    let from = end.0 - current.0;
    let dirty = dirty_parts(&*file, &path, from, gap)?;
    if let Some(last) = dirty.last() {
        dropped = dropped.max(last.end - from);
        for part in dirty.iter().rev() {
            zero(&*file, &path, part.start, part.end)?;
        }
        file.sync_data().at("sync", &path)?;
    }
    Ok(dropped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_byte_that_is_not_zero_is_found_at_every_edge() {
        for len in [1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 3 * BLOCK + 7] {
            let mut bytes = vec![0; len];
            assert_eq!(last_byte(&bytes), None);
            for at in [0, len / 2, len - 1] {
                bytes[at] = 1;
                assert_eq!(last_byte(&bytes), Some(at));
            }
        }
    }
}
