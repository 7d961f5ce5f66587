use super::*;
use crate::disk::MemoryDisk;

mod crash;
mod damage;

const DIR: &str = "/store";

fn unit(n: u64) -> Unit {
    Unit { position: PhysicalOffset(48 + n * 200), size: 100 + (n % 50) as u32, tags_code: n as i64 - 5 }
}

fn medium() -> MemoryDisk {
    let medium = MemoryDisk::new();
    medium.mount().create_dir_all(Path::new(DIR)).unwrap();
    medium
}

fn queues(medium: &MemoryDisk) -> ConsumeQueues {
    ConsumeQueues::new(medium.mount(), Path::new(DIR)).unwrap()
}

fn create(queues: &mut ConsumeQueues, topic: &str) -> QueueHandle {
    queues.open(topic, 0, QueueOffset(0), QueueOffset(0)).unwrap()
}

fn push_range(queues: &mut ConsumeQueues, queue: QueueHandle, range: std::ops::Range<u64>) {
    for n in range {
        assert_eq!(queues.push(queue, unit(n)), QueueOffset(n));
    }
}

fn flush(queues: &mut ConsumeQueues, sync: bool) {
    let plan = queues.plan_flush().expect("something to flush");
    plan.write(sync).unwrap();
    queues.flushed(plan);
}

fn read(queues: &ConsumeQueues, queue: QueueHandle, from: u64, max: usize) -> Vec<Unit> {
    let mut out = Vec::new();
    queues.read(queue, QueueOffset(from), max, &mut out).unwrap();
    out
}

fn units(range: std::ops::Range<u64>) -> Vec<Unit> {
    range.map(unit).collect()
}

/// Reads everything in pieces of several sizes and from several starts.
fn assert_holds(queues: &ConsumeQueues, queue: QueueHandle, range: std::ops::Range<u64>) {
    assert_eq!((queues.min(queue).0, queues.next(queue).0), (range.start, range.end));
    assert_eq!(read(queues, queue, range.start, usize::MAX), units(range.clone()));
    for max in [1, 7, 1000] {
        let from = range.start + (range.end - range.start) / 3;
        assert_eq!(read(queues, queue, from, max), units(from..range.end.min(from + max as u64)));
    }
    assert_eq!(read(queues, queue, range.end, 10), []);
    assert_eq!(read(queues, queue, range.end + 5, 10), []);
}

/// Names of files of units. Each has one of sums beside it.
fn file_names(medium: &MemoryDisk, topic: &str) -> Vec<String> {
    let names = medium.mount().list(&ConsumeQueues::path(Path::new(DIR), topic, 0)).unwrap();
    let (sums, units): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| name.ends_with(".crc"));
    assert_eq!(sums, units.iter().map(|name| format!("{name}.crc")).collect::<Vec<_>>());
    units
}

#[test]
fn units_are_read_before_during_and_after_their_flush() {
    let medium = medium();
    let mut queues = queues(&medium);
    let queue = create(&mut queues, "t");
    push_range(&mut queues, queue, 0..3000);
    assert_holds(&queues, queue, 0..3000);
    assert_eq!(queues.unflushed(), 3000);

    let plan = queues.plan_flush().unwrap();
    assert_eq!(plan.units(), 3000);
    push_range(&mut queues, queue, 3000..3100);
    assert_holds(&queues, queue, 0..3100);
    plan.write(false).unwrap();
    assert_holds(&queues, queue, 0..3100);
    queues.flushed(plan);
    assert_eq!(queues.unflushed(), 100);
    assert_holds(&queues, queue, 0..3100);
    assert!(!queues.plan_read(queue, QueueOffset(0), 10).unwrap().is_in_memory());
    assert!(queues.plan_read(queue, QueueOffset(2990), 50).unwrap().is_in_memory(), "the tail stays in memory");
}

