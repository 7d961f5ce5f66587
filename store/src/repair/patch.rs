//! Filling a bad range with bytes of another member.

use std::collections::BTreeSet;
use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::assess::make_segment_whole;
use super::{BadRange, MAX_PIECE, Walk};
use crate::commit_log::reader::Follow;
use crate::commit_log::writer::Segment;
use crate::error::At;
use crate::frame::{Flaw, HEADER_LEN, Header, HeaderBytes, Kind};
use crate::mutant::{Mutant, planted};
use crate::{PhysicalOffset, StoreError};

/// Bytes of checked pieces that are kept until all are checked. A longer range is asked for twice.
const MAX_KEPT: u64 = 8 << 20;

/// Why bytes did not fill a range.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's message names its fields")]
pub enum PatchError {
    /// The bytes are not those that stood here: another member has to be asked, from the start.
    #[error("the bytes offered for {at} do not fit: {}", flaw.what())]
    Refused { at: PhysicalOffset, flaw: Flaw },
    /// This node's disk failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// One bad range on its way to being filled: says what it wants next, takes it, and writes only what is proven.
///
/// Nothing is written before every byte up to the next sound frame is proven. So whatever a crash leaves of a fill is the
/// truth, and a shorter bad range.
#[derive(Debug)]
pub struct Patch {
    /// Reads the files around the range.
    walk: Walk,
    bad: BadRange,
    follow: Follow,
    /// The next byte to be offered.
    offered: PhysicalOffset,
    /// Offered bytes that are no whole frame yet, and where they start.
    rest: BytesMut,
    at: PhysicalOffset,
    /// Pieces offered so far, each with its CRC; the bytes while there are few.
    pieces: Vec<(PhysicalOffset, u32)>,
    kept: Option<Vec<Bytes>>,
    kept_bytes: u64,
    /// Whether all of it is proven, and is now asked for again to be written; and the pieces written so far.
    writing: Option<usize>,
}

impl Patch {
    pub(crate) fn new(walk: Walk, bad: BadRange) -> Self {
        let (follow, from) = (bad.before, bad.from);
        Self {
            walk,
            bad,
            follow,
            offered: from,
            rest: BytesMut::new(),
            at: from,
            pieces: Vec::new(),
            kept: Some(Vec::new()),
            kept_bytes: 0,
            writing: None,
        }
    }

    /// The range, as far as it is known.
    pub fn range(&self) -> &BadRange {
        &self.bad
    }

    /// Starts anew, for another member's bytes.
    pub fn restart(&mut self) {
        *self = Self::new(self.walk.clone(), self.bad.clone());
    }

    /// What to offer next: a piece of one segment, of at most [`MAX_PIECE`] bytes.
    pub fn wanted(&self) -> Range<PhysicalOffset> {
        let from = match self.writing {
            Some(written) => self.pieces.get(written).map_or(self.bad.to, |piece| piece.0),
            None => self.offered,
        };
        from..(from + MAX_PIECE).min(self.walk.layout.segment_end(from)).min(self.bad.to)
    }

    /// Takes what was wanted. Returns whether the range is filled: durable, read back and found sound.
    ///
    /// # Errors
    /// See [`PatchError`]. After `Refused` it has to be restarted.
    pub fn take(&mut self, bytes: Bytes) -> Result<bool, PatchError> {
        let wanted = self.wanted();
        if bytes.len() as u64 != wanted.end.0 - wanted.start.0 {
            return Err(refused(wanted.start, Flaw::Length));
        }
        if let Some(written) = self.writing {
            return self.write_again(written, &bytes);
        }
        self.pieces.push((wanted.start, crc32fast::hash(&bytes)));
        self.offered = wanted.end;
        self.rest.extend_from_slice(&bytes);
        self.keep(bytes);
        if !planted(Mutant::FillUnverified) {
            self.check_frames()?;
            if self.offered < self.bad.to {
                return Ok(false);
            }
            self.check_closed()?;
        } else if self.offered < self.bad.to {
            return Ok(false);
        }
        let Some(kept) = self.kept.take() else {
            self.writing = Some(0);
            return Ok(false);
        };
        for (piece, bytes) in self.pieces.iter().zip(&kept) {
            self.write(piece.0, bytes)?;
        }
        self.finish()
    }

    fn keep(&mut self, bytes: Bytes) {
        self.kept_bytes += bytes.len() as u64;
        match &mut self.kept {
            Some(kept) if self.kept_bytes <= MAX_KEPT => kept.push(bytes),
            _ => self.kept = None,
        }
    }

