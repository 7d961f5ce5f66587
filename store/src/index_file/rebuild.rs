//! Rebuilding a segment's files from its records: whole, beside what is left of the old ones.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::files::{Files, write_tables, write_units};
use super::filling::{Filling, IndexFile, Stored};
use super::layout::key_hash;
use super::{IndexFiles, IndexSizes, Missing, Segment};
use crate::disk::DiskFile;
use crate::error::At;
use crate::{PhysicalOffset, StoreError};

/// Units written at once.
const CHUNK: usize = 1 << 16;

/// A segment's files being made again. Works without the machine's lock, on any thread that may block.
#[derive(Debug)]
pub struct Rebuild {
    files: Arc<Files>,
    token: Arc<()>,
    segment: u64,
    segment_size: u64,
    sizes: IndexSizes,
    leftovers: Vec<Arc<IndexFile>>,
    /// Names of leftovers that no new file has taken.
    own: BTreeSet<i64>,
    /// Names taken besides, to be given back if it comes to nothing.
    taken: Vec<i64>,
    last: PhysicalOffset,
    keys: u64,
    current: Option<(Filling, Arc<dyn DiskFile>)>,
    done: Vec<Stored>,
}

/// A segment's files, made again and in place.
#[derive(Debug)]
pub struct Rebuilt {
    token: Arc<()>,
    segment: u64,
    sizes: IndexSizes,
    keys: u64,
    files: Vec<Stored>,
}

fn temporary(path: &Path) -> PathBuf {
    path.with_extension("tmp")
}

impl IndexFiles {
    /// Starts to rebuild the files of a segment, because they are [missing](IndexFiles::missing) or a query has found
    /// them corrupt: queries find nothing of it until it is [rebuilt](IndexFiles::rebuilt). A rebuild that is dropped
    /// changes nothing on disk that counts.
    ///
    /// `None` if it cannot be done now: another rebuild is out, removals wait for a flush (it could take what is rebuilt
    /// for what is to be removed) or the first flush has not been yet, the segment has not all its keys yet or some that no
    /// flush has covered, or the index does not hold it.
    pub fn plan_rebuild(&mut self, segment: PhysicalOffset) -> Option<Rebuild> {
        let start = segment.0;
        let is_filling = start >= self.entered || self.filling.iter().any(|filling| filling.file.segment == start);
        let is_unsettled = !self.removals.is_empty() || self.files.is_to_be_opened();
        if self.rebuild.strong_count() > 0 || is_filling || is_unsettled {
            return None;
        }
        if let Some(Segment { sizes, files, .. }) = self.segments.remove(&start) {
            let leftovers: Vec<_> = files.into_iter().map(|stored| stored.file).collect();
            leftovers.iter().for_each(|file| file.remove());
            self.missing.insert(start, Missing { sizes, leftovers });
            self.format_version += 1;
        }
        self.files.settle(segment);
        let Missing { sizes, leftovers } = self.missing.get(&start)?;
        let token = Arc::new(());
        self.rebuild = Arc::downgrade(&token);
        Some(Rebuild {
            files: self.files.clone(),
            token,
            segment: start,
            segment_size: self.segment_size,
            sizes: *sizes,
            leftovers: leftovers.clone(),
            own: leftovers.iter().map(|file| file.name_ms).collect(),
            taken: Vec::new(),
            last: segment,
            keys: 0,
            current: None,
            done: Vec::new(),
        })
    }

    /// Takes a rebuilt segment: queries find its records again, and the next synced flush notes it as complete.
    pub fn rebuilt(&mut self, rebuilt: Rebuilt) {
        if !std::ptr::eq(self.rebuild.as_ptr(), Arc::as_ptr(&rebuilt.token)) {
            return; // Of an index that was replaced since.
        }
        let Rebuilt { segment, sizes, keys, files, .. } = rebuilt;
        let Some(missing) = self.missing.remove(&segment) else {
            files.iter().for_each(|stored| self.remove(&stored.file)); // Retention was faster.
            return;
        };
        for file in missing.leftovers {
            if files.iter().all(|stored| stored.file.name_ms != file.name_ms) {
                self.files.free_name(file.name_ms);
            }
        }
        self.segments.insert(segment, Segment { sizes, keys, files });
        self.format_version += 1;
    }