#[test]
fn the_real_disk_holds_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let open = || ConsumeQueues::new(crate::disk::RealDisk::new(), dir.path()).unwrap();
    let mut queues = open();
    let (a, b) = (create(&mut queues, "a"), create(&mut queues, "b"));
    push_range(&mut queues, a, 0..UNITS_PER_FILE + 1000);
    push_range(&mut queues, b, 0..10);
    flush(&mut queues, true);
    queues.set_min(a, QueueOffset(UNITS_PER_FILE + 1));
    queues.remove(b);
    flush(&mut queues, true);
    assert_holds(&queues, a, UNITS_PER_FILE + 1..UNITS_PER_FILE + 1000);
    let names = |path: &Path| crate::disk::RealDisk::new().list(path).unwrap();
    assert_eq!(names(&dir.path().join("consumequeue")), [FORMAT_FILE, "a"]);
    let left = ["00000000000006000000", "00000000000006000000.crc"];
    assert_eq!(names(&ConsumeQueues::path(dir.path(), "a", 0)), left);
    drop(queues);
    let mut queues = open();
    let (min, next) = (QueueOffset(UNITS_PER_FILE + 1), QueueOffset(UNITS_PER_FILE + 999));
    let a = queues.open("a", 0, min, next).unwrap();
    assert_holds(&queues, a, min.0..next.0);
    ConsumeQueues::wipe(&*crate::disk::RealDisk::new(), dir.path()).unwrap();
    assert_eq!(names(dir.path()), [""; 0]);
}

#[test]
fn a_file_holds_rocketmqs_units_and_the_next_begins_at_its_byte_offset() {
    let medium = medium();
    let mut queues = queues(&medium);
    let queue = create(&mut queues, "%RETRY%g");
    let first = UNITS_PER_FILE - 10;
    // What lies below `first` was purged: a queue need not begin at 0.
    let queue = {
        queues.remove(queue);
        queues.open("%RETRY%g", 0, QueueOffset(first), QueueOffset(first)).unwrap()
    };
    push_range(&mut queues, queue, first..first + 30);
    flush(&mut queues, true);
    assert_eq!(file_names(&medium, "%RETRY%g"), ["00000000000000000000", "00000000000006000000"]);
    let dir = ConsumeQueues::path(Path::new(DIR), "%RETRY%g", 0);
    let second = medium.content(&dir.join("00000000000006000000")).unwrap();
    let expected: Vec<u8> = units(UNITS_PER_FILE..first + 30).into_iter().flat_map(Unit::to_bytes).collect();
    assert_eq!(&second[..expected.len()], expected);
    assert!(second[expected.len()..].iter().all(|b| *b == 0));
    assert_eq!(second.len(), 16 * 1024, "files grow in small chunks");
    assert_eq!(medium.content(&dir.join("00000000000000000000")).unwrap().len(), 6_000_000);
    assert_holds(&queues, queue, first..first + 30);
}

#[test]
fn a_queue_opened_again_overwrites_what_lies_at_and_above_its_next() {
    let medium = medium();
    let mut before = queues(&medium);
    let queue = create(&mut before, "t");
    push_range(&mut before, queue, 0..500);
    flush(&mut before, true);

    let mut again = queues(&medium);
    let queue = again.open("t", 0, QueueOffset(20), QueueOffset(300)).unwrap();
    assert_holds(&again, queue, 20..300);
    let other = Unit { position: PhysicalOffset(1), size: 1, tags_code: 1 };
    assert_eq!(again.push(queue, other), QueueOffset(300));
    assert_eq!(read(&again, queue, 299, 10), [unit(299), other]);
    flush(&mut again, true);
    let mut third = queues(&medium);
    let queue = third.open("t", 0, QueueOffset(20), QueueOffset(301)).unwrap();
    assert_eq!(read(&third, queue, 299, 10), [unit(299), other]);
}

