//! When files begin, what they are called, and when they go.

use super::*;
use crate::index_file::files::MAX_HANDLES;

/// Names of the files, without `.format`.
fn names(medium: &MemoryDisk) -> Vec<String> {
    contents(medium).into_keys().filter(|name| name != ".format").collect()
}

#[test]
fn a_file_begins_with_each_segment_and_when_one_is_full() {
    let medium = medium();
    let mut index = open(&medium, 0, 0);
    let records = records();
    push_all(&mut index, &records);
    flush(&mut index, true, true);
    assert_finds(&index, &records);
    let mut expected: BTreeMap<u64, u64> = BTreeMap::new();
    for record in &records {
        *expected.entry(record.segment()).or_default() += record.keys.len() as u64;
    }
    let mut files: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for name in names(&medium) {
        let bytes = medium.content(&path(&name)).unwrap();
        let long = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap());
        assert_eq!(long(16) / SEGMENT, long(24) / SEGMENT, "{name} spans segments");
        files.entry(long(16) / SEGMENT * SEGMENT).or_default().push((long(32) & 0xFFFF_FFFF) - 1);
    }
    for (segment, keys) in expected {
        let files = files.remove(&segment).unwrap_or_default();
        assert_eq!(files.iter().sum::<u64>(), keys, "segment {segment}");
        assert!(files.iter().rev().skip(1).all(|keys| *keys == 8), "only the last is not full: {files:?}");
    }
}

#[test]
fn so_many_handles_are_open_and_no_more() {
    let medium = medium();
    let mut index = open_sized(&medium, IndexSizes { slots: 1, units: 2 }, 0, 0);
    let records = records();
    push_all(&mut index, &records);
    flush(&mut index, true, true);
    assert!(names(&medium).len() > 2 * MAX_HANDLES);
    assert_eq!(index.files.open_handles(), MAX_HANDLES);
    assert_finds(&index, &records);
    assert_eq!(index.files.open_handles(), MAX_HANDLES);
    index.drop_below(PhysicalOffset(u64::MAX));
    flush(&mut index, true, true);
    assert!(index.files.open_handles() <= names(&medium).len(), "files that are gone are closed");
}

#[test]
fn files_that_begin_in_one_millisecond_are_named_by_the_next_free_ones() {
    let medium = medium();
    let mut index = open_sized(&medium, IndexSizes { slots: 2, units: 2 }, 0, 0);
    let times = [0, 0, 0, 1, 9, 9, 5];
    times.into_iter().zip(0..).for_each(|(ms, n)| put(&mut index, 48 + n, START_MS + ms, "a"));
    put(&mut index, SEGMENT + 48, -7, "a");
    index.roll(PhysicalOffset(2 * SEGMENT));
    flush(&mut index, false, true);
    let milli = |name: &String| name.strip_prefix("20231114221320").unwrap().to_owned();
    let named: Vec<_> = names(&medium).iter().map(milli).collect();
    assert_eq!(named, ["000", "001", "002", "003", "009", "010", "011", "012"]);
    assert_eq!(find(&index, "a"), [SEGMENT + 48, 54, 53, 52, 51, 50, 49, 48]);
    drop(index);
    // Opened again, the index goes on behind its newest name.
    let mut index = open_sized(&medium, IndexSizes { slots: 2, units: 2 }, 0, 2 * SEGMENT);
    put(&mut index, 2 * SEGMENT, START_MS, "a");
    flush(&mut index, true, true);
    assert_eq!(milli(names(&medium).last().unwrap()), "013");
}

#[test]
fn a_plan_that_failed_is_made_again() {
    let medium = medium();
    let mut index = open(&medium, 0, 0);
    let records = records();
    push_all(&mut index, &records[..40]);
    let plan = index.plan_flush(false).unwrap();
    assert!(index.plan_flush(false).is_none(), "one is out");
    medium.fail(crate::disk::memory::Operation::Write, 5, 28);
    plan.write(true).unwrap_err();
    drop(plan);
    push_all(&mut index, &records[40..100]);
    assert_finds(&index, &records[..100]);
    medium.fail(crate::disk::memory::Operation::Sync, 2, 5);
    let plan = index.plan_flush(false).unwrap();
    plan.write(true).unwrap_err();
    drop(plan);
    flush(&mut index, true, true);
    assert_eq!(index.unflushed(), 0);
    assert!(index.plan_flush(true).is_none());
    assert_finds(&index, &records[..100]);
    let disturbed = contents(&medium);
    let undisturbed = self::medium();
    let mut index = open(&undisturbed, 0, 0);
    push_all(&mut index, &records[..100]);
    flush(&mut index, true, true);
    assert_eq!(disturbed, contents(&undisturbed));
    // No segment is complete with these, but a file begins.
    (0..9).for_each(|_| put(&mut index, records[100].position, records[100].ms, "a"));
    flush(&mut index, true, true);
    let synced = contents(&undisturbed);
    undisturbed.crash();
    assert_eq!(contents(&undisturbed), synced, "what a synced plan wrote stays");
}

