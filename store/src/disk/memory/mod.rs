//! A disk in memory that tells written from synced, with hooks to hold or fail operations and to crash.
//!
//! [`MemoryDisk`] is the medium; [`MemoryDisk::mount`] hands out the [`Disk`] a node works on. A crash makes every
//! mount and handle of before inert: a late write of a dead node never reaches the medium.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::Disk;

mod inode;
mod mount;
mod rot;
#[cfg(test)]
mod tests;

use inode::Inode;
use mount::Mount;

/// What a disk is asked to do. Reads are never counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// [`DiskFile::write_at`](super::DiskFile::write_at).
    Write,
    /// [`DiskFile::sync_data`](super::DiskFile::sync_data).
    Sync,
    /// [`Disk::create`], [`DiskFile::allocate`](super::DiskFile::allocate), [`DiskFile::set_len`](super::DiskFile::set_len).
    Allocate,
    /// [`Disk::rename`], [`Disk::remove`], [`Disk::remove_dir_all`], [`Disk::create_dir_all`].
    Entry,
    /// [`Disk::sync_dir`].
    SyncDir,
}

/// What a power loss took back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Pages of 4 KiB of which nothing is left that was not synced.
    pub pages_lost: u64,
    /// Pages of which a part is left.
    pub pages_torn: u64,
    /// Directory entries: files made, renamed or removed.
    pub entries: u64,
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
    /// Reads through a mount that met a flipped bit.
    rot_met: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// Number of the living mount; older ones are inert.
    mount: u64,
    /// How often power was lost.
    boots: u64,
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
    /// The mount freezes right after it has created a file.
    freeze_at_create: bool,
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

    /// Right after the next file was created the mount freezes: before its directory is synced.
    pub fn freeze_at_create(&self) {
        lock(&self.medium.state).freeze_at_create = true;
    }

    /// Whether the mount has frozen.
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
        self.lose_power(&mut || (0..8).fold(0, |kept, sector| kept | u8::from(keep()) << sector));
    }

    /// Power loss in which `kept` says of each unsynced 4 KiB page, in order of path and offset, which of its eight
    /// sectors of 512 bytes survive. Pages whose sync failed are gone, and so are unsynced directory entries and lengths.
    pub fn lose_power(&self, kept: &mut dyn FnMut() -> u8) -> Losses {
        let mut state = lock(&self.medium.state);
        let mut losses = Losses { entries: state.unsynced_entries(), ..Losses::default() };
        state.files = state.durable.clone();
        let parents: BTreeSet<PathBuf> =
            state.files.keys().flat_map(|path| path.ancestors().skip(1)).map(Path::to_owned).collect();
        state.dirs.extend(parents);
        for inode in state.files.values() {
            lock(inode).lose_power(kept, &mut losses);
        }
        state.boots += 1;
        self.remount(state);
        losses
    }

    /// The process ends, the machine goes on: everything written stays, and still counts as unsynced.
    pub fn kill(&self) {
        let state = lock(&self.medium.state);
        self.remount(state);
    }

    /// The medium is replaced by an empty one; mounts of before are inert.
    pub fn wipe(&self) {
        let mut state = lock(&self.medium.state);
        (state.files, state.durable, state.dirs) = Default::default();
        self.remount(state);
    }

    fn remount(&self, mut state: MutexGuard<'_, State>) {
        state.mount += 1;
        state.locks.clear();
        state.faults.clear();
        (state.freeze_after, state.freeze_at_create) = (None, false);
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
        lock(&inode).flip(offset, 1 << bit);
        Ok(())
    }

    /// Bytes that are wrong now because a bit flipped and nothing was written there since: path and offset.
    pub fn rotten(&self) -> Vec<(PathBuf, u64)> {
        let state = lock(&self.medium.state);
        let of = |(path, inode): (&PathBuf, &Arc<Mutex<Inode>>)| {
            lock(inode).rotten().into_iter().map(|(offset, _)| (path.clone(), offset)).collect::<Vec<_>>()
        };
        state.files.iter().flat_map(of).collect()
    }

    /// Turns every bit back that flipped and was not written over.
    pub fn mend(&self) {
        self.mend_where(|_| true);
    }

    /// The same in files whose paths are `wanted`.
    pub fn mend_where(&self, wanted: impl Fn(&Path) -> bool) {
        for (_, inode) in lock(&self.medium.state).files.iter().filter(|(path, _)| wanted(path)) {
            let mut inode = lock(inode);
            inode.rotten().into_iter().for_each(|(offset, mask)| inode.flip(offset, mask));
        }
    }

    /// How many reads through a mount met a flipped bit since the last call.
    pub fn take_rot_met(&self) -> u64 {
        self.medium.rot_met.swap(0, Ordering::Relaxed)
    }

    /// Paths of all files, sorted.
    pub fn paths(&self) -> Vec<PathBuf> {
        lock(&self.medium.state).files.keys().cloned().collect()
    }

    /// Bytes that all files take; the holes of a file take none.
    pub fn used(&self) -> u64 {
        lock(&self.medium.state).used()
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

    /// The bytes of a file as a power loss without luck would leave them.
    ///
    /// # Errors
    /// `NotFound` if no such entry is durable.
    pub fn durable(&self, path: &Path) -> io::Result<Vec<u8>> {
        let inode = self.durable_inode(path)?;
        let inode = lock(&inode);
        inode.durable(0..inode.durable_len())
    }

    /// As [`MemoryDisk::durable`], of a part.
    ///
    /// # Errors
    /// `NotFound` if no such entry is durable, `UnexpectedEof` beyond the durable length.
    pub fn durable_range(&self, path: &Path, range: Range<u64>) -> io::Result<Vec<u8>> {
        let inode = self.durable_inode(path)?;
        let inode = lock(&inode);
        inode.durable(range)
    }

    /// Whether a reader of the living mount would find the same bytes there after any power loss.
    pub fn is_durable(&self, path: &Path, range: Range<u64>) -> bool {
        let state = lock(&self.medium.state);
        match (state.files.get(path), state.durable.get(path)) {
            (Some(now), Some(durable)) => Arc::ptr_eq(now, durable) && lock(now).is_durable(range),
            _ => false,
        }
    }

    /// The pages of a file that were ever written and are durable as they are.
    pub fn clean_pages(&self, path: &Path) -> Vec<Range<u64>> {
        self.durable_inode(path).map_or_else(|_| Vec::new(), |inode| lock(&inode).clean_pages())
    }

    fn durable_inode(&self, path: &Path) -> io::Result<Arc<Mutex<Inode>>> {
        lock(&self.medium.state).durable.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
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

    /// Entries that differ from what each directory's last sync left.
    fn unsynced_entries(&self) -> u64 {
        let same = |(path, inode): &(&PathBuf, &Arc<Mutex<Inode>>)| {
            self.durable.get(*path).is_some_and(|durable| Arc::ptr_eq(durable, inode))
        };
        let changed = self.files.iter().filter(|entry| !same(entry)).count();
        let removed = self.durable.keys().filter(|path| !self.files.contains_key(*path)).count();
        (changed + removed) as u64
    }

    fn used(&self) -> u64 {
        self.files.values().map(|inode| lock(inode).room()).sum()
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
