//! The clients of one node, and what is reported of them.

use super::{conn, consumer, heartbeat};
use crate::broker::call::{ClientSession, Report};
use crate::broker::sessions::limits::{HeartbeatRefused, MAX_CLIENTS_PER_CONNECTION, MAX_GROUPS};
use crate::broker::sessions::local::Local;
use crate::broker::sessions::reporting::REPORT_BYTES;
use crate::protocol::body::heartbeat::HeartbeatData;
use crate::protocol::command::Encoding;

const LIFE: u64 = 7;

fn local() -> Local {
    Local::new(LIFE)
}

/// A heartbeat on connection `id` at `now_ms` that is taken.
fn beat(local: &mut Local, id: u64, data: &HeartbeatData, now_ms: u64) -> Option<u64> {
    local.heartbeat(&conn(id), Encoding::Json, data, now_ms).unwrap()
}

fn one(client: &str) -> HeartbeatData {
    heartbeat(client, vec![consumer("g", &[("t", "A", 1)])], &[])
}

fn ids(report: &Report) -> Vec<&str> {
    report.clients.iter().map(|client| client.client_id.as_str()).collect()
}

/// The next report, taken by the leader.
fn told(local: &mut Local) -> Report {
    let report = local.next_report();
    assert_eq!(local.taken(), report.more);
    report
}

#[test]
fn only_news_are_reported_and_every_change_knows_when_the_leader_has_it() {
    let mut local = local();
    let first = beat(&mut local, 1, &one("a"), 0);
    assert_eq!((first, local.told()), (Some(1), 0));
    let report = local.next_report();
    assert_eq!((report.life, report.number, report.full, report.more), (LIFE, 1, true, false));
    assert_eq!(ids(&report), ["a"]);
    let second = beat(&mut local, 2, &one("b"), 0);
    local.taken();
    assert_eq!((second, local.told()), (Some(2), 1), "it came while the report was on its way");
    assert_eq!(beat(&mut local, 1, &one("a"), 1), None, "the same again");
    let report = told(&mut local);
    assert_eq!((report.number, report.full, ids(&report)), (2, false, vec!["b"]));
    assert_eq!(local.told(), 2);
    let nothing = told(&mut local);
    assert_eq!((nothing.number, nothing.clients, nothing.gone), (3, vec![], vec![]));
}

#[test]
fn a_new_leader_is_told_of_all_clients() {
    let mut local = local();
    beat(&mut local, 1, &one("a"), 0);
    beat(&mut local, 2, &one("b"), 0);
    told(&mut local);
    local.begin_again();
    let report = told(&mut local);
    assert_eq!((report.full, report.number, ids(&report)), (true, 2, vec!["a", "b"]));
}

#[test]
fn many_clients_are_reported_in_several_reports() {
    let mut local = local();
    let tags = vec!["tag"; 500].join("||");
    let clients = 4 * REPORT_BYTES / tags.len();
    for id in 0..clients {
        let data = heartbeat(&format!("c{id:06}"), vec![consumer("g", &[("t", &tags, 1)])], &[]);
        beat(&mut local, id as u64, &data, 0);
    }
    let (mut seen, mut reports) = (Vec::new(), 0);
    loop {
        let report = told(&mut local);
        reports += 1;
        assert_eq!(report.full, reports == 1);
        let bytes: usize = report.clients.iter().map(|client| client.consumers[0].1.len()).sum();
        assert!(bytes < 2 * REPORT_BYTES, "{bytes}");
        seen.extend(report.clients.into_iter().map(|client| client.client_id));
        if !report.more {
            break;
        }
        assert_eq!(local.told(), 0, "not before the last of them");
    }
    assert!(reports > 3 && seen.len() == clients && seen.is_sorted(), "{reports} reports, {} clients", seen.len());
    assert_eq!(local.told(), clients as u64);
}

#[test]
fn a_client_that_leaves_one_group_stays_in_the_others() {
    let mut local = local();
    let groups = vec![consumer("g1", &[("t", "*", 1)]), consumer("g2", &[("t", "*", 1)])];
    beat(&mut local, 1, &heartbeat("a", groups, &["p"]), 0);
    told(&mut local);
    assert!(local.leave(1, "a", Some("g1"), None));
    let report = told(&mut local);
    let [ClientSession { consumers, producers, .. }] = &report.clients[..] else { panic!("{report:?}") };
    assert_eq!((consumers[0].0.as_str(), consumers.len(), &producers[..]), ("g2", 1, &["p".to_owned()][..]));
    assert!(local.subscription("g1", "t").is_none() && local.subscription("g2", "t").is_some());
    assert!(!local.leave(1, "a", Some("g1"), None), "it has left already");
    assert!(!local.leave(2, "a", Some("g2"), None), "not on this connection");
    assert!(local.leave(1, "a", Some("g2"), Some("p")));
    assert_eq!(told(&mut local).gone, ["a"]);
}

#[test]
fn a_lost_connection_takes_its_clients_and_no_others() {
    let mut local = local();
    for (conn, client) in [(1, "a"), (1, "b"), (2, "b"), (3, "c")] {
        beat(&mut local, conn, &one(client), 0);
    }
    told(&mut local);
    assert!(local.lost(1));
    assert!(!local.lost(1));
    let report = told(&mut local);
    assert_eq!((ids(&report), &report.gone[..]), (vec!["b"], &["a".to_owned()][..]));
    let conns: Vec<u64> = local.consumers("g").iter().map(|(conn, _)| conn.id()).collect();
    assert_eq!(conns, [2, 3]);
}

