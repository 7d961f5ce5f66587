//! The files of every ConsumeQueue: names, open handles, what is written and not yet synced.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::unit::{FILE_LEN, LEN, UNIT_LEN, UNITS_PER_FILE, Unit};
use crate::StoreError;
use crate::disk::{Disk, DiskFile};
use crate::error::At;

/// Version of the layout below `consumequeue/`.
pub(super) const VERSION: u32 = 1;
/// Names the version. No topic can have this name: a topic's holds no dot.
pub(super) const FORMAT_FILE: &str = ".format";
const FORMAT_WORD: &str = "quorumq-consumequeue";
/// Handles kept open. A queue that is neither read nor written for a while has none.
const MAX_HANDLES: usize = 256;
/// Files grow by this much at a time: a queue of a few messages takes one such chunk, not 6 MB.
const GROW_LEN: u64 = 16 * 1024;

/// The files of one life of one queue: a topic that is deleted and created again gets new ones at the same path.
#[derive(Debug)]
pub(super) struct QueueFiles {
    pub dir: PathBuf,
    /// Tells this queue from every other this process opened.
    pub serial: u64,
    /// Set once the queue is removed: what is read from its path from then on may be another queue's.
    pub removed: AtomicBool,
}

impl QueueFiles {
    pub fn file_path(&self, file: u64) -> PathBuf {
        self.dir.join(file_name(file))
    }

    /// That units, read or missing, are no longer this queue's.
    pub fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Acquire)
    }
}

/// A file is named by the byte offset of its first unit, in 20 digits.
pub(super) fn file_name(file: u64) -> String {
    format!("{:020}", file * FILE_LEN)
}

/// Number of the file of that name; `None` if it is none of ours.
pub(super) fn file_number(name: &str) -> Option<u64> {
    let start: u64 = name.parse().ok()?;
    (name.len() == 20 && start.is_multiple_of(FILE_LEN)).then_some(start / FILE_LEN)
}

#[derive(Debug, Default)]
struct Handles {
    open: BTreeMap<(u64, u64), Handle>,
    clock: u64,
}

#[derive(Debug)]
struct Handle {
    dir: PathBuf,
    file: Arc<dyn DiskFile>,
    used: u64,
}

/// What was written and not yet made durable.
#[derive(Debug, Default)]
struct Unsynced {
    files: BTreeSet<PathBuf>,
    dirs: BTreeSet<PathBuf>,
}

/// Shared by the queues (under the machine's lock), reads and flush plans (outside of it).
#[derive(Debug)]
pub(super) struct Files {
    pub disk: Arc<dyn Disk>,
    pub root: PathBuf,
    handles: Mutex<Handles>,
    unsynced: Mutex<Unsynced>,
    /// Cleared when the queues are dropped (a snapshot replaced them): a plan that is still out writes nothing.
    pub alive: AtomicBool,
}

impl Files {
    /// Checks the version of what is there.
    pub fn open(disk: Arc<dyn Disk>, root: PathBuf) -> Result<Self, StoreError> {
        let path = root.join(FORMAT_FILE);
        if disk.exists(&path).at("stat", &path)? {
            check_format(&*disk, &path)?;
        }
        let (handles, unsynced) = Default::default();
        Ok(Self { disk, root, handles, unsynced, alive: AtomicBool::new(true) })
    }

    /// Makes sure that the version is written down before anything it describes.
    pub fn write_format(&self) -> Result<(), StoreError> {
        let path = self.root.join(FORMAT_FILE);
        if self.disk.exists(&path).at("stat", &path)? {
            return Ok(());
        }
        self.disk.create_dir_all(&self.root).at("create", &self.root)?;
        let text = format!("{FORMAT_WORD} {VERSION}\n");
        let tmp = self.root.join(".format.tmp");
        if self.disk.exists(&tmp).at("stat", &tmp)? {
            self.disk.remove(&tmp).at("remove", &tmp)?;
        }
        let file = self.disk.create(&tmp, text.len() as u64).at("create", &tmp)?;
        file.write_at(0, &[text.as_bytes()]).at("write", &tmp)?;
        file.sync_data().at("sync", &tmp)?;
        self.disk.rename(&tmp, &path).at("rename", &tmp)?;
        self.disk.sync_dir(&self.root).at("sync", &self.root)
    }