    /// Checks every whole frame offered so far.
    fn check_frames(&mut self) -> Result<(), PatchError> {
        while let Some(bytes) = self.rest.first_chunk::<{ HEADER_LEN as usize }>() {
            let (header, crc) = self.header(bytes)?;
            if header.end() > self.bad.to {
                // What looked like the next sound frame is inside this one's body.
                self.bad.to = self.walk.next_sound(header.end())?;
            }
            if (self.rest.len() as u64) < header.frame_len() {
                return Ok(());
            }
            let frame = self.rest.split_to(header.frame_len() as usize);
            if !header.matches(&frame[HEADER_LEN as usize..]) {
                return Err(refused(self.at, Flaw::Body));
            }
            self.follow.step(&header, crc).map_err(|flaw| refused(self.at, flaw))?;
            self.at = header.end();
        }
        Ok(())
    }

    fn header(&self, bytes: &HeaderBytes) -> Result<(Header, u32), PatchError> {
        let (header, crc) = Header::decode(bytes, self.at).map_err(|flaw| refused(self.at, flaw))?;
        let segment_end = self.walk.layout.segment_end(self.at);
        let fits = match header.kind {
            Kind::Filler => header.end() == segment_end,
            _ => header.end() + HEADER_LEN <= segment_end,
        };
        let is_inside = header.end() <= self.walk.end.end;
        if fits && is_inside { Ok((header, crc)) } else { Err(refused(self.at, Flaw::Length)) }
    }

    /// Checks that what stands behind the range follows what was offered for it.
    fn check_closed(&mut self) -> Result<(), PatchError> {
        let (to, end) = (self.bad.to, self.walk.end);
        if self.at != to {
            return Err(refused(self.at, Flaw::Length));
        }
        if planted(Mutant::FillNotClosed) {
            return Ok(());
        }
        if to == end.end {
            // One leader a term, one entry an index: everything before is the same too.
            return if self.follow.last == Some(end.last) { Ok(()) } else { Err(refused(to, Flaw::Order)) };
        }
        let Some((mut reader, _)) = self.walk.open(self.walk.layout.segment_of(to))? else {
            return Err(refused(to, Flaw::Blank));
        };
        let (header, crc) = reader.header(to)?.map_err(|flaw| refused(to, flaw))?;
        let mut follow = self.follow;
        follow.step(&header, crc).map_err(|flaw| refused(to, flaw))
    }

    /// Writes a piece of a range that was too long to keep, if it is the one that was checked.
    fn write_again(&mut self, written: usize, bytes: &Bytes) -> Result<bool, PatchError> {
        let Some((at, crc)) = self.pieces.get(written).copied() else { return self.finish() };
        if crc != crc32fast::hash(bytes) {
            return Err(refused(at, Flaw::Checksum));
        }
        self.write(at, bytes)?;
        self.writing = Some(written + 1);
        if written + 1 < self.pieces.len() { Ok(false) } else { self.finish() }
    }

    fn write(&self, at: PhysicalOffset, bytes: &Bytes) -> Result<(), StoreError> {
        let Walk { disk, dir, layout, .. } = &self.walk;
        let start = layout.segment_of(at);
        make_segment_whole(&**disk, dir, *layout, start)?;
        let Segment { path, file, .. } = Segment::open(&**disk, dir, start)?;
        file.write_at(at.0 - start.0, &[bytes]).at("write", &path)
    }

    /// Makes the range durable and reads it back.
    fn finish(&self) -> Result<bool, PatchError> {
        let Walk { disk, dir, layout, .. } = &self.walk;
        let starts: BTreeSet<_> = self.pieces.iter().map(|piece| layout.segment_of(piece.0)).collect();
        for start in starts {
            let Segment { path, file, .. } = Segment::open(&**disk, dir, start)?;
            file.sync_data().at("sync", &path)?;
        }
        if planted(Mutant::FillUnverified) {
            return Ok(true);
        }
        let mut walk = self.walk.clone();
        (walk.at, walk.follow) = (self.bad.from, self.bad.before);
        let bad = walk.step(self.bad.to + 1, u64::MAX - self.bad.to.0, &mut |_| {})?;
        match bad.first() {
            None => Ok(true),
            Some(bad) if bad.from >= self.bad.to => Ok(true),
            Some(bad) => {
                let start = layout.segment_of(bad.from);
                let path = crate::commit_log::segment_path(dir, start);
                let what = "bytes of a repair (they do not read back)";
                Err(StoreError::Corrupt { what, path, offset: bad.from.0 - start.0 }.into())
            }
        }
    }
}

fn refused(at: PhysicalOffset, flaw: Flaw) -> PatchError {
    PatchError::Refused { at, flaw }
}
