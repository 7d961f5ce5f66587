//! What readers and the FIFO's callers see of the log: positions, segments, and the in-memory tail.
//!
//! The tail holds every entry that is not yet both committed and written, and some more that are recent. Entries
//! before it are committed and written: their bytes never change, so they may be read from the files.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::chain::End;
use super::{Layout, POINT_GAP};
use crate::disk::DiskFile;
use crate::frame::HEADER_LEN;
use crate::hard_state::Mark;
use crate::log_store::{Entry, NewEntry, SnapshotPosition};
use crate::mutant::{Mutant, planted};
use crate::{LogId, LogIndex, PhysicalOffset, StoreError};

/// Segments at the end of the log whose files stay open and are read through maps.
const HOT_SEGMENTS: usize = 2;

/// One segment as readers see it.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) start: PhysicalOffset,
    /// The first entry of the segment; of an empty one, the next entry.
    pub(crate) first: LogIndex,
    /// The entry before the segment, if known without reading.
    pub(crate) before: Option<LogId>,
    /// The file of one of the last segments, once the disk thread has created it. Older ones are opened for each read, so
    /// that a long log takes few descriptors.
    pub(crate) file: Option<Arc<dyn DiskFile>>,
    /// Sparse table: ascending entries and their frames' positions, at least [`POINT_GAP`] apart.
    pub(crate) points: Vec<(LogIndex, PhysicalOffset)>,
}

impl Slot {
    /// Notes where an entry is, if the last point is far enough away.
    pub(crate) fn note(&mut self, index: LogIndex, at: PhysicalOffset) {
        if self.points.last().is_none_or(|(_, last)| at >= *last + POINT_GAP) {
            self.points.push((index, at));
        }
    }

    /// The nearest known frame at or before a position.
    pub(crate) fn point_at(&self, at: PhysicalOffset) -> (LogIndex, PhysicalOffset) {
        let after = self.points.partition_point(|(_, point)| *point <= at);
        after.checked_sub(1).map_or((self.first, self.start), |i| self.points[i])
    }

    /// The nearest known frame at or before an entry.
    pub(crate) fn point(&self, index: LogIndex) -> (LogIndex, PhysicalOffset) {
        let after = self.points.partition_point(|(i, _)| *i <= index);
        after.checked_sub(1).map_or((self.first, self.start), |i| self.points[i])
    }
}

/// The log as of the last call, written or not.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) layout: Layout,
    /// Bytes of entries the tail keeps beyond what it must.
    tail_limit: u64,
    pub(crate) purged: Option<LogId>,
    pub(crate) first: PhysicalOffset,
    /// Chain value of the frame at `first`; only read while the log is empty.
    pub(crate) chain: u32,
    pub(crate) last: Option<LogId>,
    pub(crate) end: PhysicalOffset,
    pub(crate) synced: Option<LogId>,
    pub(crate) committed: Option<LogId>,
    /// Raised when entries are dropped from the end: what the disk thread says of an older epoch is void.
    pub(crate) epoch: u64,
    /// How often entries were dropped from the end.
    pub(crate) truncations: u64,
    /// The first entry that the disk thread has not written.
    written: LogIndex,
    /// Where the log ends as far as it is written; unknown from a truncation until the disk thread has done it.
    written_end: Option<End>,
    pub(crate) slots: VecDeque<Slot>,
    tail: VecDeque<Entry>,
    tail_bytes: u64,
    /// The entry before the tail, and where its frame ends.
    before_tail: Mark,
}

/// Frames to be read from a file: all of them committed and written.
pub(crate) struct FileRange {
    pub(crate) start: PhysicalOffset,
    /// The segment's file, if it is one of the last ones: then it may be mapped.
    pub(crate) hot: Option<Arc<dyn DiskFile>>,
    /// The frame to begin with.
    pub(crate) from: (LogIndex, PhysicalOffset),
    /// Where the known frames of this segment end at the latest.
    pub(crate) limit: PhysicalOffset,

    pub(crate) epoch: u64,
}

/// What a purge comes to.
pub(crate) enum Purge {
    /// Nothing can be dropped.
    Nothing,
    /// So many segments can.
    Segments(usize),
}

