//! Damage in files is noticed.

use super::*;

/// One file of one slot: units 1..=3 at 48, 148, 248.
fn sealed() -> (MemoryDisk, IndexFiles, PathBuf) {
    let medium = medium();
    let mut index = open_sized(&medium, IndexSizes { slots: 1, units: 10 }, 0, 0);
    (0..3).for_each(|n| put(&mut index, 48 + n * 100, START_MS + n as i64 * 1000, "a"));
    index.roll(PhysicalOffset(SEGMENT));
    flush(&mut index, false, true);
    (medium, index, path("20231114221320000"))
}

fn query(index: &IndexFiles) -> Result<Candidates, StoreError> {
    index.plan_query("T", b"a", 0, i64::MAX, 9).run()
}

#[test]
fn what_cannot_be_so_is_corrupt_by_file_and_byte() {
    let unit = |index: u64| 44 + index * 20;
    // What is damaged, the bit, and the byte that is named.
    let cases = [
        ("the slot points beyond the units", 40 + 3, 3, 40),
        ("a negative slot", 40, 7, 40),
        ("a negative hash", unit(2), 7, unit(2)),
        ("a position before the file's first", unit(1) + 11, 4, unit(1) + 4),
        ("a position behind the file's last", unit(3) + 10, 3, unit(3) + 4),
        ("a negative position", unit(3) + 4, 7, unit(3) + 4),
        ("a position behind that of the next", unit(1) + 11, 7, unit(1) + 4),
        ("a time before the file's first", unit(2) + 12, 7, unit(2) + 12),
        ("a unit that points to itself", unit(1) + 19, 0, unit(1) + 16),
        ("a unit that points beyond", unit(2) + 19, 2, unit(2) + 16),
        ("a negative prev", unit(2) + 16, 7, unit(2) + 16),
    ];
    for (what, byte, bit, named) in cases {
        let (medium, index, path) = sealed();
        medium.flip_bit(&path, byte, bit).unwrap();
        let e = query(&index).unwrap_err();
        assert_eq!(index.segment_of_file(&path), Some(PhysicalOffset(0)));
        match e {
            StoreError::Corrupt { path: at, offset, .. } => assert_eq!((at, offset), (path, named), "{what}"),
            e => panic!("{what}: {e}"),
        }
    }
}

#[test]
fn a_unit_of_another_slot_is_corrupt() {
    let medium = medium();
    let mut index = open_sized(&medium, IndexSizes { slots: 2, units: 10 }, 0, 0);
    (0..3).for_each(|n| put(&mut index, 48 + n * 100, START_MS, "a"));
    flush(&mut index, false, false);
    medium.flip_bit(&path("20231114221320000"), 48 + 20 + 3, 0).unwrap();
    assert!(matches!(query(&index), Err(StoreError::Corrupt { offset: 68, .. })));
}

#[test]
fn a_lost_or_cut_file_is_corrupt_to_those_who_read_it() {
    let (medium, index, path) = sealed();
    drop(index);
    let index = open_sized(&medium, SIZES, 0, SEGMENT);
    medium.mount().remove(&path).unwrap();
    assert!(matches!(query(&index), Err(StoreError::Corrupt { what: "IndexFile (it is missing)", .. })));
    let (medium, index, path) = sealed();
    medium.mount().open(&path).unwrap().set_len(44).unwrap();
    assert!(matches!(query(&index), Err(StoreError::Corrupt { offset: 104, .. })));
}

