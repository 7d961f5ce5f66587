//! What a start makes of the segment files: finds the end of the log and gives the verdict.
//!
//! The first bad frame below the synced mark is `Corrupt`, whatever follows: those bytes were durable once. At or above
//! the mark it is a torn tail: the log is cut there, whatever follows, and everything behind is zeroed.

use std::path::Path;
use std::sync::Arc;

use super::chain::End;
use super::erase::{erase_behind, remove_segments, segment_starts};
use super::reader::{Follow, Frame, FrameReader};
use super::view::{Slot, View};
use super::writer::{Segment, Writer};
use super::{Layout, segment_path};
use crate::disk::Disk;
use crate::error::At;
use crate::frame::{Flaw, HEADER_LEN, Header, Kind};
use crate::hard_state::{Mark, State};
use crate::log_store::Entry;
use crate::mutant::{Mutant, planted};
use crate::{LogId, LogIndex, PhysicalOffset, StoreError};

/// Bytes read at once while scanning.
const CHUNK: usize = 1 << 20;

/// What recovery works on.
pub(crate) struct Recovery<'a> {
    pub(crate) disk: &'a Arc<dyn Disk>,
    pub(crate) dir: &'a Path,
    pub(crate) layout: Layout,
    pub(crate) state: &'a State,
    /// Bytes of entries the tail keeps beyond what it must.
    pub(crate) tail_limit: u64,
    /// Blank bytes in a row behind which nothing stale can stand.
    pub(crate) gap: u64,
    /// Whether the last stop was clean, so that nothing can stand behind the end.
    pub(crate) clean: bool,
}

/// The log as found, ready for use.
pub(crate) struct Found {
    pub(crate) view: View,
    pub(crate) writer: Writer,
    /// Where the log was cut, and how many bytes behind were dropped.
    pub(crate) torn_tail: Option<(PhysicalOffset, u64)>,
}

/// A segment whose first frame has a sound header.
struct Head {
    start: PhysicalOffset,
    header: Header,
}

impl Recovery<'_> {
    /// Finds the end of the log, cuts a torn tail, and opens the log. Any intent has been finished before.
    pub(crate) fn run(&self) -> Result<Found, StoreError> {
        self.finish_purge()?;
        let heads = self.heads()?;
        let mut scan = Scan::new(self, &heads)?;
        scan.run(&heads)?;
        scan.check_mark_reached(self)?;
        // After a clean stop there is nothing behind the end, unless the scan met something.
        let blank = self.clean && matches!(scan.flaw, Some((Flaw::Blank, _)) | None) && scan.is_at_end(&heads);
        let end = scan.end;
        let (torn_tail, writer) = self.open_writer(end, blank)?;
        let mut view = scan.view;
        view.commit_recovered(self.state.committed, end);
        view.attach(writer.current.start, &writer.current.file);
        Ok(Found { view, writer, torn_tail })
    }

    fn remove(&self, starts: impl Iterator<Item = PhysicalOffset>) -> Result<(), StoreError> {
        remove_segments(&**self.disk, self.dir, starts)
    }

    fn corrupt(&self, what: &'static str, at: PhysicalOffset) -> StoreError {
        let start = self.layout.segment_of(at);
        StoreError::Corrupt { what, path: segment_path(self.dir, start), offset: at.0 - start.0 }
    }

    /// Removes segments that a purge had dropped when it was interrupted.
    fn finish_purge(&self) -> Result<(), StoreError> {
        let starts = segment_starts(&**self.disk, self.dir)?;
        self.remove(starts.into_iter().filter(|start| *start < self.state.first))
    }

    /// Opens the segments from the first on, up to the last that starts with a sound header.
    fn heads(&self) -> Result<Vec<Head>, StoreError> {
        let mut heads = Vec::new();
        let mut start = self.state.first;
        loop {
            let durable = start < self.state.mark.end;
            let path = segment_path(self.dir, start);
            if !self.disk.exists(&path).at("look for", &path)? {
                if durable {
                    return Err(self.corrupt("log (a segment file is missing)", start));
                }
                break;
            }
            let segment = Segment::open(&**self.disk, self.dir, start)?;
            if !self.is_whole(&segment, durable)? {
                self.remove([start].into_iter())?;
                break;
            }
            let limit = start + HEADER_LEN;
            let mut reader = FrameReader::copied(segment.file, path, self.layout, start, limit, HEADER_LEN as usize);
            match reader.header(start)? {
                Ok((header, _)) => heads.push(Head { start, header }),
                Err(flaw) if durable => return Err(reader.corrupt(flaw, start)),
                Err(_) => break,
            }
            start = start + self.layout.segment_size;
        }
        // Files behind a gap were never reached by a durable frame.
        let later = segment_starts(&**self.disk, self.dir)?;
        self.remove(later.into_iter().filter(|later| *later > start).rev())?;
        Ok(heads)
    }

    /// Whether a segment's file has its full length. One that has not was being created when a crash struck, and holds
    /// nothing: its length is durable before its first frame is written.
    fn is_whole(&self, segment: &Segment, durable: bool) -> Result<bool, StoreError> {
        let len = segment.file.len().at("look at", &segment.path)?;
        if len > self.layout.segment_size || (durable && len < self.layout.segment_size) {
            return Err(self.corrupt("log (a segment file has the wrong length)", segment.start));
        }
        Ok(len == self.layout.segment_size)
    }

    /// The first segment that must be read whole: the one of the mark, the one of the last committed entry, or the last
    /// but one, whichever comes first.
    fn first_to_scan(&self, heads: &[Head]) -> usize {
        let of_mark = heads.iter().rposition(|head| head.start <= self.state.mark.end);
        let committed = self.state.committed.map(|committed| committed.index);
        let of_committed = heads.iter().rposition(|head| Some(head.header.id.index) <= committed);
        of_mark.unwrap_or(0).min(of_committed.unwrap_or(0)).min(heads.len().saturating_sub(2))
    }

    /// Drops what stands behind the end and opens the current segment for writing.
    fn open_writer(&self, end: End, blank: bool) -> Result<(Option<(PhysicalOffset, u64)>, Writer), StoreError> {
        let (disk, dir, layout) = (&**self.disk, self.dir, self.layout);
        let start = layout.segment_of(end.at);
        let path = segment_path(dir, start);
        let mut dropped = 0;
        let current = if disk.exists(&path).at("look for", &path)? {
            if !blank {
                dropped = erase_behind(disk, dir, layout, end.at, self.gap)?;
            }
            let current = Segment::open(disk, dir, start)?;
            self.make_durable(&current, end.at)?;
            current
        } else {
            Segment::create(disk, dir, start, layout.segment_size)?
        };
        let next_start = layout.segment_end(start);
        let next_path = segment_path(dir, next_start);
        let next = if disk.exists(&next_path).at("look for", &next_path)? {
            Some(Segment::open(disk, dir, next_start)?)
        } else {
            None
        };
        let writer = Writer::new(Arc::clone(self.disk), dir, layout, current, next, end);
        Ok(((dropped > 0).then_some((end.at, dropped)), writer))
    }
}

