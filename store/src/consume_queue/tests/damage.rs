//! Units that are damaged or missing are noticed, never handed out, and made again as they were.

use super::*;

const QUEUE: &str = "/store/consumequeue/t/0";
const FIRST: &str = "/store/consumequeue/t/0/00000000000000000000";
const SUMS: &str = "/store/consumequeue/t/0/00000000000000000000.crc";

/// A queue whose first 2000 units are in files, and none in memory.
fn filled(medium: &MemoryDisk) -> (ConsumeQueues, QueueHandle) {
    let mut before = queues(medium);
    let queue = create(&mut before, "t");
    push_range(&mut before, queue, 0..2000);
    flush(&mut before, true);
    let mut queues = queues(medium);
    let queue = queues.open("t", 0, QueueOffset(0), QueueOffset(2000)).unwrap();
    (queues, queue)
}

fn bytes(range: std::ops::Range<u64>) -> Vec<u8> {
    units(range).into_iter().flat_map(Unit::to_bytes).collect()
}

/// Makes what is damaged again, up to `end`, in pieces that begin and end anywhere.
fn mend(queues: &mut ConsumeQueues, from: u64, end: u64) -> usize {
    let mut mends = queues.damaged();
    for mend in &mut mends {
        let mut first = from;
        while first < end {
            let next = end.min(first + 333);
            mend.write(QueueOffset(first), &bytes(first..next)).unwrap();
            first = next;
        }
    }
    let written = queues.written(QueueHandle(0));
    Mend::settle(Mend::finish(mends, &|_, _| Some(written)).unwrap())
}

fn contents(medium: &MemoryDisk) -> Vec<(PathBuf, Vec<u8>)> {
    let names = medium.mount().list(Path::new(QUEUE)).unwrap();
    let paths = names.into_iter().map(|name| Path::new(QUEUE).join(name));
    paths.map(|path| (path.clone(), medium.durable(&path).unwrap())).collect()
}

#[test]
fn a_flipped_bit_in_any_byte_of_units_or_sums_is_noticed_by_every_read_of_its_chunk_and_mended() {
    let medium = medium();
    let (mut queues, queue) = filled(&medium);
    let before = contents(&medium);
    let units_end = 2000 * 20;
    let places = (0..units_end).step_by(397).map(|at| (FIRST, at, at / 20));
    let sums = (0..10 * 8).step_by(3).map(|at| (SUMS, at, at / 8 * 204));
    for (path, at, unit) in places.chain(sums) {
        medium.flip_bit(Path::new(path), at, (at % 8) as u8).unwrap();
        let chunk = unit / 204 * 204;
        for from in [chunk, (chunk + 150).min(1999)] {
            let read = queues.read(queue, QueueOffset(from), 1, &mut Vec::new());
            assert!(matches!(read, Err(StoreError::Corrupt { .. })), "{path} {at}: {read:?}");
        }
        if chunk > 0 {
            assert_eq!(read(&queues, queue, chunk - 1, 1), units(chunk - 1..chunk), "the chunk before is sound");
        }
        let damaged = queues.damaged();
        assert_eq!(damaged.len(), 1, "noted once, however often it was read");
        assert_eq!(damaged[0].units(), QueueOffset(chunk)..QueueOffset((chunk + 204).min(2000)));
        assert_eq!(mend(&mut queues, chunk, 2000), 0);
        assert!(queues.damaged().is_empty());
        assert!(contents(&medium) == before, "{path} {at}");
    }
}

#[test]
fn lost_files_are_noticed_at_the_start_and_made_again_byte_by_byte() {
    for lost in [vec![FIRST], vec![SUMS], vec![FIRST, SUMS]] {
        let medium = medium();
        drop(filled(&medium));
        lost.iter().for_each(|path| medium.mount().remove(Path::new(path)).unwrap());
        let mut queues = queues(&medium);
        let queue = queues.open("t", 0, QueueOffset(0), QueueOffset(2000)).unwrap();
        queues.take_stock(queue, QueueOffset(0)).unwrap();
        assert_eq!(queues.damaged()[0].units(), QueueOffset(0)..QueueOffset(2000));
        // It goes on meanwhile: what comes is written behind what is missing, and not called sound.
        push_range(&mut queues, queue, 2000..2010);
        flush(&mut queues, true);
        assert!(queues.plan_scrub(queue, QueueOffset(1900), 200).unwrap().run(&mut Vec::new()).is_err());
        assert_eq!(mend(&mut queues, 0, 1990), 1, "not all of it");
        assert_eq!(mend(&mut queues, 0, 2005), 1, "a chunk without its last units");
        assert_eq!(mend(&mut queues, 0, 2010), 0);
        push_range(&mut queues, queue, 2010..2020);
        flush(&mut queues, true);
        let mut files = Vec::new();
        queues.plan_scrub(queue, QueueOffset(0), u64::MAX).unwrap().run(&mut files).unwrap();
        assert_eq!(files, units(0..2020));
        let reference = self::medium();
        let (mut queues, queue) = filled(&reference);
        push_range(&mut queues, queue, 2000..2020);
        flush(&mut queues, true);
        assert!(contents(&medium) == contents(&reference), "{lost:?}");
    }
}

