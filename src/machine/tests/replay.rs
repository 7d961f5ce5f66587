//! One log, one state: however it was applied, interrupted, restored.

use super::*;

/// A small generator of numbers that look random: tests must repeat.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }

    fn topic(&mut self) -> &'static str {
        ["a", "b", "%RETRY%g", "nope"][self.below(4) as usize]
    }

    fn command(&mut self, end: u64) -> Command {
        let topic = self.topic().to_owned();
        let group = ["g", "h"][self.below(2) as usize].to_owned();
        match self.below(12) {
            0 => Command::DeleteTopic { topic },
            1..=3 => {
                let config = TopicConfig::new(&topic, 1 + self.below(4) as u32, 1 + self.below(4) as u32, 6);
                Command::UpdateTopic { config, if_absent: self.below(2) == 0 }
            }
            4 => Command::EnsureRetryTopic { group },
            5 => Command::UpdateGroup { config: SubscriptionGroupConfig::new(&group), if_absent: false },
            6 => Command::DeleteGroup { group, clean_offsets: self.below(2) == 0 },
            7 => Command::AllocNodeId { request: u128::from(self.below(5)) },
            8 => Command::purge_to(PhysicalOffset(self.below(1 + end / SEGMENT) * SEGMENT)),
            9 => Command::ResetOffsets { group, topic, offsets: vec![(0, self.below(20))] },
            _ => {
                let offset = QueueOffset(self.below(50));
                Command::CommitOffsets {
                    commits: vec![OffsetCommit::new(&group, &topic, self.below(4) as u32, offset)],
                }
            }
        }
    }
}

/// A log of everything the machine knows.
fn random_log(seed: u64, entries: usize) -> Vec<Entry> {
    let mut numbers = Numbers(seed * 2 + 1);
    let mut layout = Layout::default();
    for i in 0..entries {
        let time_ms = 1_000 + i as i64;
        match numbers.below(10) {
            0 => layout.push(Kind::Blank, Bytes::new()),
            1 => layout.push(Kind::Membership, Bytes::from_static(b"members")),
            2..=4 => {
                let commands = (0..=numbers.below(3)).map(|_| numbers.command(layout.end)).collect();
                layout.push(Kind::Command, CommandBatch { time_ms, commands }.encode().unwrap())
            }
            _ => {
                let count = 1 + numbers.below(5);
                let messages: Vec<_> = (0..count).map(|_| (numbers.topic(), numbers.below(4) as u32, "t")).collect();
                layout.push(Kind::Records, body_of(&messages, time_ms))
            }
        };
    }
    layout.entries
}

fn apply_all(machine: &mut Machine, entries: &[Entry]) {
    entries.iter().for_each(|entry| drop(machine.apply(entry, &mut Vec::new()).unwrap()));
}

#[test]
fn the_random_log_does_what_it_is_meant_to() {
    let medium = medium();
    let mut machine = machine(&medium);
    let mut outcomes = std::collections::BTreeMap::new();
    for entry in random_log(1, 2000) {
        match machine.apply(&entry, &mut Vec::new()).unwrap() {
            Reply::Commands(replies) => replies.iter().for_each(|reply| {
                *outcomes.entry(format!("{reply:?}").split(['(', ' ']).next().unwrap().to_owned()).or_insert(0) += 1;
            }),
            Reply::Appended(appended) => (0..appended.len()).for_each(|i| {
                *outcomes.entry(format!("offset {}", appended.offset(i).is_ok())).or_insert(0) += 1;
            }),
            Reply::Nothing => {}
        }
    }
    for kind in ["Done", "Unchanged", "Committed", "NodeId", "Refused", "offset true", "offset false"] {
        assert!(outcomes.get(kind).is_some_and(|n| *n > 20), "{kind}: {outcomes:?}");
    }
    assert!(machine.retained_from().0 > 0);
}

