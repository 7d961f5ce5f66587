//! Topics and subscription groups.

use super::*;

#[test]
fn tbw102_is_there_from_the_start() {
    let world = World::new();
    let topic = world.machine.topic("TBW102").unwrap();
    assert_eq!((topic.read_queue_nums, topic.write_queue_nums, topic.perm), (8, 8, 7));
    assert_eq!(world.machine.counts(), Counts { topics: 0, messages: 0 });
}

#[test]
fn bootstrap_makes_rocketmqs_topics_and_groups_and_changes_nothing_the_second_time() {
    let mut world = World::new();
    let outcomes = world.run(bootstrap("C", "broker-a", 3));
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Done), "{outcomes:?}");
    let queues = |name: &str| world.machine.topic(name).map(|t| (t.read_queue_nums, t.write_queue_nums, t.perm));
    // As in the golden capture of RocketMQ 4.9.8's registration.
    assert_eq!(queues("SELF_TEST_TOPIC"), Some((1, 1, 6)));
    assert_eq!(queues("C"), Some((16, 16, 7)));
    assert_eq!(queues("broker-a"), Some((1, 1, 7)));
    assert_eq!(queues("C_REPLY_TOPIC"), Some((1, 1, 6)));
    assert_eq!(queues("BenchmarkTest"), Some((1024, 1024, 6)));
    assert_eq!(queues("OFFSET_MOVED_EVENT"), Some((1, 1, 6)));
    assert_eq!(world.machine.groups().count(), 7);
    let (topics, groups) = (world.machine.topic_version(), world.machine.group_version());
    let outcomes = world.run(bootstrap("C", "broker-a", 3));
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Unchanged), "{outcomes:?}");
    assert_eq!((world.machine.topic_version(), world.machine.group_version()), (topics, groups));
    assert_eq!(world.effects, []);
    assert_eq!(world.run_one(Command::AllocNodeId { request: 9 }), Outcome::NodeId(4));
}

#[test]
fn a_change_of_a_topic_is_told_once_and_raises_the_version() {
    let mut world = World::new();
    assert_eq!(world.create_topic("a", 4), Outcome::Done);
    assert_eq!(world.effects, [Effect::TopicsChanged(vec!["a".into()])]);
    let version = world.machine.topic_version();
    assert_eq!((version.counter, version.timestamp_ms), (1, world.time_ms));
    assert_eq!(world.create_topic("a", 4), Outcome::Unchanged);
    assert_eq!((world.machine.topic_version(), world.effects.len()), (version, 0));
    let config = TopicConfig::new("a", 8, 8, 6);
    let if_absent = Command::UpdateTopic { config: config.clone(), if_absent: true };
    assert_eq!(world.run_one(if_absent), Outcome::Unchanged, "automatic creation changes no existing topic");
    assert_eq!(world.machine.topic("a").unwrap().read_queue_nums, 4);
    let update = |perm| {
        let config = TopicConfig { perm, ..config.clone() };
        Command::UpdateTopic { config, if_absent: false }
    };
    assert_eq!(world.run(vec![update(6), update(4)]), [Outcome::Done, Outcome::Done]);
    assert_eq!(world.effects, [Effect::TopicsChanged(vec!["a".into()])]);
    assert_eq!(world.machine.topic_version().counter, 3);
    assert_eq!(world.machine.topic("a").unwrap().perm, 4);
}

#[test]
fn settings_out_of_range_are_refused() {
    let mut world = World::new();
    let good = TopicConfig::new("a", 4, 4, 6);
    let mut refuse = |config: TopicConfig, refusal| {
        let outcome = world.run_one(Command::UpdateTopic { config, if_absent: false });
        assert_eq!(outcome, Outcome::Refused(refusal));
    };
    for name in ["", "a.b", "../x", "a/b", &"t".repeat(128)] {
        refuse(TopicConfig { topic_name: name.to_owned(), ..good.clone() }, Refusal::BadTopicName);
    }
    for queues in [0, super::super::topics::MAX_QUEUES + 1] {
        refuse(TopicConfig { read_queue_nums: queues, ..good.clone() }, Refusal::BadQueueCount);
        refuse(TopicConfig { write_queue_nums: queues, ..good.clone() }, Refusal::BadQueueCount);
    }
    refuse(TopicConfig { perm: 16, ..good.clone() }, Refusal::BadPerm);
    let attributes = [("k".to_owned(), "v".repeat(super::super::topics::MAX_ATTRIBUTES_LEN))].into();
    assert_eq!(TopicConfig { attributes, ..good }.check(), Err(Refusal::AttributesTooLong));
    assert!(world.machine.topic("a").is_none());
    let group = SubscriptionGroupConfig { group_name: "a b".to_owned(), ..SubscriptionGroupConfig::new("g") };
    let outcome = world.run_one(Command::UpdateGroup { config: group, if_absent: false });
    assert_eq!(outcome, Outcome::Refused(Refusal::BadGroupName));
    assert_eq!(world.machine.groups().count(), 0);
}

