//! Recovery checkpoints: the machine's state at a segment start, one file per retained segment.
//!
//! ```text
//!  0 magic u32            "QMCP"
//!  4 version u32          1
//!  8 crc u32              CRC-32 of everything after it
//! 12 last.term u64 | last.index u64 | next u64 | chain u32          (SnapshotPosition)
//! 40 has membership id u8 | term u64 | index u64                    (zeros without one)
//! 57 membership length u64 | membership | state length u64 | state
//! ```

use std::io;
use std::path::{Path, PathBuf};

use bytes::{BufMut, Bytes, BytesMut};

use crate::disk::Disk;
use crate::error::At;
use crate::log_store::SnapshotPosition;
use crate::mutant::{Mutant, planted};
use crate::{LogId, LogIndex, PhysicalOffset, StoreError, Term};

const MAGIC: u32 = u32::from_be_bytes(*b"QMCP");
const VERSION: u32 = 1;
/// Bytes before those the CRC covers.
const CHECKED_FROM: usize = 12;
/// Directory of the checkpoints below the store's.
pub const DIR: &str = "checkpoints";
/// Stands for the path in errors on a blob that came from a peer.
const TRANSFERRED: &str = "transferred snapshot";

/// The machine's state after every entry before a segment start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Where it stands in the log.
    pub position: SnapshotPosition,
    /// Log id of the membership in force.
    pub membership_id: Option<LogId>,
    /// The membership in force, encoded by `raft`.
    pub membership: Bytes,
    /// The machine's state, encoded by `machine`.
    pub state: Bytes,
}

impl Checkpoint {
    /// Where the checkpoint of a segment start lives.
    pub fn path(dir: &Path, segment: PhysicalOffset) -> PathBuf {
        dir.join(DIR).join(format!("{:020}", segment.0))
    }

    /// Writes the checkpoint durably under `dir/checkpoints/`: temporary file, sync, rename, directory sync. Replaces
    /// one of the same segment.
    ///
    /// # Errors
    /// `Io` if the disk fails; no checkpoint of that segment was lost or half replaced then.
    pub fn write(&self, disk: &dyn Disk, dir: &Path) -> Result<(), StoreError> {
        let path = Self::path(dir, self.position.next);
        let tmp = path.with_extension("tmp");
        let parent = dir.join(DIR);
        disk.create_dir_all(&parent).at("create", &parent)?;
        if disk.exists(&tmp).at("stat", &tmp)? {
            disk.remove(&tmp).at("remove", &tmp)?;
        }
        let blob = self.encode();
        let file = disk.create(&tmp, blob.len() as u64).at("create", &tmp)?;
        file.write_at(0, &[&blob]).at("write", &tmp)?;
        file.sync_data().at("sync", &tmp)?;
        disk.rename(&tmp, &path).at("rename", &tmp)?;
        if planted(Mutant::SnapshotWithoutDirsync) {
            return Ok(());
        }
        disk.sync_dir(&parent).at("sync", &parent)
    }