#[test]
fn a_group_is_forgotten_when_heartbeats_name_it_no_more() {
    let mut local = local();
    let expiry_ms = 120_000;
    let both = heartbeat("a", vec![consumer("g", &[("t", "*", 1)]), consumer("h", &[("t", "*", 1)])], &[]);
    beat(&mut local, 1, &both, 0);
    beat(&mut local, 1, &one("a"), 60_000);
    assert!(!local.expire(expiry_ms, expiry_ms));
    assert!(local.expire(expiry_ms + 1, expiry_ms));
    assert!(local.subscription("h", "t").is_none() && local.subscription("g", "t").is_some());
    assert!(!local.expire(60_000 + expiry_ms, expiry_ms));
    assert!(local.expire(60_001 + expiry_ms, expiry_ms));
    assert_eq!(told(&mut local).gone, ["a"]);
    assert!(local.consumers("g").is_empty());
}

#[test]
fn the_newest_subscription_of_a_groups_members_counts() {
    let mut local = local();
    let subscribed =
        |client: &str, tags: &str, version| heartbeat(client, vec![consumer("g", &[("t", tags, version)])], &[]);
    beat(&mut local, 1, &subscribed("a", "A", 5), 0);
    beat(&mut local, 2, &subscribed("b", "B", 7), 0);
    beat(&mut local, 3, &subscribed("c", "C", 6), 0);
    let current = |local: &Local| local.subscription("g", "t").map(|s| (s.sub_string.to_string(), s.version));
    assert_eq!(current(&local), Some(("B".to_owned(), 7)));
    beat(&mut local, 1, &subscribed("a", "A || D", 8), 0);
    assert_eq!(current(&local), Some(("A || D".to_owned(), 8)));
    local.lost(1);
    local.lost(2);
    assert_eq!(current(&local), Some(("C".to_owned(), 6)));
    assert!(local.subscription("g", "other").is_none() && local.subscription("h", "t").is_none());
}

#[test]
fn the_encoding_of_the_last_heartbeat_is_used_and_each_connection_is_told_once() {
    let mut local = local();
    beat(&mut local, 1, &one("a"), 0);
    beat(&mut local, 1, &one("b"), 0);
    local.heartbeat(&conn(2), Encoding::Binary, &one("a"), 0).unwrap();
    local.heartbeat(&conn(2), Encoding::Binary, &heartbeat("p", vec![], &["g"]), 0).unwrap();
    let told: Vec<_> = local.consumers("g").iter().map(|(conn, encoding)| (conn.id(), *encoding)).collect();
    assert_eq!(told, [(1, Encoding::Json), (2, Encoding::Binary)]);
}

#[test]
fn what_passes_a_limit_is_refused_and_changes_nothing() {
    let mut local = local();
    let mut refused = |data: &HeartbeatData| local.heartbeat(&conn(1), Encoding::Json, data, 0).unwrap_err();
    assert_eq!(refused(&one("")), HeartbeatRefused::NoClientId);
    assert_eq!(refused(&one(&"x".repeat(513))), HeartbeatRefused::LongClientId { len: 513 });
    let odd = heartbeat("a", vec![consumer("g", &[]), consumer("a.b", &[])], &[]);
    assert!(refused(&odd).to_string().contains("holds '.'"));
    let many: Vec<String> = (0..=MAX_GROUPS).map(|i| format!("g{i}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let count = MAX_GROUPS + 1;
    assert_eq!(
        refused(&heartbeat("a", vec![], &many)),
        HeartbeatRefused::TooManyGroups { client_id: "a".to_owned(), count }
    );
    let tags = (0..2000).map(|i| format!("t{i}")).collect::<Vec<_>>().join("||");
    assert!(matches!(
        refused(&heartbeat("a", vec![consumer("g", &[("t", &tags, 1)])], &[])),
        HeartbeatRefused::Tags(_)
    ));
    assert_eq!(told(&mut local).clients, []);
    for i in 0..MAX_CLIENTS_PER_CONNECTION {
        beat(&mut local, 1, &one(&format!("c{i}")), 0);
    }
    assert_eq!(local.heartbeat(&conn(1), Encoding::Json, &one("x"), 0), Err(HeartbeatRefused::TooManyOnConnection));
    assert!(beat(&mut local, 2, &one("x"), 0).is_some(), "another connection has room");
}

#[test]
fn the_memory_of_subscriptions_is_bounded_and_freed() {
    let mut local = local();
    let topics: Vec<String> = (0..3000).map(|i| format!("topic_{i}_{}", "x".repeat(100))).collect();
    let topics: Vec<(&str, &str, i64)> = topics.iter().map(|topic| (topic.as_str(), "*", 1)).collect();
    let large = |client: String| heartbeat(&client, vec![consumer("g", &topics)], &[]);
    let mut taken = 0;
    let refused = loop {
        match local.heartbeat(&conn(taken), Encoding::Json, &large(format!("c{taken}")), 0) {
            Ok(_) => taken += 1,
            Err(refused) => break refused,
        }
    };
    assert!(matches!(refused, HeartbeatRefused::TooManyBytes { .. }), "{refused}");
    assert!((20..100).contains(&taken), "{taken}");
    // A changed heartbeat of a client that is there replaces what it had.
    let mut changed = large("c0".to_owned());
    changed.consumer_data_set[0].subscription_data_set[0].sub_version = 2;
    assert!(local.heartbeat(&conn(0), Encoding::Json, &changed, 0).is_ok());
    local.lost(1);
    assert!(local.heartbeat(&conn(taken), Encoding::Json, &large("new".to_owned()), 0).is_ok());
}

#[test]
fn a_heartbeat_without_groups_is_no_client() {
    let mut local = local();
    assert_eq!(beat(&mut local, 1, &heartbeat("a", vec![], &[]), 0), None);
    assert_eq!(told(&mut local).clients, []);
}
