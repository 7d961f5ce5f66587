//! The disk thread's half of the CommitLog: headers, chain, rolls, truncation.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::chain::End;
use super::erase::{erase_range, remove_segments, segment_starts, zero};
use super::reader::FrameReader;
use super::{Layout, segment_path};
use crate::disk::{Disk, DiskFile};
use crate::error::At;
use crate::frame::{HEADER_LEN, HeaderBytes};
use crate::hard_state::Mark;
use crate::log_store::background::{SyncGate, sync_through};
use crate::log_store::{Entry, SnapshotPosition};
use crate::mutant::{Mutant, planted};
use crate::{PhysicalOffset, StoreError};

/// The next segment is allocated once one in so many parts of the current one is used.
const NEXT_AFTER: u64 = 4;
/// Bytes of zeroes written in one step ahead of the end of the log.
const PREWRITE_STEP: u64 = 256 << 10;

/// An open segment file.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) start: PhysicalOffset,
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn DiskFile>,
}

impl Segment {
    /// Opens a segment's file.
    pub(crate) fn open(disk: &dyn Disk, dir: &Path, start: PhysicalOffset) -> Result<Self, StoreError> {
        let path = segment_path(dir, start);
        let file = disk.open(&path).at("open", &path)?;
        Ok(Self { start, path, file })
    }

    /// Creates a segment's file, allocated, blank and durable.
    pub(crate) fn create(disk: &dyn Disk, dir: &Path, start: PhysicalOffset, len: u64) -> Result<Self, StoreError> {
        let path = segment_path(dir, start);
        let file = disk.create(&path, len).at("create", &path)?;
        file.sync_data().at("sync", &path)?;
        if !planted(Mutant::DirectorySyncSkippedAtRoll) {
            let log = dir.join(super::DIR);
            disk.sync_dir(&log).at("sync", &log)?;
        }
        Ok(Self { start, path, file })
    }
}

/// Writes the log. Owned by the disk thread.
#[derive(Debug)]
pub(crate) struct Writer {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    layout: Layout,
    pub(crate) current: Segment,
    pub(crate) next: Option<Segment>,
    pub(crate) end: End,
    /// Bytes written since the last sync.
    pub(crate) unsynced: u64,
    pub(crate) gate: SyncGate,
    /// Everything from the end up to here is known to be written with zeroes.
    zeroed: PhysicalOffset,
    headers: Vec<HeaderBytes>,
}

