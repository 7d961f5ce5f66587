//! The key index: which records carry a key, in RocketMQ's IndexFiles.
//!
//! ```text
//! index/.format              version, sizes, and which segments' files are complete
//! index/yyyyMMddHHmmssSSS    named by the time of its first record: header, slots, units
//!
//! segment 0          segment 1          segment 2                 of the CommitLog
//! [file][file]       [file]             [file, being filled]      a file never spans segments
//! └─ complete, listed in .format ─┘     units in files and memory, slots in memory
//! ```
//!
//! The files of a segment are a function of its applied records and of the sizes alone. So they go with their segment,
//! are removed and made again by the replay from a recovery checkpoint's segment on, and are rebuilt one segment at a
//! time where they are lost or damaged.
//!
//! A unit is a hint: it tells where a record is that may have the key (keys of one hash, and of one slot, are not told
//! apart by all they are). The caller compares the record's own keys.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use crate::disk::Disk;
use crate::error::At;
use crate::{PhysicalOffset, StoreError};

mod files;
mod filling;
mod flush;
mod format;
mod layout;
mod name;
mod open;
mod query;
mod rebuild;
mod scrub;
mod slots;
#[cfg(test)]
mod tests;
mod verify;

pub use flush::IndexFlush;
pub use layout::{HEADER_LEN, INDEX_UNIT_LEN, IndexSizes, SLOT_LEN, key_hash};
pub use query::{Candidates, KeyQuery, MAX_STEPS};
pub use rebuild::{Rebuild, Rebuilt};
pub use scrub::SegmentCheck;
pub use verify::{VerifiedIndex, verify_index};

use files::Files;
use filling::{Filling, IndexFile, Stored};
use format::{Format, Held};

/// Name of the directory.
const DIR: &str = "index";

/// Unflushed units (40 MB) at which a node must take no more messages until a flush succeeds. Nothing here refuses a
/// key: an entry that is committed has to be applied.
pub const MAX_UNFLUSHED: usize = 1 << 21;

/// The key index of a store. Keys are added in memory and written in runs by the disk thread; queries see both.
/// Owned by the machine; nothing here is durable before the log it covers (see [`IndexFlush::write`]).
#[derive(Debug)]
pub struct IndexFiles {
    files: Arc<Files>,
    /// Of files that are begun from now on.
    sizes: IndexSizes,
    /// Where other sizes hold: a replay makes files as they were made before.
    sizes_of: BTreeMap<u64, IndexSizes>,
    segment_size: u64,
    /// Start of the segment that is being applied. All before it have all their keys.
    entered: u64,
    /// Every segment but those that are missing, the entered one included.
    segments: BTreeMap<u64, Segment>,
    /// Files that are not wholly written, in the log's order; all behind those in `segments`.
    filling: VecDeque<Filling>,
    unflushed: usize,
    /// The millisecond that names the newest file: names rise.
    last_name_ms: Option<i64>,
    removals: Vec<PathBuf>,
    missing: BTreeMap<u64, Missing>,
    /// Counts changes of the complete segments.
    format_version: u64,
    /// Alive as long as a plan is out.
    plan: Weak<()>,
    /// Alive as long as a rebuild is out.
    rebuild: Weak<()>,
}

#[derive(Debug)]
struct Segment {
    sizes: IndexSizes,
    keys: u64,
    files: Vec<Stored>,
}

/// A segment whose files are lost or damaged.
#[derive(Debug)]
struct Missing {
    sizes: IndexSizes,
    /// What is left of them; their names stay taken until they are replaced.
    leftovers: Vec<Arc<IndexFile>>,
}