/// Every way in which an older segment can be incomplete at open.
#[test]
fn an_incomplete_segment_is_missing_at_open() {
    let records = records();
    type Harm = fn(&MemoryDisk, &[PathBuf]);
    let harms: [(&str, Harm); 7] = [
        ("the first file is gone", |medium, files| medium.mount().remove(&files[0]).unwrap()),
        ("the last file is gone", |medium, files| medium.mount().remove(files.last().unwrap()).unwrap()),
        ("a file is cut", |medium, files| medium.mount().open(&files[1]).unwrap().set_len(100).unwrap()),
        ("a file has no header", |medium, files| medium.mount().open(&files[1]).unwrap().set_len(30).unwrap()),
        ("a begin is another segment's", |medium, files| medium.flip_bit(&files[1], 16 + 5, 0).unwrap()),
        ("a count is another", |medium, files| medium.flip_bit(&files[1], 39, 0).unwrap()),
        ("more slots than there are", |medium, files| medium.flip_bit(&files[1], 35, 3).unwrap()),
    ];
    for (what, harm) in harms {
        let medium = medium();
        let mut index = open(&medium, 0, 0);
        push_all(&mut index, &records);
        flush(&mut index, true, true);
        let segment = &index.segments[&(2 * SEGMENT)];
        let files: Vec<_> = segment.files.iter().map(|stored| stored.file.path.clone()).collect();
        drop(index);
        harm(&medium, &files);
        let index = open(&medium, 0, 6 * SEGMENT);
        assert_eq!(index.missing(), [PhysicalOffset(2 * SEGMENT)], "{what}");
        let sound = |record: &&Keyed| record.segment() < 6 * SEGMENT && record.segment() != 2 * SEGMENT;
        assert_finds(&index, &records.iter().filter(sound).cloned().collect::<Vec<_>>());
        drop(index);
        let index = open(&medium, 0, 6 * SEGMENT);
        assert_eq!(index.missing(), [PhysicalOffset(2 * SEGMENT)], "{what}: it still is");
    }
}

#[test]
fn without_a_sound_format_everything_is_missing_and_a_newer_one_is_refused() {
    let format = path(".format");
    for harm in [0, 1, 2] {
        let (medium, index, _) = sealed();
        drop(index);
        match harm {
            0 => medium.mount().remove(&format).unwrap(),
            1 => medium.flip_bit(&format, 30, 2).unwrap(),
            _ => medium.mount().open(&format).unwrap().set_len(50).unwrap(),
        }
        let index = open(&medium, 0, 2 * SEGMENT);
        assert_eq!(index.missing(), [PhysicalOffset(0), PhysicalOffset(SEGMENT)]);
        assert_eq!(find(&index, "a"), [0; 0]);
    }
    let (medium, index, _) = sealed();
    drop(index);
    let text = "quorumq-index 2\n";
    let text = format!("{text}crc {:08x}\n", crc32fast::hash(text.as_bytes()));
    Format::write(&*medium.mount(), format.parent().unwrap(), &text).unwrap();
    let zero = PhysicalOffset(0);
    let e = IndexFiles::open(medium.mount(), Path::new(DIR), SIZES, SEGMENT, zero, zero).unwrap_err();
    assert!(matches!(e, StoreError::UnknownVersion { found: 2, known: 1, .. }), "{e}");
}

/// Whatever bit is flipped in a file: what is read of it is an error or positions of its segment, and it opens.
#[test]
fn no_flipped_bit_leads_astray() {
    let (mut corrupt, mut missing) = (0, 0);
    for bit in 0..244 * 8 {
        let (medium, index, path) = sealed();
        medium.flip_bit(&path, bit / 8, (bit % 8) as u8).unwrap();
        let sound = |found: Result<Candidates, StoreError>| match found {
            Ok(found) => {
                assert!(found.positions.iter().all(|position| position.0 < SEGMENT), "bit {bit}: {found:?}");
                assert!(found.positions.is_sorted_by(|newer, older| newer > older), "bit {bit}: {found:?}");
                true
            }
            Err(StoreError::Corrupt { path: at, .. }) => {
                assert_eq!(at, path);
                false
            }
            Err(e) => panic!("bit {bit}: {e}"),
        };
        corrupt += u32::from(!sound(query(&index)));
        drop(index);
        let index = open_sized(&medium, SIZES, 0, SEGMENT);
        missing += index.missing().len();
        sound(query(&index));
    }
    assert!(corrupt > 300 && missing > 100, "{corrupt} corrupt, {missing} missing");
}
