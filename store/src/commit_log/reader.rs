//! Reads frames from a segment file.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::Layout;
use crate::disk::DiskFile;
use crate::error::At;
use crate::frame::{Flaw, HEADER_LEN, Header, Kind, VERSION};
use crate::mutant::{Mutant, planted};
use crate::{LogId, LogIndex, PhysicalOffset, StoreError};

/// Reads frames of one segment, in order, from its map or in chunks.
#[derive(Debug)]
pub(crate) struct FrameReader {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    layout: Layout,
    /// First byte of the segment.
    start: PhysicalOffset,
    /// First byte that must not be read.
    limit: PhysicalOffset,
    /// Whether bytes are slices of the file's map.
    mapped: bool,
    /// Bytes read or mapped at once.
    chunk_len: usize,
    chunk: Bytes,
    chunk_at: PhysicalOffset,
}

/// A frame whose header and body check.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) header: Header,
    /// CRC of the header: the chain value of the next frame.
    pub(crate) crc: u32,
    pub(crate) body: Bytes,
}

/// What reading at a position comes to: bytes that are no frame are an answer, a failing disk is an error.
pub(crate) type Found<T> = Result<Result<T, Flaw>, StoreError>;

impl FrameReader {
    /// The same through a map, without copies. Only for frames that are final.
    pub(crate) fn mapped(self) -> Self {
        Self { mapped: true, ..self }
    }

    /// Reads by copying `chunk_len` bytes at once: for cold segments, and where a disk error must not kill.
    pub(crate) fn copied(
        file: Arc<dyn DiskFile>,
        path: PathBuf,
        layout: Layout,
        start: PhysicalOffset,
        limit: PhysicalOffset,
        chunk_len: usize,
    ) -> Self {
        Self { file, path, layout, start, limit, mapped: false, chunk_len, chunk: Bytes::new(), chunk_at: start }
    }

    /// First byte that must not be read.
    pub(crate) fn limit(&self) -> PhysicalOffset {
        self.limit
    }

    /// `len` bytes at `at`; `None` beyond the limit.
    fn get(&mut self, at: PhysicalOffset, len: usize) -> Result<Option<Bytes>, StoreError> {
        if at + len as u64 > self.limit {
            return Ok(None);
        }
        let inside = |chunk: &Bytes, chunk_at: PhysicalOffset| {
            let from = usize::try_from(at.0.checked_sub(chunk_at.0)?).ok()?;
            (from + len <= chunk.len()).then(|| chunk.slice(from..from + len))
        };
        if let Some(bytes) = inside(&self.chunk, self.chunk_at) {
            return Ok(Some(bytes));
        }
        let left = usize::try_from(self.limit.0 - at.0).unwrap_or(usize::MAX);
        let (offset, chunk_len) = (at.0 - self.start.0, len.max(self.chunk_len.min(left)));
        self.chunk_at = at;
        self.chunk = if self.mapped {
            self.file.slice(offset, chunk_len).at("map", &self.path)?
        } else {
            let mut chunk = vec![0; chunk_len];
            self.file.read_at(offset, &mut chunk).at("read", &self.path)?;
            Bytes::from(chunk)
        };
        Ok(inside(&self.chunk, self.chunk_at))
    }

    /// The header of the frame at `at`, checked by itself and against the segment's end.
    pub(crate) fn header(&mut self, at: PhysicalOffset) -> Found<(Header, u32)> {
        let Some(bytes) = self.get(at, HEADER_LEN as usize)? else {
            return Ok(Err(Flaw::Length));
        };
        let Ok(bytes) = bytes.as_ref().try_into() else {
            return Ok(Err(Flaw::Length));
        };
        let (header, crc) = match Header::decode(bytes, at) {
            Ok(decoded) => decoded,
            Err(Flaw::Version(found)) => return Err(self.unknown("frame", found, VERSION)),
            Err(Flaw::Kind(found)) => return Err(self.unknown("frame kind", found, Kind::Command as u8)),
            Err(flaw) => return Ok(Err(flaw)),
        };
        let end = self.layout.segment_end(self.start);
        let fits = match header.kind {
            Kind::Filler => header.end() == end,
            _ => header.end() + HEADER_LEN <= end,
        };
        Ok(if fits { Ok((header, crc)) } else { Err(Flaw::Length) })
    }

    fn unknown(&self, what: &'static str, found: u8, known: u8) -> StoreError {
        StoreError::UnknownVersion { what, path: self.path.clone(), found: found.into(), known: known.into() }
    }

    /// The frame at `at`, header and body checked.
    pub(crate) fn frame(&mut self, at: PhysicalOffset) -> Found<Frame> {
        let found = self.unchecked_frame(at)?;
        Ok(found.and_then(|frame| {
            let sound = frame.header.matches(&frame.body) || planted(Mutant::FrameCrcUnchecked);
            if sound { Ok(frame) } else { Err(Flaw::Body) }
        }))
    }

    /// The frame at `at`, only its header checked.
    pub(crate) fn unchecked_frame(&mut self, at: PhysicalOffset) -> Found<Frame> {
        let (header, crc) = match self.header(at)? {
            Ok(found) => found,
            Err(flaw) => return Ok(Err(flaw)),
        };
        let len = usize::try_from(header.body_len).unwrap_or(usize::MAX);
        Ok(self.get(at + HEADER_LEN, len)?.map(|body| Frame { header, crc, body }).ok_or(Flaw::Body))
    }

    /// The error that names a flaw at `at`.
    pub(crate) fn corrupt(&self, flaw: Flaw, at: PhysicalOffset) -> StoreError {
        StoreError::Corrupt { what: flaw.what(), path: self.path.clone(), offset: at.0 - self.start.0 }
    }
}

/// What the next frame must continue; unknown at the start of a scan that begins in the middle.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Follow {
    /// The chain value.
    pub(crate) chain: Option<u32>,
    /// The last entry; the outer `None` is unknown, the inner one an empty log.
    pub(crate) last: Option<Option<LogId>>,
}

impl Follow {
    /// Nothing is known of what came before.
    pub(crate) const UNKNOWN: Self = Self { chain: None, last: None };

    /// Checks that a frame continues what came before, and goes on behind it.
    pub(crate) fn step(&mut self, header: &Header, crc: u32) -> Result<(), Flaw> {
        if self.chain.is_some_and(|chain| chain != header.chain) {
            return Err(Flaw::Chain);
        }
        let follows = match (self.last, header.kind) {
            (None, _) => true,
            (Some(last), Kind::Filler) => last == Some(header.id),
            (Some(last), _) => {
                header.id.index == last.map_or(LogIndex(0), |last| last.index.next())
                    && last.is_none_or(|last| header.id.term >= last.term)
            }
        };
        if !follows {
            return Err(Flaw::Order);
        }
        *self = Self { chain: Some(crc), last: Some(Some(header.id)) };
        Ok(())
    }
}
