//! Records: offsets, units, refusals.

use quorumq_store::record;

use super::*;

fn offsets(appended: &Appended) -> Vec<Result<u64, Refusal>> {
    (0..appended.len()).map(|i| appended.offset(i).map(|offset| offset.0)).collect()
}

#[test]
fn offsets_are_dense_per_queue_across_entries() {
    let mut world = World::with_topics(&["a", "b"]);
    let first = world.send(&[("a", 0, "x"), ("a", 1, "x"), ("b", 0, "x"), ("a", 0, "x")]);
    assert_eq!(offsets(&first), [Ok(0), Ok(0), Ok(0), Ok(1)]);
    let second = world.send(&[("a", 0, "x"), ("b", 0, "x")]);
    assert_eq!(offsets(&second), [Ok(2), Ok(1)]);
    assert_eq!(world.min_max("a", 0), Some((0, 3)));
    assert_eq!(world.min_max("a", 1), Some((0, 1)));
    assert_eq!(world.min_max("a", 2), Some((0, 0)), "a queue without messages is there all the same");
    assert_eq!(world.min_max("a", 4), None);
    assert_eq!(world.min_max("nope", 0), None);
    assert_eq!(world.machine.counts().messages, 6);
}

#[test]
fn units_point_at_the_records_in_the_log() {
    let mut world = World::with_topics(&["a"]);
    for _ in 0..50 {
        world.send(&[("a", 0, "TagA"), ("a", 1, "b"), ("a", 0, "")]);
    }
    // The log as bytes, to look the records up in.
    let mut log = vec![0; world.layout.end as usize];
    for entry in &world.layout.entries {
        let at = (entry.position.0 + HEADER_LEN) as usize;
        log[at..at + entry.body.len()].copy_from_slice(&entry.body);
    }
    let mut seen = 0;
    for (topic, queue, _, units) in all_units(&world.machine) {
        let mut last = PhysicalOffset(0);
        for unit in units {
            let record = record::Record::parse(&log[unit.position.0 as usize..]).unwrap();
            assert_eq!((record.topic(), record.queue_id()), (topic.as_str(), queue));
            assert_eq!((record.len() as u32, record.tags_code()), (unit.size, unit.tags_code));
            assert!(unit.position > last, "a ConsumeQueue only points forward");
            last = unit.position;
            seen += 1;
        }
    }
    assert_eq!(seen, 150);
}

#[test]
fn the_reply_names_the_first_records_position() {
    let mut world = World::with_topics(&["a"]);
    let appended = world.send(&[("a", 0, "x")]);
    let entry = world.layout.entries.last().unwrap();
    assert_eq!(appended.position, entry.position + 48);
    let mut units = Vec::new();
    world.machine.queue("a", 0).unwrap().read(QueueOffset(0), 1, &mut units).unwrap();
    assert_eq!(units[0].position, appended.position);
}

#[test]
fn a_record_without_a_topic_or_queue_is_refused_and_the_others_are_not() {
    let mut world = World::with_topics(&["a"]);
    let appended = world.send(&[("a", 0, "x"), ("gone", 0, "x"), ("a", 4, "x"), ("a", 0, "x")]);
    assert_eq!(offsets(&appended), [Ok(0), Err(Refusal::TopicNotExist), Err(Refusal::QueueNotExist), Ok(1)]);
    assert_eq!(world.machine.counts().messages, 2);
    // The position of a record counts the refused ones before it.
    let mut units = Vec::new();
    world.machine.queue("a", 0).unwrap().read(QueueOffset(0), 9, &mut units).unwrap();
    let entry = world.layout.entries.last().unwrap();
    let at: Vec<_> = record::records(&entry.body).map(|(at, _)| at as u64).collect();
    assert_eq!(units.iter().map(|u| u.position).collect::<Vec<_>>(), [appended.position, appended.position + at[3]]);
}

#[test]
fn an_entry_says_once_which_queues_it_touched() {
    let mut world = World::with_topics(&["a", "b"]);
    world.send(&[("a", 1, "x"), ("b", 0, "x"), ("a", 1, "x"), ("nope", 0, "x"), ("a", 0, "x"), ("a", 1, "x")]);
    let arrival = |topic: &str, queue_id, next| Arrival { topic: topic.into(), queue_id, next: QueueOffset(next) };
    let arrivals = vec![arrival("a", 1, 3), arrival("b", 0, 1), arrival("a", 0, 1)];
    assert_eq!(world.effects, [Effect::MessagesArrived(arrivals)]);
    world.send(&[("a", 1, "x")]);
    assert_eq!(world.effects, [Effect::MessagesArrived(vec![arrival("a", 1, 4)])]);
    world.send(&[("nope", 0, "x")]);
    assert_eq!(world.effects, []);
}

#[test]
fn the_machines_time_is_the_latest_it_was_told() {
    let mut world = World::with_topics(&["a"]);
    world.time_ms = 5_000;
    world.send(&[("a", 0, "x")]);
    assert_eq!(world.machine.time_ms(), 5_001);
    world.time_ms = 100;
    world.send(&[("a", 0, "x")]);
    assert_eq!(world.machine.time_ms(), 5_001, "it never goes back");
}

#[test]
fn bytes_that_are_no_record_stop_the_node() {
    let mut world = World::with_topics(&["a"]);
    let mut body = body_of(&[("a", 0, "x"), ("a", 0, "x")], 1).to_vec();
    body.truncate(body.len() - 1);
    let e = world.apply(Kind::Records, body.into()).unwrap_err();
    assert!(e.to_string().contains("no record"), "{e}");
}

#[test]
fn entries_are_applied_in_order_or_not_at_all() {
    let mut world = World::with_topics(&["a"]);
    let mut entry = world.layout.push(Kind::Blank, Bytes::new());
    entry.id.index = entry.id.index.next();
    let e = world.machine.apply(&entry, &mut Vec::new()).unwrap_err();
    assert!(e.to_string().contains("comes next"), "{e}");
    entry.id.index = LogIndex(entry.id.index.0 - 1);
    assert_eq!(world.machine.apply(&entry, &mut Vec::new()).unwrap(), Reply::Nothing);
    assert!(world.machine.apply(&entry, &mut Vec::new()).is_err(), "once only");
    assert_eq!(world.machine.applied(), Some(entry.id));
}
