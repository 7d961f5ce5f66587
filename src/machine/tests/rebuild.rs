//! Units of ConsumeQueues that were lost are made again from the log, as they were.

use std::path::PathBuf;

use quorumq_store::consume_queue::Mend;

use super::*;
use crate::machine::rebuild::{Rebuild, finish, write};

/// The state at the first entry of each segment, as recovery checkpoints hold it.
type Checkpoints = Vec<(PhysicalOffset, usize, Bytes)>;

/// A log over several segments; topic `a` is deleted and created again in the middle of one.
fn filled() -> (World, Checkpoints) {
    let mut world = World::with_topics(&["a", "b"]);
    let mut checkpoints = vec![(PhysicalOffset(0), 0, machine(&medium()).encode())];
    let mut round = 0;
    while world.layout.end < 8 * SEGMENT {
        let before = world.machine.encode();
        let messages = [("a", round % 4, "x"), ("b", 1, "y"), ("a", 0, "z"), ("nope", 0, "w")];
        world.send(&messages[..1 + round as usize % 4]);
        let entry = world.layout.entries.last().unwrap();
        let segment = PhysicalOffset(entry.position.0 / SEGMENT * SEGMENT);
        if checkpoints.last().unwrap().0 < segment {
            checkpoints.push((segment, world.layout.entries.len() - 1, before));
        }
        round += 1;
        if round == 40 {
            world.delete_topic("a");
            world.send(&[("a", 0, "lost"), ("b", 0, "kept")]);
            world.create_topic("a", 4);
        }
        if round % 25 == 0 {
            world.flush(round % 50 == 0);
        }
    }
    world.flush(true);
    assert!(checkpoints.len() >= 7);
    (world, checkpoints)
}

fn contents(medium: &MemoryDisk) -> Vec<(PathBuf, Vec<u8>)> {
    let is_queue = |path: &PathBuf| path.starts_with("/store/consumequeue");
    let paths = medium.paths().into_iter().filter(is_queue);
    paths.map(|path| (path.clone(), medium.content(&path).unwrap())).collect()
}

/// Restarts from the newest checkpoint, with the log from `log_first` on, and replays the rest.
fn restarted(world: &World, checkpoints: &Checkpoints, log_first: PhysicalOffset) -> Machine {
    let (segment, at, state) = checkpoints.last().unwrap();
    let mut machine = machine(&world.medium);
    machine.restore(state).unwrap();
    machine.start(log_first, *segment).unwrap();
    for entry in &world.layout.entries[*at..] {
        machine.apply(entry, &mut Vec::new()).unwrap();
    }
    machine
}

/// What the broker does: answers how many queues still lack units.
fn rebuild(machine: &mut Machine, world: &World, checkpoints: &Checkpoints) -> usize {
    let mut queues = machine.damaged_queues();
    let from = queues.iter().map(|queue| queue.segment).min().unwrap();
    let (_, at, state) = checkpoints.iter().rfind(|(segment, ..)| *segment <= from).unwrap();
    let mut again = Rebuild::new(Path::new("/again"), SEGMENT, Some(state), &queues).unwrap();
    for (i, entry) in world.layout.entries[*at..].iter().enumerate() {
        again.apply(entry).unwrap();
        if i % 7 == 0 {
            write(&mut queues, &again.take()).unwrap();
        }
    }
    write(&mut queues, &again.take()).unwrap();
    let finished = finish(queues, &|topic, queue_id, life| machine.written(topic, queue_id, life)).unwrap();
    Mend::settle(finished)
}

#[test]
fn wholly_lost_consume_queues_are_made_again_byte_by_byte() {
    let (world, checkpoints) = filled();
    let before = contents(&world.medium);
    let units = all_units(&world.machine);
    world.medium.mount().remove_dir_all(&Path::new(DIR).join("consumequeue")).unwrap();
    let mut again = restarted(&world, &checkpoints, PhysicalOffset(0));
    assert!(!again.damaged_queues().is_empty());
    assert_eq!(rebuild(&mut again, &world, &checkpoints), 0);
    flush(&mut again, true);
    assert!(again.damaged_queues().is_empty());
    assert_eq!(all_units(&again), units);
    let after = contents(&world.medium);
    assert_eq!(names(&after), names(&before));
    assert!(after == before);
    assert_eq!(again.digest(), world.machine.digest());
}

fn names(contents: &[(PathBuf, Vec<u8>)]) -> Vec<&Path> {
    contents.iter().map(|(path, _)| &**path).collect()
}

#[test]
fn one_lost_queue_is_made_again_from_its_own_segments_while_others_are_left_alone() {
    let (world, checkpoints) = filled();
    let before = contents(&world.medium);
    world.medium.mount().remove_dir_all(&Path::new(DIR).join("consumequeue/a/2")).unwrap();
    let mut again = restarted(&world, &checkpoints, PhysicalOffset(0));
    let damaged = again.damaged_queues();
    assert_eq!(damaged.len(), 1);
    assert_eq!(damaged[0].mend.queue(), ("a", 2));
    assert!(damaged[0].segment > PhysicalOffset(0), "it lives its second life");
    drop(damaged);
    // Reads of it fail meanwhile, others do not.
    let view = again.queue("a", 2).unwrap();
    assert!(view.read(QueueOffset(0), 1, &mut Vec::new()).is_err());
    assert!(again.queue("b", 1).unwrap().read(QueueOffset(0), 1, &mut Vec::new()).is_ok());
    assert_eq!(rebuild(&mut again, &world, &checkpoints), 0);
    flush(&mut again, true);
    assert!(contents(&world.medium) == before);
}

#[test]
fn a_flipped_bit_is_made_good_in_a_running_machine() {
    let (world, checkpoints) = filled();
    let before = contents(&world.medium);
    let mut again = restarted(&world, &checkpoints, PhysicalOffset(0));
    flush(&mut again, true);
    let path = Path::new(DIR).join("consumequeue/b/1/00000000000000000000");
    world.medium.flip_bit(&path, 12 + 19, 3).unwrap();
    let read = |machine: &Machine| {
        let queue = machine.queues().find(|(topic, id, _)| (*topic, *id) == ("b", 1)).unwrap().2;
        let scrubbed = queue.plan_scrub(QueueOffset(0), u64::MAX).unwrap();
        scrubbed.run(&mut Vec::new())
    };
    assert!(matches!(read(&again), Err(StoreError::Corrupt { .. })));
    assert_eq!(rebuild(&mut again, &world, &checkpoints), 0);
    read(&again).unwrap();
    assert!(contents(&world.medium) == before);
}

#[test]
fn behind_a_purged_log_only_what_it_still_tells_is_made_again() {
    let (mut world, checkpoints) = filled();
    let boundary = PhysicalOffset(3 * SEGMENT);
    assert_eq!(world.run_one(Command::purge_to(boundary)), Outcome::Done);
    world.flush(true);
    let units = all_units(&world.machine);
    world.medium.mount().remove_dir_all(&Path::new(DIR).join("consumequeue")).unwrap();
    let mut again = restarted(&world, &checkpoints, boundary);
    assert!(again.damaged_queues().iter().all(|queue| queue.segment >= boundary));
    assert_eq!(rebuild(&mut again, &world, &checkpoints), 0);
    assert_eq!(all_units(&again), units);
}
