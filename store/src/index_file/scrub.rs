//! Comparing the files of a complete segment with its records, while the node runs.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use super::files::Files;
use super::filling::{Filling, Stored};
use super::layout::key_hash;
use super::{IndexFiles, Segment};
use crate::disk::DiskFile;
use crate::error::At;
use crate::{PhysicalOffset, StoreError};

/// Units compared at once.
const CHUNK: usize = 1 << 16;
/// Slots compared at once.
const SLOTS: u32 = 1 << 18;

/// A segment's files being compared. Works without the machine's lock, on any thread that may block.
#[derive(Debug)]
pub struct SegmentCheck {
    files: Arc<Files>,
    segment: PhysicalOffset,
    /// Files that no record has come to.
    rest: VecDeque<Stored>,
    current: Option<(Filling, Arc<dyn DiskFile>)>,
}

impl IndexFiles {
    /// Starts to compare the files of a segment with its records. `None` if it is missing, or not wholly written.
    pub fn plan_check(&self, segment: PhysicalOffset) -> Option<SegmentCheck> {
        let is_filling = self.filling.iter().any(|filling| filling.file.segment == segment.0);
        if segment.0 >= self.entered || is_filling {
            return None;
        }
        let Segment { files, .. } = self.segments.get(&segment.0)?;
        Some(SegmentCheck { files: self.files.clone(), segment, rest: files.iter().cloned().collect(), current: None })
    }
}

impl SegmentCheck {
    /// The segment whose records it wants.
    pub fn segment(&self) -> PhysicalOffset {
        self.segment
    }

    /// Compares the keys of a record, as [`IndexFiles::push`] added them. Every applied record of the segment, in the
    /// log's order.
    ///
    /// # Errors
    /// `Corrupt` names file and byte of the first difference, `Io` if the disk fails; `Closed` if the files were dropped or
    /// replaced meanwhile.
    pub fn push<'a>(
        &mut self,
        position: PhysicalOffset,
        store_timestamp_ms: i64,
        topic: &str,
        keys: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(), StoreError> {
        for key in keys {
            if self.current.as_ref().is_none_or(|(filling, _)| filling.is_full()) {
                self.finish_file()?;
                let Some(Stored { file, .. }) = self.rest.pop_front() else {
                    let path = self.files.root.clone();
                    return Err(StoreError::Corrupt { what: "key index (a file is missing)", path, offset: 0 });
                };
                let open = match self.files.handle(&file) {
                    Err(_) if file.is_removed() => return Err(StoreError::Closed),
                    Err(e) if e.kind() == io::ErrorKind::NotFound => {
                        let path = file.path.clone();
                        return Err(StoreError::Corrupt { what: "IndexFile (it is missing)", path, offset: 0 });
                    }
                    opened => opened.at("open", &file.path)?,
                };
                self.current = Some((Filling::new(file, position, store_timestamp_ms), open));
            }
            let Some((filling, open)) = self.current.as_mut() else { unreachable!("a file was begun") };
            filling.push(key_hash(topic, key), position, store_timestamp_ms);
            if filling.pending.len() >= CHUNK {
                compare_pending(filling, &**open)?;
            }
        }
        Ok(())
    }

    fn finish_file(&mut self) -> Result<(), StoreError> {
        let Some((mut filling, open)) = self.current.take() else { return Ok(()) };
        compare_pending(&mut filling, &*open)?;
        let sizes = filling.file.sizes;
        compare("IndexFile header", &filling, &*open, 0, &filling.header.to_bytes())?;
        for first in (0..sizes.slots).step_by(SLOTS as usize) {
            let slots = filling.slots.to_bytes(first..sizes.slots.min(first.saturating_add(SLOTS)));
            compare("IndexFile slot", &filling, &*open, sizes.slot_at(first), &slots)?;
        }
        Ok(())
    }

    /// Every record came.
    ///
    /// # Errors
    /// As [`SegmentCheck::push`].
    pub fn finish(mut self) -> Result<(), StoreError> {
        self.finish_file()?;
        match self.rest.pop_front() {
            Some(Stored { file, .. }) if !file.is_removed() => {
                let path = file.path.clone();
                Err(StoreError::Corrupt { what: "IndexFile (no record makes it)", path, offset: 0 })
            }
            _ => Ok(()),
        }
    }
}

fn compare_pending(filling: &mut Filling, open: &dyn DiskFile) -> Result<(), StoreError> {
    let at = filling.file.sizes.unit_at(filling.written);
    compare("IndexFile unit", filling, open, at, filling.pending.as_flattened())?;
    filling.written(filling.pending.len() as u32);
    Ok(())
}

/// Compares a part of a file with what should stand there.
fn compare(
    what: &'static str,
    filling: &Filling,
    open: &dyn DiskFile,
    at: u64,
    expected: &[u8],
) -> Result<(), StoreError> {
    let mut held = vec![0; expected.len()];
    let read = open.read_at(at, &mut held);
    if filling.file.is_removed() {
        return Err(StoreError::Closed);
    }
    let path = &filling.file.path;
    if read.as_ref().is_err_and(|e| e.kind() != io::ErrorKind::UnexpectedEof) {
        return read.at("read", path);
    }
    match held.iter().zip(expected).position(|(held, expected)| held != expected) {
        Some(byte) => Err(StoreError::Corrupt { what, path: path.clone(), offset: at + byte as u64 }),
        None => Ok(()),
    }
}
