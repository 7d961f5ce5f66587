//! Segments made again from their records.

use super::*;

fn of_segment(records: &[Keyed], segment: u64) -> impl Iterator<Item = &Keyed> {
    records.iter().filter(move |record| record.segment() == segment)
}

fn rebuild(index: &mut IndexFiles, segment: u64, records: &[Keyed]) -> Result<(), StoreError> {
    let mut rebuild = index.plan_rebuild(PhysicalOffset(segment)).expect("it can be rebuilt");
    assert_eq!(rebuild.segment().0, segment);
    for record in of_segment(records, segment) {
        let keys = record.keys.iter().map(String::as_bytes);
        rebuild.push(PhysicalOffset(record.position), record.ms, record.topic, keys)?;
    }
    index.rebuilt(rebuild.finish()?);
    Ok(())
}

fn filled(records: &[Keyed]) -> (MemoryDisk, IndexFiles) {
    let medium = medium();
    let mut index = open(&medium, 0, 0);
    push_all(&mut index, records);
    flush(&mut index, true, true);
    (medium, index)
}

#[test]
fn a_lost_segment_is_rebuilt_to_the_byte() {
    let records = records();
    let (medium, index) = filled(&records);
    let before = contents(&medium);
    let lost = [SEGMENT, 2 * SEGMENT, 5 * SEGMENT];
    let files = index.segments.iter().filter(|(start, _)| lost.contains(start)).flat_map(|(_, segment)| &segment.files);
    files.for_each(|stored| medium.mount().remove(&stored.file.path).unwrap());
    drop(index);
    let last = records.last().unwrap().segment();
    let operations = || {
        use crate::disk::memory::Operation::*;
        [Write, Sync, Allocate, Entry, SyncDir].map(|operation| medium.count(operation))
    };
    let before_open = operations();
    let mut index = open(&medium, 0, last);
    assert_eq!(operations(), before_open, "opening writes nothing");
    // The segment without keys has no file to lose.
    assert_eq!(index.missing(), [PhysicalOffset(SEGMENT), PhysicalOffset(2 * SEGMENT)]);
    assert!(
        index.plan_rebuild(PhysicalOffset(SEGMENT)).is_none(),
        "files of the replayed segment are to be removed first"
    );
    flush(&mut index, false, false);
    for segment in index.missing() {
        rebuild(&mut index, segment.0, &records).unwrap();
    }
    assert_eq!(index.missing(), []);
    of_segment(&records, last).for_each(|record| push(&mut index, record));
    assert_finds(&index, &records);
    flush(&mut index, true, true);
    assert_eq!(contents(&medium), before);
    medium.crash();
    assert_eq!(open(&medium, 0, last).missing(), []);
}

#[test]
fn an_index_of_an_older_store_is_built_from_nothing() {
    let records = records();
    let (medium, index) = filled(&records);
    let before = contents(&medium);
    drop(index);
    IndexFiles::wipe(&*medium.mount(), Path::new(DIR)).unwrap();
    let last = records.last().unwrap().segment();
    let mut index = open(&medium, 0, last);
    assert_eq!(index.missing().len() as u64, last / SEGMENT);
    flush(&mut index, false, false);
    for segment in index.missing() {
        rebuild(&mut index, segment.0, &records).unwrap();
    }
    of_segment(&records, last).for_each(|record| push(&mut index, record));
    flush(&mut index, true, true);
    assert_eq!(contents(&medium), before);
}

