//! The disk seam: the only file I/O of the project.
//!
//! [`real`] writes with `pwrite` into preallocated files and reads through read-only maps; [`memory`]
//! keeps bytes in memory and separates written from synced for tests; the simulator has a faulty one.
//! All calls block: they run on a disk thread, never on a runtime's threads (except small hot reads).

use std::fmt::Debug;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

pub mod memory;
pub mod real;

pub use memory::MemoryDisk;
pub use real::RealDisk;

/// A disk: directories and files.
///
/// ### To ensure correctness:
///
/// - A created, renamed or removed entry survives a power loss only after [`Disk::sync_dir`] on its parent.
/// - Written bytes survive a power loss only after [`DiskFile::sync_data`]; they survive a process crash at once.
/// - After a failed sync, nothing is known of the pages written since the last good one.
/// - [`Disk::list`] answers in sorted order.
pub trait Disk: Debug + Send + Sync + 'static {
    /// Creates `dir` and its parents, and syncs each parent that changed.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Creates a new file of `len` allocated, zeroed bytes. `AlreadyExists` if the path is taken,
    /// `StorageFull` if `len` bytes cannot be allocated (nothing is left behind).
    fn create(&self, path: &Path, len: u64) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens an existing file for reading and writing. `NotFound` if there is none.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Whether a file or directory is there.
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// Names of the entries of `dir`, sorted. Empty if there is no such directory.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Replaces `to` by `from`, atomically.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes a directory and all below it. No error if there is none.
    fn remove_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Makes the entries of `dir` durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Takes the exclusive lock of `path` (created if missing) until the guard is dropped or the process
    /// ends. `WouldBlock` if another process or guard holds it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>>;
    /// Room on the volume that holds `path`.
    fn space(&self, path: &Path) -> io::Result<Space>;
    /// Number of the machine's boot, never 0: another one than before means that what was not synced then may be gone.
    /// `None` where the disk has no such thing.
    fn boot_id(&self) -> io::Result<Option<u128>> {
        Ok(None)
    }
}

/// Holds a lock file until dropped.
pub trait DiskLock: Debug + Send + Sync {}

/// Room on a volume, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes that an unprivileged writer can still allocate.
    pub available: u64,
    /// Size of the volume.
    pub total: u64,
}

/// An open file. Positioned I/O only; safe to share.
pub trait DiskFile: Debug + Send + Sync {
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Writes `parts`, one after the other, at `offset`: one system call where the host allows.
    fn write_at(&self, offset: u64, parts: &[&[u8]]) -> io::Result<()>;
    /// Fills `buf` from `offset`. `UnexpectedEof` if the file ends before.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()>;
    /// A slice of the file's bytes, without a copy where the disk can map them. The caller asks only for
    /// bytes that are written and will not change as long as the slice lives.
    fn slice(&self, offset: u64, len: usize) -> io::Result<Bytes>;
    /// The parts from `offset` on that may hold anything but zeroes, ascending, as far as the disk can tell without
    /// reading. Lets a start skip what was allocated and never written.
    fn data_ranges(&self, offset: u64) -> io::Result<Vec<Range<u64>>> {
        Ok(std::iter::once(offset..self.len()?).filter(|range| !range.is_empty()).collect())
    }
    /// Makes written bytes (and a changed length) durable.
    fn sync_data(&self) -> io::Result<()>;
    /// Allocates blocks so that the file is at least `len` bytes long. `StorageFull` if there is no room.
    fn allocate(&self, len: u64) -> io::Result<()>;
    /// Sets the length. What a longer file gains reads as zeroes and takes no room on the volume until it is written,
    /// which may then answer `StorageFull`. Never called on a file of which slices may be alive.
    fn set_len(&self, len: u64) -> io::Result<()>;
}
