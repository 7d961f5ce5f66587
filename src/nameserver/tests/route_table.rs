//! The route table as a plain value: terms, ids, expiry, lost connections.

use std::collections::BTreeMap;

use crate::nameserver::route_table::*;

const EXPIRY_MS: u64 = 120_000;

fn table() -> RouteTable {
    RouteTable::new(EXPIRY_MS)
}

fn topics(names: &[&str], queues: i32) -> TopicTable {
    let of = TopicQueues { read_queue_nums: queues, write_queue_nums: queues, perm: 6, topic_sys_flag: 0 };
    names.iter().map(|name| ((*name).to_owned(), of)).collect()
}

/// A registration of group `g0` in term `term` with topic `T`.
fn broker(addr: &str, broker_id: i64, term: u64) -> Registration {
    Registration {
        cluster: "C".to_owned(),
        group: "g0".to_owned(),
        addr: addr.to_owned(),
        ha_addr: format!("{addr}ha"),
        broker_id,
        term: Some(term),
        group_uuid: Some("uuid-0".to_owned()),
        version: TableVersion { state_version: 0, counter: 1, timestamp: 1 },
        topics: topics(&["T"], 4),
        conn: conn_of(addr),
    }
}

/// As a broker of Apache registers.
fn apache(addr: &str, broker_id: i64) -> Registration {
    Registration { term: None, group_uuid: None, ..broker(addr, broker_id, 0) }
}

fn conn_of(addr: &str) -> u64 {
    addr.bytes().map(u64::from).sum()
}

fn addrs(table: &RouteTable, topic: &str) -> BTreeMap<i64, String> {
    let route = table.pick(topic).unwrap();
    assert_eq!(route.groups.len(), 1);
    route.groups[0].addrs.clone()
}

fn ids<const N: usize>(pairs: [(i64, &str); N]) -> BTreeMap<i64, String> {
    pairs.into_iter().map(|(id, addr)| (id, addr.to_owned())).collect()
}

/// Leader `a` and followers `b`, `c` in term 3.
fn three() -> RouteTable {
    let mut table = table();
    for (addr, id) in [("b", 2), ("a", 0), ("c", 3)] {
        table.register(broker(addr, id, 3), 0).unwrap();
    }
    table
}

#[test]
fn a_leader_and_its_followers_are_one_group() {
    let table = three();
    assert_eq!(addrs(&table, "T"), ids([(0, "a"), (2, "b"), (3, "c")]));
    assert_eq!(table.pick("unknown"), None);
    let group = &table.groups()[0];
    assert_eq!((group.cluster.as_str(), group.group.as_str()), ("C", "g0"));
}

#[test]
fn a_follower_is_told_its_master_and_a_master_is_not() {
    let mut table = three();
    let told = table.register(broker("b", 2, 3), 1).unwrap();
    assert_eq!(told.master, Some(Master { addr: "a".to_owned(), ha_addr: "aha".to_owned() }));
    assert!(!told.changed);
    assert_eq!(table.register(broker("a", 0, 3), 1).unwrap().master, None);
}

#[test]
fn a_new_leader_takes_id_0_from_the_old_one() {
    let mut table = three();
    let taken = table.register(broker("b", 0, 4), 1).unwrap();
    assert_eq!(taken.displaced, ["a"]);
    assert!(taken.changed);
    // b is no longer a follower too, and a is nobody until it says what it is.
    assert_eq!(addrs(&table, "T"), ids([(0, "b"), (3, "c")]));
    table.register(broker("a", 1, 4), 2).unwrap();
    assert_eq!(addrs(&table, "T"), ids([(0, "b"), (1, "a"), (3, "c")]));
}

#[test]
fn a_deposed_leader_cannot_take_id_0_back() {
    let mut table = three();
    table.register(broker("b", 0, 4), 1).unwrap();
    let refused = table.register(broker("a", 0, 3), 2).unwrap_err();
    assert!(matches!(refused, Refusal::StaleTerm { term: Some(3), known: 4, .. }), "{refused}");
    assert_eq!(addrs(&table, "T"), ids([(0, "b"), (3, "c")]));
}

#[test]
fn a_stale_leader_is_refused_even_after_the_new_one_has_gone() {
    let mut table = three();
    table.register(broker("b", 0, 4), 1).unwrap();
    for addr in ["b", "c"] {
        table.connection_closed(conn_of(addr), 2);
    }
    assert_eq!(table.pick("T"), None);
    assert!(matches!(table.register(broker("a", 0, 3), 3), Err(Refusal::StaleTerm { .. })));
    // Forgotten only with the expiry time: a group that starts over is not locked out for ever.
    table.expire(2 + EXPIRY_MS);
    assert!(table.register(broker("a", 0, 3), 4).is_err());
    table.expire(3 + EXPIRY_MS);
    table.register(broker("a", 0, 3), 5).unwrap();
}