impl Recovery<'_> {
    /// Makes the surviving log durable. A process that ended leaves frames in the page cache alone, and after a failed
    /// sync Linux takes such pages for clean: they have to be written anew, or no sync will ever write them. Only the
    /// current segment can hold any, behind the mark: a segment is synced before the next one is written.
    fn make_durable(&self, current: &Segment, end: PhysicalOffset) -> Result<(), StoreError> {
        let Segment { start, path, file } = current;
        let limit = self.layout.segment_end(*start);
        let mut reader = FrameReader::copied(Arc::clone(file), path.clone(), self.layout, *start, limit, CHUNK);
        let mut at = self.state.mark.end.max(*start);
        while at < end {
            // Checked once more: the kernel may have dropped such a page since it was scanned.
            let Frame { header, body, .. } = sound_frame(&mut reader, at)?.map_err(|flaw| reader.corrupt(flaw, at))?;
            let (bytes, _) = header.encode();
            file.write_at(at.0 - start.0, &[&bytes, &body]).at("write", path)?;
            at = header.end();
        }
        file.sync_data().at("sync", path)
    }
}

/// The frame at `at`, header and body checked.
fn sound_frame(reader: &mut FrameReader, at: PhysicalOffset) -> Result<Result<Frame, Flaw>, StoreError> {
    if planted(Mutant::TornTailKept) {
        return reader.unchecked_frame(at);
    }
    reader.frame(at)
}

/// A scan over the frames of the last segments.
struct Scan<'a> {
    recovery: &'a Recovery<'a>,
    view: View,
    follow: Follow,
    /// End of the last sound entry.
    end: End,
    /// First segment to read.
    from: usize,
    /// The flaw that ended the scan and where.
    flaw: Option<(Flaw, PhysicalOffset)>,
    /// Whether the mark was found at the end of a frame, or lies before the scan.
    mark_seen: bool,
}

impl<'a> Scan<'a> {
    fn new(recovery: &'a Recovery<'a>, heads: &[Head]) -> Result<Self, StoreError> {
        let State { purged, first, chain, mark, .. } = *recovery.state;
        let mut view = View::new(recovery.layout, recovery.tail_limit, purged, first, chain);
        let from = recovery.first_to_scan(heads);
        if !heads.is_empty() {
            view.slots.clear();
        }
        let mut follow = Follow { chain: Some(chain), last: Some(purged) };
        for (i, Head { start, header }) in heads.iter().enumerate() {
            if i == 0 && from > 0 {
                // It is not scanned, but it must continue what the hard state says stands before it.
                follow.step(header, 0).map_err(|flaw| recovery.corrupt(flaw.what(), first))?;
                follow = Follow { chain: None, last: None };
            }
            view.slots.push_back(Slot {
                start: *start,
                first: header.id.index,
                before: purged.filter(|_| i == 0),
                file: None,
                points: Vec::new(),
            });
        }
        let end = End { at: first, last: purged, chain };
        let mark_seen = mark.end <= heads.get(from).map_or(first, |head| head.start);
        Ok(Self { recovery, view, follow, end, from, flaw: None, mark_seen })
    }