#[test]
fn retention_drops_whole_segments() {
    let medium = medium();
    let mut index = open(&medium, 0, 0);
    let records = records();
    push_all(&mut index, &records[..100]);
    flush(&mut index, false, false);
    push_all(&mut index, &records[100..200]);
    let from = 6 * SEGMENT;
    index.drop_below(PhysicalOffset(from));
    index.drop_below(PhysicalOffset(SEGMENT));
    let kept: Vec<_> = records[..200].iter().filter(|record| record.segment() >= from).cloned().collect();
    assert_eq!(index.unflushed(), kept.iter().map(|record| record.keys.len()).sum::<usize>());
    assert_finds(&index, &kept);
    flush(&mut index, false, true);
    assert_finds(&index, &kept);
    assert!(index.plan_flush(false).is_none(), "removed once");
    index.drop_below(PhysicalOffset(u64::MAX));
    flush(&mut index, true, true);
    let last: Vec<_> = kept.into_iter().filter(|record| record.segment() == records[199].segment()).collect();
    assert_finds(&index, &last);
    assert_eq!(names(&medium).len(), last.iter().map(|record| record.keys.len()).sum::<usize>().div_ceil(8));
    assert_eq!(index.missing(), []);
}

#[test]
fn new_files_get_new_sizes_and_old_ones_keep_theirs() {
    let medium = medium();
    let records = records();
    let mut index = open(&medium, 0, 0);
    push_all(&mut index, &records[..100]);
    flush(&mut index, true, true);
    drop(index);
    let larger = IndexSizes { slots: 50, units: 60 };
    let mut index = open_sized(&medium, larger, 0, 2 * SEGMENT);
    push_all(&mut index, &records.iter().filter(|record| record.segment() >= 2 * SEGMENT).cloned().collect::<Vec<_>>());
    flush(&mut index, true, true);
    assert_finds(&index, &records);
    drop(index);
    let index = open(&medium, 0, 9 * SEGMENT);
    assert_eq!(index.missing(), []);
    let lens: BTreeSet<_> =
        contents(&medium).iter().filter(|(name, _)| *name != ".format").map(|f| f.1.len()).collect();
    assert_eq!(lens, [SIZES, larger].map(|sizes| sizes.file_len() as usize).into());
    assert_finds(&index, &records.into_iter().filter(|record| record.segment() < 9 * SEGMENT).collect::<Vec<_>>());
}

#[test]
fn a_plan_of_an_index_that_was_replaced_writes_nothing() {
    let medium = medium();
    let mut index = open(&medium, 0, 0);
    put(&mut index, 48, START_MS, "a");
    let plan = index.plan_flush(true).unwrap();
    drop(index);
    IndexFiles::wipe(&*medium.mount(), Path::new(DIR)).unwrap();
    plan.write(true).unwrap();
    assert_eq!(contents(&medium), BTreeMap::new());
    let mut index = open(&medium, 3 * SEGMENT, 3 * SEGMENT);
    index.flushed(plan);
    assert_eq!(index.missing(), []);
    assert_eq!((index.unflushed(), index.last()), (0, None));
    assert!(index.plan_rebuild(PhysicalOffset(0)).is_none());
    flush(&mut index, false, false);
    medium.crash();
    assert_eq!(contents(&medium).len(), 1);
}

#[test]
fn positions_and_sizes_that_make_no_sense_are_refused() {
    let open = |sizes, segment_size, first, from| {
        let (first, from) = (PhysicalOffset(first), PhysicalOffset(from));
        IndexFiles::open(medium().mount(), Path::new(DIR), sizes, segment_size, first, from)
            .err()
            .map(|e| e.to_string())
    };
    assert_eq!(open(SIZES, 100, 100, 200), None);
    let wrong = [
        open(SIZES, 100, 200, 100),
        open(SIZES, 100, 50, 100),
        open(SIZES, 100, 0, 50),
        open(SIZES, 0, 0, 0),
        open(IndexSizes { slots: 0, units: 9 }, 100, 0, 0),
        open(IndexSizes { slots: 1, units: 1 }, 100, 0, 0),
        open(IndexSizes { slots: 1 << 31, units: 9 }, 100, 0, 0),
    ];
    assert!(wrong.iter().all(|e| e.as_ref().is_some_and(|e| e.starts_with("broken contract"))), "{wrong:?}");
}