#[test]
fn a_leader_without_a_term_cannot_displace_one_with_a_term() {
    let mut table = three();
    let refused = table.register(apache("x", 0), 1).unwrap_err();
    assert!(refused.to_string().contains("term none"), "{refused}");
    assert_eq!(addrs(&table, "T")[&0], "a");
}

#[test]
fn brokers_without_terms_follow_the_last_registration() {
    let mut table = table();
    table.register(apache("a", 0), 0).unwrap();
    table.register(apache("b", 0), 1).unwrap();
    table.register(apache("a", 1), 2).unwrap();
    assert_eq!(addrs(&table, "T"), ids([(0, "b"), (1, "a")]));
}

#[test]
fn a_broker_without_a_term_adds_topics_one_by_one_and_one_with_a_term_registers_all() {
    let mut table = table();
    table.register(apache("a", 0), 0).unwrap();
    table.register(Registration { topics: topics(&["new"], 8), ..apache("a", 0) }, 1).unwrap();
    assert!(table.pick("T").is_some() && table.pick("new").is_some());
    table.register(Registration { topics: topics(&["T"], 8), ..apache("a", 0) }, 2).unwrap();
    assert_eq!(table.pick("T").unwrap().queues[0].queues.read_queue_nums, 8);
    let mut table = three();
    table.register(Registration { topics: topics(&["new"], 8), ..broker("a", 0, 3) }, 1).unwrap();
    assert!(table.pick("T").is_none() && table.pick("new").is_some());
}

#[test]
fn topics_come_from_the_highest_term() {
    let mut table = three();
    let newer = Registration { topics: topics(&["T", "new"], 8), ..broker("b", 0, 4) };
    table.register(newer, 1).unwrap();
    assert_eq!(table.pick("new").unwrap().queues[0].queues.read_queue_nums, 8);
    // A follower that has not caught up changes nothing, in the same term or in an older one.
    for term in [3, 4] {
        let behind = Registration { topics: topics(&["T", "ghost"], 4), ..broker("c", 3, term) };
        table.register(behind, 2).unwrap();
        assert_eq!(table.pick("T").unwrap().queues[0].queues.read_queue_nums, 8);
        assert!(table.pick("new").is_some() && table.pick("ghost").is_none());
    }
}

#[test]
fn a_newer_term_counts_before_the_leaders_id_and_before_the_version() {
    let mut table = three();
    let version = TableVersion { state_version: 9, counter: 9, timestamp: 9 };
    table.register(Registration { version, ..broker("a", 0, 3) }, 1).unwrap();
    table.register(Registration { topics: topics(&["new"], 4), ..broker("b", 2, 4) }, 1).unwrap();
    assert!(table.pick("new").is_some() && table.pick("T").is_none());
    // Only a leader's own registration moves id 0.
    assert_eq!(addrs(&table, "new")[&0], "a");
    table.register(broker("a", 0, 3), 2).unwrap();
}

#[test]
fn topics_survive_the_leader_through_the_follower_that_is_furthest() {
    let mut table = three();
    let version = TableVersion { state_version: 0, counter: 2, timestamp: 1 };
    let further = Registration { topics: topics(&["T", "new"], 4), version, ..broker("c", 3, 3) };
    table.register(further, 1).unwrap();
    assert!(table.pick("new").is_none());
    let removed = table.connection_closed(conn_of("a"), 2);
    assert_eq!(removed, [Removed { group: "g0".to_owned(), addr: "a".to_owned(), broker_id: 0 }]);
    assert_eq!(addrs(&table, "new"), ids([(2, "b"), (3, "c")]));
}

#[test]
fn a_closed_connection_removes_only_what_was_last_registered_on_it() {
    let mut table = three();
    // a reconnects and registers before its old connection is seen to close.
    table.register(Registration { conn: 999, ..broker("a", 0, 3) }, 1).unwrap();
    assert_eq!(table.connection_closed(conn_of("a"), 2), []);
    assert_eq!(addrs(&table, "T")[&0], "a");
    assert_eq!(table.connection_closed(999, 3).len(), 1);
    assert_eq!(addrs(&table, "T"), ids([(2, "b"), (3, "c")]));
}

#[test]
fn a_silent_broker_expires_after_the_expiry_time_and_not_before() {
    let mut table = three();
    table.register(broker("b", 2, 3), 60_000).unwrap();
    assert_eq!(table.expire(EXPIRY_MS), []);
    let removed = table.expire(EXPIRY_MS + 1);
    assert_eq!(removed.iter().map(|broker| broker.addr.as_str()).collect::<Vec<_>>(), ["a", "c"]);
    assert_eq!(addrs(&table, "T"), ids([(2, "b")]));
}

#[test]
fn asking_for_the_version_keeps_a_registration_alive_and_moves_it_to_the_new_connection() {
    let mut table = three();
    let asked =
        Asked { group: "g0", addr: "a", broker_id: 0, term: Some(3), version: broker("a", 0, 3).version, conn: 999 };
    assert!(!table.query(&asked, EXPIRY_MS));
    assert_eq!(table.connection_closed(conn_of("a"), EXPIRY_MS), []);
    table.expire(EXPIRY_MS + 1);
    assert_eq!(addrs(&table, "T"), ids([(0, "a")]));
}