    /// Reads frames until the first that does not check, or the last of the files.
    fn run(&mut self, heads: &[Head]) -> Result<(), StoreError> {
        let layout = self.recovery.layout;
        for (i, head) in heads.iter().enumerate().skip(self.from) {
            let Segment { start, path, file } = Segment::open(&**self.recovery.disk, self.recovery.dir, head.start)?;
            let limit = start + layout.segment_size;
            let slot = &mut self.view.slots[i];
            slot.file = Some(Arc::clone(&file));
            if i > self.from {
                slot.before = self.end.last;
            }
            let mut reader = FrameReader::copied(file, path, layout, start, limit, CHUNK);
            let mut at = start;
            while at < limit {
                let found = match sound_frame(&mut reader, at)? {
                    Ok(frame) => self.follow.step(&frame.header, frame.crc).map(|()| frame),
                    Err(flaw) => Err(flaw),
                };
                match found {
                    Ok(frame) => {
                        at = frame.header.end();
                        self.take(i, frame)?;
                    }
                    Err(flaw) => {
                        self.flaw = Some((flaw, at));
                        self.drop_slots_behind();
                        return Ok(());
                    }
                }
            }
        }
        self.drop_slots_behind();
        Ok(())
    }

    /// Takes over one sound frame.
    fn take(&mut self, slot: usize, frame: Frame) -> Result<(), StoreError> {
        let Frame { header, crc, body } = frame;
        if header.kind == Kind::Filler {
            // Counts only once an entry follows it: until then the log ends before it.
            return Ok(());
        }
        let Header { id, position, kind, .. } = header;
        let mark = self.recovery.state.mark;
        if header.end() == mark.end {
            if mark.last != Some(id) {
                return Err(self.recovery.corrupt("log (the entry at the synced mark is another one)", position));
            }
            self.mark_seen = true;
        }
        self.end = End { at: header.end(), last: Some(id), chain: crc };
        self.view.slots[slot].note(id.index, position);
        let committed = self.recovery.state.committed;
        if committed.is_some_and(|committed| committed.index == id.index && committed != id) {
            return Err(self.recovery.corrupt("log (the committed entry is another one)", position));
        }
        if Some(id.index) <= committed.map(|committed| committed.index) {
            self.view.recover_committed(id, header.end());
        } else {
            // A copy of its own: the chunk it was read with would be kept alive as a whole.
            let body = bytes::Bytes::copy_from_slice(&body);
            self.view.recover(Entry { id, kind, position, body });
        }
        Ok(())
    }

    /// Forgets segments without a sound entry; the first always stays.
    fn drop_slots_behind(&mut self) {
        while self.view.slots.len() > 1 && self.view.slots.back().is_some_and(|slot| slot.start >= self.end.at) {
            self.view.slots.pop_back();
        }
        if self.end.at == self.recovery.state.first
            && let Some(slot) = self.view.slots.front_mut()
        {
            slot.first = self.end.last.map_or(LogIndex(0), |last| last.index.next());
        }
    }

    /// Whether the scan stopped right where the log ends, not behind a trailing filler.
    fn is_at_end(&self, heads: &[Head]) -> bool {
        heads.is_empty() || self.flaw.is_some_and(|(_, at)| at == self.end.at)
    }

    /// The verdict: a log that ends before the mark, or does not know it, has lost durable bytes.
    fn check_mark_reached(&self, recovery: &Recovery<'_>) -> Result<(), StoreError> {
        let Mark { end, .. } = recovery.state.mark;
        if end <= self.end.at && self.mark_seen {
            return Ok(());
        }
        match &self.flaw {
            Some((flaw, at)) if *at < end => Err(recovery.corrupt(flaw.what(), *at)),
            _ => Err(recovery.corrupt("log (no frame ends at the synced mark)", end)),
        }
    }
}

impl View {
    /// Sets the committed position after a scan, never past the end.
    fn commit_recovered(&mut self, committed: Option<LogId>, end: End) {
        if let Some(committed) = committed {
            let clipped = match self.last {
                Some(last) if last.index < committed.index => Some(last),
                Some(_) => Some(committed),
                None => None,
            };
            if let Some(clipped) = clipped {
                self.commit(clipped);
            }
        }
        self.recovered_all_durable(end);
    }
}
