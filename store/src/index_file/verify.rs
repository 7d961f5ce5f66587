//! Comparing the index of a stopped node with the one that its log makes.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::filling::Stored;
use super::format::{FORMAT_FILE, Format, Held};
use super::layout::{HEADER_LEN, Header, INDEX_UNIT_LEN, IndexSizes, IndexUnit, LEN, SLOT_LEN};
use super::name::name_of;
use super::open::{Found, find_files};
use super::slots::Slots;
use super::{DIR, IndexFiles};
use crate::StoreError;
use crate::disk::{Disk, DiskFile};
use crate::error::At;

/// Bytes compared at once: whole units.
const CHUNK: u64 = INDEX_UNIT_LEN << 16;

/// What a comparison found to be equal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerifiedIndex {
    /// Files compared.
    pub files: usize,
    /// Keys that are in files and as they should be.
    pub keys: u64,
    /// Keys that the files do not hold yet: the node stopped before it flushed them, and makes them again.
    pub unflushed: u64,
}

impl IndexFiles {
    /// New files get the sizes of those below `dir`, segment by segment: to be compared with them. Before any key.
    ///
    /// # Errors
    /// As [`IndexFiles::open`].
    pub fn take_sizes_of(&mut self, disk: &dyn Disk, dir: &Path) -> Result<(), StoreError> {
        if let Some(Format { sizes, segments }) = Format::read(disk, &dir.join(DIR))? {
            self.sizes = sizes;
            self.sizes_of = segments.into_iter().map(|(start, held)| (start, held.sizes)).collect();
            let sizes = self.sizes_of(self.entered);
            self.segments.values_mut().for_each(|segment| segment.sizes = sizes);
        }
        Ok(())
    }
}

/// Compares the index below `dir` with `made`, which the records of the same log were pushed to again, on a disk of its
/// own, in files of the same sizes ([`IndexFiles::take_sizes_of`]).
///
/// Files of segments that `.format` calls complete must be equal to the last byte. Others are removed and made again at
/// the next start: what they hold must be right, and the rest of them blank.
///
/// # Errors
/// `Corrupt` names file and byte of the first difference; `Io` if a file cannot be read.
pub fn verify_index(disk: &dyn Disk, dir: &Path, made: &mut IndexFiles) -> Result<VerifiedIndex, StoreError> {
    if let Some(plan) = made.plan_flush(true) {
        plan.write(true)?;
        made.flushed(plan);
    }
    let root = dir.join(DIR);
    let corrupt_format = || StoreError::Corrupt { what: "index format", path: root.join(FORMAT_FILE), offset: 0 };
    let format = Format::read(disk, &root)?;
    let path = root.join(FORMAT_FILE);
    if format.is_none() && disk.exists(&path).at("stat", &path)? {
        return Err(corrupt_format());
    }
    let complete = format.map(|format| format.segments).unwrap_or_default();
    let complete = |segment: u64| complete.get(&segment).filter(|_| segment < made.entered);
    let mut found = find_files(disk, &root, &mut |_| Ok(()))?;
    let mut verified = VerifiedIndex::default();
    for ours in made.segments.values().flat_map(|segment| segment.files.iter().cloned()).chain(made.being_filled()) {
        let is_complete = complete(ours.file.segment).is_some();
        let keys = u64::from(ours.header.next - 1);
        let Some(at) = find(&found, &ours) else {
            if is_complete {
                let path = root.join(name_of(ours.file.name_ms));
                return Err(StoreError::Corrupt { what: "IndexFile (it is missing)", path, offset: 0 });
            }
            verified.unflushed += keys;
            continue;
        };
        let pair = Pair::open(disk, root.join(name_of(found.remove(at).name_ms)), made, ours)?;
        verified.files += 1;
        let held = if is_complete { pair.compare().map(|()| keys)? } else { pair.compare_what_is_there()? };
        verified.keys += held;
        verified.unflushed += keys - held;
    }
    check_surplus(&found, &root, made)?;
    for (start, segment) in made.segments.range(..made.entered) {
        let held = Held { sizes: segment.sizes, keys: segment.keys };
        if complete(*start).is_some_and(|told| *told != held) {
            return Err(corrupt_format());
        }
    }
    Ok(verified)
}