impl IndexFiles {
    /// Adds the keys of the record at `position`: its UNIQ_KEY, then each of its KEYS. Records come in the log's order.
    ///
    /// # Panics
    /// If the record lies in a segment before the one entered.
    pub fn push<'a>(
        &mut self,
        position: PhysicalOffset,
        store_timestamp_ms: i64,
        topic: &str,
        keys: impl IntoIterator<Item = &'a [u8]>,
    ) {
        let segment = self.segment_of(position);
        self.roll(segment);
        assert!(segment.0 == self.entered, "a record at {position}, before the segment entered at {}", self.entered);
        for key in keys {
            if self.filling.back().is_none_or(|file| file.is_sealed || file.is_full()) {
                self.begin_file(position, store_timestamp_ms);
            }
            let Some(file) = self.filling.back_mut() else { unreachable!("a file was begun") };
            file.push(key_hash(topic, key), position, store_timestamp_ms);
            let Some(segment) = self.segments.get_mut(&self.entered) else { unreachable!("the entered one is there") };
            segment.keys += 1;
            self.unflushed += 1;
        }
    }

    /// The log has entered that segment: those before it have all their keys. Told before a recovery checkpoint's flush
    /// is planned; a record of a later segment tells it too. A segment entered before changes nothing.
    pub fn roll(&mut self, segment: PhysicalOffset) {
        if segment.0 <= self.entered {
            return;
        }
        self.seal();
        // A segment without a record of a key is complete as well.
        while self.entered < segment.0 {
            self.entered += self.segment_size;
            let sizes = self.sizes_of(self.entered);
            self.segments.insert(self.entered, Segment { sizes, keys: 0, files: Vec::new() });
        }
        self.format_version += 1;
    }

    fn seal(&mut self) {
        if let Some(last) = self.filling.back_mut() {
            last.is_sealed = true;
        }
    }

    fn begin_file(&mut self, position: PhysicalOffset, store_timestamp_ms: i64) {
        self.seal();
        let from = self.last_name_ms.map_or(store_timestamp_ms, |last| store_timestamp_ms.max(last + 1));
        let name_ms = self.files.take_name(from, &BTreeSet::new());
        self.last_name_ms = Some(name_ms);
        let file = self.files.file(name_ms, self.entered, self.sizes_of(self.entered));
        self.filling.push_back(Filling::new(file, position, store_timestamp_ms));
    }

    fn sizes_of(&self, segment: u64) -> IndexSizes {
        self.sizes_of.get(&segment).copied().unwrap_or(self.sizes)
    }

    /// Start of the segment that holds `position`.
    pub fn segment_of(&self, position: PhysicalOffset) -> PhysicalOffset {
        PhysicalOffset(position.0 - position.0 % self.segment_size)
    }

    /// Retention: files of segments below go with the next flush. The segment entered stays.
    pub fn drop_below(&mut self, segment: PhysicalOffset) {
        let below = segment.0.min(self.entered);
        let kept = self.segments.split_off(&below);
        let dropped = std::mem::replace(&mut self.segments, kept);
        let kept = self.missing.split_off(&below);
        let missing = std::mem::replace(&mut self.missing, kept);
        if dropped.is_empty() && missing.is_empty() {
            return;
        }
        self.format_version += 1;
        let stored = dropped.into_values().flat_map(|segment| segment.files).map(|stored| stored.file);
        let mut gone: Vec<_> = stored.chain(missing.into_values().flat_map(|missing| missing.leftovers)).collect();
        while self.filling.front().is_some_and(|file| file.file.segment < below) {
            let Some(file) = self.filling.pop_front() else { unreachable!("there is a front") };
            self.unflushed -= file.pending.len();
            gone.push(file.file);
        }
        for file in gone {
            self.remove(&file);
        }
    }

    /// The file goes with the next flush.
    fn remove(&mut self, file: &IndexFile) {
        file.remove();
        self.files.free_name(file.name_ms);
        self.removals.push(file.path.clone());
    }

    /// Segments whose files are lost or damaged, ascending: to be rebuilt, one after the other. Queries find nothing of
    /// them meanwhile.
    pub fn missing(&self) -> Vec<PhysicalOffset> {
        self.missing.keys().copied().map(PhysicalOffset).collect()
    }

    /// Notes a file that was found to be wrong; its segment is to be rebuilt.
    pub fn report(&self, path: &Path) {
        if let Some(segment) = self.segment_of_file(path) {
            self.files.report(segment);
        }
    }

    /// Notes that what the index says of a record is wrong; the record's segment is to be rebuilt.
    pub fn report_position(&self, position: PhysicalOffset) {
        self.files.report(self.segment_of(position));
    }

    /// Segments that were [reported](IndexFiles::report) and not planned to be rebuilt since, ascending.
    pub fn reported(&self) -> Vec<PhysicalOffset> {
        self.files.reported()
    }

    /// Whether a segment is missing or reported.
    pub fn has_damage(&self) -> bool {
        !self.missing.is_empty() || !self.files.reported().is_empty()
    }

    /// Segments whose files are wholly written, ascending.
    pub fn complete(&self) -> Vec<PhysicalOffset> {
        let filling = self.filling.front().map_or(u64::MAX, |file| file.file.segment);
        self.segments.range(..self.entered.min(filling)).map(|(start, _)| PhysicalOffset(*start)).collect()
    }

    /// Keys in memory that no flush has covered yet.
    pub fn unflushed(&self) -> usize {
        self.unflushed
    }

    /// Store timestamp and position of the newest record with a key; `None` without one.
    pub fn last(&self) -> Option<(i64, PhysicalOffset)> {
        let stored = || self.segments.values().rev().find_map(|segment| segment.files.last()).map(|file| file.header);
        self.filling.back().map(|file| file.header).or_else(stored).map(|header| (header.end_ms, header.end))
    }

    /// The complete segments, as `.format` tells them.
    fn format(&self) -> Format {
        let complete = self.segments.range(..self.entered);
        let held = |segment: &Segment| Held { sizes: segment.sizes, keys: segment.keys };
        Format { sizes: self.sizes, segments: complete.map(|(start, segment)| (*start, held(segment))).collect() }
    }

    /// Removes the index below `dir`, durably: a step of installing a snapshot, on the disk thread, while it is neither
    /// read nor written.
    ///
    /// # Errors
    /// `Io` if the disk fails.
    pub fn wipe(disk: &dyn Disk, dir: &Path) -> Result<(), StoreError> {
        let root = dir.join(DIR);
        disk.remove_dir_all(&root).at("remove", &root)?;
        disk.sync_dir(dir).at("sync", dir)
    }
}

impl Drop for IndexFiles {
    fn drop(&mut self) {
        self.files.alive.store(false, Ordering::Release);
    }
}