#[test]
fn a_topic_deleted_and_created_again_starts_at_offset_0_without_its_old_messages() {
    let mut world = World::with_topics(&["a", "b"]);
    for _ in 0..200 {
        world.send(&[("a", 0, "old"), ("b", 0, "x")]);
    }
    world.flush(true);
    world.commit("g", "a", 0, 100);
    world.commit("g", "b", 0, 100);
    let before = world.machine.topic_incarnation("a").unwrap();
    assert_eq!(world.delete_topic("a"), Outcome::Done);
    assert_eq!(world.effects, [Effect::TopicsChanged(vec!["a".into()])]);
    assert!(world.machine.topic("a").is_none() && world.min_max("a", 0).is_none());
    assert_eq!(world.machine.consumer_offset("g", "a", 0), None);
    assert_eq!(world.machine.consumer_offset("g", "b", 0), Some(QueueOffset(100)));
    assert_eq!(world.delete_topic("a"), Outcome::Refused(Refusal::TopicNotExist));
    assert_eq!(world.send(&[("a", 0, "x")]).offset(0), Err(Refusal::TopicNotExist));

    assert_eq!(world.create_topic("a", 4), Outcome::Done);
    assert!(world.machine.topic_incarnation("a").unwrap() > before);
    assert_eq!(world.min_max("a", 0), Some((0, 0)));
    let appended = world.send(&[("a", 0, "new")]);
    assert_eq!(appended.offset(0), Ok(QueueOffset(0)));
    for sync in [false, true] {
        let mut units = Vec::new();
        world.machine.queue("a", 0).unwrap().read(QueueOffset(0), 10, &mut units).unwrap();
        assert_eq!(units.iter().map(|u| u.position).collect::<Vec<_>>(), [appended.position]);
        world.flush(sync);
    }
    assert_eq!(world.min_max("b", 0), Some((0, 200)));
}

#[test]
fn system_topics_are_not_deleted() {
    let mut world = World::new();
    assert_eq!(world.delete_topic("TBW102"), Outcome::Refused(Refusal::SystemTopic));
    assert!(world.machine.topic("TBW102").is_some());
}

#[test]
fn queues_above_a_lowered_count_keep_their_messages() {
    let mut world = World::with_topics(&["a"]);
    world.send(&[("a", 3, "x")]);
    world.create_topic("a", 2);
    assert_eq!(world.min_max("a", 3), Some((0, 1)));
    assert_eq!(world.min_max("a", 2), None, "one that never had a message is gone");
    assert_eq!(world.send(&[("a", 2, "x")]).offset(0), Err(Refusal::QueueNotExist));
    assert_eq!(world.send(&[("a", 3, "x")]).offset(0), Ok(QueueOffset(1)), "what was on its way still arrives");
}

#[test]
fn a_heartbeats_group_gets_its_retry_topic_once() {
    let mut world = World::new();
    let ensure = |group: &str| Command::EnsureRetryTopic { group: group.to_owned() };
    assert_eq!(world.run_one(ensure("g")), Outcome::Done);
    assert_eq!(world.effects, [Effect::TopicsChanged(vec!["%RETRY%g".into()])]);
    let topic = world.machine.topic("%RETRY%g").unwrap();
    assert_eq!((topic.read_queue_nums, topic.write_queue_nums, topic.perm), (1, 1, 6));
    assert_eq!(world.run_one(ensure("g")), Outcome::Unchanged);
    assert_eq!(world.effects, []);
    for (group, queues, exists) in [("three", 3, Some(3)), ("none", 0, None)] {
        let config = SubscriptionGroupConfig { retry_queue_nums: queues, ..SubscriptionGroupConfig::new(group) };
        world.run(vec![Command::UpdateGroup { config, if_absent: false }, ensure(group)]);
        assert_eq!(world.machine.topic(&names::retry_topic(group)).map(|t| t.write_queue_nums), exists);
    }
    let outcome = world.run_one(ensure(&"g".repeat(names::MAX_GROUP + 1)));
    assert_eq!(outcome, Outcome::Refused(Refusal::BadGroupName));
}

#[test]
fn groups_are_created_changed_and_deleted() {
    let mut world = World::with_topics(&["a"]);
    let config = SubscriptionGroupConfig::new("g");
    let update =
        |config: &SubscriptionGroupConfig, if_absent| Command::UpdateGroup { config: config.clone(), if_absent };
    assert_eq!(world.run_one(update(&config, true)), Outcome::Done);
    assert_eq!(world.effects, [Effect::GroupsChanged(vec!["g".into()])]);
    let other = SubscriptionGroupConfig { retry_max_times: 3, ..config };
    assert_eq!(world.run_one(update(&other, true)), Outcome::Unchanged);
    assert_eq!(world.run_one(update(&other, false)), Outcome::Done);
    assert_eq!(world.machine.group("g"), Some(&other));
    assert_eq!(world.machine.group_version().counter, 2);

    world.send(&[("a", 0, "x")]);
    world.commit("g", "a", 0, 1);
    let delete = |clean_offsets| Command::DeleteGroup { group: "g".to_owned(), clean_offsets };
    assert_eq!(world.run_one(delete(false)), Outcome::Done);
    assert_eq!(world.machine.group("g"), None);
    assert_eq!(world.machine.consumer_offset("g", "a", 0), Some(QueueOffset(1)));
    assert_eq!(world.run_one(delete(false)), Outcome::Refused(Refusal::GroupNotExist));
    assert_eq!(world.run_one(delete(true)), Outcome::Done, "offsets without settings");
    assert_eq!(world.machine.consumer_offset("g", "a", 0), None);
    assert_eq!(world.run_one(delete(true)), Outcome::Refused(Refusal::GroupNotExist));
}