#[test]
fn a_broker_registers_again_when_anything_has_changed() {
    let mut table = three();
    let same =
        Asked { group: "g0", addr: "a", broker_id: 0, term: Some(3), version: broker("a", 0, 3).version, conn: 1 };
    assert!(!table.query(&same, 1));
    assert!(!table.query(&Asked { term: None, ..same }, 1));
    assert!(table.query(&Asked { term: Some(4), ..same }, 1));
    assert!(table.query(&Asked { broker_id: 1, ..same }, 1));
    assert!(table.query(&Asked { addr: "other", ..same }, 1));
    assert!(table.query(&Asked { group: "other", ..same }, 1));
    assert!(table.query(&Asked { version: TableVersion::default(), ..same }, 1));
    table.delete_topic("T", None);
    assert!(table.query(&same, 1));
}

#[test]
fn unregistering_takes_out_one_address() {
    let mut table = three();
    assert_eq!(table.unregister("g0", "a", 1).unwrap().broker_id, 0);
    assert_eq!(table.unregister("g0", "a", 1), None);
    assert_eq!(table.unregister("unknown", "a", 1), None);
    assert_eq!(addrs(&table, "T"), ids([(2, "b"), (3, "c")]));
}

#[test]
fn a_route_holds_only_the_groups_that_have_the_topic() {
    let mut table = three();
    let other = Registration {
        group: "g1".to_owned(),
        group_uuid: Some("uuid-1".to_owned()),
        topics: topics(&["T", "only-g1"], 2),
        ..broker("d", 0, 1)
    };
    table.register(other, 0).unwrap();
    let route = table.pick("T").unwrap();
    let queues: Vec<_> = route.queues.iter().map(|of| (of.group.as_str(), of.queues.write_queue_nums)).collect();
    assert_eq!(queues, [("g0", 4), ("g1", 2)]);
    assert_eq!(route.groups.iter().map(|group| group.group.as_str()).collect::<Vec<_>>(), ["g0", "g1"]);
    assert_eq!(table.pick("only-g1").unwrap().groups.len(), 1);
    assert_eq!(table.topics(None).into_iter().collect::<Vec<_>>(), ["T", "only-g1"]);
}

#[test]
fn a_topic_is_deleted_in_one_cluster_or_in_all() {
    let mut table = three();
    let other = Registration { group: "g1".to_owned(), cluster: "D".to_owned(), group_uuid: None, ..broker("d", 0, 1) };
    table.register(other, 0).unwrap();
    assert_eq!(table.delete_topic("T", Some("D")), 1);
    assert_eq!(table.pick("T").unwrap().groups[0].group, "g0");
    assert_eq!(table.topics(Some("D")).len(), 0);
    assert_eq!(table.delete_topic("T", None), 1);
    assert_eq!(table.pick("T"), None);
    // The broker still has it and brings it back.
    table.register(broker("a", 0, 3), 1).unwrap();
    assert!(table.pick("T").is_some());
}

#[test]
fn two_raft_groups_cannot_share_a_name() {
    let mut table = three();
    let stranger = Registration { group_uuid: Some("uuid-9".to_owned()), ..broker("x", 0, 9) };
    let refused = table.register(stranger.clone(), 1).unwrap_err();
    let words = refused.to_string();
    for part in ["g0", "uuid-0", "another brokerName", "a, b, c"] {
        assert!(words.contains(part), "{words}");
    }
    // Once nobody of the old group is left, the name is free: the group was formed anew, its terms start over.
    for addr in ["a", "b", "c"] {
        table.connection_closed(conn_of(addr), 2);
    }
    table.register(Registration { term: Some(1), ..stranger }, 3).unwrap();
    assert_eq!(addrs(&table, "T"), ids([(0, "x")]));
}

#[test]
fn the_table_has_limits() {
    let mut table = table();
    let many = (0..=MAX_TOPICS).map(|i| (i.to_string(), topics(&["T"], 1)["T"])).collect();
    let refused = table.register(Registration { topics: many, ..broker("a", 0, 1) }, 0).unwrap_err();
    assert!(matches!(refused, Refusal::TooManyTopics { .. }), "{refused}");
    for i in 0..MAX_BROKERS {
        let one = Registration { group: format!("g{i}"), group_uuid: None, ..broker("a", 0, 1) };
        table.register(one, 0).unwrap();
    }
    let one_more = Registration { group: "more".to_owned(), ..broker("a", 0, 1) };
    assert!(matches!(table.register(one_more, 0), Err(Refusal::TooManyBrokers { .. })));
    // Those that are in stay in.
    table.register(Registration { group_uuid: None, ..broker("a", 0, 1) }, 1).unwrap();
}
