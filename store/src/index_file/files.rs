//! The files below `index/`: names, open handles, what is written and not yet synced.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::filling::IndexFile;
use super::format::Format;
use super::layout::{Header, IndexSizes};
use super::name::{name_of, nameable};
use super::slots::Slots;
use crate::disk::{Disk, DiskFile};
use crate::error::At;
use crate::{PhysicalOffset, StoreError};

/// Handles kept open.
pub(super) const MAX_HANDLES: usize = 64;

#[derive(Debug, Default)]
struct Handles {
    open: BTreeMap<u64, Handle>,
    clock: u64,
}

#[derive(Debug)]
struct Handle {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    used: u64,
}

/// What was written and not yet made durable.
#[derive(Debug, Default)]
struct Unsynced {
    files: BTreeSet<PathBuf>,
    dir: bool,
}

/// Shared by the index (under the machine's lock), queries, flush plans and rebuilds (outside of it).
#[derive(Debug)]
pub(super) struct Files {
    pub disk: Arc<dyn Disk>,
    pub root: PathBuf,
    handles: Mutex<Handles>,
    unsynced: Mutex<Unsynced>,
    /// Segments with a file that was found to be wrong.
    reports: Mutex<BTreeSet<PhysicalOffset>>,
    /// Milliseconds that name a file.
    names: Mutex<BTreeSet<i64>>,
    next_serial: AtomicU64,
    /// What `.format` must tell before anything else is written: not what was found there.
    opened: Mutex<Option<String>>,
    /// Which state of the complete segments `.format` tells.
    pub format_version: AtomicU64,
    /// Cleared when the index is dropped (a snapshot replaced it): what is still out writes nothing.
    pub alive: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Puts units into a file, the first at `first`.
pub(super) fn write_units(
    file: &dyn DiskFile,
    path: &Path,
    sizes: IndexSizes,
    first: u32,
    bytes: &[u8],
) -> Result<(), StoreError> {
    if bytes.is_empty() {
        return Ok(());
    }
    file.write_at(sizes.unit_at(first), &[bytes]).at("write", path)
}

/// Puts slots and header into a file: the slots by the pages in use, the rest stays a hole.
pub(super) fn write_tables(
    file: &dyn DiskFile,
    path: &Path,
    sizes: IndexSizes,
    header: &Header,
    slots: &Slots,
) -> Result<(), StoreError> {
    for run in slots.runs() {
        file.write_at(sizes.slot_at(run.start), &[&slots.to_bytes(run)]).at("write", path)?;
    }
    file.write_at(0, &[&header.to_bytes()]).at("write", path)
}

impl Files {
    pub fn new(disk: Arc<dyn Disk>, root: PathBuf) -> Self {
        let (handles, unsynced, names) = Default::default();
        let (next_serial, opened, format_version, reports) = Default::default();
        let alive = AtomicBool::new(true);
        Self { disk, root, handles, unsynced, reports, names, next_serial, opened, format_version, alive }
    }

    pub fn note_opened(&self, text: String) {
        *lock(&self.opened) = Some(text);
    }

    /// Whether `.format` still tells what was found there, and not what was kept of it.
    pub fn is_to_be_opened(&self) -> bool {
        lock(&self.opened).is_some()
    }

    pub fn write_opened(&self) -> Result<(), StoreError> {
        let mut opened = lock(&self.opened);
        if let Some(text) = &*opened {
            Format::write(&*self.disk, &self.root, text)?;
            *opened = None;
        }
        Ok(())
    }

    /// Whether the index is still there.
    pub fn check_alive(&self) -> Result<(), StoreError> {
        if self.alive.load(Ordering::Acquire) { Ok(()) } else { Err(StoreError::Closed) }
    }

    pub fn file(&self, name_ms: i64, segment: u64, sizes: IndexSizes) -> Arc<IndexFile> {
        let serial = self.next_serial.fetch_add(1, Ordering::Relaxed);
        let path = self.root.join(name_of(name_ms));
        Arc::new(IndexFile { path, name_ms, segment, sizes, serial, removed: AtomicBool::new(false) })
    }

    /// Notes a segment with a file that was found to be wrong.
    pub fn report(&self, segment: PhysicalOffset) {
        lock(&self.reports).insert(segment);
    }

    /// The segments noted.
    pub fn reported(&self) -> Vec<PhysicalOffset> {
        lock(&self.reports).iter().copied().collect()
    }

    /// A segment is being made again, or is gone.
    pub fn settle(&self, segment: PhysicalOffset) {
        lock(&self.reports).remove(&segment);
    }

