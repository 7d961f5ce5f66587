//! Finding bad ranges.

use std::path::PathBuf;
use std::sync::Arc;

use crate::commit_log::reader::{Follow, Frame, FrameReader};
use crate::commit_log::{Layout, segment_path};
use crate::disk::{Disk, DiskFile};
use crate::error::At;
use crate::frame::{Flaw, HEADER_LEN, MAGIC};
use crate::hard_state::Mark;
use crate::{PhysicalOffset, StoreError};

/// Bytes read at once.
const CHUNK: usize = 1 << 20;

/// A segment's file, and a reader of it.
pub(super) type Opened = (FrameReader, Arc<dyn DiskFile>);

/// Bytes of the CommitLog that no longer check.
#[derive(Clone, Debug)]
pub struct BadRange {
    /// End of the last sound frame.
    pub from: PhysicalOffset,
    /// Start of the next sound frame, or where the log is known to have ended.
    pub to: PhysicalOffset,
    /// What the first frame has to continue; unknown where nothing before was read.
    pub(super) before: Follow,
}

impl BadRange {
    /// How many bytes are bad.
    pub fn len(&self) -> u64 {
        self.to.0 - self.from.0
    }

    /// Never: a range without a byte is not bad.
    pub fn is_empty(&self) -> bool {
        self.from >= self.to
    }

    /// Whether it holds any byte of `from..to`.
    pub fn overlaps(&self, from: PhysicalOffset, to: PhysicalOffset) -> bool {
        self.from < to && from < self.to
    }
}

/// A walk over the frames of the files, in steps, that goes on behind bad ones.
#[derive(Clone, Debug)]
pub(crate) struct Walk {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) layout: Layout,
    /// The last entry known to stand in the files, and where its frame ends.
    pub(crate) end: Mark,
    /// The next frame.
    pub(crate) at: PhysicalOffset,
    pub(super) follow: Follow,
}

impl Walk {
    /// Starts at a segment's first frame, or anywhere else where a frame starts. `follow` is what that has to continue.
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        layout: Layout,
        (at, follow): (PhysicalOffset, Follow),
        end: Mark,
    ) -> Self {
        Self { disk, dir, layout, end, at, follow }
    }

    /// Walks up to `upto` and not much more than `budget` bytes, and shows the sound frames to `visit`. Returns the bad
    /// ranges met, of which the last may end behind `upto`.
    pub(crate) fn step(
        &mut self,
        upto: PhysicalOffset,
        budget: u64,
        visit: &mut dyn FnMut(&Frame),
    ) -> Result<Vec<BadRange>, StoreError> {
        let mut bad = Vec::new();
        let stop = upto.min(self.end.end).min(self.at + budget);
        while self.at < stop {
            let start = self.layout.segment_of(self.at);
            let Some((mut reader, _)) = self.open(start)? else {
                bad.push(self.pass_over()?);
                continue;
            };
            let segment_end = self.layout.segment_end(start);
            while self.at < stop.min(segment_end) {
                let found = reader.frame(self.at)?.and_then(|frame| self.follow(&frame).map(|()| frame));
                match found {
                    Ok(frame) => {
                        visit(&frame);
                        self.at = frame.header.end();
                    }
                    Err(_) => bad.push(self.pass_over()?),
                }
            }
        }
        Ok(bad)
    }

    /// Checks that a frame continues what came before, and that the log ends as it is known to.
    fn follow(&mut self, frame: &Frame) -> Result<(), Flaw> {
        let Mark { last, end } = self.end;
        if frame.header.end() > end {
            return Err(Flaw::Length);
        }
        let mut follow = self.follow;
        follow.step(&frame.header, frame.crc)?;
        if frame.header.end() == end && follow.last != Some(last) {
            return Err(Flaw::Order);
        }
        self.follow = follow;
        Ok(())
    }

    /// Goes on behind the bad bytes that start here.
    fn pass_over(&mut self) -> Result<BadRange, StoreError> {
        let to = self.next_sound(self.at + 1)?;
        let bad = BadRange { from: self.at, to, before: self.follow };
        (self.at, self.follow) = (to, Follow::UNKNOWN);
        Ok(bad)
    }

    /// The first byte from `from` on where a sound frame of that very position starts, or the end.
    pub(super) fn next_sound(&self, from: PhysicalOffset) -> Result<PhysicalOffset, StoreError> {
        let (mut at, end) = (from, self.end.end);
        while at < end {
            let start = self.layout.segment_of(at);
            if let Some((mut reader, file)) = self.open(start)? {
                let stop = self.layout.segment_end(start).min(end).min(reader.limit());
                while at < stop {
                    let Some(candidate) = self.next_magic(&*file, at, stop)? else { break };
                    // Bytes that only look like a frame of another version are none of ours.
                    let is_sound = match reader.frame(candidate) {
                        Ok(found) => found.is_ok_and(|frame| frame.header.end() <= end),
                        Err(StoreError::UnknownVersion { .. }) => false,
                        Err(e) => return Err(e),
                    };
                    if is_sound {
                        return Ok(candidate);
                    }
                    at = candidate + 1;
                }
            }
            at = self.layout.segment_end(start);
        }
        Ok(end)
    }

    /// The first place in `from..stop` that has the bytes every frame starts with. Frames start at any byte.
    fn next_magic(
        &self,
        file: &dyn DiskFile,
        from: PhysicalOffset,
        stop: PhysicalOffset,
    ) -> Result<Option<PhysicalOffset>, StoreError> {
        let magic = MAGIC.to_be_bytes();
        let start = self.layout.segment_of(from);
        let path = segment_path(&self.dir, start);
        let mut at = from;
        while at + HEADER_LEN <= stop {
            let mut chunk = vec![0; (stop.0 - at.0).min(CHUNK as u64) as usize];
            file.read_at(at.0 - start.0, &mut chunk).at("read", &path)?;
            let mut searched = 0;
            while let Some(found) = chunk[searched..].iter().position(|byte| *byte == magic[0]) {
                searched += found;
                if chunk[searched..].starts_with(&magic) {
                    return Ok(Some(at + searched as u64));
                }
                searched += 1;
            }
            // One that the chunk cuts off is whole in the next.
            at = at + (chunk.len() as u64 - (magic.len() as u64 - 1));
        }
        Ok(None)
    }

    /// A reader of a segment's file as far as that goes, and the file. `None` if it is missing.
    pub(super) fn open(&self, start: PhysicalOffset) -> Result<Option<Opened>, StoreError> {
        let path = segment_path(&self.dir, start);
        if !self.disk.exists(&path).at("look for", &path)? {
            return Ok(None);
        }
        let file = self.disk.open(&path).at("open", &path)?;
        let len = file.len().at("look at", &path)?.min(self.layout.segment_size);
        Ok(Some((FrameReader::copied(Arc::clone(&file), path, self.layout, start, start + len, CHUNK), file)))
    }
}
