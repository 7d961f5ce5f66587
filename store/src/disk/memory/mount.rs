//! A mount of a medium: the disk a node works on, and its open files.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::inode::Inode;
use super::{Medium, Operation, State, lock};
use crate::disk::{Disk, DiskFile, DiskLock, Space};

/// One mount of a medium.
#[derive(Debug)]
pub(super) struct Mount {
    pub(super) medium: Arc<Medium>,
    pub(super) number: u64,
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

/// What of a path follows `dir`. By bytes: comparing paths by their components took a tenth of a simulation's time.
fn below<'a>(path: &'a Path, dir: &Path) -> Option<&'a [u8]> {
    let dir = dir.as_os_str().as_encoded_bytes();
    let rest = path.as_os_str().as_encoded_bytes().strip_prefix(dir.strip_suffix(b"/").unwrap_or(dir))?;
    rest.strip_prefix(b"/")
}

/// Whether a path is one of a directory's own entries.
fn is_entry(path: &Path, dir: &Path) -> bool {
    below(path, dir).is_some_and(|name| !name.is_empty() && !name.contains(&b'/'))
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
        if std::mem::take(&mut state.freeze_at_create) {
            state.freeze_after = Some(0);
        }
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
        let entries = state.files.keys().chain(&state.dirs).filter(|path| is_entry(path, dir));
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
        durable.retain(|path, _| match below(path, dir) {
            None => true,
            Some(_) if is_entry(path, dir) => false,
            // A directory that is gone takes all below it along.
            Some(_) => path.parent().is_none_or(|parent| dirs.contains(parent)),
        });
        let entries = files.iter().filter(|(path, _)| is_entry(path, dir));
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
        Ok(match state.capacity {
            Some(total) => Space { available: total.saturating_sub(state.used()), total },
            None => Space { available: u64::MAX, total: u64::MAX },
        })
    }

    fn boot_id(&self) -> io::Result<Option<u128>> {
        Ok(Some(u128::from(self.look()?.boots) + 1))
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
        let growth = lock(&self.inode).room_for(offset..offset + total);
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
        let met = self.look()?.read(offset, buf)?;
        self.medium.rot_met.fetch_add(u64::from(met), Ordering::Relaxed);
        Ok(())
    }

    fn slice(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        let mut copy = vec![0; len];
        self.read_at(offset, &mut copy)?;
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
        let growth = lock(&self.inode).room_for(0..len);
        state.check_room(growth)?;
        lock(&self.inode).allocate(len);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = lock(&self.medium.state);
        state.enter(self.number, Operation::Allocate)?;
        lock(&self.inode).set_len(len);
        Ok(())
    }
}