#[test]
fn synced_units_survive_a_power_loss_unsynced_ones_need_not() {
    let medium = medium();
    let mut queues = queues(&medium);
    let queue = create(&mut queues, "t");
    push_range(&mut queues, queue, 0..100);
    flush(&mut queues, false);
    push_range(&mut queues, queue, 100..200);
    // A synced plan covers the earlier plan, which was not.
    flush(&mut queues, true);
    push_range(&mut queues, queue, 200..2000);
    flush(&mut queues, false);
    medium.crash();
    let mut queues = self::queues(&medium);
    let queue = queues.open("t", 0, QueueOffset(0), QueueOffset(200)).unwrap();
    assert_holds(&queues, queue, 0..200);
    push_range(&mut queues, queue, 200..2000);
    flush(&mut queues, true);
    assert_holds(&queues, queue, 0..2000);
}

#[test]
fn a_sync_is_planned_even_without_new_units() {
    let medium = medium();
    let mut queues = queues(&medium);
    assert!(queues.plan_flush().is_none(), "nothing at all");
    let queue = create(&mut queues, "t");
    push_range(&mut queues, queue, 0..10);
    flush(&mut queues, false);
    assert_eq!(queues.unflushed(), 0);
    flush(&mut queues, true);
    assert!(queues.plan_flush().is_none());
    medium.crash();
    let mut queues = self::queues(&medium);
    let queue = queues.open("t", 0, QueueOffset(0), QueueOffset(10)).unwrap();
    assert_holds(&queues, queue, 0..10);
}

#[test]
fn one_plan_is_out_at_a_time_and_a_dropped_one_is_made_again() {
    let medium = medium();
    let mut queues = queues(&medium);
    let queue = create(&mut queues, "t");
    push_range(&mut queues, queue, 0..10);
    let plan = queues.plan_flush().unwrap();
    assert!(queues.plan_flush().is_none());
    medium.set_capacity(Some(0));
    let e = plan.write(false).unwrap_err();
    assert!(matches!(&e, StoreError::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull), "{e}");
    drop(plan);
    push_range(&mut queues, queue, 10..20);
    assert_eq!(queues.unflushed(), 20);
    assert_holds(&queues, queue, 0..20);
    medium.set_capacity(None);
    flush(&mut queues, true);
    assert_eq!(queues.unflushed(), 0);
    assert_holds(&queues, queue, 0..20);
}

#[test]
fn a_topic_deleted_and_created_again_shows_nothing_of_its_former_life() {
    let medium = medium();
    let mut queues = queues(&medium);
    let old = create(&mut queues, "t");
    push_range(&mut queues, old, 0..1000);
    flush(&mut queues, true);
    push_range(&mut queues, old, 1000..1010);
    let stale_read = queues.plan_read(old, QueueOffset(0), 1).unwrap();
    let plan = queues.plan_flush().unwrap();
    queues.remove(old);
    assert_eq!(queues.unflushed(), 0);
    let new = create(&mut queues, "t");
    let other = Unit { position: PhysicalOffset(9), size: 9, tags_code: 9 };
    queues.push(new, other);
    // The plan that was out still writes the old life's units; the next one removes them first.
    plan.write(true).unwrap();
    queues.flushed(plan);
    assert_eq!(read(&queues, new, 0, 10), [other]);
    // A write that fails half way is tried again from the removal on.
    medium.fail(crate::disk::memory::Operation::Sync, 0, 5);
    let plan = queues.plan_flush().unwrap();
    plan.write(true).unwrap_err();
    drop(plan);
    flush(&mut queues, true);
    assert!(queues.plan_flush().is_none());
    assert!(stale_read.run(&mut Vec::new()).is_err(), "a read of the old life gets an error, not the new one's units");
    assert_eq!(read(&queues, new, 0, 10), [other]);
    medium.crash();
    let mut queues = self::queues(&medium);
    let new = queues.open("t", 0, QueueOffset(0), QueueOffset(1)).unwrap();
    assert_eq!(read(&queues, new, 0, 10), [other]);
    let dir = ConsumeQueues::path(Path::new(DIR), "t", 0);
    let content = medium.content(&dir.join("00000000000000000000")).unwrap();
    assert!(content[20..].iter().all(|b| *b == 0));
}

