//! The key index as the machine has it: queries, and which segments are made again.

use std::ops::RangeInclusive;
use std::path::Path;

use quorumq_store::disk::Disk;
use quorumq_store::index_file::{IndexFiles, KeyQuery, Rebuild, Rebuilt, SegmentCheck, VerifiedIndex, verify_index};
use quorumq_store::{PhysicalOffset, StoreError};

use super::Machine;

/// The files of a segment that a query needs are being made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key index of the segment at {0} is being rebuilt; ask again, or another member")]
pub struct Rebuilding(pub PhysicalOffset);

impl Machine {
    /// Prepares a query by key; see [`IndexFiles::plan_query`]. `None` without an index.
    ///
    /// # Errors
    /// Files that can hold keys of these times are damaged or missing.
    pub fn plan_query(
        &self,
        topic: &str,
        key: &[u8],
        times: RangeInclusive<i64>,
        max: usize,
    ) -> Result<Option<KeyQuery>, Rebuilding> {
        let Some(index) = &self.index else { return Ok(None) };
        if let Some(missing) = index.missing().into_iter().find(|segment| self.can_hold(*segment, &times)) {
            return Err(Rebuilding(missing));
        }
        Ok(Some(index.plan_query(topic, key, *times.start(), *times.end(), max)))
    }

    /// Whether a segment can hold records stored within these times: none is stored before an earlier one.
    fn can_hold(&self, segment: PhysicalOffset, times: &RangeInclusive<i64>) -> bool {
        let segments = &self.retention.segments;
        let at = segments.partition_point(|held| held.start < segment.0);
        let begins = at.checked_sub(1).and_then(|before| segments.get(before)).map_or(i64::MIN, |held| held.last_ms);
        let ends = segments.get(at).map_or(i64::MAX, |held| held.last_ms);
        begins <= *times.end() && *times.start() <= ends
    }

    /// Store time and position of the newest message with a key.
    pub fn last_key(&self) -> Option<(i64, PhysicalOffset)> {
        self.index.as_ref().and_then(IndexFiles::last)
    }

    /// Whether there are segments whose files were reported or are missing.
    pub fn has_damaged_index(&self) -> bool {
        self.index.as_ref().is_some_and(|index| index.has_damage())
    }

    /// Plans to make the files of a segment again, the lowest that was reported or is missing. `None` if there is none, or
    /// it cannot be done now.
    pub fn plan_index_rebuild(&mut self) -> Option<Rebuild> {
        let index = self.index.as_mut()?;
        let reported = index.reported();
        let mut wanted: Vec<_> = index.missing().into_iter().chain(reported).collect();
        wanted.sort_unstable();
        wanted.into_iter().find_map(|segment| index.plan_rebuild(segment))
    }

    /// Takes the files of a segment that were made again.
    pub fn index_rebuilt(&mut self, rebuilt: Rebuilt) {
        if let Some(index) = &mut self.index {
            index.rebuilt(rebuilt);
        }
    }

    /// Notes an IndexFile that a query or a scrub has found to be wrong: its segment is made again.
    pub fn report_index(&self, file: &Path) {
        if let Some(index) = &self.index {
            index.report(file);
        }
    }

    /// Notes that the index is wrong about a record at this position: its segment is made again.
    pub fn report_index_of(&self, position: PhysicalOffset) {
        if let Some(index) = &self.index {
            index.report_position(position);
        }
    }

    /// The segments whose index files can be checked against the log.
    pub fn indexed_segments(&self) -> Vec<PhysicalOffset> {
        self.index.as_ref().map(IndexFiles::complete).unwrap_or_default()
    }

    /// Starts to compare the index files of a segment with its records; see [`IndexFiles::plan_check`].
    pub fn plan_index_check(&self, segment: PhysicalOffset) -> Option<SegmentCheck> {
        self.index.as_ref().and_then(|index| index.plan_check(segment))
    }

    /// Compares the index files below `dir` with this machine's index. The machine is one that applied the log of that
    /// store again, on a disk of its own, with [`Machine::take_index_sizes`].
    ///
    /// # Errors
    /// As [`verify_index`].
    pub fn verify_index(&mut self, disk: &dyn Disk, dir: &Path) -> Result<VerifiedIndex, StoreError> {
        self.index.as_mut().map_or(Ok(VerifiedIndex::default()), |index| verify_index(disk, dir, index))
    }

    /// Index files get the sizes that those below `dir` have. Before anything is applied.
    ///
    /// # Errors
    /// As [`IndexFiles::take_sizes_of`].
    pub fn take_index_sizes(&mut self, disk: &dyn Disk, dir: &Path) -> Result<(), StoreError> {
        self.index.as_mut().map_or(Ok(()), |index| index.take_sizes_of(disk, dir))
    }
}
