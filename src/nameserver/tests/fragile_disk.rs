//! A disk in memory that fails at a chosen call.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use quorumq_store::disk::{Disk, DiskFile, DiskLock, Space};

/// Fails the call number `fail_at` and all after it; `usize::MAX` never.
#[derive(Debug)]
pub struct FragileDisk {
    files: Mutex<BTreeMap<PathBuf, Arc<FragileFile>>>,
    calls: Arc<Calls>,
}

#[derive(Debug)]
struct Calls {
    left: AtomicUsize,
}

impl Calls {
    fn next(&self) -> io::Result<()> {
        let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| match left {
            usize::MAX => Some(usize::MAX),
            left => left.checked_sub(1),
        });
        left.map(drop).map_err(|_| io::Error::other("the disk has failed"))
    }
}

#[derive(Debug)]
struct FragileFile {
    bytes: Mutex<Vec<u8>>,
    calls: Arc<Calls>,
}

impl FragileDisk {
    pub fn new() -> Self {
        let calls = Arc::new(Calls { left: AtomicUsize::new(usize::MAX) });
        Self { files: Mutex::default(), calls }
    }

    pub fn fail_after(&self, calls: usize) {
        self.calls.left.store(calls, Ordering::SeqCst);
    }

    pub fn heal(&self) {
        self.fail_after(usize::MAX);
    }

    pub fn put(&self, path: &str, bytes: &[u8]) {
        let file = FragileFile { bytes: Mutex::new(bytes.to_vec()), calls: Arc::clone(&self.calls) };
        self.files.lock().unwrap().insert(PathBuf::from(path), Arc::new(file));
    }
}

impl Disk for FragileDisk {
    fn create_dir_all(&self, _dir: &Path) -> io::Result<()> {
        self.calls.next()
    }

    fn create(&self, path: &Path, len: u64) -> io::Result<Arc<dyn DiskFile>> {
        self.calls.next()?;
        let mut files = self.files.lock().unwrap();
        if files.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let bytes = Mutex::new(vec![0; usize::try_from(len).unwrap()]);
        let file = Arc::new(FragileFile { bytes, calls: Arc::clone(&self.calls) });
        files.insert(path.to_owned(), Arc::clone(&file));
        Ok(file)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.calls.next()?;
        let file = self.files.lock().unwrap().get(path).cloned();
        file.map(|file| file as Arc<dyn DiskFile>).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.calls.next()?;
        Ok(self.files.lock().unwrap().contains_key(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.calls.next()?;
        let mut files = self.files.lock().unwrap();
        let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.calls.next()?;
        self.files.lock().unwrap().remove(path).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        self.calls.next()
    }

    fn list(&self, _dir: &Path) -> io::Result<Vec<String>> {
        unreachable!("not asked for")
    }

    fn remove_dir_all(&self, _dir: &Path) -> io::Result<()> {
        unreachable!("not asked for")
    }

    fn lock(&self, _path: &Path) -> io::Result<Box<dyn DiskLock>> {
        unreachable!("not asked for")
    }

    fn space(&self, _path: &Path) -> io::Result<Space> {
        unreachable!("not asked for")
    }
}

impl DiskFile for FragileFile {
    fn len(&self) -> io::Result<u64> {
        self.calls.next()?;
        Ok(self.bytes.lock().unwrap().len() as u64)
    }

    fn write_at(&self, offset: u64, parts: &[&[u8]]) -> io::Result<()> {
        self.calls.next()?;
        let new = parts.concat();
        let at = usize::try_from(offset).unwrap();
        self.bytes.lock().unwrap()[at..at + new.len()].copy_from_slice(&new);
        Ok(())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.calls.next()?;
        let at = usize::try_from(offset).unwrap();
        let bytes = self.bytes.lock().unwrap();
        buf.copy_from_slice(bytes.get(at..at + buf.len()).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.calls.next()
    }

    fn slice(&self, _offset: u64, _len: usize) -> io::Result<Bytes> {
        unreachable!("not asked for")
    }

    fn allocate(&self, _len: u64) -> io::Result<()> {
        unreachable!("not asked for")
    }

    fn set_len(&self, _len: u64) -> io::Result<()> {
        unreachable!("not asked for")
    }
}