fn contract<T>(what: impl Into<String>) -> Result<T, StoreError> {
    Err(StoreError::Contract(what.into()))
}

impl View {
    /// A view whose log starts at `first`, behind `purged`, with nothing in it.
    pub(crate) fn new(
        layout: Layout,
        tail_limit: u64,
        purged: Option<LogId>,
        first: PhysicalOffset,
        chain: u32,
    ) -> Self {
        let mut view = Self {
            layout,
            tail_limit,
            purged: None,
            first,
            chain,
            last: None,
            end: first,
            synced: None,
            committed: None,
            epoch: 0,
            truncations: 0,
            written: LogIndex(0),
            written_end: None,
            slots: VecDeque::new(),
            tail: VecDeque::new(),
            tail_bytes: 0,
            before_tail: Mark::default(),
        };
        view.restart(purged, first, chain);
        view
    }

    /// Empties the log and starts it at `first`, behind `purged`.
    pub(crate) fn restart(&mut self, purged: Option<LogId>, first: PhysicalOffset, chain: u32) {
        self.epoch += 1;
        (self.purged, self.first, self.chain) = (purged, first, chain);
        (self.last, self.end) = (purged, first);
        (self.synced, self.committed) = (purged, purged);
        self.written = self.next();
        self.written_end = Some(End { at: first, last: purged, chain });
        self.slots.clear();
        self.push_slot(first);
        self.tail.clear();
        self.tail_bytes = 0;
        self.before_tail = Mark { last: purged, end: first };
    }

    /// The index of the next entry to be appended.
    pub(crate) fn next(&self) -> LogIndex {
        self.last.map_or(LogIndex(0), |last| last.index.next())
    }

    /// The first entry held.
    pub(crate) fn first_index(&self) -> LogIndex {
        self.purged.map_or(LogIndex(0), |purged| purged.index.next())
    }

    /// The first entry of the tail.
    pub(crate) fn tail_index(&self) -> LogIndex {
        self.tail.front().map_or(self.next(), |entry| entry.id.index)
    }

    /// Where the tail starts. Frames before it are final; a filler right before it may not be written yet.
    fn tail_start(&self) -> PhysicalOffset {
        self.tail.front().map_or(self.end, |entry| entry.position)
    }

    fn push_slot(&mut self, start: PhysicalOffset) {
        self.slots.push_back(Slot { start, first: self.next(), before: self.last, file: None, points: Vec::new() });
    }

    /// Hands a created file to readers, unless its segment was dropped meanwhile.
    pub(crate) fn attach(&mut self, start: PhysicalOffset, file: &Arc<dyn DiskFile>) {
        if let Some(slot) = self.slots.iter_mut().rev().find(|slot| slot.start == start) {
            slot.file = Some(Arc::clone(file));
        }
        let cold = self.slots.len().saturating_sub(HOT_SEGMENTS);
        self.slots.iter_mut().take(cold).rev().take_while(|slot| slot.file.is_some()).for_each(|slot| slot.file = None);
    }

    /// Checks that entries continue the log and fit the group's constants.
    pub(crate) fn check_append(&self, entries: &[NewEntry], max_entry: u32) -> Result<(), StoreError> {
        let mut before = self.last;
        for NewEntry { id, kind, body } in entries {
            let next = before.map_or(LogIndex(0), |last| last.index.next());
            if id.index != next || before.is_some_and(|last| id.term < last.term) {
                return contract(format!("entry {id} does not continue the log, whose last entry is {before:?}"));
            }
            if *kind == crate::frame::Kind::Filler {
                return contract("a filler is no entry");
            }
            if body.len() as u64 > u64::from(max_entry) {
                return contract(format!("entry {id} has {} bytes, above the group's {max_entry}", body.len()));
            }
            before = Some(*id);
        }
        Ok(())
    }

