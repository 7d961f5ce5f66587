//! A segment's files are compared with its records while the node runs.

use super::*;

fn check(index: &IndexFiles, segment: u64, records: &[Keyed]) -> Result<(), StoreError> {
    let mut check = index.plan_check(PhysicalOffset(segment)).expect("a complete segment");
    for record in records.iter().filter(|record| record.segment() == segment) {
        let keys = record.keys.iter().map(String::as_bytes);
        check.push(PhysicalOffset(record.position), record.ms, record.topic, keys)?;
    }
    check.finish()
}

#[test]
fn files_that_equal_their_records_are_sound_and_any_flipped_bit_is_not() {
    let (medium, records) = (medium(), records());
    let mut index = open(&medium, 0, 0);
    push_all(&mut index, &records);
    assert!(index.plan_check(PhysicalOffset(0)).is_none(), "not written yet");
    flush(&mut index, false, true);
    let complete = index.complete();
    assert!(complete.len() >= 9, "{complete:?}");
    for segment in &complete {
        check(&index, segment.0, &records).unwrap();
    }
    assert!(index.plan_check(PhysicalOffset(index.entered)).is_none(), "it has not all its keys");
    for (name, content) in contents(&medium).into_iter().filter(|(name, _)| name != FORMAT) {
        let Some(segment) = index.segment_of_file(&path(&name)).filter(|segment| complete.contains(segment)) else {
            continue;
        };
        let unused = SIZES.unit_at(0)..SIZES.unit_at(1);
        let next = u32::from_be_bytes(content[36..40].try_into().unwrap());
        for at in (0..SIZES.unit_at(next)).filter(|at| !unused.contains(at)) {
            medium.flip_bit(&path(&name), at, (at % 8) as u8).unwrap();
            let e = check(&index, segment.0, &records).unwrap_err();
            assert!(matches!(&e, StoreError::Corrupt { offset, .. } if *offset == at), "{name} {at}: {e}");
            medium.flip_bit(&path(&name), at, (at % 8) as u8).unwrap();
        }
    }
}

#[test]
fn a_lost_file_and_one_too_many_are_damage() {
    let (medium, records) = (medium(), records());
    let mut index = open(&medium, 0, 0);
    push_all(&mut index, &records);
    flush(&mut index, false, true);
    let is_corrupt = |checked: Result<(), StoreError>| matches!(checked, Err(StoreError::Corrupt { .. }));
    assert!(is_corrupt(check(&index, 0, &records[..3])), "files without records");
    let more: Vec<_> =
        records.iter().filter(|record| record.segment() == 0).flat_map(|record| [record; 2]).cloned().collect();
    assert!(is_corrupt(check(&index, 0, &more)));
    drop(index);
    let first = contents(&medium).into_keys().find(|name| name != FORMAT).unwrap();
    // A segment start behind all: nothing is replayed, and nothing is open.
    let index = open(&medium, 0, 9 * SEGMENT);
    medium.mount().remove(&path(&first)).unwrap();
    assert!(is_corrupt(check(&index, 0, &records)));
    index.report(&path(&first));
    assert_eq!(index.reported(), [PhysicalOffset(0)]);
    assert!(index.has_damage());
}