/// Which of the files found is that one: the one with its header, else with its name, else with its begin. A file that
/// retention dropped here and not there can have taken a millisecond that shifts the names of others.
fn find(found: &[Found], ours: &Stored) -> Option<usize> {
    let head = ours.header.to_bytes();
    let begins_alike = |file: &Found| !file.is_blank() && file.head[16..24] == head[16..24];
    let by_header = found.iter().position(|file| file.head == head);
    let by_name = || found.iter().position(|file| file.name_ms == ours.file.name_ms);
    by_header.or_else(by_name).or_else(|| found.iter().position(begins_alike))
}

/// A file that no record of the log makes. One of a segment that retention has dropped, or of records behind those that
/// were applied again, may be there; so may one without a header, of which nothing was flushed.
fn check_surplus(found: &[Found], root: &Path, made: &IndexFiles) -> Result<(), StoreError> {
    let first = made.segments.keys().next().copied().unwrap_or(made.entered);
    let applied = first..made.entered;
    match found.iter().find(|file| !file.is_blank() && applied.contains(&file.segment(made.segment_size))) {
        Some(file) => {
            let path = root.join(name_of(file.name_ms));
            Err(StoreError::Corrupt { what: "IndexFile (no record makes it)", path, offset: 0 })
        }
        None => Ok(()),
    }
}

impl IndexFiles {
    fn being_filled(&self) -> impl Iterator<Item = Stored> {
        self.filling.iter().map(|filling| Stored { file: filling.file.clone(), header: filling.header })
    }
}

/// A file and what it should be.
struct Pair {
    path: PathBuf,
    theirs: Arc<dyn DiskFile>,
    ours: Arc<dyn DiskFile>,
    our_path: PathBuf,
    header: Header,
    sizes: IndexSizes,
}

impl Pair {
    fn open(disk: &dyn Disk, path: PathBuf, made: &IndexFiles, ours: Stored) -> Result<Self, StoreError> {
        let theirs = disk.open(&path).at("open", &path)?;
        let our_path = ours.file.path.clone();
        let Stored { file, header } = ours;
        let ours = made.files.disk.open(&our_path).at("open", &our_path)?;
        Ok(Self { path, theirs, ours, our_path, header, sizes: file.sizes })
    }

    fn corrupt(&self, what: &'static str, offset: u64) -> StoreError {
        StoreError::Corrupt { what, path: self.path.clone(), offset }
    }