#[test]
fn removed_queues_leave_no_files() {
    let medium = medium();
    let mut queues = queues(&medium);
    let queue = create(&mut queues, "t");
    push_range(&mut queues, queue, 0..10);
    flush(&mut queues, true);
    queues.remove(queue);
    flush(&mut queues, true);
    assert_eq!(medium.mount().list(&Path::new(DIR).join("consumequeue")).unwrap(), [FORMAT_FILE]);
}

#[test]
fn files_of_queues_that_are_not_opened_are_removed() {
    let medium = medium();
    let mut before = queues(&medium);
    for topic in ["a", "b", "c"] {
        let queue = create(&mut before, topic);
        push_range(&mut before, queue, 0..10);
    }
    flush(&mut before, true);
    let mut queues = queues(&medium);
    let b = queues.open("b", 0, QueueOffset(0), QueueOffset(10)).unwrap();
    queues.remove_unopened().unwrap();
    // A topic that comes to life again before the removal keeps its new units.
    let c = create(&mut queues, "c");
    queues.push(c, unit(77));
    flush(&mut queues, true);
    assert_eq!(medium.mount().list(&Path::new(DIR).join("consumequeue")).unwrap(), [FORMAT_FILE, "b", "c"]);
    assert_holds(&queues, b, 0..10);
    assert_eq!(read(&queues, c, 0, 10), [unit(77)]);
    assert!(queues.plan_flush().is_none());
}

#[test]
fn retention_raises_the_min_and_removes_whole_files() {
    let medium = medium();
    let mut queues = queues(&medium);
    let queue = create(&mut queues, "t");
    let end = 2 * UNITS_PER_FILE + 100;
    push_range(&mut queues, queue, 0..end);
    flush(&mut queues, false);
    queues.set_min(queue, QueueOffset(UNITS_PER_FILE + 1));
    queues.set_min(queue, QueueOffset(5));
    assert!(queues.read(queue, QueueOffset(5), 1, &mut Vec::new()).is_err(), "below the min");
    flush(&mut queues, true);
    assert_eq!(file_names(&medium, "t"), ["00000000000006000000", "00000000000012000000"]);
    assert_holds(&queues, queue, UNITS_PER_FILE + 1..end);
    queues.set_min(queue, QueueOffset(u64::MAX));
    assert_holds(&queues, queue, end..end);
    let left_over = medium.content(&ConsumeQueues::path(Path::new(DIR), "t", 0).join("00000000000006000000"));
    assert!(left_over.is_ok(), "gone only with the next flush");
    drop(queues);
    let mut queues = self::queues(&medium);
    let queue = queues.open("t", 0, QueueOffset(end), QueueOffset(end)).unwrap();
    queues.take_stock(queue, QueueOffset(0)).unwrap();
    assert!(queues.damaged().is_empty());
    flush(&mut queues, true);
    assert_eq!(file_names(&medium, "t"), ["00000000000012000000"], "what a crash left behind goes at the next open");
}

#[test]
fn after_a_snapshot_a_queue_begins_where_its_units_begin() {
    let medium = medium();
    // Installed at offset 400,000 with a min of 0 in the state: nothing below was ever here.
    let mut first = queues(&medium);
    let queue = first.open("t", 0, QueueOffset(0), QueueOffset(400_000)).unwrap();
    first.take_stock(queue, QueueOffset(400_000)).unwrap();
    assert!(first.damaged().is_empty());
    assert_holds(&first, queue, 400_000..400_000);
    push_range(&mut first, queue, 400_000..400_500);
    flush(&mut first, true);
    assert_holds(&first, queue, 400_000..400_500);
    // A later checkpoint still says min 0; the log, and so the queue, begins at the snapshot.
    let mut again = queues(&medium);
    let queue = again.open("t", 0, QueueOffset(0), QueueOffset(400_300)).unwrap();
    again.take_stock(queue, QueueOffset(400_000)).unwrap();
    assert!(again.damaged().is_empty());
    assert_holds(&again, queue, 400_000..400_300);
}

