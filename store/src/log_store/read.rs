//! Reading: from the tail, or from the files of what is committed and written.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::{Entry, LogStore, SnapshotPosition};
use crate::commit_log::reader::FrameReader;
use crate::commit_log::view::{FileRange, View};
use crate::commit_log::{POINT_GAP, segment_path};
use crate::disk::DiskFile;
use crate::frame::{Flaw, Kind};
use crate::{LogId, LogIndex, PhysicalOffset, StoreError};

/// Bytes read or mapped at once.
const CHUNK: usize = 256 << 10;

/// What is to be read next.
enum Step {
    Done,
    File(FileRange),
}

/// Collects entries up to a budget of body bytes.
struct Collector {
    entries: Vec<Entry>,
    next: LogIndex,
    end: LogIndex,
    left: u64,
    full: bool,
}

impl Collector {
    /// Takes the next entry if the budget allows it; the first one always fits.
    fn offer(&mut self, entry: Entry) {
        let len = entry.body.len() as u64;
        if len > self.left && !self.entries.is_empty() {
            self.full = true;
            return;
        }
        self.left = self.left.saturating_sub(len);
        self.next = entry.id.index.next();
        self.full = self.left == 0;
        self.entries.push(entry);
    }

    fn wants_more(&self) -> bool {
        !self.full && self.next < self.end
    }
}

impl LogStore {
    /// Entries of `range`, from memory or disk, stopping early (but never before the first) at `max_bytes` of bodies. The
    /// end of the range is cut to the log's; bodies read from disk are checked against their CRC.
    ///
    /// Touches files, and may block, unless [`LogStore::in_memory`] says otherwise.
    ///
    /// # Errors
    /// `NoEntry` if the range starts before the log; `Corrupt` naming file and offset; `Io`.
    pub fn entries(&self, range: Range<LogIndex>, max_bytes: u64) -> Result<Vec<Entry>, StoreError> {
        let mut collector =
            Collector { entries: Vec::new(), next: range.start, end: range.end, left: max_bytes, full: false };
        loop {
            match self.step(&mut collector)? {
                Step::Done => return Ok(collector.entries),
                Step::File(file_range) => self.read_file(file_range, &mut collector)?,
            }
        }
    }

    /// Takes what the tail has, or says which file to read.
    fn step(&self, collector: &mut Collector) -> Result<Step, StoreError> {
        let fifo = self.lock();
        let view = &fifo.view;
        collector.end = collector.end.min(view.next());
        if !collector.wants_more() {
            return Ok(Step::Done);
        }
        if collector.next < view.first_index() {
            if collector.entries.is_empty() {
                return Err(no_entry(view, collector.next));
            }
            return Ok(Step::Done);
        }
        if collector.next < view.tail_index() {
            let range = view.file_range(collector.next).ok_or_else(|| no_entry(view, collector.next))?;
            return Ok(Step::File(range));
        }
        for entry in view.tail_from(collector.next) {
            if !collector.wants_more() {
                break;
            }
            collector.offer(entry.clone());
        }
        Ok(Step::Done)
    }

    /// Opens a cold segment's file; one that was purged meanwhile is no failure of the disk.
    pub(super) fn open_cold(&self, start: PhysicalOffset, path: &Path) -> Result<Arc<dyn DiskFile>, StoreError> {
        self.disk.open(path).map_err(|e| {
            let View { first, end, .. } = self.lock().view;
            if start < first {
                return StoreError::OutOfRange { at: start, first, end };
            }
            if e.kind() == std::io::ErrorKind::NotFound {
                let what = "log (a segment file is missing)";
                return StoreError::Corrupt { what, path: path.to_owned(), offset: 0 };
            }
            StoreError::Io { verb: "open", path: path.to_owned(), source: e }
        })
    }

    fn reader(&self, range: &FileRange) -> Result<FrameReader, StoreError> {
        let path = segment_path(&self.dir, range.start);
        let reader = |file, path| FrameReader::copied(file, path, self.layout(), range.start, range.limit, CHUNK);
        Ok(match &range.hot {
            Some(file) => reader(Arc::clone(file), path).mapped(),
            None => reader(self.open_cold(range.start, &path)?, path),
        })
    }

    /// Walks headers from the nearest known point to an entry. Returns its position, or that of the segment's end.
    fn walk_to(
        &self,
        range: &FileRange,
        reader: &mut FrameReader,
        index: LogIndex,
    ) -> Result<PhysicalOffset, StoreError> {
        let (mut next, mut at) = range.from;
        let mut points = Vec::new();
        let mut last_point = at;
        while next < index {
            let (header, _) = reader.header(at)?.map_err(|flaw| reader.corrupt(flaw, at))?;
            if header.kind == Kind::Filler || header.id.index != next {
                return Err(reader.corrupt(Flaw::Order, at));
            }
            if at >= last_point + POINT_GAP {
                points.push((next, at));
                last_point = at;
            }
            (next, at) = (next.next(), header.end());
        }
        self.lock().view.learn(range.start, range.epoch, &points);
        Ok(at)
    }