    /// The segment of a file, as an error of a query names it.
    pub fn segment_of_file(&self, path: &Path) -> Option<PhysicalOffset> {
        let of = |file: &IndexFile| (file.path == path).then_some(PhysicalOffset(file.segment));
        let stored = self.segments.values().flat_map(|segment| &segment.files).map(|stored| &stored.file);
        stored.chain(self.filling.iter().map(|filling| &filling.file)).find_map(|file| of(file))
    }
}

impl Rebuild {
    /// The segment whose records it wants.
    pub fn segment(&self) -> PhysicalOffset {
        PhysicalOffset(self.segment)
    }

    /// Adds the keys of a record, as [`IndexFiles::push`] did. Every applied record of the segment, in the log's order.
    ///
    /// # Errors
    /// `Contract` if the record is not of the segment or not behind the last one, `Closed` if the index was replaced
    /// meanwhile, `Io` if the disk fails: drop the rebuild then, and start another.
    pub fn push<'a>(
        &mut self,
        position: PhysicalOffset,
        store_timestamp_ms: i64,
        topic: &str,
        keys: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(), StoreError> {
        if position < self.last || position.0 >= self.segment + self.segment_size {
            let (segment, last) = (self.segment, self.last);
            return Err(StoreError::Contract(format!("a record at {position} of segment {segment}, after {last}")));
        }
        self.last = position;
        for key in keys {
            if self.current.as_ref().is_none_or(|(filling, _)| filling.is_full()) {
                self.finish_file()?;
                self.begin_file(position, store_timestamp_ms)?;
            }
            let Some((filling, file)) = self.current.as_mut() else { unreachable!("a file was begun") };
            filling.push(key_hash(topic, key), position, store_timestamp_ms);
            self.keys += 1;
            if filling.pending.len() >= CHUNK {
                write_pending(filling, &**file)?;
            }
        }
        Ok(())
    }

    fn begin_file(&mut self, position: PhysicalOffset, store_timestamp_ms: i64) -> Result<(), StoreError> {
        self.files.check_alive()?;
        let last = self.done.last().map(|stored| stored.file.name_ms);
        let from = last.map_or(store_timestamp_ms, |last| store_timestamp_ms.max(last + 1));
        let name_ms = self.files.take_name(from, &self.own);
        if !self.own.remove(&name_ms) {
            self.taken.push(name_ms);
        }
        let file = self.files.file(name_ms, self.segment, self.sizes);
        let tmp = temporary(&file.path);
        self.files.remove_file(&tmp)?;
        let open = self.files.create(&tmp, self.sizes)?;
        self.current = Some((Filling::new(file, position, store_timestamp_ms), open));
        Ok(())
    }

    /// Writes what is missing of the file begun last, and syncs it.
    fn finish_file(&mut self) -> Result<(), StoreError> {
        let Some((mut filling, open)) = self.current.take() else {
            return Ok(());
        };
        write_pending(&mut filling, &*open)?;
        let Filling { file, header, slots, .. } = filling;
        let tmp = temporary(&file.path);
        write_tables(&*open, &tmp, self.sizes, &header, &slots)?;
        open.sync_data().at("sync", &tmp)?;
        self.done.push(Stored { file, header });
        Ok(())
    }

    /// Puts the files in place of what is left of the old ones, durably.
    ///
    /// # Errors
    /// As [`Rebuild::push`].
    pub fn finish(mut self) -> Result<Rebuilt, StoreError> {
        self.finish_file()?;
        self.files.check_alive()?;
        for leftover in &self.leftovers {
            self.files.remove_file(&leftover.path)?;
        }
        for Stored { file, .. } in &self.done {
            let tmp = temporary(&file.path);
            self.files.disk.rename(&tmp, &file.path).at("rename", &tmp)?;
        }
        self.files.disk.sync_dir(&self.files.root).at("sync", &self.files.root)?;
        self.taken.clear();
        let files = std::mem::take(&mut self.done);
        Ok(Rebuilt { token: self.token.clone(), segment: self.segment, sizes: self.sizes, keys: self.keys, files })
    }
}

impl Drop for Rebuild {
    fn drop(&mut self) {
        self.taken.iter().for_each(|ms| self.files.free_name(*ms));
    }
}

fn write_pending(filling: &mut Filling, open: &dyn DiskFile) -> Result<(), StoreError> {
    let (path, sizes) = (temporary(&filling.file.path), filling.file.sizes);
    write_units(open, &path, sizes, filling.written, filling.pending.as_flattened())?;
    filling.written(filling.pending.len() as u32);
    Ok(())
}