    /// Encodes it as one self-checking blob: what a snapshot transfer carries, and the file's content. Equal
    /// checkpoints have equal blobs.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(80 + self.membership.len() + self.state.len());
        out.put_u32(MAGIC);
        out.put_u32(VERSION);
        out.put_u32(0);
        out.put_u64(self.position.last.term.0);
        out.put_u64(self.position.last.index.0);
        out.put_u64(self.position.next.0);
        out.put_u32(self.position.chain);
        let id = self.membership_id.unwrap_or_default();
        out.put_u8(u8::from(self.membership_id.is_some()));
        out.put_u64(id.term.0);
        out.put_u64(id.index.0);
        for part in [&self.membership, &self.state] {
            out.put_u64(part.len() as u64);
            out.put_slice(part);
        }
        let crc = crc32fast::hash(&out[CHECKED_FROM..]);
        out[8..CHECKED_FROM].copy_from_slice(&crc.to_be_bytes());
        out.freeze()
    }

    /// Decodes and checks a blob.
    ///
    /// # Errors
    /// `Corrupt` if the bytes are no checkpoint or not whole, `UnknownVersion` if a newer build wrote them.
    pub fn decode(blob: &[u8]) -> Result<Self, StoreError> {
        decode(blob, Path::new(TRANSFERRED))
    }

    /// Segment starts for which a checkpoint file exists, ascending.
    ///
    /// # Errors
    /// `Io` if the directory cannot be listed.
    pub fn list(disk: &dyn Disk, dir: &Path) -> Result<Vec<PhysicalOffset>, StoreError> {
        let parent = dir.join(DIR);
        let names = disk.list(&parent).at("list", &parent)?;
        let is_ours = |name: &String| name.len() == 20 && name.bytes().all(|b| b.is_ascii_digit());
        let mut segments: Vec<_> = names
            .iter()
            .filter(|name| is_ours(name))
            .filter_map(|name| name.parse().ok())
            .map(PhysicalOffset)
            .collect();
        segments.sort_unstable();
        Ok(segments)
    }

    /// Reads the checkpoint of one segment start.
    ///
    /// # Errors
    /// As [`Checkpoint::decode`], and `Corrupt` if the file is of another segment; `Io` if it cannot be read.
    pub fn read(disk: &dyn Disk, dir: &Path, segment: PhysicalOffset) -> Result<Self, StoreError> {
        let path = Self::path(dir, segment);
        let file = disk.open(&path).at("open", &path)?;
        let len = file.len().at("stat", &path)?;
        let mut blob = vec![0; len as usize];
        file.read_at(0, &mut blob).at("read", &path)?;
        let checkpoint = decode(&blob, &path)?;
        if checkpoint.position.next != segment {
            return Err(StoreError::Corrupt { what: "checkpoint of another segment", path, offset: 28 });
        }
        Ok(checkpoint)
    }

    /// Removes the checkpoint of one segment start. None there is no error.
    ///
    /// # Errors
    /// `Io` if the disk fails.
    pub fn remove(disk: &dyn Disk, dir: &Path, segment: PhysicalOffset) -> Result<(), StoreError> {
        let path = Self::path(dir, segment);
        match disk.remove(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            removed => removed.at("remove", &path)?,
        }
        let parent = dir.join(DIR);
        disk.sync_dir(&parent).at("sync", &parent)
    }
}

fn decode(blob: &[u8], path: &Path) -> Result<Checkpoint, StoreError> {
    let corrupt =
        |offset: usize| StoreError::Corrupt { what: "checkpoint", path: path.to_path_buf(), offset: offset as u64 };
    let mut head = Cursor { bytes: blob, at: 0 };
    if head.u32().ok_or_else(|| corrupt(0))? != MAGIC {
        return Err(corrupt(0));
    }
    let found = head.u32().ok_or_else(|| corrupt(4))?;
    if found != VERSION {
        let path = path.to_path_buf();
        return Err(StoreError::UnknownVersion { what: "checkpoint", path, found, known: VERSION });
    }
    let crc = head.u32().ok_or_else(|| corrupt(8))?;
    if crc32fast::hash(&blob[CHECKED_FROM..]) != crc {
        return Err(corrupt(CHECKED_FROM));
    }
    fields(&mut head).ok_or_else(|| corrupt(head.at))
}

