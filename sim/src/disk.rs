//! A disk whose changes go into the trace hash. Faults will be wrapped around the same seam.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use quorumq_store::disk::{Disk, DiskFile, DiskLock, Space};

use crate::runtime::net::Net;

/// Passes everything on to another disk; notes what changes it.
#[derive(Clone, Debug)]
pub struct TracedDisk {
    inner: Arc<dyn Disk>,
    pen: Pen,
}

/// Who writes into which trace.
#[derive(Clone, Debug)]
struct Pen {
    net: Arc<Net>,
    node: IpAddr,
}

impl TracedDisk {
    /// The disk of the node `node`. Only inside a run.
    #[must_use]
    pub fn new(inner: Arc<dyn Disk>, node: IpAddr) -> Self {
        let net = Net::current();
        Self { inner, pen: Pen { net, node } }
    }
}

impl Pen {
    fn note(&self, what: &str, number: u64, path: &Path) {
        self.net.record(self.node, what, number, path.as_os_str().as_encoded_bytes());
    }

    fn file(&self, path: &Path, inner: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(TracedFile { inner, pen: self.clone(), path: path.to_owned() })
    }
}

impl Disk for TracedDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.pen.note("disk-mkdir", 0, dir);
        self.inner.create_dir_all(dir)
    }

    fn create(&self, path: &Path, len: u64) -> io::Result<Arc<dyn DiskFile>> {
        self.pen.note("disk-create", len, path);
        Ok(self.pen.file(path, self.inner.create(path, len)?))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.pen.file(path, self.inner.open(path)?))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.inner.exists(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.inner.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.pen.note("disk-rename-from", 0, from);
        self.pen.note("disk-rename-to", 0, to);
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.pen.note("disk-remove", 0, path);
        self.inner.remove(path)
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.pen.note("disk-remove-dir", 0, dir);
        self.inner.remove_dir_all(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.pen.note("disk-sync-dir", 0, dir);
        self.inner.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        self.inner.lock(path)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        self.inner.space(path)
    }
}

#[derive(Debug)]
struct TracedFile {
    inner: Arc<dyn DiskFile>,
    pen: Pen,
    path: PathBuf,
}

impl DiskFile for TracedFile {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn write_at(&self, offset: u64, parts: &[&[u8]]) -> io::Result<()> {
        self.pen.note("disk-write", offset, &self.path);
        for part in parts {
            self.pen.net.record(self.pen.node, "disk-bytes", offset, part);
        }
        self.inner.write_at(offset, parts)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.inner.read_at(offset, buf)
    }

    fn slice(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        self.inner.slice(offset, len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.pen.note("disk-sync", 0, &self.path);
        self.inner.sync_data()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.pen.note("disk-allocate", len, &self.path);
        self.inner.allocate(len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.pen.note("disk-set-len", len, &self.path);
        self.inner.set_len(len)
    }
}
