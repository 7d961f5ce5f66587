//! The leader's union of all nodes' clients.

use std::collections::BTreeSet;

use super::consumer;
use crate::broker::call::{ClientSession, Report, Verdict};
use crate::broker::sessions::union::{Heard, MISSES, SETTLE_MS, SILENCE_MS, Union};
use crate::protocol::body;
use crate::protocol::body::heartbeat::ConsumerData;

const MEMBERS: [u64; 3] = [1, 2, 3];

fn client(id: &str, consumers: &[ConsumerData]) -> ClientSession {
    let consumer =
        |data: &ConsumerData| (data.group_name.clone(), String::from_utf8(body::encode(data).to_vec()).unwrap());
    ClientSession {
        client_id: id.to_owned(),
        consumers: consumers.iter().map(consumer).collect(),
        producers: vec!["p".to_owned()],
    }
}

/// A client in group `g` that reads topic `t`.
fn member(id: &str) -> ClientSession {
    client(id, &[consumer("g", &[("t", "*", 1)])])
}

fn full(number: u64, clients: Vec<ClientSession>) -> Report {
    Report { life: 9, number, full: true, clients, ..Report::default() }
}

fn then(number: u64, clients: Vec<ClientSession>, gone: &[&str]) -> Report {
    let gone = gone.iter().map(|id| (*id).to_owned()).collect();
    Report { life: 9, number, clients, gone, ..Report::default() }
}

/// A union in term 1 that has heard from every member, and whose changes are taken.
fn settled() -> Union {
    let mut union = Union::default();
    union.begin(1, 0);
    for id in MEMBERS {
        assert_eq!(union.report(id, full(1, vec![]), 0), Verdict::Taken);
    }
    assert!(union.settle(MEMBERS, 0));
    union.take_changed();
    union
}

fn changed(union: &mut Union) -> Vec<String> {
    union.take_changed().into_iter().collect()
}

#[test]
fn a_client_of_several_nodes_counts_once_and_until_it_has_left_all_of_them() {
    let mut union = settled();
    union.report(1, then(2, vec![member("b")], &[]), 0);
    assert_eq!(changed(&mut union), ["g"]);
    union.report(2, then(2, vec![member("b"), member("a")], &[]), 0);
    assert_eq!(union.members("g"), ["a", "b"]);
    assert_eq!(changed(&mut union), ["g"], "a came");
    union.report(1, then(3, vec![], &["b"]), 0);
    assert_eq!((union.members("g"), changed(&mut union)), (vec!["a".to_owned(), "b".to_owned()], vec![]));
    union.report(2, then(3, vec![], &["b"]), 0);
    assert_eq!((union.members("g"), changed(&mut union)), (vec!["a".to_owned()], vec!["g".to_owned()]));
    assert_eq!(union.members("h"), Vec::<String>::new());
}

#[test]
fn members_are_told_of_a_topic_that_comes_or_goes_but_not_of_a_new_version() {
    let mut union = settled();
    union.report(1, then(2, vec![member("a"), member("b")], &[]), 0);
    union.take_changed();
    let newer = client("a", &[consumer("g", &[("t", "*", 2)])]);
    union.report(1, then(3, vec![newer], &[]), 0);
    assert_eq!(changed(&mut union), Vec::<String>::new());
    let other = client("a", &[consumer("g", &[("t", "*", 2), ("u", "*", 1)])]);
    union.report(1, then(4, vec![other], &[]), 0);
    assert_eq!(changed(&mut union), ["g"]);
    union.report(1, then(5, vec![member("a")], &[]), 0);
    assert_eq!(changed(&mut union), ["g"]);
    // It moves to another group: both change.
    union.report(1, then(6, vec![client("a", &[consumer("h", &[("t", "*", 1)])])], &[]), 0);
    assert_eq!((changed(&mut union), union.members("g")), (vec!["g".to_owned(), "h".to_owned()], vec!["b".to_owned()]));
}

#[test]
fn a_gap_between_reports_asks_for_all_clients() {
    let mut union = settled();
    union.report(1, then(2, vec![member("a")], &[]), 0);
    assert_eq!(union.report(1, then(4, vec![], &["a"]), 0), Verdict::BeginAgain);
    assert_eq!(union.report(4, then(2, vec![], &[]), 0), Verdict::BeginAgain, "a node that is not known");
    let restarted = Report { life: 10, ..then(3, vec![], &["a"]) };
    assert_eq!(union.report(1, restarted, 0), Verdict::BeginAgain);
    assert_eq!(union.members("g"), ["a"]);
    assert_eq!(union.report(1, full(5, vec![member("b")]), 0), Verdict::Taken);
    assert_eq!(union.members("g"), ["b"], "who is not in the list is gone");
    let restarted = Report { life: 10, ..full(1, vec![member("c")]) };
    assert_eq!(union.report(1, restarted, 0), Verdict::Taken);
    assert_eq!(union.members("g"), ["c"]);
}

#[test]
fn a_list_that_was_overtaken_brings_nothing_back() {
    let mut union = settled();
    union.report(1, full(3, vec![member("new")]), 0);
    assert_eq!(union.report(1, full(2, vec![member("old")]), 0), Verdict::BeginAgain);
    assert_eq!(union.members("g"), ["new"]);
}