/// Everything the CRC covers; `None` where the bytes end too early or too late.
fn fields(bytes: &mut Cursor<'_>) -> Option<Checkpoint> {
    let last = bytes.log_id()?;
    let next = PhysicalOffset(bytes.u64()?);
    let chain = bytes.u32()?;
    let has_membership_id = bytes.take(1)?[0] != 0;
    let id = bytes.log_id()?;
    let membership = bytes.part()?;
    let state = bytes.part()?;
    (bytes.at == bytes.bytes.len()).then_some(Checkpoint {
        position: SnapshotPosition { last, next, chain },
        membership_id: has_membership_id.then_some(id),
        membership,
        state,
    })
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(len)?)?;
        self.at += len;
        Some(taken)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_be_bytes)
    }

    fn log_id(&mut self) -> Option<LogId> {
        Some(LogId { term: Term(self.u64()?), index: LogIndex(self.u64()?) })
    }

    fn part(&mut self) -> Option<Bytes> {
        let len = usize::try_from(self.u64()?).ok()?;
        self.take(len).map(Bytes::copy_from_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemoryDisk;
    use crate::disk::memory::Operation;

    const DIR: &str = "/store";

    fn checkpoint(segment: u64) -> Checkpoint {
        let id = |term, index| LogId { term: Term(term), index: LogIndex(index) };
        Checkpoint {
            position: SnapshotPosition { last: id(3, segment / 10), next: PhysicalOffset(segment), chain: 0xDEAD_BEEF },
            membership_id: Some(id(2, 1)),
            membership: Bytes::from_static(b"three members"),
            state: vec![7; 5000].into(),
        }
    }

    fn medium() -> MemoryDisk {
        let medium = MemoryDisk::new();
        medium.mount().create_dir_all(Path::new(DIR)).unwrap();
        medium
    }

    #[test]
    fn a_blob_is_read_back() {
        let mut full = checkpoint(4096);
        assert_eq!(Checkpoint::decode(&full.encode()).unwrap(), full);
        full.membership_id = None;
        full.membership = Bytes::new();
        full.state = Bytes::new();
        assert_eq!(Checkpoint::decode(&full.encode()).unwrap(), full);
    }

    #[test]
    fn a_blob_that_was_changed_or_cut_is_refused() {
        let blob = Checkpoint { state: Bytes::from_static(b"state"), ..checkpoint(4096) }.encode();
        for cut in 0..blob.len() {
            assert!(Checkpoint::decode(&blob[..cut]).is_err(), "cut at {cut}");
        }
        for at in 0..blob.len() {
            for bit in 0..8 {
                let mut changed = blob.to_vec();
                changed[at] ^= 1 << bit;
                assert!(Checkpoint::decode(&changed).is_err(), "byte {at} bit {bit}");
            }
        }
        let mut longer = blob.to_vec();
        longer.push(0);
        assert!(Checkpoint::decode(&longer).is_err());
    }

    #[test]
    fn an_unknown_version_is_refused_by_name() {
        let mut blob = checkpoint(0).encode().to_vec();
        blob[7] = 2;
        let e = Checkpoint::decode(&blob).unwrap_err();
        assert_eq!(e.to_string(), "transferred snapshot has checkpoint format version 2; this build reads version 1");
    }

    #[test]
    fn files_are_listed_read_and_removed_by_segment() {
        let medium = medium();
        let (disk, dir) = (&*medium.mount(), Path::new(DIR));
        assert_eq!(Checkpoint::list(disk, dir).unwrap(), []);
        for segment in [8192, 0, 4096, 4096] {
            checkpoint(segment).write(disk, dir).unwrap();
        }
        medium.crash();
        let disk = &*medium.mount();
        assert_eq!(Checkpoint::list(disk, dir).unwrap(), [0, 4096, 8192].map(PhysicalOffset));
        assert_eq!(Checkpoint::read(disk, dir, PhysicalOffset(4096)).unwrap(), checkpoint(4096));
        Checkpoint::remove(disk, dir, PhysicalOffset(4096)).unwrap();
        Checkpoint::remove(disk, dir, PhysicalOffset(4096)).unwrap();
        assert!(Checkpoint::read(disk, dir, PhysicalOffset(4096)).is_err());
        let (from, to) = (Checkpoint::path(dir, PhysicalOffset(0)), Checkpoint::path(dir, PhysicalOffset(4096)));
        disk.rename(&from, &to).unwrap();
        let e = Checkpoint::read(disk, dir, PhysicalOffset(4096)).unwrap_err();
        assert!(e.to_string().contains("another segment"), "{e}");
    }

    #[test]
    fn a_crash_while_writing_leaves_the_old_one_or_the_new_one() {
        let dir = Path::new(DIR);
        for operations in 0.. {
            let medium = medium();
            let old = Checkpoint { membership: Bytes::new(), ..checkpoint(4096) };
            old.write(&*medium.mount(), dir).unwrap();
            medium.freeze_after(operations);
            let written = checkpoint(4096).write(&*medium.mount(), dir);
            medium.crash();
            let read = Checkpoint::read(&*medium.mount(), dir, PhysicalOffset(4096)).unwrap();
            assert_eq!(Checkpoint::list(&*medium.mount(), dir).unwrap(), [PhysicalOffset(4096)]);
            if written.is_ok() {
                assert_eq!(read, checkpoint(4096));
                break;
            }
            assert!(read == old || read == checkpoint(4096), "after {operations} operations");
            // What the crash left over is no obstacle.
            checkpoint(4096).write(&*medium.mount(), dir).unwrap();
        }
    }

    #[test]
    fn a_full_volume_is_told_and_harms_nothing() {
        let medium = medium();
        let (disk, dir) = (&*medium.mount(), Path::new(DIR));
        checkpoint(0).write(disk, dir).unwrap();
        medium.set_capacity(Some(6000));
        let e = checkpoint(4096).write(disk, dir).unwrap_err();
        assert!(matches!(&e, StoreError::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull), "{e}");
        assert_eq!(Checkpoint::list(disk, dir).unwrap(), [PhysicalOffset(0)]);
        medium.set_capacity(None);
        medium.fail(Operation::Sync, 0, 5);
        assert!(checkpoint(4096).write(disk, dir).is_err());
        assert_eq!(Checkpoint::list(disk, dir).unwrap(), [PhysicalOffset(0)]);
        assert_eq!(Checkpoint::read(disk, dir, PhysicalOffset(0)).unwrap(), checkpoint(0));
    }
}
