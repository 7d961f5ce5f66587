//! The machine's disk: `pwritev` into allocated files, `fdatasync`, read-only maps for reads.
//!
//! The one file of the project with `unsafe`.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, IoSlice};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use memmap2::Mmap;
use rustix::fs::{FallocateFlags, SeekFrom};
use rustix::io::Errno;

use super::{Disk, DiskFile, DiskLock, Space};

/// Most buffers one `pwritev` takes (Linux: `UIO_MAXIOV`).
const MAX_PARTS: usize = 1024;
/// Bytes written at once where a file system cannot allocate and zeroes must be written instead.
const ZEROES: usize = 1 << 20;

/// The machine's disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl RealDisk {
    /// The machine's disk.
    #[expect(clippy::new_ret_no_self, reason = "a disk is only ever used through the seam")]
    pub fn new() -> Arc<dyn Disk> {
        Arc::new(Self)
    }

    /// The number Linux draws at each boot, to tell a power loss from the end of a process.
    ///
    /// # Errors
    /// Where `/proc` is not mounted.
    pub fn boot_id() -> io::Result<u128> {
        let text = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        u128::from_str_radix(&text.trim().replace('-', ""), 16).map_err(io::Error::other)
    }
}

impl Disk for RealDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        if dir.as_os_str().is_empty() || dir.is_dir() {
            return Ok(());
        }
        let parent = dir.parent().unwrap_or(Path::new("/"));
        self.create_dir_all(parent)?;
        match fs::create_dir(dir) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => {}
            other => other?,
        }
        self.sync_dir(parent)
    }

    fn create(&self, path: &Path, len: u64) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        if let Err(e) = allocate(&file, len) {
            // A half-made file would pass for one that was torn by a crash.
            fs::remove_file(path)?;
            return Err(e);
        }
        Ok(RealFile::new(file))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(RealFile::new(OpenOptions::new().read(true).write(true).open(path)?))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let mut names = Vec::new();
        for entry in entries {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        match fs::remove_dir_all(dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        File::open(dir)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(Lock { _file: file })),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(e)) => Err(e),
        }
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let volume = rustix::fs::statvfs(path)?;
        let available = volume.f_bavail.saturating_mul(volume.f_frsize);
        Ok(Space { available, total: volume.f_blocks.saturating_mul(volume.f_frsize) })
    }

    fn boot_id(&self) -> io::Result<Option<u128>> {
        let text = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        let digits: String = text.trim().split('-').collect();
        u128::from_str_radix(&digits, 16).map(Some).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
    }
}

/// The kernel drops the lock with the descriptor, also when the process is killed.
#[derive(Debug)]
struct Lock {
    _file: File,
}

impl DiskLock for Lock {}

/// An open file and, once asked for, its map.
#[derive(Debug)]
struct RealFile {
    file: File,
    map: RwLock<Option<Arc<Mmap>>>,
}

impl RealFile {
    #[expect(clippy::new_ret_no_self, reason = "files are only ever used through the seam")]
    fn new(file: File) -> Arc<dyn DiskFile> {
        Arc::new(Self { file, map: RwLock::new(None) })
    }

    /// A map that covers at least `end` bytes.
    fn map(&self, end: u64) -> io::Result<Arc<Mmap>> {
        if let Some(map) = &*self.map.read().unwrap_or_else(PoisonError::into_inner)
            && map.len() as u64 >= end
        {
            return Ok(Arc::clone(map));
        }
        let mut slot = self.map.write().unwrap_or_else(PoisonError::into_inner);
        if self.file.metadata()?.len() < end {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // SAFETY: the map is read-only, and `DiskFile`'s contract says that a mapped file is never shortened and that
        // the bytes of a slice do not change while it lives; the store's lock keeps other processes of ours away.
        #[expect(unsafe_code, reason = "mapping a file is unsafe by nature; the SAFETY comment says why it holds here")]
        let map = Arc::new(unsafe { Mmap::map(&self.file)? });
        *slot = Some(Arc::clone(&map));
        Ok(map)
    }
}

impl DiskFile for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn write_at(&self, offset: u64, parts: &[&[u8]]) -> io::Result<()> {
        let mut at = offset;
        for run in parts.chunks(MAX_PARTS) {
            let mut slices: Vec<IoSlice<'_>> = run.iter().map(|part| IoSlice::new(part)).collect();
            let mut rest = &mut slices[..];
            // Empty parts at the end are nothing to write, and a pwritev of nothing answers 0.
            while rest.iter().any(|part| !part.is_empty()) {
                let n = rustix::io::retry_on_intr(|| rustix::io::pwritev(&self.file, rest, at))?;
                if n == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                IoSlice::advance_slices(&mut rest, n);
                at += n as u64;
            }
        }
        Ok(())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buf, offset)
    }

    fn slice(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        let end = offset.checked_add(len as u64).ok_or(io::ErrorKind::UnexpectedEof)?;
        let map = self.map(end)?;
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        Ok(Bytes::from_owner(MapSlice { map, start, len }))
    }

    fn data_ranges(&self, offset: u64) -> io::Result<Vec<Range<u64>>> {
        let len = self.len()?;
        let (mut ranges, mut at) = (Vec::new(), offset);
        // Moves the descriptor's offset, which nobody uses: all other calls are positioned.
        while at < len {
            let data = match rustix::fs::seek(&self.file, SeekFrom::Data(at)) {
                Ok(data) => data,
                Err(Errno::NXIO) => break,
                // A file system that does not know: everything may be data.
                Err(Errno::INVAL | Errno::OPNOTSUPP) => at,
                Err(e) => return Err(e.into()),
            };
            at = rustix::fs::seek(&self.file, SeekFrom::Hole(data)).unwrap_or(len);
            if at <= data {
                return Err(io::Error::other("the file changes while it is searched"));
            }
            ranges.push(data..at);
        }
        Ok(ranges)
    }

    fn sync_data(&self) -> io::Result<()> {
        // Not repeated on EINTR either: after any error nothing is known of the pages.
        Ok(rustix::fs::fdatasync(&self.file)?)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let now = self.len()?;
        if len > now { allocate(&self.file, len) } else { Ok(()) }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        *self.map.write().unwrap_or_else(PoisonError::into_inner) = None;
        self.file.set_len(len)
    }
}

/// Part of a map; keeps the map alive.
struct MapSlice {
    map: Arc<Mmap>,
    start: usize,
    len: usize,
}

impl AsRef<[u8]> for MapSlice {
    fn as_ref(&self) -> &[u8] {
        &self.map[self.start..self.start + self.len]
    }
}

/// Allocates the blocks of the file's first `len` bytes and makes the file at least that long.
fn allocate(file: &File, len: u64) -> io::Result<()> {
    if len == 0 {
        return Ok(());
    }
    match rustix::io::retry_on_intr(|| rustix::fs::fallocate(file, FallocateFlags::empty(), 0, len)) {
        // A file system without fallocate (some network and copy-on-write ones): take the blocks by writing.
        Err(Errno::OPNOTSUPP) => {
            let zeroes = vec![0; ZEROES];
            let mut at = file.metadata()?.len();
            while at < len {
                let n = ZEROES.min(usize::try_from(len - at).unwrap_or(ZEROES));
                file.write_all_at(&zeroes[..n], at)?;
                at += n as u64;
            }
            Ok(())
        }
        other => Ok(other?),
    }
}
