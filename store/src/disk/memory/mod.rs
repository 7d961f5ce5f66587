//! A disk in memory that tells written from synced, with hooks to hold or fail operations and to crash.
//!
//! [`MemoryDisk`] is the medium; [`MemoryDisk::mount`] hands out the [`Disk`] a node works on. A crash makes every
//! mount and handle of before inert: a late write of a dead node never reaches the medium.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::{Disk, DiskFile, DiskLock, Space};

mod inode;

use inode::Inode;

/// What a disk is asked to do. Reads are never counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// [`DiskFile::write_at`].
    Write,
    /// [`DiskFile::sync_data`].
    Sync,
    /// [`Disk::create`], [`DiskFile::allocate`], [`DiskFile::set_len`].
    Allocate,
    /// [`Disk::rename`], [`Disk::remove`], [`Disk::remove_dir_all`], [`Disk::create_dir_all`].
    Entry,
    /// [`Disk::sync_dir`].
    SyncDir,
}

/// The medium: what survives its mounts.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk {
    medium: Arc<Medium>,
}

#[derive(Debug, Default)]
struct Medium {
    state: Mutex<State>,
    /// Wakes syncs that are held.
    gate: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Number of the living mount; older ones are inert.
    mount: u64,
    files: BTreeMap<PathBuf, Arc<Mutex<Inode>>>,
    /// The entries as of each directory's last sync.
    durable: BTreeMap<PathBuf, Arc<Mutex<Inode>>>,
    dirs: BTreeSet<PathBuf>,
    locks: BTreeSet<PathBuf>,
    /// Bytes that files may take together; `None` is no limit.
    capacity: Option<u64>,
    counts: BTreeMap<Operation, u64>,
    faults: Vec<Fault>,
    /// Mutating operations that still succeed before the mount freezes.
    freeze_after: Option<u64>,
    held: bool,
    waiting: usize,
}

#[derive(Debug)]
struct Fault {
    operation: Operation,
    /// Operations of that sort that pass before this one fails.
    skip: u64,
    errno: i32,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MemoryDisk {
    /// An empty medium without a size limit.
    pub fn new() -> Self {
        Self::default()
    }

    /// The disk a node works on, until the next crash.
    pub fn mount(&self) -> Arc<dyn Disk> {
        Arc::new(Mount { medium: Arc::clone(&self.medium), number: lock(&self.medium.state).mount })
    }

    /// Limits the bytes that files may take together; `None` lifts the limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        lock(&self.medium.state).capacity = bytes;
    }

    /// From now on every `sync_data` waits until [`MemoryDisk::release_syncs`] or a crash.
    pub fn hold_syncs(&self) {
        lock(&self.medium.state).held = true;
    }

    /// Lets held syncs go on.
    pub fn release_syncs(&self) {
        lock(&self.medium.state).held = false;
        self.medium.gate.notify_all();
    }

    /// How many syncs are waiting at the gate.
    pub fn held_syncs(&self) -> usize {
        lock(&self.medium.state).waiting
    }

    /// After `skip` more operations of that sort, one fails with `errno`. A failed sync loses what it should have
    /// made durable, as Linux does: the pages count as clean, yet a crash drops them.
    pub fn fail(&self, operation: Operation, skip: u64, errno: i32) {
        lock(&self.medium.state).faults.push(Fault { operation, skip, errno });
    }

    /// After `operations` more mutating operations the mount freezes: that one and all later ones fail without
    /// effect, as if the process had died just before.
    pub fn freeze_after(&self, operations: u64) {
        lock(&self.medium.state).freeze_after = Some(operations);
    }

    /// Whether [`MemoryDisk::freeze_after`] has struck.
    pub fn is_frozen(&self) -> bool {
        lock(&self.medium.state).freeze_after == Some(0)
    }

    /// How often an operation was done so far, failed ones included.
    pub fn count(&self, operation: Operation) -> u64 {
        lock(&self.medium.state).counts.get(&operation).copied().unwrap_or(0)
    }

    /// Power loss: unsynced bytes and directory entries are gone.
    pub fn crash(&self) {
        self.crash_keeping(&mut || false);
    }

    /// Power loss in which each unsynced 512-byte sector survives if `keep` says so: asked once per sector, in
    /// order of path and offset. Unsynced directory entries and lengths are gone.
    pub fn crash_keeping(&self, keep: &mut dyn FnMut() -> bool) {
        let mut state = lock(&self.medium.state);
        state.files = state.durable.clone();
        let parents: BTreeSet<PathBuf> =
            state.files.keys().flat_map(|path| path.ancestors().skip(1)).map(Path::to_owned).collect();
        state.dirs.extend(parents);
        for inode in state.files.values() {
            lock(inode).crash(keep);
        }
        self.remount(state);
    }

