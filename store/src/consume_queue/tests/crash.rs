//! Crashes at every operation.

use super::*;

/// Every crash point of a life with appends, flushes, retention, deletion and recreation: what a synced plan covered is
/// there again.
#[test]
fn synced_units_survive_a_crash_at_every_operation() {
    let mut crashes = 0;
    for operations in 0.. {
        let medium = medium();
        medium.freeze_after(operations);
        let synced = live(&medium);
        let finished = !medium.is_frozen();
        medium.crash();
        let mut queues = queues(&medium);
        for (topic, (min, next, life)) in &synced {
            let queue = queues.open(topic, 0, QueueOffset(*min), QueueOffset(*next)).unwrap();
            let expected: Vec<_> = (*min..*next).map(|n| unit(n + life * 1_000_000)).collect();
            assert_eq!(read(&queues, queue, *min, usize::MAX), expected, "{topic} after {operations} operations");
            // As a replay does: from an older checkpoint, or from this one.
            let half = min + (next - min) / 2;
            let queue = queues.open(topic, 0, QueueOffset(*min), QueueOffset(half)).unwrap();
            for n in half..next + 100 {
                queues.push(queue, unit(n + life * 1_000_000));
            }
            flush(&mut queues, operations % 2 == 0);
            let expected: Vec<_> = (*min..next + 100).map(|n| unit(n + life * 1_000_000)).collect();
            let mut files = Vec::new();
            queues.plan_scrub(queue, QueueOffset(0), u64::MAX).unwrap().run(&mut files).unwrap();
            assert_eq!(files, expected, "{topic} after {operations} operations, replayed");
            assert!(queues.damaged().is_empty());
        }
        crashes += 1;
        if finished {
            break;
        }
    }
    assert!(crashes > 30, "{crashes} crash points");
}

/// Runs until done or frozen; answers topic → (min, next, life) as of the last synced plan.
fn live(medium: &MemoryDisk) -> Vec<(&'static str, (u64, u64, u64))> {
    let mut synced = Vec::new();
    let mut queues = queues(medium);
    let mut life = 0;
    let (mut a, b) = (create(&mut queues, "a"), create(&mut queues, "b"));
    for round in 0..6_u64 {
        for _ in 0..round * 40 + 5 {
            let next = queues.next(a).0;
            queues.push(a, unit(next + life * 1_000_000));
            let next = queues.next(b).0;
            queues.push(b, unit(next));
        }
        if round == 3 {
            queues.remove(a);
            a = create(&mut queues, "a");
            life += 1;
            queues.push(a, unit(life * 1_000_000));
            // From here on "a" is its new life; until that is synced, a checkpoint of the old one may find it gone.
            synced.retain(|(topic, _)| *topic != "a");
        }
        queues.set_min(b, QueueOffset(round * 3));
        let sync = round % 2 == 1;
        let Some(plan) = queues.plan_flush() else { return synced };
        if plan.write(sync).is_err() {
            return synced;
        }
        queues.flushed(plan);
        if sync {
            let at = |queue, life| (queues.min(queue).0, queues.next(queue).0, life);
            synced = vec![("a", at(a, life)), ("b", at(b, 0))];
        }
    }
    synced
}