#[test]
fn a_missing_unit_is_an_error_never_a_message() {
    let medium = medium();
    let mut queues = queues(&medium);
    let queue = create(&mut queues, "t");
    push_range(&mut queues, queue, 0..2000);
    flush(&mut queues, true);
    let path = ConsumeQueues::path(Path::new(DIR), "t", 0).join("00000000000000000000");
    medium.mount().open(&path).unwrap().write_at(20 * 7, &[&[0; 20]]).unwrap();
    let e = queues.read(queue, QueueOffset(0), 10, &mut Vec::new()).unwrap_err();
    assert!(matches!(e, StoreError::Corrupt { offset: 0, .. }), "{e}");
    let mut out = vec![unit(1)];
    queues.read(queue, QueueOffset(0), 10, &mut out).unwrap_err();
    assert_eq!(out, [unit(1)], "nothing half read is left behind");
}

#[test]
fn the_first_unit_at_a_position_is_found_wherever_it_is() {
    let medium = medium();
    let mut queues = queues(&medium);
    let queue = create(&mut queues, "t");
    push_range(&mut queues, queue, 0..900);
    flush(&mut queues, false);
    push_range(&mut queues, queue, 900..1000);
    queues.set_min(queue, QueueOffset(3));
    let find = |position| queues.first_at_or_above(queue, PhysicalOffset(position)).unwrap().0;
    assert_eq!(find(0), 3);
    for n in [3, 4, 500, 899, 900, 999] {
        assert_eq!(find(unit(n).position.0), n);
        assert_eq!(find(unit(n).position.0 - 1), n);
        assert_eq!(find(unit(n).position.0 + 1), n + 1);
    }
}

#[test]
fn an_unknown_format_version_is_refused_by_name() {
    let medium = medium();
    let disk = medium.mount();
    let path = Path::new(DIR).join("consumequeue/.format");
    disk.create_dir_all(path.parent().unwrap()).unwrap();
    let write = |text: &str| {
        let _ = disk.remove(&path);
        disk.create(&path, text.len() as u64).unwrap().write_at(0, &[text.as_bytes()]).unwrap();
        ConsumeQueues::new(medium.mount(), Path::new(DIR)).map(|_| ())
    };
    assert!(write("quorumq-consumequeue 2\n").is_ok());
    let e = write("quorumq-consumequeue 3\n").unwrap_err();
    assert_eq!(
        e.to_string(),
        "/store/consumequeue/.format has ConsumeQueue format version 3; this build reads version 2"
    );
    // A damaged one is written again, before any unit.
    assert!(write("something else").is_ok());
    let mut queues = queues(&medium);
    let queue = create(&mut queues, "t");
    push_range(&mut queues, queue, 0..1);
    flush(&mut queues, true);
    assert_eq!(medium.content(&path).unwrap(), b"quorumq-consumequeue 2\n");
}

#[test]
fn the_format_is_written_before_the_first_unit() {
    let medium = medium();
    let mut queues = queues(&medium);
    let queue = create(&mut queues, "t");
    push_range(&mut queues, queue, 0..1);
    flush(&mut queues, true);
    medium.crash();
    assert_eq!(medium.content(&Path::new(DIR).join("consumequeue/.format")).unwrap(), b"quorumq-consumequeue 2\n");
}

#[test]
fn only_topic_names_become_directories() {
    let medium = medium();
    let mut queues = queues(&medium);
    let long = "t".repeat(128);
    for name in ["", ".", "..", "a/b", "../x", "a.b", "a\0b", ".format", "é", long.as_str()] {
        let opened = queues.open(name, 0, QueueOffset(0), QueueOffset(0));
        assert!(matches!(opened, Err(StoreError::Contract(_))), "{name:?}");
    }
    assert!(queues.open("t", 0, QueueOffset(2), QueueOffset(1)).is_err());
}

