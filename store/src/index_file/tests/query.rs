//! Chains, collisions and time bounds.

use super::*;

fn between(index: &IndexFiles, key: &str, begin: i64, end: i64, max: usize) -> (Vec<u64>, bool) {
    let found =
        index.plan_query("T", key.as_bytes(), START_MS + begin, START_MS.saturating_add(end), max).run().unwrap();
    (found.positions.into_iter().map(|position| position.0).collect(), found.is_whole)
}

/// Runs `check` with everything in memory, with units in files, with all but one in a file, and with all in sealed files.
fn in_every_place(fill: impl Fn(&mut IndexFiles), last: impl Fn(&mut IndexFiles), check: impl Fn(&IndexFiles)) {
    let medium = medium();
    let mut index = open_sized(&medium, IndexSizes { slots: 2, units: 100 }, 0, 0);
    fill(&mut index);
    flush(&mut index, false, false);
    last(&mut index);
    check(&index);
    assert!(!index.plan_query("T", b"a", 0, i64::MAX, 99).is_in_memory());
    flush(&mut index, false, false);
    check(&index);
    index.roll(PhysicalOffset(SEGMENT));
    check(&index);
    flush(&mut index, false, true);
    check(&index);
    drop(index);
    let index = open_sized(&medium, IndexSizes { slots: 2, units: 100 }, 0, SEGMENT);
    check(&index);

    let medium = self::medium();
    let mut index = open_sized(&medium, IndexSizes { slots: 2, units: 100 }, 0, 0);
    fill(&mut index);
    last(&mut index);
    check(&index);
    assert!(index.plan_query("T", b"a", 0, i64::MAX, 99).is_in_memory());
}

#[test]
fn keys_of_one_slot_and_of_one_hash_share_a_chain() {
    // T#Aa and T#BB have one hash, T#a is in the other slot or the same: there are two.
    let fill = |index: &mut IndexFiles| {
        for n in 0..10 {
            put(index, 100 + n * 10, START_MS, ["Aa", "BB", "a", "b"][n as usize % 4]);
        }
    };
    let last = |index: &mut IndexFiles| put(index, 900, START_MS, "Aa");
    in_every_place(fill, last, |index| {
        assert_eq!(find(index, "Aa"), [900, 190, 180, 150, 140, 110, 100], "the caller tells Aa from BB");
        assert_eq!(find(index, "Aa"), find(index, "BB"));
        assert_eq!(find(index, "a"), [160, 120]);
        assert_eq!(find(index, "b"), [170, 130]);
        assert_eq!(find(index, "c"), [0; 0]);
        assert_eq!(find_of(index, "U", "a"), [0; 0], "another topic's key");
        assert_eq!(between(index, "Aa", 0, 0, 3), (vec![900, 190, 180], false));
        assert_eq!(between(index, "Aa", 0, 0, 0).0, [0; 0]);
        assert_eq!(index.last(), Some((START_MS, PhysicalOffset(900))));
    });
}

#[test]
fn whatever_may_lie_within_the_times_is_found_as_a_unit_tells_whole_seconds_only() {
    let fill = |index: &mut IndexFiles| {
        for (n, ms) in [0, 999, 1000, 2500, 2999].into_iter().enumerate() {
            put(index, 100 + n as u64, START_MS + ms, "a");
        }
    };
    let last = |index: &mut IndexFiles| put(index, 900, START_MS + 5000, "a");
    in_every_place(fill, last, |index| {
        assert_eq!(between(index, "a", 0, 10_000, 99), (vec![900, 104, 103, 102, 101, 100], true));
        assert_eq!(between(index, "a", 1000, 2000, 99), (vec![104, 103, 102], true), "both ends count");
        assert_eq!(between(index, "a", 0, 0, 99).0, [101, 100], "999 ms are no second");
        assert_eq!(between(index, "a", 500, 999, 99).0, [101, 100]);
        assert_eq!(between(index, "a", 2001, 4999, 99).0, [104, 103]);
        assert_eq!(between(index, "a", 3000, 4999, 99).0, [0; 0]);
        assert_eq!(between(index, "a", 5000, i64::MAX, 99).0, [900]);
        assert_eq!(between(index, "a", 5001, i64::MAX, 99).0, [0; 0]);
        assert_eq!(between(index, "a", -5000, -1, 99).0, [0; 0]);
        assert_eq!(between(index, "a", 2000, 1000, 99).0, [0; 0], "an end before the begin");
    });
}