#[test]
fn a_list_in_several_reports_loses_nobody_in_between() {
    let mut union = settled();
    union.report(1, full(2, vec![member("a"), member("b"), member("c")]), 0);
    union.take_changed();
    let first = Report { more: true, ..full(3, vec![member("a")]) };
    union.report(1, first, 0);
    assert_eq!(union.members("g"), ["a", "b", "c"]);
    let second = Report { more: true, ..then(4, vec![member("b")], &[]) };
    union.report(1, second, 0);
    assert_eq!(changed(&mut union), Vec::<String>::new());
    union.report(1, then(5, vec![member("d")], &[]), 0);
    assert_eq!((union.members("g"), changed(&mut union)), (vec!["a".into(), "b".into(), "d".into()], vec!["g".into()]));
}

#[test]
fn a_new_leader_knows_the_members_once_every_node_has_reported_all_of_its_clients() {
    let mut union = Union::default();
    union.begin(1, 1000);
    union.report(1, full(1, vec![member("a")]), 1000);
    union.report(2, full(1, vec![]), 1000);
    union.report(3, Report { more: true, ..full(1, vec![member("b")]) }, 1000);
    assert!(!union.settle(MEMBERS, 1000 + SETTLE_MS - 1));
    assert_eq!(changed(&mut union), Vec::<String>::new(), "nobody is told of half a list");
    union.report(3, then(2, vec![member("c")], &[]), 1001);
    assert!(union.settle(MEMBERS, 1001));
    assert_eq!((changed(&mut union), union.members("g")), (vec!["g".into()], vec!["a".into(), "b".into(), "c".into()]));
}

#[test]
fn a_node_that_does_not_answer_is_waited_for_briefly_and_one_that_is_gone_not_at_all() {
    let reported = || {
        let mut union = Union::default();
        union.begin(1, 1000);
        union.report(1, full(1, vec![]), 1000);
        union.report(2, full(1, vec![]), 1000);
        union
    };
    let mut union = reported();
    assert!(!union.settle(MEMBERS, 1000 + SETTLE_MS - 1));
    assert!(union.settle(MEMBERS, 1000 + SETTLE_MS));
    let mut union = reported();
    union.asked(3, Heard::Nothing);
    assert!(union.settle(MEMBERS, 1000));
    assert!(union.is_settled());
    union.begin(1, 1001);
    assert!(union.is_settled(), "the same term goes on");
    union.begin(2, 1001);
    assert!(!union.is_settled() && !union.settle(MEMBERS, 1001));
    union.clear();
    assert!(!union.settle([], 5000), "nobody leads");
}

#[test]
fn the_clients_of_a_silent_node_are_gone() {
    let mut union = settled();
    union.report(1, then(2, vec![member("a"), member("b")], &[]), 10);
    union.report(2, then(2, vec![member("b")], &[]), 20);
    union.report(3, then(2, vec![], &[]), 1000);
    union.take_changed();
    union.expire(10 + SILENCE_MS);
    assert_eq!(union.members("g"), ["a", "b"]);
    union.expire(11 + SILENCE_MS);
    assert_eq!((union.members("g"), changed(&mut union)), (vec!["b".into()], vec!["g".into()]));
    assert_eq!(union.report(1, then(3, vec![], &[]), 20_000), Verdict::BeginAgain, "it wakes");
    union.expire(21 + SILENCE_MS);
    assert_eq!((union.members("g"), changed(&mut union)), (Vec::<String>::new(), vec!["g".into()]));
}

#[test]
fn the_newest_subscription_to_each_topic_is_the_groups() {
    let mut union = settled();
    let old = client("a", &[consumer("g", &[("t", "A", 1), ("u", "*", 1)]), consumer("h", &[("x", "*", 1)])]);
    union.report(1, then(2, vec![old], &[]), 0);
    union.report(2, then(2, vec![client("b", &[consumer("g", &[("t", "B", 2)])])], &[]), 0);
    let found = union.subscriptions("g");
    let found: BTreeSet<(&str, &str)> = found.iter().map(|data| (&*data.topic, &*data.sub_string)).collect();
    assert_eq!(found, BTreeSet::from([("t", "B"), ("u", "*")]));
    assert_eq!(union.subscriptions("nobody"), []);
    let one = |union: &Union, topic| union.subscription("g", topic).map(|found| found.sub_string.to_string());
    assert_eq!((one(&union, "t"), one(&union, "x")), (Some("B".to_owned()), None));
    let other = client("b", &[consumer("g", &[("t", "B || C", 2)])]);
    union.report(2, then(3, vec![other], &[]), 0);
    assert_eq!(one(&union, "t"), Some("B || C".to_owned()), "another expression of the same version");
    union.report(2, then(4, vec![], &["b"]), 0);
    assert_eq!(one(&union, "t"), Some("A".to_owned()));
    union.report(1, then(3, vec![], &["a"]), 0);
    assert_eq!(one(&union, "t"), None);
}

#[test]
fn a_node_that_stays_out_of_reach_is_gone_before_it_is_silent_for_long() {
    let mut union = settled();
    union.report(1, then(2, vec![member("a")], &[]), 0);
    let mut number = 3;
    for cure in [Heard::Answer, Heard::NotReached] {
        for _ in 1..MISSES {
            union.asked(1, Heard::NotReached);
        }
        union.asked(1, Heard::Nothing);
        if cure == Heard::Answer {
            union.asked(1, cure);
        } else {
            union.report(1, then(number, vec![], &[]), 0);
            number += 1;
        }
    }
    for _ in 1..MISSES {
        union.asked(1, Heard::NotReached);
    }
    assert_eq!(union.members("g"), ["a"]);
    union.asked(1, Heard::NotReached);
    assert_eq!((union.members("g"), changed(&mut union)), (Vec::<String>::new(), vec!["g".into()]));
    assert_eq!(union.report(1, then(number, vec![], &[]), 0), Verdict::BeginAgain, "it is back");
}
