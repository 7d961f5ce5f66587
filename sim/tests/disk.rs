//! What changes a disk goes into the trace hash.
#![cfg(test)]

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use quorumq_sim::disk::TracedDisk;
use quorumq_sim::scenario::address;
use quorumq_sim::world::{Config, run};
use quorumq_store::disk::{Disk, DiskFile, DiskLock, Space};

/// A disk that takes everything and keeps nothing.
#[derive(Debug)]
struct Void;

impl Disk for Void {
    fn create_dir_all(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn create(&self, _: &Path, _: u64) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(Void))
    }
    fn open(&self, _: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(Void))
    }
    fn exists(&self, _: &Path) -> io::Result<bool> {
        Ok(false)
    }
    fn list(&self, _: &Path) -> io::Result<Vec<String>> {
        Ok(Vec::new())
    }
    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn remove(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn remove_dir_all(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn lock(&self, _: &Path) -> io::Result<Box<dyn DiskLock>> {
        Ok(Box::new(Void))
    }
    fn space(&self, _: &Path) -> io::Result<Space> {
        Ok(Space { available: 0, total: 0 })
    }
}

impl DiskLock for Void {}

impl DiskFile for Void {
    fn len(&self) -> io::Result<u64> {
        Ok(0)
    }
    fn write_at(&self, _: u64, _: &[&[u8]]) -> io::Result<()> {
        Ok(())
    }
    fn read_at(&self, _: u64, _: &mut [u8]) -> io::Result<()> {
        Ok(())
    }
    fn slice(&self, _: u64, len: usize) -> io::Result<Bytes> {
        Ok(vec![0; len].into())
    }
    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
    fn allocate(&self, _: u64) -> io::Result<()> {
        Ok(())
    }
    fn set_len(&self, _: u64) -> io::Result<()> {
        Ok(())
    }
}

/// The trace hash of a run that does `work` on a file.
fn hash_of(work: fn(&dyn Disk, &dyn DiskFile)) -> u64 {
    let outcome = run(1, Config::default(), move |_| async move {
        let disk = TracedDisk::new(Arc::new(Void), address(1));
        let file = disk.create(Path::new("commitlog/0"), 4096).unwrap();
        work(&disk, file.as_ref());
    });
    outcome.unwrap().hash
}

#[test]
fn writes_and_syncs_show_in_the_trace_and_reads_do_not() {
    let base = hash_of(|_, _| ());
    assert_eq!(base, hash_of(|_, _| ()));
    let read = hash_of(|disk, file| {
        file.read_at(0, &mut [0; 4]).unwrap();
        file.slice(0, 4).unwrap();
        assert!(!file.is_empty().unwrap() || file.len().unwrap() == 0);
        assert!(disk.list(Path::new("commitlog")).unwrap().is_empty());
    });
    assert_eq!(base, read);
    let mut hashes = vec![
        base,
        hash_of(|_, file| file.write_at(8, &[b"ab", b"c"]).unwrap()),
        hash_of(|_, file| file.write_at(9, &[b"ab", b"c"]).unwrap()),
        hash_of(|_, file| file.write_at(8, &[b"ab", b"d"]).unwrap()),
        hash_of(|_, file| file.sync_data().unwrap()),
        hash_of(|_, file| file.set_len(7).unwrap()),
        hash_of(|_, file| file.allocate(7).unwrap()),
        hash_of(|disk, _| disk.sync_dir(Path::new("commitlog")).unwrap()),
        hash_of(|disk, _| disk.rename(Path::new("a"), Path::new("b")).unwrap()),
        hash_of(|disk, _| disk.remove(Path::new("a")).unwrap()),
    ];
    let all = hashes.len();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), all, "two different histories have one hash");
}
