//! The files of every ConsumeQueue: names, open handles, what is written and not yet synced.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::check::Report;
use super::sums::{Chunk, SUM_LEN, Sums, sums_len};
use super::unit::{FILE_LEN, UNIT_LEN, UNITS_PER_FILE};
use crate::StoreError;
use crate::disk::{Disk, DiskFile};
use crate::error::At;

/// Version of the layout below `consumequeue/`.
pub(super) const VERSION: u32 = 2;
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
    pub topic: Box<str>,
    pub queue_id: u32,
    pub dir: PathBuf,
    /// Tells this queue from every other this process opened.
    pub serial: u64,
    /// Set once the queue is removed: what is read from its path from then on may be another queue's.
    pub removed: AtomicBool,
    /// The first offset that is held.
    min: AtomicU64,
    pub sums: Mutex<Sums>,
}

impl QueueFiles {
    /// The files below `root` of a queue whose first unit is `min`.
    pub fn new(root: &Path, topic: &str, queue_id: u32, serial: u64, min: u64) -> Self {
        let (removed, sums) = Default::default();
        let dir = root.join(topic).join(queue_id.to_string());
        Self { topic: topic.into(), queue_id, dir, serial, removed, min: AtomicU64::new(min), sums }
    }

    pub fn path(&self, file: u64, part: Part) -> PathBuf {
        self.dir.join(part.name_of(file))
    }

    /// That units, read or missing, are no longer this queue's.
    pub fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Acquire)
    }

    /// The first offset that is held.
    pub fn min(&self) -> u64 {
        self.min.load(Ordering::Acquire)
    }

    pub fn set_min(&self, min: u64) {
        self.min.store(min, Ordering::Release);
    }
}

/// What a file of a queue holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// Units, as RocketMQ lays them out.
    Units,
    /// The sums of their chunks.
    Sums,
}

/// Ends the name of a file of sums.
const SUMS_SUFFIX: &str = ".crc";

impl Part {
    /// A file is named by the byte offset of its first unit, in 20 digits.
    pub fn name_of(self, file: u64) -> String {
        let suffix = if self == Self::Sums { SUMS_SUFFIX } else { "" };
        format!("{:020}{suffix}", file * FILE_LEN)
    }

    /// What the file of that name is; `None` if it is none of ours.
    pub fn of_name(name: &str) -> Option<(u64, Self)> {
        let (number, part) = name.strip_suffix(SUMS_SUFFIX).map_or((name, Self::Units), |stem| (stem, Self::Sums));
        let start: u64 = number.parse().ok()?;
        (number.len() == 20 && start.is_multiple_of(FILE_LEN)).then_some((start / FILE_LEN, part))
    }
}

#[derive(Debug, Default)]
struct Handles {
    open: BTreeMap<(u64, u64, Part), Handle>,
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
    /// Queues with sums that are not on disk.
    queues: BTreeMap<u64, Arc<QueueFiles>>,
}

/// Shared by the queues (under the machine's lock), reads and flush plans (outside of it).
#[derive(Debug)]
pub(super) struct Files {
    pub disk: Arc<dyn Disk>,
    pub root: PathBuf,
    /// Whether the version is written down.
    has_format: AtomicBool,
    handles: Mutex<Handles>,
    unsynced: Mutex<Unsynced>,
    /// What is damaged or missing, by queue.
    pub reports: Mutex<BTreeMap<u64, Report>>,
    /// Cleared when the queues are dropped (a snapshot replaced them): a plan that is still out writes nothing.
    pub alive: AtomicBool,
}

impl Files {
    /// Checks the version of what is there.
    pub fn open(disk: Arc<dyn Disk>, root: PathBuf) -> Result<Self, StoreError> {
        let path = root.join(FORMAT_FILE);
        let mut has_format = disk.exists(&path).at("stat", &path)?;
        if has_format && let Err(e) = check_format(&*disk, &path) {
            let StoreError::Corrupt { .. } = e else { return Err(e) };
            // Units are told by their sums: what another version wrote would have none.
            tracing::warn!("{e}; it is written again");
            has_format = false;
        }
        let (handles, unsynced, reports) = Default::default();
        let (has_format, alive) = (AtomicBool::new(has_format), AtomicBool::new(true));
        Ok(Self { disk, root, has_format, handles, unsynced, reports, alive })
    }

