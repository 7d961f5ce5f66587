//! Looks at single segments of a store, running or not: nothing is locked or changed, and nothing is taken for granted.

use std::ops::ControlFlow;
use std::path::Path;

use bytes::Bytes;

use super::reader::FrameReader;
use super::{Layout, segment_path};
use crate::disk::Disk;
use crate::error::At;
use crate::frame::{Flaw, Header, Kind};
use crate::{PhysicalOffset, StoreError};

/// Bytes read at once.
const CHUNK: usize = 256 << 10;

/// A frame, or why there is none.
#[derive(Clone, Debug)]
pub enum Looked {
    /// A sound header, and its body if that is sound too.
    Frame {
        /// The header.
        header: Header,
        /// The body; `None` if its CRC does not match.
        body: Option<Bytes>,
    },
    /// Bytes that are no frame: nothing behind them is found.
    Flaw {
        /// Where they stand.
        at: PhysicalOffset,
        /// What is wrong with them.
        flaw: Flaw,
    },
}

/// Starts of the segments that have a file, ascending.
///
/// # Errors
/// `Io` if the directory cannot be listed.
pub fn segments(disk: &dyn Disk, dir: &Path) -> Result<Vec<PhysicalOffset>, StoreError> {
    super::erase::segment_starts(disk, dir)
}

/// Shows the frames of the segment at `start`, in order, until there are no more or `visit` breaks off.
///
/// # Errors
/// `Io` if the file is missing or cannot be read, `UnknownVersion` where a newer build wrote.
pub fn look_at_segment(
    disk: &dyn Disk,
    dir: &Path,
    segment_size: u64,
    start: PhysicalOffset,
    visit: &mut dyn FnMut(Looked) -> ControlFlow<()>,
) -> Result<(), StoreError> {
    let path = segment_path(dir, start);
    let file = disk.open(&path).at("open", &path)?;
    let len = file.len().at("look at", &path)?.min(segment_size);
    let mut reader = FrameReader::copied(file, path, Layout { segment_size }, start, start + len, CHUNK);
    let mut at = start;
    while at < start + len {
        let looked = match reader.unchecked_frame(at)? {
            Ok(frame) => {
                let body = frame.header.matches(&frame.body).then_some(frame.body);
                Looked::Frame { header: frame.header, body }
            }
            Err(flaw) => Looked::Flaw { at, flaw },
        };
        let next = match &looked {
            Looked::Frame { header, .. } if header.kind != Kind::Filler => Some(header.end()),
            _ => None,
        };
        match (visit(looked), next) {
            (ControlFlow::Continue(()), Some(next)) => at = next,
            _ => return Ok(()),
        }
    }
    Ok(())
}