#[test]
fn a_rebuild_of_all_files_gives_the_same_bytes() {
    let medium = medium();
    let mut queues = queues(&medium);
    let queue = create(&mut queues, "t");
    let end = UNITS_PER_FILE + 500;
    for (first, next) in [(0, 100), (100, 299_990), (299_990, end)] {
        push_range(&mut queues, queue, first..next);
        flush(&mut queues, first == 100);
    }
    flush(&mut queues, true);
    let before = contents(&medium);
    assert_eq!(before.len(), 4);
    drop(queues);
    ConsumeQueues::wipe(&*medium.mount(), Path::new(DIR)).unwrap();
    let mut queues = self::queues(&medium);
    let queue = queues.open("t", 0, QueueOffset(0), QueueOffset(end)).unwrap();
    queues.take_stock(queue, QueueOffset(0)).unwrap();
    assert_eq!(mend(&mut queues, 0, end), 0);
    assert_holds(&queues, queue, 0..end);
    assert!(contents(&medium) == before);
}

#[test]
fn a_rebuild_after_a_purge_blanks_what_the_log_no_longer_tells() {
    let medium = medium();
    drop(filled(&medium));
    ConsumeQueues::wipe(&*medium.mount(), Path::new(DIR)).unwrap();
    let mut queues = queues(&medium);
    let queue = queues.open("t", 0, QueueOffset(0), QueueOffset(2000)).unwrap();
    queues.take_stock(queue, QueueOffset(700)).unwrap();
    assert_eq!(mend(&mut queues, 650, 2000), 0);
    assert_holds(&queues, queue, 700..2000);
    // Down to the chunk that holds the min, which begins at 612.
    let content = medium.content(Path::new(FIRST)).unwrap();
    assert!(content[..700 * 20].iter().all(|byte| *byte == 0));
    let sums = medium.content(Path::new(SUMS)).unwrap();
    assert!(sums[..3 * 8].iter().all(|byte| *byte == 0) && sums[3 * 8] == 0 && sums[3 * 8 + 1] == 204);
    let dir = Path::new(DIR);
    let verified = verify_sums(&*medium.mount(), dir, "t", 0, (QueueOffset(700), QueueOffset(2000))).unwrap();
    assert_eq!(verified, QueueOffset(2000));
}

#[test]
fn units_that_end_up_below_the_min_need_no_mending() {
    let medium = medium();
    let (mut queues, queue) = filled(&medium);
    medium.flip_bit(Path::new(FIRST), 5, 1).unwrap();
    queues.read(queue, QueueOffset(0), 1, &mut Vec::new()).unwrap_err();
    queues.set_min(queue, QueueOffset(300));
    assert!(queues.damaged().is_empty());
    // The damage shares no chunk with what is held.
    assert_holds(&queues, queue, 300..2000);
    medium.flip_bit(Path::new(FIRST), 20 * 1000, 1).unwrap();
    queues.read(queue, QueueOffset(1000), 1, &mut Vec::new()).unwrap_err();
    queues.remove(queue);
    assert!(queues.damaged().is_empty());
}

#[test]
fn a_mend_of_a_queue_that_is_removed_meanwhile_comes_to_nothing() {
    let medium = medium();
    let (mut queues, queue) = filled(&medium);
    medium.flip_bit(Path::new(FIRST), 5, 1).unwrap();
    queues.read(queue, QueueOffset(0), 1, &mut Vec::new()).unwrap_err();
    let mut mends = queues.damaged();
    mends[0].write(QueueOffset(0), &bytes(0..100)).unwrap();
    let e = mends[0].write(QueueOffset(101), &bytes(101..102)).unwrap_err();
    assert!(e.to_string().contains("come behind 100"), "{e}");
    queues.remove(queue);
    mends[0].write(QueueOffset(100), &bytes(100..204)).unwrap();
    assert!(Mend::finish(mends, &|_, _| None).unwrap().is_empty());
    flush(&mut queues, true);
    assert!(!medium.mount().exists(Path::new(QUEUE)).unwrap());
}

