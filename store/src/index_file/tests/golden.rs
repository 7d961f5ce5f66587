//! The bytes of files, from the format.

use super::*;

#[test]
fn a_file_has_rocketmqs_bytes() {
    let medium = medium();
    let mut index = open_sized(&medium, IndexSizes { slots: 3, units: 5 }, 0, 0);
    // T#a hashes to 84*31*31 + 35*31 + 97 = 81906, in slot 0; T#b in slot 1; T#d in slot 0 again.
    put(&mut index, 48, 1_700_000_000_123, "a");
    index.push(PhysicalOffset(300), 1_700_000_001_623, "T", [&b"b"[..], b"d"]);
    flush(&mut index, true, true);
    #[rustfmt::skip]
    let expected = [
        // beginTs, endTs, beginPhy, endPhy, slots in use, next index
        0, 0, 0x01, 0x8B, 0xCF, 0xE5, 0x68, 0x7B,  0, 0, 0x01, 0x8B, 0xCF, 0xE5, 0x6E, 0x57,
        0, 0, 0, 0, 0, 0, 0, 48,  0, 0, 0, 0, 0, 0, 0x01, 0x2C,  0, 0, 0, 2,  0, 0, 0, 4,
        // slots
        0, 0, 0, 3,  0, 0, 0, 2,  0, 0, 0, 0,
        // units: hash, position, seconds, prev; the first is never used, the last is free
        0, 0, 0, 0,  0, 0, 0, 0, 0, 0, 0, 0,  0, 0, 0, 0,  0, 0, 0, 0,
        0, 1, 0x3F, 0xF2,  0, 0, 0, 0, 0, 0, 0, 48,  0, 0, 0, 0,  0, 0, 0, 0,
        0, 1, 0x3F, 0xF3,  0, 0, 0, 0, 0, 0, 0x01, 0x2C,  0, 0, 0, 1,  0, 0, 0, 0,
        0, 1, 0x3F, 0xF5,  0, 0, 0, 0, 0, 0, 0x01, 0x2C,  0, 0, 0, 1,  0, 0, 0, 1,
        0, 0, 0, 0,  0, 0, 0, 0, 0, 0, 0, 0,  0, 0, 0, 0,  0, 0, 0, 0,
    ];
    let contents = contents(&medium);
    assert_eq!(contents.keys().collect::<Vec<_>>(), [".format", "20231114221320123"]);
    assert_eq!(contents["20231114221320123"], expected);
    assert!(contents[".format"].starts_with(b"quorumq-index 1\nsizes 3 5\ncrc "));
}

/// The real disk holds the same, of RocketMQ's size, and takes room for little of it.
#[test]
fn the_real_disk_holds_a_sparse_file_of_rocketmqs_size() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().unwrap();
    let (sizes, zero) = (IndexSizes::default(), PhysicalOffset(0));
    let open = |from| {
        IndexFiles::open(crate::disk::RealDisk::new(), dir.path(), sizes, SEGMENT, zero, PhysicalOffset(from)).unwrap()
    };
    let mut index = open(0);
    let records = records();
    push_all(&mut index, &records[..20]);
    flush(&mut index, false, false);
    assert_finds(&index, &records[..20]);
    push_all(&mut index, &records[20..40]);
    flush(&mut index, true, true);
    assert_finds(&index, &records[..40]);
    let root = dir.path().join("index");
    let names = crate::disk::RealDisk::new().list(&root).unwrap();
    assert_eq!(names.len(), 3, "{names:?}");
    for name in &names[1..] {
        let meta = root.join(name).metadata().unwrap();
        assert_eq!(meta.len(), 420_000_040);
        assert!(meta.blocks() * 512 < 1 << 20, "{name} takes {} blocks", meta.blocks());
    }
    drop(index);
    let index = open(SEGMENT);
    assert_eq!(index.missing(), []);
    assert_finds(&index, &records[..27]);
    IndexFiles::wipe(&*crate::disk::RealDisk::new(), dir.path()).unwrap();
    assert!(!root.exists());
}