#[test]
fn memory_and_handles_stay_bounded() {
    let medium = medium();
    let mut queues = queues(&medium);
    let handles: Vec<_> = (0..600).map(|n| create(&mut queues, &format!("t{n}"))).collect();
    for &queue in &handles {
        push_range(&mut queues, queue, 0..HOT_UNITS as u64 + 100);
    }
    flush(&mut queues, true);
    assert_eq!(queues.hot_units, 600 * HOT_UNITS);
    for &queue in &handles {
        assert_holds(&queues, queue, 0..HOT_UNITS as u64 + 100);
    }
    assert!(queues.files.open_handles() <= 256);
    // Queues flushed longest ago give up their hot units first.
    let many: Vec<_> = (0..1600).map(|n| create(&mut queues, &format!("u{n}"))).collect();
    for &queue in &many {
        push_range(&mut queues, queue, 0..HOT_UNITS as u64);
    }
    flush(&mut queues, true);
    assert!(queues.hot_units <= HOT_UNITS_TOTAL);
    assert!(!queues.plan_read(handles[0], QueueOffset(600), 10).unwrap().is_in_memory());
    assert!(queues.plan_read(many[1599], QueueOffset(500), 10).unwrap().is_in_memory());
    assert_holds(&queues, handles[0], 0..HOT_UNITS as u64 + 100);
    for queue in handles.into_iter().chain(many) {
        queues.remove(queue);
    }
    assert_eq!((queues.hot_units, queues.unflushed(), queues.hot.len()), (0, 0, 0));
}

#[test]
fn a_plan_of_queues_that_were_replaced_writes_nothing() {
    let medium = medium();
    let mut old = queues(&medium);
    let queue = create(&mut old, "t");
    push_range(&mut old, queue, 0..10);
    let plan = old.plan_flush().unwrap();
    drop(old);
    ConsumeQueues::wipe(&*medium.mount(), Path::new(DIR)).unwrap();
    let mut new = queues(&medium);
    plan.write(true).unwrap();
    assert!(!medium.mount().exists(&ConsumeQueues::path(Path::new(DIR), "t", 0)).unwrap());
    new.flushed(plan);
    let queue = new.open("t", 0, QueueOffset(0), QueueOffset(10)).unwrap();
    new.take_stock(queue, QueueOffset(10)).unwrap();
    assert_holds(&new, queue, 10..10);
}

#[test]
fn files_are_verified_unit_by_unit() {
    let medium = medium();
    let mut queues = queues(&medium);
    let queue = create(&mut queues, "t");
    let end = UNITS_PER_FILE + 50;
    push_range(&mut queues, queue, 0..end);
    flush(&mut queues, true);
    let expected = units(10..end + 7);
    let verify = || verify_queue(&*medium.mount(), Path::new(DIR), "t", 0, QueueOffset(10), &expected);
    assert_eq!(verify().unwrap(), end - 10, "the last 7 were never flushed");
    let second = ConsumeQueues::path(Path::new(DIR), "t", 0).join("00000000000006000000");
    medium.flip_bit(&second, 20 * 30 + 19, 0).unwrap();
    let e = verify().unwrap_err();
    assert!(matches!(&e, StoreError::Corrupt { path, offset: 600, .. } if *path == second), "{e}");
    medium.flip_bit(&second, 20 * 30 + 19, 0).unwrap();
    medium.mount().open(&second).unwrap().write_at(0, &[&[0; 20]]).unwrap();
    let e = verify().unwrap_err();
    assert!(matches!(&e, StoreError::Corrupt { path, offset: 0, .. } if *path == second), "a hole: {e}");
    medium.mount().remove(&second).unwrap();
    assert_eq!(verify().unwrap(), UNITS_PER_FILE - 10);
    let none = verify_queue(&*medium.mount(), Path::new(DIR), "u", 3, QueueOffset(0), &units(0..5));
    assert_eq!(none.unwrap(), 0);
}
