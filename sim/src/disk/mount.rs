//! A mount of a simulated disk and its open files: traces what changes the disk, and lets fail what is to fail.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use quorumq_store::disk::memory::Operation;
use quorumq_store::disk::{Disk, DiskFile, DiskLock, Space};
use rand::RngExt;

use super::SimDisk;
use super::faults::{EIO, input_output_error};
use crate::runtime::SimRng;
use crate::tally::Fault;

/// The disk a process works on.
#[derive(Debug)]
pub(super) struct Mount {
    disk: SimDisk,
    inner: Arc<dyn Disk>,
}

impl Mount {
    pub(super) fn new(disk: SimDisk, inner: Arc<dyn Disk>) -> Self {
        Self { disk, inner }
    }

    fn note(&self, what: &str, number: u64, path: &Path) {
        self.disk.note(what, number, path.as_os_str().as_encoded_bytes());
    }

    fn file(&self, path: &Path, inner: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(File { disk: self.disk.clone(), inner, number: SimDisk::number_of(path) })
    }
}

impl SimDisk {
    /// Counts a change that was not done because of a fault that is on.
    fn felt<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if let Err(e) = &result {
            if e.kind() == io::ErrorKind::StorageFull {
                self.tally().felt(Fault::DiskFull, 1);
            } else if self.is_frozen() {
                self.tally().felt(Fault::CrashPoint, 1);
            }
        }
        result
    }
}

impl Disk for Mount {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.note("disk-mkdir", 0, dir);
        self.disk.felt(self.inner.create_dir_all(dir))
    }

    fn create(&self, path: &Path, len: u64) -> io::Result<Arc<dyn DiskFile>> {
        self.note("disk-create", len, path);
        Ok(self.file(path, self.disk.felt(self.inner.create(path, len))?))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(path, self.inner.open(path)?))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.inner.exists(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.inner.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.note("disk-rename", SimDisk::number_of(from), to);
        self.disk.felt(self.inner.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.note("disk-remove", 0, path);
        self.disk.felt(self.inner.remove(path))
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.note("disk-remove-dir", 0, dir);
        self.disk.felt(self.inner.remove_dir_all(dir))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.note("disk-sync-dir", 0, dir);
        self.disk.felt(self.inner.sync_dir(dir))
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        self.inner.lock(path)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let space = self.inner.space(path)?;
        if self.disk.switches().full && space.available < self.disk.shared.reserve {
            self.disk.tally().felt(Fault::DiskFull, 1);
        }
        Ok(space)
    }

    fn boot_id(&self) -> io::Result<Option<u128>> {
        self.inner.boot_id()
    }
}

/// An open file.
#[derive(Debug)]
struct File {
    disk: SimDisk,
    inner: Arc<dyn DiskFile>,
    number: u64,
}

impl File {
    fn note(&self, what: &str, number: u64) {
        self.disk.note(what, self.number ^ number.rotate_left(32), &[]);
    }

    /// A write that fails: a drawn part of the bytes, from the first on, is written all the same.
    fn write_a_part(&self, offset: u64, parts: &[&[u8]]) -> io::Result<()> {
        let all = parts.concat();
        let written = SimRng::current().random_range(0..=all.len());
        self.disk.felt(self.inner.write_at(offset, &[&all[..written]]))?;
        self.disk.tally().felt(Fault::WriteError, 1);
        self.note("disk-write-error", written as u64);
        Err(input_output_error())
    }

    /// Counts reads that met a flipped bit.
    fn count_rot(&self) {
        self.disk.tally().felt(Fault::BitRot, self.disk.medium.take_rot_met());
    }
}

impl DiskFile for File {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn write_at(&self, offset: u64, parts: &[&[u8]]) -> io::Result<()> {
        self.disk.shared.net.record_parts(self.disk.shared.host, "disk-write", &[self.number, offset], parts);
        if self.disk.switches().writes.strike(&mut SimRng::current()) {
            return self.write_a_part(offset, parts);
        }
        self.disk.felt(self.inner.write_at(offset, parts))
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.inner.read_at(offset, buf)?;
        self.count_rot();
        Ok(())
    }

    fn slice(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        let slice = self.inner.slice(offset, len)?;
        self.count_rot();
        Ok(slice)
    }

    fn data_ranges(&self, offset: u64) -> io::Result<Vec<Range<u64>>> {
        self.inner.data_ranges(offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.note("disk-sync", 0);
        if self.disk.switches().syncs.strike(&mut SimRng::current()) {
            self.disk.medium.fail(Operation::Sync, 0, EIO);
            let result = self.disk.felt(self.inner.sync_data());
            self.disk.tally().felt(Fault::SyncError, 1);
            self.note("disk-sync-error", 0);
            return result;
        }
        self.disk.felt(self.inner.sync_data())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.note("disk-allocate", len);
        self.disk.felt(self.inner.allocate(len))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.note("disk-set-len", len);
        self.disk.felt(self.inner.set_len(len))
    }
}