    /// What part of a file a byte belongs to.
    fn what(&self, at: u64) -> &'static str {
        match at {
            0..HEADER_LEN => "IndexFile header",
            _ if at < self.sizes.unit_at(0) => "IndexFile slot",
            _ => "IndexFile unit",
        }
    }

    /// Both files' bytes of a range.
    fn read(&self, range: Range<u64>) -> Result<(Vec<u8>, Vec<u8>), StoreError> {
        let mut both = (vec![0; (range.end - range.start) as usize], vec![0; (range.end - range.start) as usize]);
        self.theirs.read_at(range.start, &mut both.0).at("read", &self.path)?;
        self.ours.read_at(range.start, &mut both.1).at("read", &self.our_path)?;
        Ok(both)
    }

    /// Byte by byte, holes skipped.
    fn compare(&self) -> Result<(), StoreError> {
        let len = self.theirs.len().at("stat", &self.path)?;
        if len != self.sizes.file_len() {
            return Err(self.corrupt("IndexFile (its length)", len.min(self.sizes.file_len())));
        }
        let mut ranges = self.theirs.data_ranges(0).at("search", &self.path)?;
        ranges.extend(self.ours.data_ranges(0).at("search", &self.our_path)?);
        ranges.sort_unstable_by_key(|range| range.start);
        let mut done = 0;
        for range in ranges {
            done = done.max(range.start);
            while done < range.end {
                let now = done..range.end.min(done + CHUNK);
                let (theirs, ours) = self.read(now.clone())?;
                if let Some(at) = theirs.iter().zip(&ours).position(|(theirs, ours)| theirs != ours) {
                    let at = now.start + at as u64;
                    return Err(self.corrupt(self.what(at), at));
                }
                done = now.end;
            }
        }
        Ok(())
    }

    /// Of a file that may have lost what no sync has covered, or hold less or more than was applied again: every unit
    /// is right or blank, and so are slots under a header. Answers how many units it holds.
    fn compare_what_is_there(&self) -> Result<u64, StoreError> {
        if self.theirs.len().at("stat", &self.path)? != self.sizes.file_len() {
            return Ok(0);
        }
        let mut head = [0; HEADER_LEN as usize];
        self.theirs.read_at(0, &mut head).at("read", &self.path)?;
        let next = (head != [0; HEADER_LEN as usize])
            .then(|| Header::from_bytes(&head, self.sizes).ok_or_else(|| self.corrupt("IndexFile header", 0)))
            .transpose()?
            .map(|header| header.next);
        let (mut held, mut slots, mut in_use) = (0, Slots::new(self.sizes), 0);
        let mut index = 1;
        while index < self.header.next {
            let count = u64::from(self.header.next - index).min(CHUNK / INDEX_UNIT_LEN);
            let at = self.sizes.unit_at(index);
            let (theirs, ours) = self.read(at..at + count * INDEX_UNIT_LEN)?;
            for (theirs, ours) in theirs.as_chunks::<LEN>().0.iter().zip(ours.as_chunks::<LEN>().0) {
                if theirs == ours {
                    held += 1;
                } else if *theirs != [0; LEN] {
                    return Err(self.corrupt("IndexFile unit", self.sizes.unit_at(index)));
                }
                if Some(index) < next {
                    let slot = self.sizes.slot_of(IndexUnit::from_bytes(ours).hash);
                    in_use += u32::from(slots.replace(slot, index) == 0);
                }
                index += 1;
            }
        }
        if let Some(next) = next.filter(|next| *next <= self.header.next) {
            self.compare_tables(&head, next, &slots, in_use)?;
        }
        Ok(held)
    }

    /// Header and slots as they were when units below `next` were there.
    fn compare_tables(&self, head: &[u8], next: u32, slots: &Slots, in_use: u32) -> Result<(), StoreError> {
        let mut expected = Header { next, slots: in_use, ..self.header }.to_bytes();
        if next < self.header.next {
            // The end then was another: its time is not in the units, its position is.
            let (_, last) = self.read(self.sizes.unit_at(next - 1)..self.sizes.unit_at(next))?;
            expected[8..16].copy_from_slice(&head[8..16]);
            expected[24..32].copy_from_slice(&last[4..12]);
        }
        if let Some(at) = expected.iter().zip(head).position(|(expected, theirs)| expected != theirs) {
            return Err(self.corrupt("IndexFile header", at as u64));
        }
        let per_chunk = (CHUNK / SLOT_LEN) as u32;
        for first in (0..self.sizes.slots).step_by(per_chunk as usize) {
            let end = self.sizes.slots.min(first + per_chunk);
            let (theirs, _) = self.read(self.sizes.slot_at(first)..self.sizes.slot_at(end))?;
            let expected = slots.to_bytes(first..end);
            let both = theirs.as_chunks::<4>().0.iter().zip(expected.as_chunks::<4>().0);
            if let Some(at) = both.map(|(a, b)| *a != [0; 4] && a != b).position(|differs| differs) {
                return Err(self.corrupt("IndexFile slot", self.sizes.slot_at(first + at as u32)));
            }
        }
        Ok(())
    }
}