    /// Reads entries from one segment's file, up to its end or the start of the tail.
    fn read_file(&self, range: FileRange, collector: &mut Collector) -> Result<(), StoreError> {
        let mut reader = self.reader(&range)?;
        let mut at = self.walk_to(&range, &mut reader, collector.next)?;
        while collector.wants_more() && at < range.limit {
            let found = match self.quarantine.is_served(at) {
                true => reader.unchecked_frame(at)?,
                false => reader.frame(at)?,
            };
            let frame = found.map_err(|flaw| reader.corrupt(flaw, at))?;
            if frame.header.kind == Kind::Filler {
                break;
            }
            if frame.header.id.index != collector.next {
                return Err(reader.corrupt(Flaw::Order, at));
            }
            let header = frame.header;
            collector.offer(Entry { id: header.id, kind: header.kind, position: at, body: frame.body });
            at = header.end();
        }
        Ok(())
    }

    /// The log id of an entry, or of the last purged one.
    ///
    /// # Errors
    /// `NoEntry` outside the log; what reading a header answers.
    pub fn id_at(&self, index: LogIndex) -> Result<LogId, StoreError> {
        let range = {
            let fifo = self.lock();
            let view = &fifo.view;
            if let Some(known) =
                [view.purged, view.last, view.committed, view.synced].into_iter().flatten().find(|id| id.index == index)
            {
                return Ok(known);
            }
            if index < view.first_index() || index >= view.next() {
                return Err(no_entry(view, index));
            }
            if let Some(entry) = view.tail_from(index).next()
                && entry.id.index == index
            {
                return Ok(entry.id);
            }
            view.file_range(index).ok_or_else(|| no_entry(view, index))?
        };
        let mut reader = self.reader(&range)?;
        let at = self.walk_to(&range, &mut reader, index)?;
        let (header, _) = reader.header(at)?.map_err(|flaw| reader.corrupt(flaw, at))?;
        if header.id.index == index { Ok(header.id) } else { Err(reader.corrupt(Flaw::Order, at)) }
    }

    /// The bytes of a record at or below committed, at `at`, `len` bytes long. Zero-copy unless the segment is cold. What
    /// comes from a file comes out of a frame that was checked as a whole.
    ///
    /// # Errors
    /// `OutOfRange` if they are not inside the body of one entry of the log; `Corrupt` naming file and offset,
    /// `Quarantined`; `Io`.
    pub fn bytes(&self, at: PhysicalOffset, len: u32) -> Result<Bytes, StoreError> {
        let range = {
            let fifo = self.lock();
            let view = &fifo.view;
            let out_of_range = || StoreError::OutOfRange { at, first: view.first, end: view.end };
            if at < view.first {
                return Err(out_of_range());
            }
            if let Some(bytes) = view.tail_bytes_at(at, len)? {
                return Ok(bytes);
            }
            view.file_at(at, len).ok_or_else(out_of_range)?
        };
        self.sound_bytes(range, at, len)
    }

    /// Whether [`LogStore::bytes`] at `at` is likely answered from memory or page cache (the last two segments).
    pub fn is_hot(&self, at: PhysicalOffset) -> bool {
        self.lock().view.is_hot(at)
    }

    /// Whether [`LogStore::entries`] from `index` on is answered from memory.
    pub fn in_memory(&self, index: LogIndex) -> bool {
        index >= self.lock().view.tail_index()
    }

    /// Entries of `range` that are in memory: all that are not both committed and written, and some more.
    pub fn entries_in_memory(&self, range: Range<LogIndex>) -> Vec<Entry> {
        let fifo = self.lock();
        fifo.view.tail_from(range.start).take_while(|entry| entry.id.index < range.end).cloned().collect()
    }

    /// The chain value before the segment that starts at `segment` and the last entry before it. Known as soon as the
    /// first entry of the segment is appended; may read two headers, or compute CRCs of entries not yet written.
    ///
    /// `None` if no segment with an entry starts there, at the very start of the group's log, while a truncation is
    /// under way, and where the headers cannot be read (which is logged).
    pub fn snapshot_position(&self, segment: PhysicalOffset) -> Option<SnapshotPosition> {
        match self.read_snapshot_position(segment) {
            Ok(position) => position,
            Err(e) => {
                tracing::error!(%segment, error = %e, "snapshot position");
                None
            }
        }
    }

    fn read_snapshot_position(&self, segment: PhysicalOffset) -> Result<Option<SnapshotPosition>, StoreError> {
        let (before, boundary, unwritten, range) = {
            let fifo = self.lock();
            let view = &fifo.view;
            let Some(slot) = view.started_slot(segment) else {
                // An empty log right behind an installed snapshot.
                let empty = segment == view.first && view.last == view.purged;
                let last = view.purged.filter(|_| empty);
                return Ok(last.map(|last| SnapshotPosition { last, next: segment, chain: view.chain }));
            };
            let Some(boundary) = slot.first.0.checked_sub(1).map(LogIndex) else {
                return Ok(None);
            };
            (slot.before, boundary, view.unwritten_before(slot.first), view.first_frame(slot))
        };
        let last = match before {
            Some(before) => before,
            None => self.id_at(boundary)?,
        };
        let chain = match (unwritten, range) {
            (Some((Some(end), _)), _) if end.at == segment => end.chain,
            (Some((Some(end), between)), _) => end.chain_before(segment, &between),
            (None, range) => {
                let mut reader = self.reader(&range)?;
                let (header, _) = reader.header(segment)?.map_err(|flaw| reader.corrupt(flaw, segment))?;
                header.chain
            }
            (Some((None, _)), _) => return Ok(None),
        };
        Ok(Some(SnapshotPosition { last, next: segment, chain }))
    }
}

fn no_entry(view: &View, index: LogIndex) -> StoreError {
    StoreError::NoEntry { index, first: view.first_index(), next: view.next() }
}