#[test]
fn restored_at_any_point_the_log_leads_to_the_same_state_digest_and_units() {
    for seed in 0..20 {
        let entries = random_log(seed, 400);
        let whole = medium();
        let mut reference = machine(&whole);
        apply_all(&mut reference, &entries);

        let medium = medium();
        let mut numbers = Numbers(seed * 7 + 3);
        let mut machine = machine(&medium);
        let mut at = 0;
        while at < entries.len() {
            // A checkpoint: the state, and every unit below it durable.
            let state = machine.encode();
            flush(&mut machine, true);
            let checkpoint = at;
            let crash_at = entries.len().min(at + 1 + numbers.below(120) as usize);
            for entry in &entries[at..crash_at] {
                machine.apply(entry, &mut Vec::new()).unwrap();
                if numbers.below(20) == 0 {
                    flush(&mut machine, numbers.below(3) == 0);
                }
            }
            // The process or the machine dies; the next one starts from the checkpoint.
            if numbers.below(2) == 0 {
                medium.crash()
            } else {
                medium.kill()
            }
            machine = self::machine(&medium);
            machine.restore(&state).unwrap();
            assert_eq!(machine.encode(), state);
            // It may flush while it replays.
            for entry in &entries[checkpoint..crash_at] {
                machine.apply(entry, &mut Vec::new()).unwrap();
                if numbers.below(20) == 0 {
                    flush(&mut machine, numbers.below(3) == 0);
                }
            }
            at = crash_at;
        }
        assert_eq!(machine.digest(), reference.digest(), "seed {seed}");
        assert_eq!(machine.encode(), reference.encode(), "seed {seed}");
        assert_eq!(all_units(&machine), all_units(&reference), "seed {seed}");
        flush(&mut machine, true);
        assert_eq!(all_units(&machine), all_units(&reference), "seed {seed}, from files");
    }
}

#[test]
fn a_member_that_starts_from_a_snapshot_reaches_the_same_state() {
    for seed in 0..10 {
        let entries = random_log(seed, 600);
        let reference_medium = medium();
        let mut reference = machine(&reference_medium);
        // The state at the first segment start past the middle.
        let middle = entries[entries.len() / 2].position.0.next_multiple_of(SEGMENT);
        let split = entries.iter().position(|entry| entry.position.0 >= middle).unwrap();
        apply_all(&mut reference, &entries[..split]);
        let snapshot = reference.encode();
        apply_all(&mut reference, &entries[split..]);

        // A lagging member: it had applied something else so far, and its ConsumeQueues are wiped.
        let medium = medium();
        let mut member = machine(&medium);
        apply_all(&mut member, &entries[..split / 3]);
        flush(&mut member, true);
        quorumq_store::consume_queue::ConsumeQueues::wipe(&*medium.mount(), Path::new(DIR)).unwrap();
        member.restore(&snapshot).unwrap();
        member.start(PhysicalOffset(middle), PhysicalOffset(middle)).unwrap();
        assert!(member.damaged_queues().is_empty());
        assert_eq!(member.encode(), snapshot);
        for (_, _, _, units) in all_units(&member) {
            assert_eq!(units, [], "no message below the snapshot can be read here");
        }
        for (i, entry) in entries[split..].iter().enumerate() {
            member.apply(entry, &mut Vec::new()).unwrap();
            if i % 37 == 0 {
                flush(&mut member, true);
            }
        }
        assert_eq!((member.digest(), member.encode()), (reference.digest(), reference.encode()), "seed {seed}");
        let above = |machine: &Machine| {
            let mut all = all_units(machine);
            all.iter_mut().for_each(|(_, _, min, units)| {
                units.retain(|unit| unit.position.0 >= middle);
                *min = 0;
            });
            all
        };
        assert_eq!(above(&member), above(&reference), "seed {seed}");
        // And again after a restart.
        let state = member.encode();
        flush(&mut member, true);
        medium.crash();
        let mut member = machine(&medium);
        member.restore(&state).unwrap();
        member.start(PhysicalOffset(middle), PhysicalOffset(middle)).unwrap();
        assert!(member.damaged_queues().is_empty());
        assert_eq!(above(&member), above(&reference), "seed {seed}, restarted");
    }
}

#[test]
fn consume_queue_files_equal_those_made_again_from_the_log() {
    let mut world = World::with_topics(&["a", "b"]);
    let send =
        |world: &mut World, n| (0..n).for_each(|_| drop(world.send(&[("a", 0, "x"), ("b", 3, "y"), ("a", 1, "z")])));
    send(&mut world, 500);
    world.flush(true);
    send(&mut world, 10);

    let mut again = machine(&medium());
    apply_all(&mut again, &world.layout.entries);
    let (disk, dir) = (world.medium.mount(), Path::new(DIR));
    let verified = again.verify_queues(&*disk, dir, None).unwrap();
    assert_eq!(verified, VerifiedQueues { queues: 3, units: 1500, unflushed: 30 });
    let path = dir.join("consumequeue/b/3/00000000000000000000");
    world.medium.flip_bit(&path, 123, 4).unwrap();
    let e = again.verify_queues(&*disk, dir, None).unwrap_err().to_string();
    assert_eq!(e, "corrupt ConsumeQueue unit in /store/consumequeue/b/3/00000000000000000000 at byte 120");
}

