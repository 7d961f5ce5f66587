//! Holds by themselves: instants are numbers.

use quorumq_store::QueueOffset;

use super::super::pull::tests::held;
use super::super::reply::{Collector, ReplyTo};
use super::*;
use crate::server::{CloseReason, Conn, Limits};

fn collector() -> ReplyTo {
    ReplyTo::Collector(Collector::new(1).0)
}

fn hold(holds: &Holds<u64>, topic: &str, queue_id: i32, until: u64) {
    holds.hold(held(topic, queue_id, collector(), until)).expect("room");
}

fn arrival(topic: &str, queue_id: u32) -> Arrival {
    Arrival { topic: topic.into(), queue_id, next: QueueOffset(1) }
}

fn queues(pulls: &[BoxedPull<u64>]) -> Vec<(String, u32)> {
    pulls.iter().map(|pull| (pull.topic.to_string(), pull.queue_id)).collect()
}

fn of(names: &[(&str, u32)]) -> Vec<(String, u32)> {
    names.iter().map(|(topic, queue)| ((*topic).to_owned(), *queue)).collect()
}

#[test]
fn an_arrival_wakes_every_pull_of_its_queue_once_and_no_other() {
    let holds = Holds::default();
    for (topic, queue) in [("a", 0), ("a", 1), ("a", 0), ("b", 0)] {
        hold(&holds, topic, queue, 100);
    }
    holds.arrived(&[arrival("a", 0), arrival("c", 0), arrival("a", 7)]);
    let taken = holds.take(Some(50));
    assert_eq!(queues(&taken.woken), of(&[("a", 0), ("a", 0)]));
    assert!(taken.expired.is_empty());
    assert!(taken.woken.iter().all(|pull| pull.was_held && pull.until == Some(100)), "it can be held on");
    holds.arrived(&[arrival("a", 0)]);
    assert!(holds.take(Some(50)).woken.is_empty(), "taken once");
    assert_eq!(holds.len(), 2);
}

#[test]
fn pulls_expire_at_their_own_time_and_woken_ones_do_not_expire_as_well() {
    let holds = Holds::default();
    hold(&holds, "late", 0, 300);
    hold(&holds, "early", 0, 100);
    hold(&holds, "woken", 0, 100);
    hold(&holds, "middle", 3, 200);
    assert_eq!(holds.next_deadline(), Some(100));
    holds.arrived(&[arrival("woken", 0)]);
    let taken = holds.take(Some(200));
    assert_eq!(queues(&taken.woken), of(&[("woken", 0)]));
    assert_eq!(queues(&taken.expired), of(&[("early", 0), ("middle", 3)]));
    assert_eq!(holds.next_deadline(), Some(300));
    assert!(holds.take(Some(299)).expired.is_empty());
    assert_eq!(queues(&holds.take(Some(300)).expired), of(&[("late", 0)]));
    assert_eq!((holds.len(), holds.next_deadline()), (0, None));
}

#[test]
fn without_a_time_only_woken_pulls_are_taken() {
    let holds = Holds::default();
    hold(&holds, "a", 0, 1);
    assert!(holds.take(None).expired.is_empty());
    assert_eq!(holds.take(Some(1)).expired.len(), 1);
}

#[test]
fn a_changed_topic_wakes_all_its_queues() {
    let holds = Holds::default();
    for (topic, queue) in [("a", 0), ("a", 5), ("b", 0)] {
        hold(&holds, topic, queue, 100);
    }
    holds.topics_changed(&["a".into(), "none".into()]);
    assert_eq!(queues(&holds.take(None).woken), of(&[("a", 0), ("a", 5)]));
}

#[test]
fn pulls_of_a_closed_connection_are_dropped() {
    let holds = Holds::default();
    let addr = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
    let [gone, alive] = [1, 2].map(|id| Conn::new(id, addr, addr, &Limits::SERVER));
    for conn in [&gone, &alive, &gone] {
        holds.hold(held("a", 0, ReplyTo::Conn(conn.clone()), 100)).expect("room");
    }
    gone.close(CloseReason::PeerClosed);
    assert_eq!((holds.take(Some(1)).expired.len(), holds.len()), (0, 3), "nobody has told yet");
    holds.connection_closed();
    let taken = holds.take(Some(1));
    assert_eq!((taken.woken.len(), taken.expired.len(), holds.len()), (0, 0, 1));
    holds.arrived(&[arrival("a", 0)]);
    let woken = holds.take(None).woken;
    assert!(woken.len() == 1 && !woken[0].is_abandoned());
}

#[test]
fn memory_is_bounded_and_the_pull_over_the_limit_is_handed_back() {
    let holds = Holds::default();
    let one = held("a", 0, collector(), 100);
    let cost = one.cost();
    let room = MAX_HELD.min(MAX_HELD_BYTES / cost);
    for _ in 0..room {
        hold(&holds, "a", 0, 100);
    }
    let (full, refused) = holds.hold(one).expect_err("no room");
    assert_eq!((full.held, &*refused.topic), (room, "a"));
    assert!(full.to_string().starts_with("[HOLD]broker busy"));
    holds.arrived(&[arrival("a", 0)]);
    assert_eq!(holds.take(None).woken.len(), room);
    holds.hold(refused).expect("room again");
    assert_eq!(holds.lock().bytes, cost, "what was taken is no longer counted");
}