    /// Appends one checked entry and gives it its position.
    pub(crate) fn append(&mut self, new: NewEntry) -> &Entry {
        let frame_len = HEADER_LEN + new.body.len() as u64;
        let position = self.layout.place(self.end, frame_len);
        if self.slots.back().is_none_or(|slot| position >= slot.start + self.layout.segment_size) {
            self.push_slot(position);
        }
        if let Some(slot) = self.slots.back_mut() {
            slot.note(new.id.index, position);
        }
        self.last = Some(new.id);
        self.end = position + frame_len;
        self.tail_bytes += frame_len;
        self.tail.push_back(Entry { id: new.id, kind: new.kind, position, body: new.body });
        &self.tail[self.tail.len() - 1]
    }

    /// Takes over an entry found at open that is not known committed.
    pub(crate) fn recover(&mut self, entry: Entry) {
        self.last = Some(entry.id);
        self.end = entry.position + entry.frame_len();
        self.tail_bytes += entry.frame_len();
        self.tail.push_back(entry);
    }

    /// Takes over the last entry found at open that is known committed.
    pub(crate) fn recover_committed(&mut self, last: LogId, end: PhysicalOffset) {
        (self.last, self.end) = (Some(last), end);
        self.before_tail = Mark { last: Some(last), end };
    }

    /// Notes, at the end of recovery, that all of the log is in the files, synced.
    pub(crate) fn recovered_all_durable(&mut self, end: End) {
        self.written = self.next();
        self.written_end = Some(end);
        self.synced = self.last;
    }

    /// Notes how far the disk thread has come. `synced` is `None` if nothing new was made durable.
    pub(crate) fn advance(&mut self, epoch: u64, written: End, synced: Option<LogId>) {
        if epoch != self.epoch {
            return;
        }
        self.written = written.next_index();
        self.written_end = Some(written);
        if synced.is_some() {
            self.synced = synced;
        }
        self.evict();
    }

    /// Where the written log ends, and the file that holds its last frames. `None` while a truncation waits.
    pub(crate) fn written(&self) -> Option<(End, Arc<dyn DiskFile>)> {
        let end = self.written_end?;
        let slot = self.slots.get(self.slot_at(end.at)?)?;
        Some((end, Arc::clone(slot.file.as_ref()?)))
    }

    /// Notes the committed position. One that is not in the log says nothing about the entries that are, and is ignored.
    pub(crate) fn commit(&mut self, committed: LogId) {
        let known = match self.tail_from(committed.index).next() {
            Some(entry) if entry.id.index == committed.index => entry.id == committed,
            _ => self.last.is_some_and(|last| committed.index <= last.index),
        };
        if known && self.committed.is_none_or(|before| before.index < committed.index) {
            self.committed = Some(committed);
        }
    }

    /// Drops from the tail what is committed and written, beyond its limit.
    pub(crate) fn evict(&mut self) {
        let Some(committed) = self.committed else { return };
        while self.tail_bytes > self.tail_limit {
            match self.tail.front() {
                Some(entry) if entry.id.index <= committed.index && entry.id.index < self.written => self.pop_front(),
                _ => return,
            }
        }
    }

    fn pop_front(&mut self) {
        if let Some(entry) = self.tail.pop_front() {
            let frame_len = entry.frame_len();
            self.tail_bytes -= frame_len;
            self.before_tail = Mark { last: Some(entry.id), end: entry.position + frame_len };
        }
    }

    /// Drops every entry after `last`. Returns the cut if there was anything to drop.
    pub(crate) fn truncate_after(&mut self, last: Option<LogId>) -> Result<Option<Mark>, StoreError> {
        let cut = last.map_or(LogIndex(0), |last| last.index.next());
        if cut >= self.next() {
            return Ok(None);
        }
        if self.committed.is_some_and(|committed| cut <= committed.index) || cut < self.first_index() {
            return contract(format!("truncating after {last:?} drops committed entries (up to {:?})", self.committed));
        }
        // Every entry above committed is in the tail, so the last one kept is there or right before it.
        let keep = cut.0.saturating_sub(self.tail_index().0);
        let kept = match usize::try_from(keep).ok().and_then(|n| n.checked_sub(1)).map(|i| &self.tail[i]) {
            Some(entry) => Mark { last: Some(entry.id), end: entry.position + entry.frame_len() },
            None => self.before_tail,
        };
        if kept.last != last {
            return contract(format!("truncating after {last:?}, but the entry kept there is {:?}", kept.last));
        }
        while self.tail.back().is_some_and(|entry| entry.id.index >= cut) {
            if let Some(entry) = self.tail.pop_back() {
                self.tail_bytes -= entry.frame_len();
            }
        }
        while self.slots.len() > 1 && self.slots.back().is_some_and(|slot| slot.start >= kept.end) {
            self.slots.pop_back();
        }
        if let Some(slot) = self.slots.back_mut() {
            slot.points.retain(|(index, _)| *index < cut);
        }
        (self.last, self.end) = (kept.last, kept.end);
        self.epoch += 1;
        self.truncations += 1;
        if self.written > cut {
            (self.written, self.written_end) = (cut, None);
        }
        if self.synced.is_some_and(|synced| synced.index >= cut) {
            self.synced = last;
        }
        Ok(Some(kept))
    }