#[test]
fn equal_logs_have_equal_digests_and_one_different_reply_changes_all_that_follow() {
    let digests = |prepare: &dyn Fn(&mut Machine)| {
        let medium = medium();
        let mut machine = machine(&medium);
        prepare(&mut machine);
        let entries = random_log(3, 200);
        let digests = entries.iter().map(|entry| {
            machine.apply(entry, &mut Vec::new()).unwrap();
            machine.digest()
        });
        digests.collect::<Vec<u64>>()
    };
    let reference = digests(&|_| {});
    assert_eq!(reference, digests(&|_| {}));
    // A member that believes it has a topic it has not: its replies differ from the first record on.
    let other = digests(&|machine| {
        machine.topics.update(TopicConfig::new("nope", 4, 4, 6), false, 0).unwrap();
    });
    let first = reference.iter().zip(&other).position(|(a, b)| a != b).expect("it shows");
    assert!(reference[first..].iter().zip(&other[first..]).all(|(a, b)| a != b));
    // One that lost a node id.
    let other = digests(&|machine| assert_eq!(machine.members.alloc(99), 1));
    assert_ne!(reference.last(), other.last());
}

#[test]
fn a_different_reply_to_the_same_entry_changes_the_digest() {
    // Members that agree on every entry, but not on the state before the last one.
    let digest = |disagree: &dyn Fn(&mut World), kind, body: Bytes| {
        let mut world = World::with_topics(&["a"]);
        disagree(&mut world);
        world.apply(kind, body).unwrap();
        world.machine.digest()
    };
    let topic = |world: &mut World| drop(world.machine.topics.update(TopicConfig::new("b", 1, 1, 6), false, 0));
    let node = |world: &mut World| assert!(world.machine.members.reserve(9));
    let offset = |world: &mut World| {
        let mut other = Layout { end: 1 << 20, ..Layout::default() };
        let mut entry = other.push(Kind::Records, body_of(&[("a", 0, "x")], 9));
        let (digest, applied) = (world.machine.digest, world.machine.applied);
        entry.id.index = LogIndex(77);
        world.machine.applied = Some(LogId { term: Term(1), index: LogIndex(76) });
        world.machine.apply(&entry, &mut Vec::new()).unwrap();
        (world.machine.digest, world.machine.applied) = (digest, applied);
    };
    type Disagree<'a> = &'a dyn Fn(&mut World);
    let cases: [(Disagree<'_>, Kind, Bytes); 4] = [
        (&topic, Kind::Records, body_of(&[("b", 0, "x")], 10)),
        (&offset, Kind::Records, body_of(&[("a", 0, "x")], 10)),
        (&node, Kind::Command, Command::AllocNodeId { request: 1 }.at(10).encode().unwrap()),
        (&topic, Kind::Command, Command::DeleteTopic { topic: "b".to_owned() }.at(10).encode().unwrap()),
    ];
    for (i, (disagree, kind, body)) in cases.into_iter().enumerate() {
        let agreed = digest(&|_| {}, kind, body.clone());
        assert_eq!(agreed, digest(&|_| {}, kind, body.clone()));
        assert_ne!(agreed, digest(disagree, kind, body), "case {i}");
    }
}

#[test]
fn one_different_bit_of_an_entry_changes_the_digest() {
    let digest = |change: &dyn Fn(&mut Entry)| {
        let mut world = World::with_topics(&["a"]);
        let mut entry = world.layout.push(Kind::Records, body_of(&[("a", 0, "x"), ("a", 1, "y")], 5_000));
        change(&mut entry);
        world.machine.apply(&entry, &mut Vec::new()).unwrap();
        world.machine.digest()
    };
    let reference = digest(&|_| {});
    assert_eq!(reference, digest(&|_| {}));
    let flip = |at: usize| {
        digest(&|entry| {
            let mut body = entry.body.to_vec();
            body[at] ^= 1;
            entry.body = body.into();
        })
    };
    for at in [8, 15, 16, 20, 36, 47, 48, 63, 64, 75, 83] {
        assert_ne!(flip(at), reference, "byte {at} of the first record");
    }
    let tag = body_of(&[("a", 0, "x"), ("a", 1, "y")], 5_000).windows(6).position(|w| w == b"TAGS\x01x").unwrap() + 5;
    assert_ne!(flip(tag), reference, "the tag");
    assert_ne!(digest(&|entry| entry.id.term = Term(9)), reference);
    assert_ne!(digest(&|entry| entry.position = entry.position.next()), reference);
}

#[test]
fn a_state_this_build_does_not_know_is_refused_and_changes_nothing() {
    let mut world = World::with_topics(&["a"]);
    world.send(&[("a", 0, "x")]);
    let state = world.machine.encode();
    let mut refuse = |bytes: &[u8], what: &str| {
        let e = world.machine.restore(bytes).unwrap_err();
        assert!(e.to_string().contains(what), "{e}");
        assert_eq!(world.machine.encode(), state);
    };
    let with = |at: usize, byte: u8| {
        let mut bytes = state.to_vec();
        bytes[at] = byte;
        bytes
    };
    refuse(&with(0, 0), "magic");
    refuse(&with(7, 1), "version 1");
    refuse(&with(7, 9), "version 9");
    refuse(&[&state[..], &[0]].concat(), "left over");
    for cut in 0..state.len() {
        refuse(&state[..cut], "state: ");
    }
    let medium = medium();
    let mut other = Machine::new(medium.mount(), Path::new(DIR), 2 * SEGMENT).unwrap();
    assert!(other.restore(&state).unwrap_err().to_string().contains("segments"));
}

#[test]
fn every_part_of_the_state_is_restored() {
    let mut world = World::with_topics(&["a", "b"]);
    world.run(bootstrap("C", "broker-a", 3));
    while world.layout.end < 3 * SEGMENT {
        world.send(&[("a", 0, "x"), ("b", 3, "x")]);
    }
    world.commit("g", "a", 0, 5);
    world.run(vec![Command::AllocNodeId { request: 7 }, Command::purge_to(PhysicalOffset(SEGMENT))]);
    world.delete_topic("b");
    world.create_topic("b", 2);
    let state = world.machine.encode();
    world.flush(true);
    let mut again = machine(&world.medium);
    again.restore(&state).unwrap();
    let machine = &world.machine;
    assert_eq!(again.topics().collect::<Vec<_>>(), machine.topics().collect::<Vec<_>>());
    assert_eq!(again.topic_version(), machine.topic_version());
    assert_eq!(again.topic_incarnation("b"), machine.topic_incarnation("b"));
    assert_eq!(again.groups().collect::<Vec<_>>(), machine.groups().collect::<Vec<_>>());
    assert_eq!(again.group_version(), machine.group_version());
    assert_eq!(again.consumer_offsets().collect::<Vec<_>>(), machine.consumer_offsets().collect::<Vec<_>>());
    assert_eq!(again.last_node_id(), 4);
    assert_eq!((again.time_ms(), again.applied()), (machine.time_ms(), machine.applied()));
    assert_eq!((again.retained_from(), again.digest()), (PhysicalOffset(SEGMENT), machine.digest()));
    assert_eq!((again.counts(), again.unflushed()), (machine.counts(), 0));
    assert_eq!(all_units(&again), all_units(machine));
    // It goes on where it was: the same request still gets the same id.
    let entry = world.layout.push(Kind::Command, Command::AllocNodeId { request: 7 }.at(0).encode().unwrap());
    assert_eq!(again.apply(&entry, &mut Vec::new()).unwrap(), Reply::Commands(vec![Outcome::NodeId(4)]));
}

#[test]
fn what_files_cover_is_what_was_applied_when_the_last_flush_was_planned() {
    let mut world = World::with_topics(&["a"]);
    world.send(&[("a", 0, "x")]);
    assert_eq!(world.machine.covered().logics_ms, 0);
    world.flush(true);
    let flushed_ms = world.time_ms;
    assert_eq!(world.machine.covered().logics_ms, flushed_ms);
    world.send(&[("a", 0, "y")]);
    let plan = world.machine.plan_flush(false).unwrap();
    let planned_ms = world.time_ms;
    world.send(&[("a", 0, "z")]);
    assert_eq!(world.machine.covered().logics_ms, flushed_ms);
    plan.write(true).unwrap();
    world.machine.flushed(plan);
    assert_eq!(world.machine.covered().logics_ms, planned_ms);

    // A state is written down after the files of what it covers. A plan of before it says nothing of those after it.
    let state = world.machine.encode();
    let old = world.machine.plan_flush(false).unwrap();
    let state_ms = world.time_ms;
    world.machine.restore(&state).unwrap();
    world.machine.start(PhysicalOffset(0), PhysicalOffset(0)).unwrap();
    assert_eq!(world.machine.covered().logics_ms, state_ms);
    world.machine.covered.logics_ms = 7;
    world.machine.flushed(old);
    assert_eq!(world.machine.covered().logics_ms, 7);
}
