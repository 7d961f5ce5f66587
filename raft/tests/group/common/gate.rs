//! A disk whose CommitLog syncs wait at a gate, while those of all else pass.

use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use bytes::Bytes;
use quorumq_store::disk::{Disk, DiskFile, DiskLock, Space};

use super::Seat;

/// Lets CommitLog syncs pass one by one.
#[derive(Debug, Default)]
pub struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    closed: bool,
    permits: u64,
    waiting: u64,
    panics: bool,
}

/// A gate before the disk of every seat, open at first.
pub fn gates(seats: &mut [Seat]) -> Vec<Arc<Gate>> {
    let gate = |seat: &mut Seat| {
        let gate = Arc::<Gate>::default();
        seat.disk = Arc::new(GatedDisk { disk: Arc::clone(&seat.disk), gate: Arc::clone(&gate) });
        gate
    };
    seats.iter_mut().map(gate).collect()
}

impl Gate {
    /// From now on every CommitLog sync waits for a permit.
    pub fn close(&self) {
        self.state.lock().unwrap().closed = true;
    }
    /// Lets one CommitLog sync pass, and waits until the next one waits.
    pub fn let_one_pass(&self) {
        let mut state = self.state.lock().unwrap();
        assert_eq!(state.waiting, 1, "no sync waits");
        state.permits = 1;
        self.changed.notify_all();
        while state.permits > 0 || state.waiting == 0 {
            let timeout = self.changed.wait_timeout(state, Duration::from_secs(10)).unwrap();
            assert!(!timeout.1.timed_out(), "no further sync came");
            state = timeout.0;
        }
    }
    /// Lets all pass.
    pub fn open(&self) {
        self.state.lock().unwrap().closed = false;
        self.changed.notify_all();
    }
    /// CommitLog syncs that wait.
    pub fn waiting(&self) -> u64 {
        self.state.lock().unwrap().waiting
    }
    /// The next CommitLog sync panics.
    pub fn panic(&self) {
        self.state.lock().unwrap().panics = true;
    }

    fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        if std::mem::take(&mut state.panics) {
            drop(state);
            panic!("told to");
        }
        state.waiting += 1;
        self.changed.notify_all();
        while state.closed && state.permits == 0 {
            state = self.changed.wait(state).unwrap();
        }
        state.permits = state.permits.saturating_sub(1);
        state.waiting -= 1;
        self.changed.notify_all();
    }
}

/// A disk behind a [`Gate`].
#[derive(Debug)]
pub struct GatedDisk {
    pub disk: Arc<dyn Disk>,
    pub gate: Arc<Gate>,
}

impl GatedDisk {
    fn wrap(&self, path: &Path, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        if path.parent().is_some_and(|dir| dir.ends_with("commitlog")) {
            Arc::new(GatedFile { file, gate: Arc::clone(&self.gate) })
        } else {
            file
        }
    }
}

impl Disk for GatedDisk {
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
struct GatedFile {
    file: Arc<dyn DiskFile>,
    gate: Arc<Gate>,
}

impl DiskFile for GatedFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn write_at(&self, offset: u64, parts: &[&[u8]]) -> io::Result<()> {
        self.file.write_at(offset, parts)
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, buf)
    }
    fn slice(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        self.file.slice(offset, len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.gate.pass();
        self.file.sync_data()
    }
    fn allocate(&self, len: u64) -> io::Result<()> {
        self.file.allocate(len)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
}