    /// The last entry that is only read from the files, and where its frame ends.
    pub(crate) fn file_end(&self) -> Mark {
        self.before_tail
    }

    /// Where the files end, as far as nothing is about to change them.
    pub(crate) fn files_reach(&self) -> PhysicalOffset {
        self.written_end.map_or(self.before_tail.end, |end| end.at)
    }

    /// How many segments a purge up to `upto` can drop.
    pub(crate) fn plan_purge(&self, upto: LogId) -> Result<Purge, StoreError> {
        if let Some(purged) = self.purged
            && upto.index <= purged.index
        {
            let same = upto.index < purged.index || upto == purged;
            return if same {
                Ok(Purge::Nothing)
            } else {
                contract(format!("purging {upto}, but {purged} was purged"))
            };
        }
        if self.last.is_none_or(|last| upto.index > last.index) {
            return contract(format!("purging up to {upto}, above the last entry {:?}", self.last));
        }
        if self.committed.is_none_or(|committed| upto.index > committed.index) {
            return contract(format!("purging up to {upto}, above the committed entry {:?}", self.committed));
        }
        // A segment's start is final once its first entry is: before, a truncation could move it back.
        let is_final = |slot: &&Slot| Some(slot.first) <= self.committed.map(|committed| committed.index);
        let ends_before = |slot: &&Slot| slot.first.0 <= upto.index.0 + 1 || planted(Mutant::PurgePastCheckpoint);
        let dropped = self.slots.iter().skip(1).take_while(|slot| ends_before(slot) && is_final(slot)).count();
        Ok(if dropped == 0 { Purge::Nothing } else { Purge::Segments(dropped) })
    }

    /// Drops the first `count` segments, the last of whose entries is `purged`.
    pub(crate) fn purge(&mut self, count: usize, purged: LogId) {
        self.slots.drain(..count);
        self.purged = Some(purged);
        while self.tail.front().is_some_and(|entry| entry.id.index <= purged.index) {
            self.pop_front();
        }
        if let Some(slot) = self.slots.front_mut() {
            slot.before = Some(purged);
            self.first = slot.start;
        }
        if self.before_tail.last.is_none_or(|last| last.index <= purged.index) {
            self.before_tail = Mark { last: Some(purged), end: self.first };
        }
    }

    /// Whether a position lies in one of the last segments.
    pub(crate) fn is_hot(&self, at: PhysicalOffset) -> bool {
        self.slot_at(at).is_some_and(|i| i + HOT_SEGMENTS >= self.slots.len())
    }

    /// The slot that holds an entry.
    pub(crate) fn slot_of(&self, index: LogIndex) -> Option<usize> {
        self.slots.partition_point(|slot| slot.first <= index).checked_sub(1)
    }

    /// The slot whose segment holds a position.
    pub(crate) fn slot_at(&self, at: PhysicalOffset) -> Option<usize> {
        let i = self.slots.partition_point(|slot| slot.start <= at).checked_sub(1)?;
        (at < self.slots[i].start + self.layout.segment_size).then_some(i)
    }

    /// Entries of the tail from `from` on.
    pub(crate) fn tail_from(&self, from: LogIndex) -> impl Iterator<Item = &Entry> {
        let skip = usize::try_from(from.0.saturating_sub(self.tail_index().0)).unwrap_or(usize::MAX);
        self.tail.range(skip.min(self.tail.len())..)
    }

