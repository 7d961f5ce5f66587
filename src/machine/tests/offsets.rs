//! Consumer offsets.

use super::*;

#[test]
fn offsets_go_forward_and_back_but_never_past_the_queues_end() {
    let mut world = World::with_topics(&["a"]);
    for _ in 0..10 {
        world.send(&[("a", 1, "x")]);
    }
    let taken = Outcome::Committed { taken: 1, refused: 0 };
    for (committed, held) in [(7, 7), (3, 3), (10, 10), (11, 10), (u64::MAX, 10)] {
        assert_eq!(world.commit("g", "a", 1, committed), taken);
        assert_eq!(world.machine.consumer_offset("g", "a", 1), Some(QueueOffset(held)));
    }
    assert_eq!(world.commit("g", "a", 0, 5), taken);
    assert_eq!(world.machine.consumer_offset("g", "a", 0), Some(QueueOffset(0)), "a queue without messages");
    assert_eq!(world.machine.consumer_offset("g", "a", 2), None);
    assert_eq!(world.machine.consumer_offset("other", "a", 1), None);
    assert_eq!(world.effects, []);
}

#[test]
fn a_batch_takes_what_it_can() {
    let mut world = World::with_topics(&["a"]);
    world.send(&[("a", 0, "x"), ("a", 1, "x")]);
    let commit = |topic: &str, queue, offset| OffsetCommit::new("g", topic, queue, QueueOffset(offset));
    let commits = vec![commit("a", 0, 1), commit("gone", 0, 1), commit("a", 4, 1), commit("a", 1, 1)];
    assert_eq!(world.run_one(Command::CommitOffsets { commits }), Outcome::Committed { taken: 2, refused: 2 });
    let held: Vec<_> = world.machine.consumer_offsets().collect();
    assert_eq!(held, [("g", "a", 0, QueueOffset(1)), ("g", "a", 1, QueueOffset(1))]);
}

#[test]
fn an_operators_reset_says_what_it_could_not_do() {
    let mut world = World::with_topics(&["a"]);
    world.send(&[("a", 0, "x"), ("a", 1, "x")]);
    let reset = |topic: &str, offsets: &[(u32, u64)]| Command::ResetOffsets {
        group: "g".to_owned(),
        topic: topic.to_owned(),
        offsets: offsets.to_vec(),
    };
    assert_eq!(world.run_one(reset("a", &[(0, 1), (1, 0)])), Outcome::Done);
    assert_eq!(world.run_one(reset("gone", &[(0, 1)])), Outcome::Refused(Refusal::TopicNotExist));
    assert_eq!(world.run_one(reset("a", &[(9, 1)])), Outcome::Refused(Refusal::QueueNotExist));
    let held: Vec<_> = world.machine.consumer_offsets().map(|(.., queue, offset)| (queue, offset.0)).collect();
    assert_eq!(held, [(0, 1), (1, 0)]);
}