#[test]
fn a_mend_of_queues_that_a_snapshot_replaced_writes_nothing() {
    let medium = medium();
    let (queues, queue) = filled(&medium);
    medium.flip_bit(Path::new(FIRST), 5, 1).unwrap();
    queues.read(queue, QueueOffset(0), 1, &mut Vec::new()).unwrap_err();
    let mut mends = queues.damaged();
    drop(queues);
    ConsumeQueues::wipe(&*medium.mount(), Path::new(DIR)).unwrap();
    assert!(matches!(mends[0].write(QueueOffset(0), &bytes(0..204)), Err(StoreError::Closed)));
    assert!(matches!(Mend::finish(mends, &|_, _| Some(QueueOffset(2000))), Err(StoreError::Closed)));
    assert!(!medium.mount().exists(Path::new(QUEUE)).unwrap());
}

#[test]
fn a_crash_at_every_operation_of_a_mend_leaves_units_sound_or_noticed() {
    for operations in 0.. {
        let medium = medium();
        let (queues, queue) = filled(&medium);
        medium.flip_bit(Path::new(FIRST), 20 * 1990 + 3, 1).unwrap();
        medium.flip_bit(Path::new(FIRST), 20 * 500, 1).unwrap();
        [500, 1990].iter().for_each(|at| drop(queues.read(queue, QueueOffset(*at), 1, &mut Vec::new()).unwrap_err()));
        medium.freeze_after(operations);
        let mut mends = queues.damaged();
        let written = mends[0].write(QueueOffset(0), &bytes(0..2000));
        let done = written.and_then(|()| Mend::finish(mends, &|_, _| Some(QueueOffset(2000))));
        medium.crash();
        let mut again = self::queues(&medium);
        let queue = again.open("t", 0, QueueOffset(0), QueueOffset(2000)).unwrap();
        for n in 0..2000 {
            let mut out = Vec::new();
            match again.read(queue, QueueOffset(n), 1, &mut out) {
                Ok(()) => assert_eq!(out, [unit(n)], "after {operations} operations"),
                Err(e) => assert!(done.is_err() && matches!(e, StoreError::Corrupt { .. }), "{e}"),
            }
        }
        if done.is_ok() {
            return;
        }
        assert_eq!(mend(&mut again, 0, 2000), 0);
        assert_holds(&again, queue, 0..2000);
    }
}

#[test]
fn sums_are_verified_with_the_units() {
    let medium = medium();
    let (mut queues, queue) = filled(&medium);
    push_range(&mut queues, queue, 2000..2300);
    flush(&mut queues, false);
    let verify = || verify_sums(&*medium.mount(), Path::new(DIR), "t", 0, (QueueOffset(10), QueueOffset(2300)));
    assert_eq!(verify().unwrap(), QueueOffset(2000), "the rest was not synced");
    for (path, at, chunk) in [(SUMS, 2, 0), (SUMS, 30, 3), (FIRST, 20 * 500 + 1, 2)] {
        medium.flip_bit(Path::new(path), at, 0).unwrap();
        let e = verify().unwrap_err();
        assert!(
            matches!(&e, StoreError::Corrupt { path, offset, .. } if *offset == chunk * 8 && path == Path::new(SUMS)),
            "{e}"
        );
        medium.flip_bit(Path::new(path), at, 0).unwrap();
    }
    medium.mount().open(Path::new(SUMS)).unwrap().write_at(16, &[&[0; 8]]).unwrap();
    assert!(verify().is_err(), "a sum is missing before one that is there");
}

#[test]
fn a_mend_that_ends_within_a_chunk_goes_on_to_the_chunks_end() {
    let medium = medium();
    drop(filled(&medium));
    let before = contents(&medium);
    medium.mount().remove(Path::new(FIRST)).unwrap();
    // At the next start the queue's units up to 1000 are in files, as far as a checkpoint says; the others come later.
    let mut queues = queues(&medium);
    let queue = queues.open("t", 0, QueueOffset(0), QueueOffset(1000)).unwrap();
    queues.take_stock(queue, QueueOffset(0)).unwrap();
    push_range(&mut queues, queue, 1000..2000);
    flush(&mut queues, true);
    let mut mends = queues.damaged();
    let [mend] = &mut mends[..] else { panic!("one queue: {mends:?}") };
    let end = mend.units().end.0;
    mend.write(QueueOffset(0), &bytes(0..end)).unwrap();
    assert!(!mend.is_written(), "units behind {end} have the same sum");
    mend.write(QueueOffset(end), &bytes(end..2000)).unwrap();
    assert!(mend.is_written());
    let written = queues.written(queue);
    assert_eq!(Mend::settle(Mend::finish(mends, &|_, _| Some(written)).unwrap()), 0);
    assert!(contents(&medium) == before);
}