#[test]
fn a_corrupt_segment_is_rebuilt_while_the_index_is_used() {
    let records = records();
    let (medium, mut index) = filled(&records);
    let before = contents(&medium);
    let damaged = index.segments[&(2 * SEGMENT)].files[1].file.path.clone();
    // Every slot of it points beyond its units.
    (0..5).for_each(|slot| medium.flip_bit(&damaged, 40 + slot * 4, 7).unwrap());
    let key = of_segment(&records, 2 * SEGMENT).nth(12).unwrap().keys[0].clone();
    let query = |index: &IndexFiles| index.plan_query("t", key.as_bytes(), 0, i64::MAX, 9).run();
    let Err(StoreError::Corrupt { path, .. }) = query(&index) else { panic!("{:?}", query(&index)) };
    let segment = index.segment_of_file(&path).unwrap();
    assert_eq!(segment.0, 2 * SEGMENT);

    let mut given_up = index.plan_rebuild(segment).unwrap();
    assert!(index.plan_rebuild(segment).is_none(), "one at a time");
    assert_eq!(index.missing(), [segment]);
    query(&index).unwrap();
    let first = of_segment(&records, segment.0).next().unwrap();
    given_up.push(PhysicalOffset(first.position), first.ms, "t", [&b"x"[..]]).unwrap();
    let e = given_up.push(PhysicalOffset(first.position - 1), first.ms, "t", [&b"x"[..]]).unwrap_err();
    assert!(matches!(e, StoreError::Contract(_)), "{e}");
    assert!(given_up.push(PhysicalOffset(3 * SEGMENT), first.ms, "t", []).is_err());
    drop(given_up);

    medium.fail(crate::disk::memory::Operation::Sync, 1, 5);
    rebuild(&mut index, segment.0, &records).unwrap_err();
    rebuild(&mut index, segment.0, &records).unwrap();
    assert_finds(&index, &records);
    medium.crash();
    assert_eq!(contents(&medium), before, "rebuilt files are durable at once");
}

#[test]
fn what_is_still_being_filled_cannot_be_rebuilt() {
    let records = records();
    let medium = medium();
    let mut index = open(&medium, 0, 0);
    push_all(&mut index, &records[..40]);
    assert!(index.plan_rebuild(PhysicalOffset(SEGMENT)).is_none(), "the segment entered");
    assert!(index.plan_rebuild(PhysicalOffset(0)).is_none(), "not flushed");
    flush(&mut index, false, false);
    assert!(index.plan_rebuild(PhysicalOffset(0)).is_some());
    assert!(index.plan_rebuild(PhysicalOffset(9 * SEGMENT)).is_none());
}

#[test]
fn retention_can_overtake_a_rebuild_and_a_snapshot_can() {
    let records = records();
    let (medium, mut index) = filled(&records);
    let mut rebuild = index.plan_rebuild(PhysicalOffset(SEGMENT)).unwrap();
    for record in of_segment(&records, SEGMENT) {
        let keys = record.keys.iter().map(String::as_bytes);
        rebuild.push(PhysicalOffset(record.position), record.ms, record.topic, keys).unwrap();
    }
    index.drop_below(PhysicalOffset(3 * SEGMENT));
    index.rebuilt(rebuild.finish().unwrap());
    flush(&mut index, true, true);
    let kept: Vec<_> = records.iter().filter(|record| record.segment() >= 3 * SEGMENT).cloned().collect();
    assert_finds(&index, &kept);
    let files = index.segments.values().map(|segment| segment.files.len()).sum::<usize>() + index.filling.len();
    assert_eq!(contents(&medium).len(), files + 1);

    let mut rebuild = index.plan_rebuild(PhysicalOffset(3 * SEGMENT)).unwrap();
    drop(index);
    let record = of_segment(&records, 3 * SEGMENT).next().unwrap();
    let pushed = rebuild.push(PhysicalOffset(record.position), record.ms, "t", [&b"x"[..]]);
    assert!(matches!(pushed, Err(StoreError::Closed)));
    assert!(matches!(rebuild.finish(), Err(StoreError::Closed)));
}

/// A crash at every operation of a rebuild: the segment is missing or whole, never in between.
#[test]
fn a_rebuild_survives_a_crash_at_every_operation() {
    let records = records();
    let last = records.last().unwrap().segment();
    let (before, mut crashes) = (contents(&filled(&records).0), 0);
    for operations in 0.. {
        let (medium, mut index) = filled(&records);
        medium.freeze_after(operations);
        let finished = rebuild(&mut index, SEGMENT, &records).is_ok()
            && index.plan_flush(false).is_none_or(|plan| plan.write(true).is_ok());
        medium.crash();
        let mut index = open(&medium, 0, last);
        flush(&mut index, false, false);
        match &index.missing()[..] {
            [] => {}
            [segment] => rebuild(&mut index, segment.0, &records).unwrap(),
            other => panic!("{other:?}"),
        }
        of_segment(&records, last).for_each(|record| push(&mut index, record));
        flush(&mut index, true, true);
        assert_eq!(contents(&medium), before, "after {operations} operations");
        crashes += 1;
        if finished {
            break;
        }
    }
    assert!(crashes > 20, "{crashes}");
}