    /// Takes the first free millisecond from that one on; those of `own` count as free.
    pub fn take_name(&self, from_ms: i64, own: &BTreeSet<i64>) -> i64 {
        let mut names = lock(&self.names);
        let mut ms = nameable(from_ms);
        while names.contains(&ms) && !own.contains(&ms) {
            // A year 9999 without a free millisecond goes on at the start: the log's order is in the headers.
            ms = if nameable(ms + 1) == ms { 0 } else { ms + 1 };
        }
        names.insert(ms);
        ms
    }

    pub fn keep_name(&self, ms: i64) {
        lock(&self.names).insert(ms);
    }

    pub fn free_name(&self, ms: i64) {
        lock(&self.names).remove(&ms);
    }

    /// An open handle of a file. `NotFound` if it is not there.
    pub fn handle(&self, file: &IndexFile) -> io::Result<Arc<dyn DiskFile>> {
        {
            let mut handles = lock(&self.handles);
            handles.clock += 1;
            let clock = handles.clock;
            if let Some(handle) = handles.open.get_mut(&file.serial) {
                handle.used = clock;
                return Ok(handle.file.clone());
            }
        }
        let opened = self.disk.open(&file.path)?;
        self.keep(file, opened.clone());
        Ok(opened)
    }

    fn keep(&self, file: &IndexFile, opened: Arc<dyn DiskFile>) {
        let mut handles = lock(&self.handles);
        if handles.open.len() >= MAX_HANDLES {
            let oldest = handles.open.iter().min_by_key(|(_, handle)| handle.used).map(|(serial, _)| *serial);
            oldest.and_then(|serial| handles.open.remove(&serial));
        }
        handles.clock += 1;
        let used = handles.clock;
        handles.open.insert(file.serial, Handle { path: file.path.clone(), file: opened, used });
    }

    /// Handles open now.
    #[cfg(test)]
    pub fn open_handles(&self) -> usize {
        lock(&self.handles).open.len()
    }

    /// A handle to write to. A file whose units are written for the first time is made, whatever stood at its path: all
    /// that a former try of this flush wrote comes again.
    pub fn writer(&self, file: &IndexFile, is_first: bool) -> Result<Arc<dyn DiskFile>, StoreError> {
        if is_first {
            self.remove_file(&file.path)?;
            let created = self.create(&file.path, file.sizes)?;
            self.keep(file, created.clone());
            lock(&self.unsynced).dir = true;
        }
        lock(&self.unsynced).files.insert(file.path.clone());
        self.handle(file).at("open", &file.path)
    }

    /// Makes a file of its full length, which takes no room until it is written.
    pub fn create(&self, path: &Path, sizes: IndexSizes) -> Result<Arc<dyn DiskFile>, StoreError> {
        let created = self.disk.create(path, 0).at("create", path)?;
        created.set_len(sizes.file_len()).at("set the length of", path)?;
        Ok(created)
    }

    /// Removes one file; none there is no error.
    pub fn remove_file(&self, path: &Path) -> Result<(), StoreError> {
        // By path: handles of an earlier try of this flush would write to what is gone.
        lock(&self.handles).open.retain(|_, handle| handle.path != path);
        match self.disk.remove(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            removed => removed.at("remove", path)?,
        }
        let mut unsynced = lock(&self.unsynced);
        unsynced.files.remove(path);
        unsynced.dir = true;
        Ok(())
    }

    /// Whether something was written or removed that no sync has covered.
    pub fn has_unsynced(&self) -> bool {
        let unsynced = lock(&self.unsynced);
        !unsynced.files.is_empty() || unsynced.dir
    }

    /// Makes everything written so far durable. Files first: a directory entry must not survive without its bytes.
    pub fn sync(&self) -> Result<(), StoreError> {
        let unsynced = std::mem::take(&mut *lock(&self.unsynced));
        let synced = self.sync_all(&unsynced);
        if synced.is_err() {
            // Not covered: neither is what the next sync is asked for.
            let mut again = lock(&self.unsynced);
            again.files.extend(unsynced.files);
            again.dir |= unsynced.dir;
        }
        synced
    }

    fn sync_all(&self, unsynced: &Unsynced) -> Result<(), StoreError> {
        for path in &unsynced.files {
            let file = self.disk.open(path).at("open", path)?;
            file.sync_data().at("sync", path)?;
        }
        if unsynced.dir { self.disk.sync_dir(&self.root).at("sync", &self.root) } else { Ok(()) }
    }

    /// Puts the text of a state of the complete segments in place, durably, unless it is there.
    pub fn write_format(&self, version: u64, text: &str) -> Result<(), StoreError> {
        if self.format_version.load(Ordering::Acquire) < version {
            Format::write(&*self.disk, &self.root, text)?;
            self.format_version.store(version, Ordering::Release);
        }
        Ok(())
    }
}