    /// The process ends, the machine goes on: everything written stays, and still counts as unsynced.
    pub fn kill(&self) {
        let state = lock(&self.medium.state);
        self.remount(state);
    }

    fn remount(&self, mut state: MutexGuard<'_, State>) {
        state.mount += 1;
        state.locks.clear();
        state.faults.clear();
        state.freeze_after = None;
        state.held = false;
        drop(state);
        self.medium.gate.notify_all();
    }

    /// Flips one bit on the medium, synced bytes included.
    ///
    /// # Errors
    /// `NotFound` without such a file.
    pub fn flip_bit(&self, path: &Path, offset: u64, bit: u8) -> io::Result<()> {
        let inode = lock(&self.medium.state).inode(path)?;
        lock(&inode).flip_bit(offset, bit);
        Ok(())
    }

    /// Bytes of a file as a power loss now would leave them if it kept nothing that was not synced.
    ///
    /// # Errors
    /// `NotFound` if no such entry is durable, `UnexpectedEof` beyond the durable length.
    pub fn durable_range(&self, path: &Path, range: Range<u64>) -> io::Result<Vec<u8>> {
        let inode = lock(&self.medium.state).durable.get(path).cloned().ok_or(io::ErrorKind::NotFound)?;
        lock(&inode).durable(range)
    }

    /// The bytes of a file as a reader of the living mount sees them.
    ///
    /// # Errors
    /// `NotFound` without such a file.
    pub fn content(&self, path: &Path) -> io::Result<Vec<u8>> {
        let inode = lock(&self.medium.state).inode(path)?;
        let inode = lock(&inode);
        let mut content = vec![0; usize::try_from(inode.len()).map_err(io::Error::other)?];
        inode.read(0, &mut content)?;
        Ok(content)
    }
}

impl State {
    fn inode(&self, path: &Path) -> io::Result<Arc<Mutex<Inode>>> {
        self.files.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn check_mount(&self, number: u64) -> io::Result<()> {
        if self.mount == number { Ok(()) } else { Err(io::Error::other("this handle is of before the crash")) }
    }

    /// Counts an operation and lets it fail if a hook says so.
    fn enter(&mut self, number: u64, operation: Operation) -> io::Result<()> {
        self.check_mount(number)?;
        match &mut self.freeze_after {
            Some(0) => return Err(io::Error::other("the disk is frozen")),
            Some(left) => *left -= 1,
            None => {}
        }
        *self.counts.entry(operation).or_default() += 1;
        let mut failed = None;
        self.faults.retain_mut(|fault| {
            if fault.operation != operation || failed.is_some() {
                return true;
            }
            if fault.skip == 0 {
                failed = Some(fault.errno);
                return false;
            }
            fault.skip -= 1;
            true
        });
        failed.map_or(Ok(()), |errno| Err(io::Error::from_raw_os_error(errno)))
    }

    fn used(&self) -> u64 {
        self.files.values().map(|inode| lock(inode).len()).sum()
    }

    fn check_room(&self, more: u64) -> io::Result<()> {
        match self.capacity {
            Some(capacity) if self.used().saturating_add(more) > capacity => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }

    fn check_parent(&self, path: &Path) -> io::Result<()> {
        match path.parent() {
            Some(parent) if !self.dirs.contains(parent) => Err(io::ErrorKind::NotFound.into()),
            _ => Ok(()),
        }
    }
}

/// One mount of a medium.
#[derive(Debug)]
struct Mount {
    medium: Arc<Medium>,
    number: u64,
}

impl Mount {
    fn enter(&self, operation: Operation) -> io::Result<MutexGuard<'_, State>> {
        let mut state = lock(&self.medium.state);
        state.enter(self.number, operation)?;
        Ok(state)
    }

    fn look(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = lock(&self.medium.state);
        state.check_mount(self.number)?;
        Ok(state)
    }

    fn handle(&self, inode: Arc<Mutex<Inode>>) -> Arc<dyn DiskFile> {
        Arc::new(Handle { medium: Arc::clone(&self.medium), number: self.number, inode })
    }
}

impl Disk for Mount {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.enter(Operation::Entry)?;
        state.dirs.extend(dir.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn create(&self, path: &Path, len: u64) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.enter(Operation::Allocate)?;
        if state.files.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.check_parent(path)?;
        state.check_room(len)?;
        let inode = Arc::new(Mutex::new(Inode::new(len)));
        state.files.insert(path.to_owned(), Arc::clone(&inode));
        drop(state);
        Ok(self.handle(inode))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let inode = self.look()?.inode(path)?;
        Ok(self.handle(inode))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let state = self.look()?;
        Ok(state.files.contains_key(path) || state.dirs.contains(path))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.look()?;
        let entries = state.files.keys().chain(&state.dirs).filter(|path| path.parent() == Some(dir));
        let names = entries.filter_map(|path| path.file_name()?.to_str()).map(str::to_owned);
        Ok(names.collect::<BTreeSet<_>>().into_iter().collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.enter(Operation::Entry)?;
        state.check_parent(to)?;
        let inode = state.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.files.insert(to.to_owned(), inode);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.enter(Operation::Entry)?;
        state.files.remove(path).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.enter(Operation::Entry)?;
        state.files.retain(|path, _| !path.starts_with(dir));
        state.dirs.retain(|path| !path.starts_with(dir));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.enter(Operation::SyncDir)?;
        let State { files, durable, dirs, .. } = &mut *state;
        // A directory that is gone takes all below it along.
        durable.retain(|path, _| {
            path.parent() != Some(dir) && path.parent().is_none_or(|p| dirs.contains(p) || !p.starts_with(dir))
        });
        let entries = files.iter().filter(|(path, _)| path.parent() == Some(dir));
        durable.extend(entries.map(|(path, inode)| (path.clone(), Arc::clone(inode))));
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        let mut state = self.look()?;
        state.check_parent(path)?;
        state.files.entry(path.to_owned()).or_insert_with(|| Arc::new(Mutex::new(Inode::new(0))));
        if !state.locks.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(Guard { medium: Arc::clone(&self.medium), number: self.number, path: path.to_owned() }))
    }

