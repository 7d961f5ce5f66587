//! The offline comparison.

use super::*;
use crate::index_file::verify::verify_index;

fn made(of: &MemoryDisk, records: &[Keyed], first: u64) -> IndexFiles {
    let mut index = open_sized(&medium(), IndexSizes::default(), first, first);
    index.take_sizes_of(&*of.mount(), Path::new(DIR)).unwrap();
    push_all(&mut index, &records.iter().filter(|record| record.segment() >= first).cloned().collect::<Vec<_>>());
    index
}

fn check(medium: &MemoryDisk, records: &[Keyed], first: u64) -> Result<VerifiedIndex, StoreError> {
    verify_index(&*medium.mount(), Path::new(DIR), &mut made(medium, records, first))
}

fn keys(records: &[Keyed]) -> u64 {
    records.iter().map(|record| record.keys.len() as u64).sum()
}

/// A node that stopped with everything flushed, or with its last records in memory.
fn stopped(records: &[Keyed], last: usize) -> MemoryDisk {
    let medium = medium();
    let mut index = open(&medium, 0, 0);
    push_all(&mut index, &records[..last]);
    flush(&mut index, last == records.len(), true);
    push_all(&mut index, &records[last..]);
    medium
}

#[test]
fn files_of_a_clean_stop_and_of_a_crash_are_as_they_should_be() {
    let records = records();
    let verified = check(&stopped(&records, records.len()), &records, 0).unwrap();
    assert_eq!((verified.keys, verified.unflushed), (keys(&records), 0));
    for last in [0, 1, 30, 150, 299] {
        let medium = if last == 0 { medium() } else { stopped(&records, last) };
        let verified = check(&medium, &records, 0).unwrap();
        assert_eq!(verified.keys, keys(&records[..last]), "{last}");
        assert_eq!(verified.unflushed, keys(&records[last..]), "{last}");
    }
    // The log was purged since; or less of it is applied again than the node had applied.
    let first = 4 * SEGMENT;
    let kept: Vec<_> = records.iter().filter(|record| record.segment() >= first).cloned().collect();
    let verified = check(&stopped(&records, records.len()), &records, first).unwrap();
    assert_eq!((verified.keys, verified.unflushed), (keys(&kept), 0));
    for last in [290, 200, 10] {
        let verified = check(&stopped(&records, records.len()), &records[..last], 0).unwrap();
        assert_eq!((verified.keys, verified.unflushed), (keys(&records[..last]), 0));
    }
}

#[test]
fn a_clean_stop_before_the_last_records_were_applied_is_sound() {
    let records = records();
    let medium = medium();
    let mut index = open(&medium, 0, 0);
    push_all(&mut index, &records[..295]);
    flush(&mut index, true, true);
    let verified = check(&medium, &records, 0).unwrap();
    assert_eq!((verified.keys, verified.unflushed), (keys(&records[..295]), keys(&records[295..])));
}

#[test]
fn files_after_a_power_loss_are_sound() {
    let records = records();
    for seed in 0..50_u64 {
        let medium = medium();
        let mut index = open(&medium, 0, 0);
        push_all(&mut index, &records[..150]);
        flush(&mut index, false, true);
        push_all(&mut index, &records[150..180]);
        flush(&mut index, false, false);
        push_all(&mut index, &records[180..]);
        flush(&mut index, true, false);
        let mut state = seed;
        medium.crash_keeping(&mut || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state >> 63 == 1
        });
        let verified = check(&medium, &records, 0).unwrap();
        assert!(verified.keys >= keys(&records[..150]));
        assert_eq!(verified.keys + verified.unflushed, keys(&records));
    }
}

/// Every bit that is flipped in a file is found, by file and byte.
#[test]
fn a_flipped_bit_is_named() {
    let records = records();
    let medium = stopped(&records, records.len());
    let names: Vec<_> = contents(&medium).into_keys().collect();
    let complete = &names[4];
    let present = names.last().unwrap();
    for (name, unit) in [(complete, 1), (complete, 20), (present, 4)] {
        for byte in (0..60).chain((60..240).step_by(unit)) {
            let path = path(name);
            let content = medium.content(&path).unwrap();
            medium.flip_bit(&path, byte, 4).unwrap();
            let found = check(&medium, &records, 0);
            medium.flip_bit(&path, byte, 4).unwrap();
            match found {
                Err(StoreError::Corrupt { path: at, offset, .. }) => {
                    assert_eq!(at, path);
                    let within = if name == complete { 1 } else { 40 };
                    assert!(offset <= byte && byte < offset + within, "{name}: {offset} for {byte}");
                }
                // Unit 0 and what lies behind the units of a file that is not complete is looked at by nobody.
                Ok(_) if name == present && content[byte as usize] == 0 => {}
                other => panic!("{name} {byte}: {other:?}"),
            }
        }
    }
    let format = path(".format");
    medium.flip_bit(&format, 40, 1).unwrap();
    let Err(StoreError::Corrupt { path, .. }) = check(&medium, &records, 0) else { panic!("a damaged format") };
    assert_eq!(path, format);
}

#[test]
fn files_of_another_log_and_lost_ones_are_named() {
    let records = records();
    let medium = stopped(&records, records.len());
    let mut other = records.clone();
    other[20].keys = vec!["other".into()];
    let Err(StoreError::Corrupt { .. }) = check(&medium, &other, 0) else {
        panic!("another log");
    };
    let name = contents(&medium).into_keys().nth(3).unwrap();
    let bytes = medium.content(&path(&name)).unwrap();
    medium.mount().remove(&path(&name)).unwrap();
    let Err(StoreError::Corrupt { path: at, offset: 0, .. }) = check(&medium, &records, 0) else {
        panic!("a lost file")
    };
    assert_eq!(at, path(&name));
    for name in [&name[..], "20350101000000000"] {
        let file = medium.mount().create(&path(name), 0).unwrap();
        file.write_at(0, &[&bytes]).unwrap();
    }
    let Err(StoreError::Corrupt { path: at, .. }) = check(&medium, &records, 0) else { panic!("a file too many") };
    assert_eq!(at, path("20350101000000000"));
}

#[test]
fn files_of_sizes_that_were_changed_are_compared_as_they_are() {
    let records = records();
    let medium = medium();
    let mut index = open(&medium, 0, 0);
    push_all(&mut index, &records[..100]);
    flush(&mut index, false, true);
    let mut index = open_sized(&medium, IndexSizes { slots: 30, units: 40 }, 0, 2 * SEGMENT);
    push_all(&mut index, &records.iter().filter(|record| record.segment() >= 2 * SEGMENT).cloned().collect::<Vec<_>>());
    flush(&mut index, true, false);
    let verified = check(&medium, &records, 0).unwrap();
    assert_eq!((verified.keys, verified.unflushed), (keys(&records), 0));
    assert!(verified.files > 10);
}