    /// Makes sure that the version is written down before anything it describes.
    pub fn write_format(&self) -> Result<(), StoreError> {
        if self.has_format.load(Ordering::Acquire) {
            return Ok(());
        }
        let path = self.root.join(FORMAT_FILE);
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
        self.disk.sync_dir(&self.root).at("sync", &self.root)?;
        self.has_format.store(true, Ordering::Release);
        Ok(())
    }

    /// An open handle of a queue's file. `NotFound` if there is no such file.
    pub fn handle(&self, queue: &QueueFiles, file: u64, part: Part) -> io::Result<Arc<dyn DiskFile>> {
        {
            let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
            handles.clock += 1;
            let clock = handles.clock;
            if let Some(handle) = handles.open.get_mut(&(queue.serial, file, part)) {
                handle.used = clock;
                return Ok(handle.file.clone());
            }
        }
        let opened = self.disk.open(&queue.path(file, part))?;
        self.keep(queue, file, part, opened.clone());
        Ok(opened)
    }

    fn keep(&self, queue: &QueueFiles, number: u64, part: Part, file: Arc<dyn DiskFile>) {
        let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        if handles.open.len() >= MAX_HANDLES {
            let oldest = handles.open.iter().min_by_key(|(_, handle)| handle.used).map(|(key, _)| *key);
            oldest.and_then(|key| handles.open.remove(&key));
        }
        handles.clock += 1;
        let used = handles.clock;
        handles.open.insert((queue.serial, number, part), Handle { dir: queue.dir.clone(), file, used });
    }