#[test]
fn a_record_that_has_a_key_twice_is_one_candidate() {
    let medium = medium();
    let mut index = open(&medium, 0, 0);
    index.push(PhysicalOffset(48), START_MS, "T", [&b"a"[..], b"b", b"a"]);
    index.push(PhysicalOffset(148), START_MS, "T", []);
    assert_eq!((find(&index, "a"), find(&index, "b")), (vec![48], vec![48]));
    assert_eq!(index.unflushed(), 3);
}

#[test]
fn a_query_looks_at_so_many_units_and_says_that_there_is_more() {
    let medium = medium();
    let mut index = open_sized(&medium, IndexSizes { slots: 1, units: 200_000 }, 0, 0);
    for n in 0..u64::from(MAX_STEPS) {
        index.push(PhysicalOffset(n / 100), START_MS + (n / 10) as i64, "T", [&b"b"[..]]);
    }
    put(&mut index, 700, START_MS + 10_000, "a");
    let found = index.plan_query("T", b"a", 0, i64::MAX, 99).run().unwrap();
    assert_eq!((found.positions, found.is_whole), (vec![PhysicalOffset(700)], false));
    flush(&mut index, false, false);
    let found = index.plan_query("T", b"a", 0, i64::MAX, 99).run().unwrap();
    assert_eq!((found.positions, found.is_whole), (vec![PhysicalOffset(700)], false));
}

#[test]
fn a_query_of_files_that_were_dropped_meanwhile_finds_nothing_in_them() {
    let medium = medium();
    let mut index = open(&medium, 0, 0);
    put(&mut index, 48, START_MS, "a");
    put(&mut index, SEGMENT + 48, START_MS, "a");
    index.roll(PhysicalOffset(2 * SEGMENT));
    flush(&mut index, false, true);
    let (before, during) = (index.plan_query("T", b"a", 0, i64::MAX, 9), index.plan_query("T", b"a", 0, i64::MAX, 9));
    assert_eq!(before.run().unwrap().positions, [PhysicalOffset(SEGMENT + 48), PhysicalOffset(48)]);
    index.drop_below(PhysicalOffset(SEGMENT));
    let found = during.run().unwrap();
    assert_eq!((found.positions, found.is_stale), (vec![PhysicalOffset(SEGMENT + 48)], true), "it is to be asked anew");
    flush(&mut index, false, true);
    assert_eq!(during.run().unwrap().positions, [PhysicalOffset(SEGMENT + 48)]);
    assert_eq!(find(&index, "a"), [SEGMENT + 48]);
}

/// Queries run without the index's lock while it is filled, flushed, rolled and dropped.
#[test]
fn queries_run_beside_everything_else() {
    use std::sync::atomic::AtomicBool;
    use std::sync::{Barrier, RwLock};
    let medium = medium();
    let index = RwLock::new(open_sized(&medium, IndexSizes { slots: 3, units: 50 }, 0, 0));
    let (done, start) = (AtomicBool::new(false), Barrier::new(2));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            start.wait();
            let mut found_most = 0;
            loop {
                let (query, (_, newest)) = {
                    let index = index.read().unwrap();
                    (index.plan_query("T", b"a", 0, i64::MAX, 100), index.last().unwrap())
                };
                let found = query.run().unwrap().positions;
                // Every hundredth byte holds a record; retention may have taken the oldest meanwhile, from the end.
                assert_eq!(found[0], newest);
                assert!(found.windows(2).all(|pair| pair[0].0 == pair[1].0 + 100), "{found:?}");
                found_most = found_most.max(found.len());
                if done.load(Ordering::Acquire) {
                    break;
                }
            }
            assert!(found_most > 50, "{found_most}");
        });
        for n in 0..4000 {
            let mut filled = index.write().unwrap();
            put(&mut filled, n * 100, START_MS + n as i64, "a");
            if n == 100 {
                drop(filled);
                start.wait();
                continue;
            }
            if n % 500 == 499 {
                let from = filled.segment_of(PhysicalOffset((n - 300) * 100));
                filled.drop_below(from);
            }
            let plan = if n % 7 == 0 { filled.plan_flush(n % 3 == 0) } else { None };
            drop(filled);
            if let Some(plan) = plan {
                plan.write(n % 2 == 0).unwrap();
                index.write().unwrap().flushed(plan);
            }
        }
        done.store(true, Ordering::Release);
    });
}
