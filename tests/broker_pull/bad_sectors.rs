//! A disk that answers EIO to reads of some files.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use quorumq_store::disk::{Disk, DiskFile, DiskLock, Space};

const EIO: i32 = 5;

/// Files that cannot be read.
#[derive(Clone, Debug, Default)]
pub struct BadSectors {
    paths: Arc<Mutex<BTreeSet<PathBuf>>>,
}

impl BadSectors {
    /// The same disk with these bad sectors.
    pub fn under(&self, disk: Arc<dyn Disk>) -> Arc<dyn Disk> {
        Arc::new(BadDisk { disk, bad: self.clone() })
    }

    /// From now on these files cannot be read, and all others can.
    pub fn set(&self, paths: &[&Path]) {
        *self.paths.lock().unwrap() = paths.iter().map(|path| path.to_path_buf()).collect();
    }

    fn check(&self, path: &Path) -> io::Result<()> {
        let is_bad = self.paths.lock().unwrap().contains(path);
        if is_bad { Err(io::Error::from_raw_os_error(EIO)) } else { Ok(()) }
    }
}

#[derive(Debug)]
struct BadDisk {
    disk: Arc<dyn Disk>,
    bad: BadSectors,
}

impl BadDisk {
    fn wrap(&self, path: &Path, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(BadFile { file, path: path.to_path_buf(), bad: self.bad.clone() })
    }
}

impl Disk for BadDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir_all(dir)
    }
    fn create(&self, path: &Path, len: u64) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.wrap(path, self.disk.create(path, len)?))
    }
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.wrap(path, self.disk.open(path)?))
    }
    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.disk.exists(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }
    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.disk.remove_dir_all(dir)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        self.disk.lock(path)
    }
    fn space(&self, path: &Path) -> io::Result<Space> {
        self.disk.space(path)
    }
    fn boot_id(&self) -> io::Result<Option<u128>> {
        self.disk.boot_id()
    }
}

#[derive(Debug)]
struct BadFile {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    bad: BadSectors,
}

impl DiskFile for BadFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn write_at(&self, offset: u64, parts: &[&[u8]]) -> io::Result<()> {
        self.file.write_at(offset, parts)
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.bad.check(&self.path)?;
        self.file.read_at(offset, buf)
    }
    fn slice(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        self.bad.check(&self.path)?;
        self.file.slice(offset, len)
    }
    fn data_ranges(&self, offset: u64) -> io::Result<Vec<Range<u64>>> {
        self.file.data_ranges(offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }
    fn allocate(&self, len: u64) -> io::Result<()> {
        self.file.allocate(len)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
}