    /// Handles open now.
    #[cfg(test)]
    pub fn open_handles(&self) -> usize {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner).open.len()
    }

    /// Closes the handles of a queue's files below `file`, and forgets their sums.
    pub fn close_below(&self, queue: &QueueFiles, file: u64) {
        let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        handles.open.retain(|&(serial, number, _), _| serial != queue.serial || number >= file);
        drop(handles);
        let mut sums = queue.sums.lock().unwrap_or_else(PoisonError::into_inner);
        sums.pending = sums.pending.split_off(&Chunk { file, number: 0 });
    }

    /// Writes units of one file, `bytes` from that offset of the queue on, and sums them.
    pub fn write_units(&self, queue: &Arc<QueueFiles>, first: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let before = self.crc_before(queue, first)?;
        self.write_bytes(queue, first, bytes)?;
        queue.sums.lock().unwrap_or_else(PoisonError::into_inner).note(first, bytes, before);
        Ok(())
    }

    /// Writes units of one file without their sums. Grows the files first, so that a full volume is told before anything
    /// is written.
    pub fn write_bytes(&self, queue: &Arc<QueueFiles>, first: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let (file, at) = (first / UNITS_PER_FILE, first % UNITS_PER_FILE);
        let path = queue.path(file, Part::Units);
        let units = self.handle_or_new(queue, file, Part::Units)?;
        let (start, end) = (at * UNIT_LEN, at * UNIT_LEN + bytes.len() as u64);
        if units.len().at("stat", &path)? < end {
            let len = end.next_multiple_of(GROW_LEN).min(FILE_LEN);
            let sums = self.handle_or_new(queue, file, Part::Sums)?;
            sums.allocate(sums_len(len)).at("allocate", &queue.path(file, Part::Sums))?;
            units.allocate(len).at("allocate", &path)?;
        }
        units.write_at(start, &[bytes]).at("write", &path)?;
        let mut unsynced = self.unsynced.lock().unwrap_or_else(PoisonError::into_inner);
        unsynced.files.insert(path);
        unsynced.queues.entry(queue.serial).or_insert_with(|| Arc::clone(queue));
        Ok(())
    }

    fn handle_or_new(&self, queue: &QueueFiles, file: u64, part: Part) -> Result<Arc<dyn DiskFile>, StoreError> {
        let path = queue.path(file, part);
        match self.handle(queue, file, part) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            opened => return opened.at("open", &path),
        }
        self.disk.create_dir_all(&queue.dir).at("create", &queue.dir)?;
        let created = self.disk.create(&path, 0).at("create", &path)?;
        self.keep(queue, file, part, created.clone());
        self.unsynced.lock().unwrap_or_else(PoisonError::into_inner).dirs.insert(queue.dir.clone());
        Ok(created)
    }

    /// Fills `buf` with a file's bytes from a chunk on, unchecked.
    pub fn read_units(&self, queue: &QueueFiles, from: Chunk, buf: &mut [u8]) -> Result<(), StoreError> {
        let path = queue.path(from.file, Part::Units);
        let handle = self.handle(queue, from.file, Part::Units).at("open", &path)?;
        handle.read_at(from.first() % UNITS_PER_FILE * UNIT_LEN, buf).at("read", &path)
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
        unsynced.queues.retain(|_, queue| {
            let is_gone = queue.dir == dir;
            if is_gone {
                queue.sums.lock().unwrap_or_else(PoisonError::into_inner).clear();
            }
            !is_gone
        });
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
        !unsynced.files.is_empty() || !unsynced.dirs.is_empty() || !unsynced.queues.is_empty()
    }

    /// How many files, and directories, a sync would have to go through.
    pub fn unsynced(&self) -> usize {
        let unsynced = self.unsynced.lock().unwrap_or_else(PoisonError::into_inner);
        unsynced.files.len() + unsynced.dirs.len() + unsynced.queues.len()
    }

    /// Makes everything written so far durable. Units first: sums tell of nothing that may be lost. Directories last: an
    /// entry must not survive without its bytes.
    pub fn sync(&self) -> Result<(), StoreError> {
        let unsynced = std::mem::take(&mut *self.unsynced.lock().unwrap_or_else(PoisonError::into_inner));
        let synced = self.sync_all(&unsynced);
        if synced.is_err() {
            // Not covered: neither is what the next sync is asked for.
            let mut again = self.unsynced.lock().unwrap_or_else(PoisonError::into_inner);
            again.files.extend(unsynced.files);
            again.dirs.extend(unsynced.dirs);
            again.queues.extend(unsynced.queues);
        }
        synced
    }

    fn sync_all(&self, unsynced: &Unsynced) -> Result<(), StoreError> {
        for path in &unsynced.files {
            let file = self.disk.open(path).at("open", path)?;
            file.sync_data().at("sync", path)?;
        }
        unsynced.queues.values().try_for_each(|queue| self.write_sums(queue))?;
        for dir in &unsynced.dirs {
            if self.disk.exists(dir).at("stat", dir)? {
                self.disk.sync_dir(dir).at("sync", dir)?;
            }
        }
        Ok(())
    }

    /// The file of sums beside a file of units, as long as that wants it.
    fn sums_of(&self, queue: &QueueFiles, file: u64) -> Result<Arc<dyn DiskFile>, StoreError> {
        let (path, sums) = (queue.path(file, Part::Sums), self.handle_or_new(queue, file, Part::Sums)?);
        let path_of_units = queue.path(file, Part::Units);
        let units = self.handle(queue, file, Part::Units).at("open", &path_of_units)?;
        sums.allocate(sums_len(units.len().at("stat", &path_of_units)?)).at("allocate", &path)?;
        Ok(sums)
    }

    /// Writes the sums that a queue's files of sums do not tell yet, durably. What they cover is durable.
    fn write_sums(&self, queue: &QueueFiles) -> Result<(), StoreError> {
        let pending = queue.sums.lock().unwrap_or_else(PoisonError::into_inner).pending.clone();
        let mut written: Option<(u64, Arc<dyn DiskFile>)> = None;
        let sync =
            |(file, handle): (u64, Arc<dyn DiskFile>)| handle.sync_data().at("sync", &queue.path(file, Part::Sums));
        for (chunk, sum) in &pending {
            if written.as_ref().is_none_or(|(file, _)| *file != chunk.file) {
                written.take().map_or(Ok(()), sync)?;
                written = Some((chunk.file, self.sums_of(queue, chunk.file)?));
            }
            if let Some((_, handle)) = &written {
                let at = chunk.number * SUM_LEN as u64;
                handle.write_at(at, &[&sum.to_bytes()]).at("write", &queue.path(chunk.file, Part::Sums))?;
            }
        }
        written.take().map_or(Ok(()), sync)?;
        queue
            .sums
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pending
            .retain(|chunk, sum| pending.get(chunk) != Some(sum));
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
