//! Opening: what is there and provably complete is kept, the rest goes and is made again.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::filling::{IndexFile, Stored};
use super::format::{FORMAT_FILE, Format, Held};
use super::layout::{HEADER_LEN, Header};
use super::name::{ms_of, name_of};
use super::{DIR, Files, IndexFiles, IndexSizes, Missing, Segment};
use crate::disk::Disk;
use crate::error::At;
use crate::{PhysicalOffset, StoreError};

/// The first bytes of a file, and what its length is.
pub(super) struct Found {
    pub name_ms: i64,
    pub head: [u8; HEADER_LEN as usize],
    pub len: u64,
}

impl Found {
    /// Whether no header was written yet.
    pub fn is_blank(&self) -> bool {
        self.head.iter().all(|byte| *byte == 0)
    }

    /// Start of the segment that the file says it belongs to.
    pub fn segment(&self, segment_size: u64) -> u64 {
        let begin = u64::from_be_bytes(std::array::from_fn(|i| self.head[16 + i]));
        begin - begin % segment_size
    }
}

/// The files below `root`, by name; those that cannot be files of ours are shown to `stray`.
pub(super) fn find_files(
    disk: &dyn Disk,
    root: &Path,
    stray: &mut dyn FnMut(&str) -> Result<(), StoreError>,
) -> Result<Vec<Found>, StoreError> {
    let mut found = Vec::new();
    for name in disk.list(root).at("list", root)? {
        if name == FORMAT_FILE {
            continue;
        }
        match ms_of(&name).map(|name_ms| read_head(disk, &root.join(&name), name_ms)).transpose()?.flatten() {
            Some(file) => found.push(file),
            None => stray(&name)?,
        }
    }
    Ok(found)
}

/// `None` if the file has no whole header.
fn read_head(disk: &dyn Disk, path: &Path, name_ms: i64) -> Result<Option<Found>, StoreError> {
    let file = disk.open(path).at("open", path)?;
    let len = file.len().at("stat", path)?;
    let mut head = [0; HEADER_LEN as usize];
    match file.read_at(0, &mut head) {
        Ok(()) => Ok(Some(Found { name_ms, head, len })),
        // A sector that cannot be read is damage like any other: the file is made again from the log.
        Err(e) => {
            if e.kind() != io::ErrorKind::UnexpectedEof {
                tracing::warn!(file = %path.display(), error = %e, "the header of an IndexFile cannot be read");
            }
            Ok(None)
        }
    }
}

/// The headers of a complete segment's files, in the log's order; `None` if a file is lost or its header damaged. Names
/// rise with the log, and `found` comes by name.
pub(super) fn check_segment(segment: u64, segment_size: u64, held: Held, found: &[&Found]) -> Option<Vec<Header>> {
    let mut headers: Vec<Header> = Vec::new();
    let mut nexts = held.nexts();
    for file in found {
        let header = Header::from_bytes(&file.head, held.sizes)?;
        let ends_within = header.end.0 - header.end.0 % segment_size == segment;
        let follows = headers.last().is_none_or(|last| last.end <= header.begin);
        let is_sound = ends_within && follows && file.len == held.sizes.file_len();
        if !is_sound || nexts.next() != Some(u64::from(header.next)) {
            return None;
        }
        headers.push(header);
    }
    nexts.next().is_none().then_some(headers)
}