    /// The bytes of `at..at + len` if they are inside the body of one entry of the tail.
    ///
    /// # Errors
    /// `OutOfRange` if they are in the tail but not inside one body. `Ok(None)` if they are before the tail.
    pub(crate) fn tail_bytes_at(&self, at: PhysicalOffset, len: u32) -> Result<Option<Bytes>, StoreError> {
        if at < self.tail_start() {
            return Ok(None);
        }
        let after = self.tail.partition_point(|entry| entry.position <= at);
        let found = after.checked_sub(1).and_then(|i| {
            let entry = &self.tail[i];
            let from = usize::try_from(at.0.checked_sub(entry.position.0 + HEADER_LEN)?).ok()?;
            let to = from.checked_add(usize::try_from(len).ok()?)?;
            (to <= entry.body.len()).then(|| entry.body.slice(from..to))
        });
        found.map(Some).ok_or(StoreError::OutOfRange { at, first: self.first, end: self.end })
    }

    /// Where to read an entry before the tail.
    pub(crate) fn file_range(&self, index: LogIndex) -> Option<FileRange> {
        let i = self.slot_of(index)?;
        let slot = &self.slots[i];
        let limit = self.before_tail.end.min(slot.start + self.layout.segment_size);
        Some(FileRange { start: slot.start, hot: slot.file.clone(), from: slot.point(index), limit, epoch: self.epoch })
    }

    /// Where to read the header of a segment's first frame.
    pub(crate) fn first_frame(&self, slot: &Slot) -> FileRange {
        FileRange {
            start: slot.start,
            hot: slot.file.clone(),
            from: (slot.first, slot.start),
            limit: slot.start + HEADER_LEN,
            epoch: self.epoch,
        }
    }

    /// Where to read bytes before the tail, if they are within one segment: the nearest known frame at or before them.
    pub(crate) fn file_at(&self, at: PhysicalOffset, len: u32) -> Option<FileRange> {
        let i = self.slot_at(at)?;
        let slot = &self.slots[i];
        let limit = self.before_tail.end.min(slot.start + self.layout.segment_size);
        let from = slot.point_at(at);
        let range = || FileRange { start: slot.start, hot: slot.file.clone(), from, limit, epoch: self.epoch };
        (at + u64::from(len) <= limit).then(range)
    }

    /// Adds points that a reader found on its way.
    pub(crate) fn learn(&mut self, start: PhysicalOffset, epoch: u64, points: &[(LogIndex, PhysicalOffset)]) {
        if epoch != self.epoch || points.is_empty() {
            return;
        }
        if let Some(i) = self.slot_at(start) {
            for (index, at) in points {
                self.slots[i].note(*index, *at);
            }
        }
    }

    /// The segment that starts at `start`, if it has an entry.
    pub(crate) fn started_slot(&self, start: PhysicalOffset) -> Option<&Slot> {
        let slot = self.slots.get(self.slot_at(start)?)?;
        (slot.start == start && slot.first < self.next()).then_some(slot)
    }

    /// What leads from the written log up to an entry that is not written: where the written log ends, and the entries
    /// between. `None` if the entry is written.
    pub(crate) fn unwritten_before(&self, index: LogIndex) -> Option<(Option<End>, Vec<Entry>)> {
        if index < self.written {
            return None;
        }
        let between = self.tail_from(self.written).take_while(|entry| entry.id.index < index);
        Some((self.written_end, between.cloned().collect()))
    }
    /// Checks that a snapshot's position can be the log's new start.
    pub(crate) fn check_install(&self, at: SnapshotPosition) -> Result<(), StoreError> {
        if self.layout.segment_of(at.next) != at.next {
            return contract(format!("a log cannot start at {}, which is no segment start", at.next));
        }
        match self.committed {
            Some(committed) if committed.index > at.last.index => {
                contract(format!("a snapshot up to {} would take back entries up to {committed}", at.last))
            }
            _ => Ok(()),
        }
    }

    /// Starts the log behind a snapshot.
    pub(crate) fn install(&mut self, at: SnapshotPosition) {
        self.restart(Some(at.last), at.next, at.chain);
    }
}