impl Writer {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        dir: &Path,
        layout: Layout,
        current: Segment,
        next: Option<Segment>,
        end: End,
    ) -> Self {
        let dir = dir.to_owned();
        Self {
            disk,
            dir,
            layout,
            current,
            next,
            end,
            unsynced: 0,
            gate: SyncGate::default(),
            zeroed: end.at,
            headers: Vec::new(),
        }
    }

    /// Writes consecutive entries: one `write_at` for each segment. At a roll everything before is synced; `rolled` is
    /// then told the mark and given the new segment.
    pub(crate) fn append(
        &mut self,
        entries: &[Entry],
        rolled: &mut dyn FnMut(Mark, &Segment) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut rest = entries;
        while let Some(entry) = rest.first() {
            let segment = self.layout.segment_of(entry.position);
            if segment != self.current.start {
                self.roll()?;
                rolled(self.end.mark(), &self.current)?;
            }
            assert_eq!(segment, self.current.start, "entries skip a segment");
            let run = rest.iter().take_while(|entry| self.layout.segment_of(entry.position) == segment).count();
            self.write_run(&rest[..run])?;
            rest = &rest[run..];
        }
        Ok(())
    }

    /// Writes entries of the current segment.
    fn write_run(&mut self, entries: &[Entry]) -> Result<(), StoreError> {
        let from = entries[0].position;
        self.headers.clear();
        for entry in entries {
            let starts_segment = entry.position == self.current.start;
            assert!(starts_segment || entry.position == self.end.at, "entry {} is not at the end", entry.id);
            self.headers.push(self.end.push_entry(entry));
        }
        let mut parts: Vec<&[u8]> = Vec::with_capacity(2 * entries.len());
        for (header, entry) in self.headers.iter().zip(entries) {
            parts.push(header);
            if !entry.body.is_empty() {
                parts.push(&entry.body);
            }
        }
        self.current.file.write_at(from.0 - self.current.start.0, &parts).at("write", &self.current.path)?;
        self.unsynced += self.end.at.0 - from.0;
        self.zeroed = self.zeroed.max(self.end.at);
        Ok(())
    }

    /// Closes the current segment with a filler, makes it durable, and goes on to the next.
    fn roll(&mut self) -> Result<(), StoreError> {
        let end = self.layout.segment_end(self.current.start);
        let filler = self.end.push_filler(end);
        let Segment { start, path, file } = &self.current;
        file.write_at(self.end.at.0 - start.0, &[&filler]).at("write", path)?;
        self.sync()?;
        self.current = match self.next.take() {
            Some(next) => next,
            None => Segment::create(&*self.disk, &self.dir, end, self.layout.segment_size)?,
        };
        self.zeroed = self.zeroed.max(end);
        Ok(())
    }

    /// Makes everything written durable.
    pub(crate) fn sync(&mut self) -> Result<(), StoreError> {
        sync_through(&self.gate, &*self.current.file, &self.current.path)?;
        self.unsynced = 0;
        Ok(())
    }

    /// Allocates the segment behind the current one, if it is missing.
    pub(crate) fn prepare_next(&mut self) -> Result<(), StoreError> {
        if self.next.is_none() {
            let start = self.layout.segment_end(self.current.start);
            self.next = Some(Segment::create(&*self.disk, &self.dir, start, self.layout.segment_size)?);
        }
        Ok(())
    }

    /// Writes one step of zeroes so that up to `ahead` bytes behind the end are prewritten: syncs into such blocks
    /// need no journal commit. Returns whether a step was needed.
    pub(crate) fn prewrite(&mut self, ahead: u64) -> Result<bool, StoreError> {
        let to = self.end.at + ahead;
        if self.zeroed + PREWRITE_STEP > to {
            return Ok(false);
        }
        let segment = if self.zeroed < self.layout.segment_end(self.current.start) {
            &self.current
        } else if let Some(next) = &self.next
            && self.zeroed < self.layout.segment_end(next.start)
        {
            next
        } else {
            return Ok(false);
        };
        let until = (self.zeroed + PREWRITE_STEP).min(self.layout.segment_end(segment.start));
        zero(&*segment.file, &segment.path, self.zeroed.0 - segment.start.0, until.0 - segment.start.0)?;
        self.zeroed = until;
        Ok(true)
    }

    /// Drops everything behind the cut, durably. The intent to do so is already durable.
    pub(crate) fn truncate(&mut self, cut: Mark) -> Result<(), StoreError> {
        // What is kept becomes the mark: it must be known to be durable, not only what zeroes are written into.
        self.sync()?;
        let start = self.layout.segment_of(cut.end);
        let segment_end = self.layout.segment_end(start);
        let segment = if start == self.current.start {
            self.current.clone()
        } else {
            Segment::open(&*self.disk, &self.dir, start)?
        };
        // The frame to be dropped chains to the one that is kept.
        let Segment { path, file, .. } = &segment;
        let mut reader =
            FrameReader::copied(Arc::clone(file), path.clone(), self.layout, start, segment_end, HEADER_LEN as usize);
        let (header, _) = reader.header(cut.end)?.map_err(|flaw| reader.corrupt(flaw, cut.end))?;
        erase_range(&*self.disk, &self.dir, self.layout, cut.end, self.end.at)?;
        if start == self.current.start {
            self.zeroed = self.zeroed.max(self.end.at);
        } else {
            self.next = None;
            self.zeroed = segment_end;
        }
        self.current = segment;
        let chain = if planted(Mutant::ChainNotCutBack) { self.end.chain } else { header.chain };
        self.end = End { at: cut.end, last: cut.last, chain };
        self.unsynced = 0;
        Ok(())
    }

    /// Drops every segment, durably. The intent to do so is already durable.
    pub(crate) fn drop_all(&mut self) -> Result<(), StoreError> {
        let starts = segment_starts(&*self.disk, &self.dir)?.into_iter().rev();
        remove_segments(&*self.disk, &self.dir, starts)
    }

    /// Starts the emptied log behind a snapshot.
    pub(crate) fn start_at(&mut self, at: SnapshotPosition) -> Result<(), StoreError> {
        self.next = None;
        self.current = Segment::create(&*self.disk, &self.dir, at.next, self.layout.segment_size)?;
        self.end = End { at: at.next, last: Some(at.last), chain: at.chain };
        self.unsynced = 0;
        self.zeroed = at.next;
        Ok(())
    }

    /// The chain value of the frame that starts a segment.
    pub(crate) fn chain_at(&self, start: PhysicalOffset) -> Result<u32, StoreError> {
        if start == self.end.at {
            return Ok(self.end.chain);
        }
        let Segment { path, file, .. } = Segment::open(&*self.disk, &self.dir, start)?;
        let limit = start + HEADER_LEN;
        let mut reader = FrameReader::copied(file, path, self.layout, start, limit, HEADER_LEN as usize);
        let (header, _) = reader.header(start)?.map_err(|flaw| reader.corrupt(flaw, start))?;
        Ok(header.chain)
    }

    /// Removes the segments before `first`, oldest first.
    pub(crate) fn purge(&mut self, first: PhysicalOffset) -> Result<(), StoreError> {
        let starts = segment_starts(&*self.disk, &self.dir)?.into_iter().filter(|start| *start < first);
        remove_segments(&*self.disk, &self.dir, starts)
    }

    /// Whether enough of the current segment is used that the next one is to be allocated.
    pub(crate) fn needs_next(&self) -> bool {
        // The end may lie before the current segment while a truncation is under way.
        self.end.at.0.saturating_sub(self.current.start.0) >= self.layout.segment_size / NEXT_AFTER
    }

    /// First byte of the log for which no file is allocated.
    pub(crate) fn held_until(&self) -> PhysicalOffset {
        self.layout.segment_end(self.next.as_ref().map_or(self.current.start, |next| next.start))
    }
}