impl IndexFiles {
    /// The index below `dir/index/` of a log that holds segments from `first` on and is replayed from `replay_from`,
    /// both segment starts. Files of segments from there on go with the first flush: the replay makes them again. So do
    /// files of segments before `first`. Of the segments between, those that are not provably complete are
    /// [`IndexFiles::missing`]. (So are segments that retention dropped behind the checkpoint, until the replay drops
    /// them again: rebuild after it.) Reads little, and writes nothing.
    ///
    /// Files that are begun from now on get `sizes`; older ones keep theirs, and a rebuilt segment gets those it had.
    ///
    /// # Errors
    /// `Contract` if the positions or sizes make no sense, `UnknownVersion` if a newer build wrote the index, `Io` if
    /// the disk fails.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        sizes: IndexSizes,
        segment_size: u64,
        first: PhysicalOffset,
        replay_from: PhysicalOffset,
    ) -> Result<Self, StoreError> {
        sizes.check()?;
        let is_start = |at: PhysicalOffset| segment_size > 0 && at.0.is_multiple_of(segment_size);
        if !is_start(first) || !is_start(replay_from) || first > replay_from {
            return Err(StoreError::Contract(format!("an index from {first} on, replayed from {replay_from}")));
        }
        let files = Files::new(disk, dir.join(DIR));
        let mut index = Self::empty(files, sizes, segment_size, replay_from.0);
        let format = Format::read(&*index.files.disk, &index.files.root)?;
        index.find_segments(first.0, format.as_ref().map_or(&BTreeMap::new(), |format| &format.segments))?;
        index.format_version = 1;
        index.files.format_version.store(1, Ordering::Release);
        let now = index.format();
        if format.as_ref() != Some(&now) {
            index.files.note_opened(now.encode());
        }
        index.segments.insert(replay_from.0, Segment { sizes, keys: 0, files: Vec::new() });
        Ok(index)
    }

    fn empty(files: Files, sizes: IndexSizes, segment_size: u64, entered: u64) -> Self {
        let (sizes_of, segments, filling, unflushed, last_name_ms) = Default::default();
        let (removals, missing, format_version, plan, rebuild) = Default::default();
        Self {
            files: Arc::new(files),
            sizes,
            sizes_of,
            segment_size,
            entered,
            segments,
            filling,
            unflushed,
            last_name_ms,
            removals,
            missing,
            format_version,
            plan,
            rebuild,
        }
    }

    /// Takes the segments of [first, entered) that are complete. Files of other segments go with the next flush; what is
    /// left of a missing one's when it is rebuilt.
    fn find_segments(&mut self, first: u64, held: &BTreeMap<u64, Held>) -> Result<(), StoreError> {
        let files = Arc::clone(&self.files);
        let found = find_files(&*files.disk, &files.root, &mut |name| {
            self.removals.push(files.root.join(name));
            Ok(())
        })?;
        let mut by_segment: BTreeMap<u64, Vec<&Found>> = BTreeMap::new();
        // One without a header was still being filled: it would seem to be of the first segment.
        for file in found.iter().filter(|file| !file.is_blank()) {
            by_segment.entry(file.segment(self.segment_size)).or_default().push(file);
        }
        let mut kept = BTreeSet::new();
        for start in (first..self.entered).step_by(self.segment_size as usize) {
            let of = by_segment.get(&start).map_or(&[][..], Vec::as_slice);
            let names = of.iter().map(|file| file.name_ms);
            kept.extend(names.clone());
            let checked = held
                .get(&start)
                .and_then(|held| check_segment(start, self.segment_size, *held, of).map(|headers| (*held, headers)));
            let Some((Held { sizes, keys }, headers)) = checked else {
                let sizes = held.get(&start).map_or(self.sizes, |held| held.sizes);
                let leftovers = names.map(|name_ms| self.held(name_ms, start, sizes)).collect();
                self.missing.insert(start, Missing { sizes, leftovers });
                continue;
            };
            let stored = names.zip(headers).map(|(name_ms, header)| {
                let file = self.held(name_ms, start, sizes);
                Stored { file, header }
            });
            let segment = Segment { sizes, keys, files: stored.collect() };
            self.segments.insert(start, segment);
        }
        let gone = found.iter().filter(|file| !kept.contains(&file.name_ms));
        self.removals.extend(gone.map(|file| files.root.join(name_of(file.name_ms))));
        self.last_name_ms = kept.last().copied();
        Ok(())
    }

    /// A file that is there and keeps its name.
    fn held(&self, name_ms: i64, segment: u64, sizes: IndexSizes) -> Arc<IndexFile> {
        self.files.keep_name(name_ms);
        self.files.file(name_ms, segment, sizes)
    }
}