    fn space(&self, _path: &Path) -> io::Result<Space> {
        let state = self.look()?;
        let total = state.capacity.unwrap_or(u64::MAX);
        Ok(Space { available: total.saturating_sub(state.used()), total })
    }
}

#[derive(Debug)]
struct Guard {
    medium: Arc<Medium>,
    number: u64,
    path: PathBuf,
}

impl DiskLock for Guard {}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut state = lock(&self.medium.state);
        if state.mount == self.number {
            state.locks.remove(&self.path);
        }
    }
}

/// An open file of one mount.
#[derive(Debug)]
struct Handle {
    medium: Arc<Medium>,
    number: u64,
    inode: Arc<Mutex<Inode>>,
}

impl Handle {
    fn look(&self) -> io::Result<MutexGuard<'_, Inode>> {
        lock(&self.medium.state).check_mount(self.number)?;
        Ok(lock(&self.inode))
    }
}

impl DiskFile for Handle {
    fn len(&self) -> io::Result<u64> {
        Ok(self.look()?.len())
    }

    fn write_at(&self, offset: u64, parts: &[&[u8]]) -> io::Result<()> {
        let mut state = lock(&self.medium.state);
        state.enter(self.number, Operation::Write)?;
        let total: u64 = parts.iter().map(|part| part.len() as u64).sum();
        let growth = (offset + total).saturating_sub(lock(&self.inode).len());
        state.check_room(growth)?;
        let mut inode = lock(&self.inode);
        let mut at = offset;
        for part in parts {
            inode.write(at, part);
            at += part.len() as u64;
        }
        Ok(())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.look()?.read(offset, buf)
    }

    fn slice(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        let mut copy = vec![0; len];
        self.look()?.read(offset, &mut copy)?;
        Ok(Bytes::from(copy))
    }

    fn data_ranges(&self, offset: u64) -> io::Result<Vec<Range<u64>>> {
        Ok(self.look()?.data_ranges(offset))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = lock(&self.medium.state);
        if let Err(e) = state.enter(self.number, Operation::Sync) {
            if state.mount == self.number && state.freeze_after != Some(0) {
                lock(&self.inode).fail_sync();
            }
            return Err(e);
        }
        state.waiting += 1;
        while state.held && state.mount == self.number {
            state = self.medium.gate.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.waiting -= 1;
        state.check_mount(self.number)?;
        lock(&self.inode).sync();
        Ok(())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let mut state = lock(&self.medium.state);
        state.enter(self.number, Operation::Allocate)?;
        let now = lock(&self.inode).len();
        state.check_room(len.saturating_sub(now))?;
        lock(&self.inode).set_len(len.max(now));
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = lock(&self.medium.state);
        state.enter(self.number, Operation::Allocate)?;
        lock(&self.inode).set_len(len);
        Ok(())
    }
}