    /// An open handle of a queue's file. `NotFound` if there is no such file.
    fn handle(&self, queue: &QueueFiles, file: u64) -> io::Result<Arc<dyn DiskFile>> {
        {
            let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
            handles.clock += 1;
            let clock = handles.clock;
            if let Some(handle) = handles.open.get_mut(&(queue.serial, file)) {
                handle.used = clock;
                return Ok(handle.file.clone());
            }
        }
        let opened = self.disk.open(&queue.file_path(file))?;
        self.keep(queue, file, opened.clone());
        Ok(opened)
    }

    fn keep(&self, queue: &QueueFiles, number: u64, file: Arc<dyn DiskFile>) {
        let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        if handles.open.len() >= MAX_HANDLES {
            let oldest = handles.open.iter().min_by_key(|(_, handle)| handle.used).map(|(key, _)| *key);
            oldest.and_then(|key| handles.open.remove(&key));
        }
        handles.clock += 1;
        let used = handles.clock;
        handles.open.insert((queue.serial, number), Handle { dir: queue.dir.clone(), file, used });
    }

    /// Handles open now.
    #[cfg(test)]
    pub fn open_handles(&self) -> usize {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner).open.len()
    }

    /// Closes the handles of a queue's files below `file`.
    pub fn close_below(&self, queue: &QueueFiles, file: u64) {
        let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        handles.open.retain(|&(serial, number), _| serial != queue.serial || number >= file);
    }

    /// Writes units of one file, `bytes` from its unit `at` on. Grows the file first, so that a full volume is told
    /// before anything is written.
    pub fn write_units(&self, queue: &QueueFiles, file: u64, at: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let path = queue.file_path(file);
        let handle = match self.handle(queue, file) {
            Ok(handle) => handle,
            Err(e) if e.kind() == io::ErrorKind::NotFound => self.create(queue, file, &path)?,
            Err(e) => return Err(e).at("open", &path),
        };
        let (start, end) = (at * UNIT_LEN, at * UNIT_LEN + bytes.len() as u64);
        if handle.len().at("stat", &path)? < end {
            handle.allocate(end.next_multiple_of(GROW_LEN).min(FILE_LEN)).at("allocate", &path)?;
        }
        handle.write_at(start, &[bytes]).at("write", &path)?;
        self.unsynced.lock().unwrap_or_else(PoisonError::into_inner).files.insert(path);
        Ok(())
    }

    fn create(&self, queue: &QueueFiles, file: u64, path: &Path) -> Result<Arc<dyn DiskFile>, StoreError> {
        self.disk.create_dir_all(&queue.dir).at("create", &queue.dir)?;
        let created = self.disk.create(path, 0).at("create", path)?;
        self.keep(queue, file, created.clone());
        self.unsynced.lock().unwrap_or_else(PoisonError::into_inner).dirs.insert(queue.dir.clone());
        Ok(created)
    }

    /// Fills `buf` with the units of one file from its unit `at` on.
    pub fn read_units(&self, queue: &QueueFiles, file: u64, at: u64, buf: &mut [u8]) -> Result<(), StoreError> {
        let path = queue.file_path(file);
        let handle = self.handle(queue, file).at("open", &path)?;
        handle.read_at(at * UNIT_LEN, buf).at("read", &path)
    }

    /// One unit; `None` if it was never written.
    pub fn probe(&self, queue: &QueueFiles, offset: u64) -> Result<Option<Unit>, StoreError> {
        let mut bytes = [0; LEN];
        match self.read_units(queue, offset / UNITS_PER_FILE, offset % UNITS_PER_FILE, &mut bytes) {
            Ok(()) => Ok(Unit::from_bytes(&bytes)),
            Err(StoreError::Io { source, .. })
                if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof) =>
            {
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    /// Removes a queue's directory, and its topic's if that is empty then.
    pub fn remove_queue_dir(&self, dir: &Path) -> Result<(), StoreError> {
        {
            // By path, not by queue: a later queue's files may be at this path since an earlier try of this removal.
            let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
            handles.open.retain(|_, handle| handle.dir != dir);
        }
        self.disk.remove_dir_all(dir).at("remove", dir)?;
        let mut changed = dir.parent().map(Path::to_path_buf);
        if let Some(topic) = dir.parent()
            && topic != self.root
            && self.disk.list(topic).at("list", topic)?.is_empty()
        {
            self.disk.remove_dir_all(topic).at("remove", topic)?;
            changed = Some(self.root.clone());
        }
        let mut unsynced = self.unsynced.lock().unwrap_or_else(PoisonError::into_inner);
        unsynced.files.retain(|path| !path.starts_with(dir));
        unsynced.dirs.retain(|path| !path.starts_with(dir));
        unsynced.dirs.extend(changed);
        Ok(())
    }

    /// Removes one file; none there is no error.
    pub fn remove_file(&self, path: &Path) -> Result<(), StoreError> {
        match self.disk.remove(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            removed => removed.at("remove", path)?,
        }
        let mut unsynced = self.unsynced.lock().unwrap_or_else(PoisonError::into_inner);
        unsynced.files.remove(path);
        unsynced.dirs.extend(path.parent().map(Path::to_path_buf));
        Ok(())
    }

    /// Whether something was written that no sync has covered.
    pub fn has_unsynced(&self) -> bool {
        let unsynced = self.unsynced.lock().unwrap_or_else(PoisonError::into_inner);
        !unsynced.files.is_empty() || !unsynced.dirs.is_empty()
    }

    /// Makes everything written so far durable. Files first: a directory entry must not survive without its bytes.
    pub fn sync(&self) -> Result<(), StoreError> {
        let unsynced = std::mem::take(&mut *self.unsynced.lock().unwrap_or_else(PoisonError::into_inner));
        let synced = self.sync_all(&unsynced);
        if synced.is_err() {
            // Not covered: neither is what the next sync is asked for.
            let mut again = self.unsynced.lock().unwrap_or_else(PoisonError::into_inner);
            again.files.extend(unsynced.files);
            again.dirs.extend(unsynced.dirs);
        }
        synced
    }

    fn sync_all(&self, unsynced: &Unsynced) -> Result<(), StoreError> {
        for path in &unsynced.files {
            let file = self.disk.open(path).at("open", path)?;
            file.sync_data().at("sync", path)?;
        }
        for dir in &unsynced.dirs {
            if self.disk.exists(dir).at("stat", dir)? {
                self.disk.sync_dir(dir).at("sync", dir)?;
            }
        }
        Ok(())
    }
}

fn check_format(disk: &dyn Disk, path: &Path) -> Result<(), StoreError> {
    let file = disk.open(path).at("open", path)?;
    let len = file.len().at("stat", path)?;
    let mut bytes = vec![0; len.min(64) as usize];
    file.read_at(0, &mut bytes).at("read", path)?;
    let found = std::str::from_utf8(&bytes)
        .ok()
        .and_then(|text| text.trim_end().strip_prefix(FORMAT_WORD))
        .and_then(|version| version.trim().parse().ok())
        .ok_or_else(|| StoreError::Corrupt { what: "ConsumeQueue format", path: path.to_path_buf(), offset: 0 })?;
    if found == VERSION {
        return Ok(());
    }
    Err(StoreError::UnknownVersion { what: "ConsumeQueue", path: path.to_path_buf(), found, known: VERSION })
}
