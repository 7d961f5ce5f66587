//! Commands the others do not cover: node ids, purge, what the machine does not know.

use super::*;

fn purge(world: &mut World, segment: u64) -> Outcome {
    world.run_one(Command::purge_to(PhysicalOffset(segment * SEGMENT)))
}

#[test]
fn a_purge_leaves_what_lies_at_or_above_the_segment_start() {
    let mut world = World::with_topics(&["a"]);
    while world.layout.end < 10 * SEGMENT {
        world.send(&[("a", 0, "x"), ("a", 0, "x")]);
        if world.layout.end < 3 * SEGMENT {
            world.send(&[("a", 1, "only early")]);
        } else if world.layout.end > 8 * SEGMENT {
            world.send(&[("a", 2, "only late")]);
        }
    }
    let before = all_units(&world.machine);
    assert_eq!(purge(&mut world, 5), Outcome::Done);
    assert_eq!(world.effects, [Effect::Purged { to: PhysicalOffset(5 * SEGMENT) }]);
    assert_eq!(world.machine.retained_from(), PhysicalOffset(5 * SEGMENT));
    for ((topic, queue, min, units), (_, _, _, units_before)) in all_units(&world.machine).into_iter().zip(&before) {
        let expected: Vec<_> = units_before.iter().filter(|u| u.position.0 >= 5 * SEGMENT).copied().collect();
        assert_eq!(units, expected, "{topic}/{queue}");
        assert_eq!(min as usize, units_before.len() - expected.len(), "{topic}/{queue}");
    }
    assert_eq!(world.min_max("a", 1).map(|(min, max)| min == max && max > 0), Some(true), "emptied, its offsets go on");
    let (_, max) = world.min_max("a", 1).unwrap();
    assert_eq!(world.send(&[("a", 1, "x")]).offset(0), Ok(QueueOffset(max)));
    assert_eq!(purge(&mut world, 5), Outcome::Unchanged);
    assert_eq!(purge(&mut world, 4), Outcome::Unchanged);
    assert_eq!(world.effects, []);
}

#[test]
fn a_purge_that_is_no_segment_start_or_takes_the_last_segment_is_refused() {
    let mut world = World::with_topics(&["a"]);
    while world.layout.end < 2 * SEGMENT + 100 {
        world.send(&[("a", 0, "x")]);
    }
    let refused = Outcome::Refused(Refusal::BadPurge);
    assert_eq!(world.run_one(Command::purge_to(PhysicalOffset(SEGMENT + 1))), refused);
    assert_eq!(purge(&mut world, 3), refused);
    assert_eq!(world.machine.retained_from(), PhysicalOffset(0));
    assert_eq!(purge(&mut world, 2), Outcome::Done);
}

#[test]
fn a_purge_reads_no_file() {
    let mut world = World::with_topics(&["a"]);
    while world.layout.end < 6 * SEGMENT {
        world.send(&[("a", 0, "x")]);
    }
    world.flush(true);
    // While the log is replayed, files may be gone that a later deletion or purge has removed.
    world.medium.mount().remove_dir_all(&Path::new(DIR).join("consumequeue")).unwrap();
    assert_eq!(purge(&mut world, 3), Outcome::Done);
    assert!(world.min_max("a", 0).is_some_and(|(min, max)| 0 < min && min < max));
}

#[test]
fn node_ids_are_given_out_once() {
    let mut world = World::new();
    let outcomes = world.run(vec![
        Command::ReserveNodeIds { up_to: 3 },
        Command::AllocNodeId { request: 1 },
        Command::AllocNodeId { request: 2 },
        Command::AllocNodeId { request: 1 },
        Command::ReserveNodeIds { up_to: 3 },
    ]);
    let expected = [Outcome::Done, Outcome::NodeId(4), Outcome::NodeId(5), Outcome::NodeId(4), Outcome::Unchanged];
    assert_eq!(outcomes, expected);
    assert_eq!(world.machine.last_node_id(), 5);
}

#[test]
fn an_unknown_command_stops_the_node() {
    let mut world = World::new();
    let mut body = Command::AllocNodeId { request: 1 }.at(0).encode().unwrap().to_vec();
    body[0] = 9;
    let e = world.apply(Kind::Command, body.into()).unwrap_err();
    assert!(e.to_string().contains("version 9"), "{e}");
}

#[test]
fn blank_and_membership_entries_change_the_digest_alone() {
    let mut world = World::with_topics(&["a"]);
    let state = |world: &World| (world.machine.topic_version(), world.machine.counts(), world.machine.time_ms());
    let before = (state(&world), world.machine.digest());
    assert_eq!(world.apply(Kind::Blank, Bytes::new()).unwrap(), Reply::Nothing);
    assert_eq!(world.apply(Kind::Membership, Bytes::from_static(b"m")).unwrap(), Reply::Nothing);
    assert_eq!(state(&world), before.0);
    assert_ne!(world.machine.digest(), before.1);
    assert_eq!(world.effects, []);
    assert!(world.apply(Kind::Filler, Bytes::new()).is_err());
}
