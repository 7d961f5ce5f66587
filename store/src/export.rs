//! Files in RocketMQ's names that show people, and their tools, what the log says. Never read back.

use std::path::{Path, PathBuf};

use crate::StoreError;
use crate::disk::Disk;
use crate::error::At;

/// Their directory, below the store's.
const DIR: &str = "config";

/// Where the export `name` of the store in `dir` lives.
pub fn path(dir: &Path, name: &str) -> PathBuf {
    dir.join(DIR).join(name)
}

/// Replaces the export `name`: whoever reads it sees the whole of the old or of the new one. Not synced, as nothing
/// depends on it: a power loss may leave it empty until it is written again.
///
/// # Errors
/// `Io` if the disk fails or is full.
pub fn write(disk: &dyn Disk, dir: &Path, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
    let (path, parent) = (path(dir, name), dir.join(DIR));
    let tmp = path.with_extension("json.tmp");
    if !disk.exists(&parent).at("look for", &parent)? {
        disk.create_dir_all(&parent).at("create", &parent)?;
    }
    if disk.exists(&tmp).at("look for", &tmp)? {
        disk.remove(&tmp).at("remove", &tmp)?;
    }
    let file = disk.create(&tmp, bytes.len() as u64).at("create", &tmp)?;
    file.write_at(0, &[bytes]).at("write", &tmp)?;
    disk.rename(&tmp, &path).at("rename", &tmp)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemoryDisk;

    #[test]
    fn an_export_is_replaced_as_a_whole_whatever_an_earlier_attempt_left() {
        let medium = MemoryDisk::new();
        let (disk, dir) = (medium.mount(), Path::new("/store"));
        let content = || medium.content(&path(dir, "topics.json")).unwrap();
        write(&*disk, dir, "topics.json", b"a long one").unwrap();
        assert_eq!(content(), b"a long one");
        // Ends before the rename.
        medium.freeze_at_create();
        assert!(write(&*disk, dir, "topics.json", b"lost").is_err());
        assert_eq!(content(), b"a long one");
        medium.kill();
        write(&*medium.mount(), dir, "topics.json", b"short").unwrap();
        assert_eq!(content(), b"short");
        assert_eq!(medium.paths(), [path(dir, "topics.json")]);
    }
}
