//! Reading record bytes from the files: only out of frames that check as a whole.
//!
//! A record's own CRC covers its body, not its properties nor its place. So the frame that holds it is found, from the
//! nearest place where one is known to start, and checked. What was found is remembered for the next read, which is mostly
//! right behind; and that a large frame was checked, as many reads can go into one.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::LogStore;
use crate::commit_log::reader::{Frame, FrameReader};
use crate::commit_log::view::FileRange;
use crate::commit_log::{POINT_GAP, segment_path};
use crate::frame::HEADER_LEN;
use crate::{LogIndex, PhysicalOffset, StoreError};

/// Bytes read at once of a segment that is not mapped.
const COLD_CHUNK: usize = 32 << 10;
/// Bytes mapped at once.
const HOT_CHUNK: usize = 256 << 10;
/// Frames that are remembered.
const MAX_FRAMES: usize = 1024;
/// A frame from this size on is not checked again while it is remembered.
const LARGE: u64 = 64 << 10;

/// Frames that reads have lately found.
#[derive(Debug, Default)]
pub(super) struct Frames(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// Where they start, and end.
    frames: BTreeMap<PhysicalOffset, PhysicalOffset>,
    /// The oldest first.
    order: VecDeque<PhysicalOffset>,
}

impl Frames {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the last one that starts in `from..=at` does.
    fn before(&self, from: PhysicalOffset, at: PhysicalOffset) -> Option<PhysicalOffset> {
        self.lock().frames.range(from..=at).next_back().map(|(start, _)| *start)
    }

    /// Whether a frame was checked, and need not be again.
    fn is_checked(&self, start: PhysicalOffset) -> bool {
        self.lock().frames.get(&start).is_some_and(|end| end.0 - start.0 >= LARGE)
    }

    fn note(&self, start: PhysicalOffset, end: PhysicalOffset) {
        let mut known = self.lock();
        if known.frames.insert(start, end).is_some() {
            return;
        }
        known.order.push_back(start);
        if known.order.len() > MAX_FRAMES
            && let Some(oldest) = known.order.pop_front()
        {
            known.frames.remove(&oldest);
        }
    }

    /// Forgets what lies in a damaged range.
    pub(super) fn forget(&self, from: PhysicalOffset, to: PhysicalOffset) {
        let mut known = self.lock();
        known.frames.retain(|start, end| *end <= from || *start >= to);
        let Known { frames, order } = &mut *known;
        order.retain(|start| frames.contains_key(start));
    }
}

impl LogStore {
    /// Reads `len` bytes at `at` out of a sound frame of one segment's file.
    pub(super) fn sound_bytes(&self, mut range: FileRange, at: PhysicalOffset, len: u32) -> Result<Bytes, StoreError> {
        let outside = || {
            let fifo = self.lock();
            StoreError::OutOfRange { at, first: fifo.view.first, end: fifo.view.end }
        };
        self.quarantine.check(at, at + u64::from(len))?;
        let nearer = self.frames.before(range.from.1, at);
        let nearer = nearer.max(self.quarantine.frame_behind(range.start, at));
        range.from.1 = range.from.1.max(nearer.unwrap_or_default());
        let mut reader = self.positioned(&range)?;
        let Some(start) = self.frame_holding(&range, &mut reader, at)? else { return Err(outside()) };
        let frame = self.sound_frame(&mut reader, start)?;
        let (from, len) = (at.0.checked_sub(start.0 + HEADER_LEN).ok_or_else(outside)?, u64::from(len));
        if from + len > frame.body.len() as u64 {
            return Err(outside());
        }
        Ok(frame.body.slice(from as usize..(from + len) as usize))
    }

    fn sound_frame(&self, reader: &mut FrameReader, start: PhysicalOffset) -> Result<Frame, StoreError> {
        let is_checked = self.frames.is_checked(start) || self.quarantine.is_served(start);
        let found = if is_checked { reader.unchecked_frame(start)? } else { reader.frame(start)? };
        let frame = found.map_err(|flaw| reader.corrupt(flaw, start))?;
        self.frames.note(start, frame.header.end());
        Ok(frame)
    }

    fn positioned(&self, range: &FileRange) -> Result<FrameReader, StoreError> {
        let path = segment_path(&self.dir, range.start);
        let (layout, limit) = (self.layout(), range.limit);
        Ok(match &range.hot {
            Some(file) => FrameReader::copied(Arc::clone(file), path, layout, range.start, limit, HOT_CHUNK).mapped(),
            None => {
                let file = self.open_cold(range.start, &path)?;
                FrameReader::copied(file, path, layout, range.start, limit, COLD_CHUNK)
            }
        })
    }

    /// Walks headers to the frame that holds `at`; `None` if the log has none there.
    fn frame_holding(
        &self,
        range: &FileRange,
        reader: &mut FrameReader,
        at: PhysicalOffset,
    ) -> Result<Option<PhysicalOffset>, StoreError> {
        let mut start = range.from.1;
        let mut points: Vec<(LogIndex, PhysicalOffset)> = Vec::new();
        let mut last_point = start;
        let found = loop {
            if start >= range.limit {
                break None;
            }
            let (header, _) = reader.header(start)?.map_err(|flaw| reader.corrupt(flaw, start))?;
            if header.end() > at {
                break Some(start);
            }
            if start >= last_point + POINT_GAP {
                points.push((header.id.index, start));
                last_point = start;
            }
            start = header.end();
        };
        if !points.is_empty() {
            self.lock().view.learn(range.start, range.epoch, &points);
        }
        Ok(found)
    }
}
