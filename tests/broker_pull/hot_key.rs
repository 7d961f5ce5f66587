//! Queries by key (12) that would have to look at more of the index than one query may.

use std::time::Duration;

use quorumq::protocol::command::Command;
use quorumq_store::disk::MemoryDisk;
use quorumq_store::index_file::key_hash;

use super::rig::{Client, Rig, bodies, messages};

/// Keys of one message: they fill a good part of the largest entry.
const KEYS: usize = 7_000;

async fn query(client: &mut Client, key: &str, max: &str, begin: i64, end: i64) -> Command {
    let (begin, end) = (begin.to_string(), end.to_string());
    let ext = [("topic", "t"), ("key", key), ("maxNum", max), ("beginTimestamp", &begin), ("endTimestamp", &end)];
    client.ask(12, &ext).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_behind_more_index_units_than_a_query_may_look_at_is_not_called_missing() {
    let rig = Rig::one(MemoryDisk::new().mount(), |_| {}).await;
    let mut client = rig.client().await;
    // A key that shares its slot with the one that all later messages have.
    let slot = |key: &str| key_hash("t", key.as_bytes()) % 64;
    let rare = (0..).map(|n| format!("k{n}")).find(|key| slot(key) == slot("h")).unwrap();
    client.produce_with(0, &format!("KEYS\u{1}{rare}\u{2}"), "rare").await;
    let found = query(&mut client, &rare, "9", 0, i64::MAX).await;
    assert_eq!(bodies(&found), ["rare"]);
    let stored = messages(&found.body)[0].store_time;
    while client_time(&mut client).await <= stored {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for _ in 0..10 {
        client.produce_with(0, &format!("KEYS\u{1}{}\u{2}", ["h"; KEYS].join(" ")), "hot").await;
    }
    let answer = query(&mut client, &rare, "9", 0, i64::MAX).await;
    let remark = answer.remark.as_deref().unwrap_or_default();
    assert_eq!(answer.code, 1, "nobody knows that there is none: {remark}");
    assert!(remark.contains("65536") && remark.contains("time window"), "{remark}");
    // As it says: a narrower window leaves out the files that begin behind it.
    assert_eq!(bodies(&query(&mut client, &rare, "9", 0, stored).await), ["rare"]);
    // As many as were asked for are an answer, whatever else there is.
    assert_eq!(bodies(&query(&mut client, "h", "9", 0, i64::MAX).await), ["hot"; 9]);
    assert_eq!(query(&mut client, "h", "64", 0, i64::MAX).await.code, 1, "there may be more than the ten");
    // And what is wholly looked at and not there is missing.
    let absent = (0..).map(|n| format!("k{n}")).find(|key| slot(key) != slot("h")).unwrap();
    assert_eq!(query(&mut client, &absent, "9", 0, i64::MAX).await.code, 22);
    rig.stop().await;
}

/// The store time of a message stored now.
async fn client_time(client: &mut Client) -> i64 {
    client.produce_with(1, "KEYS\u{1}now\u{2}", "").await;
    messages(&query(client, "now", "1", 0, i64::MAX).await.body)[0].store_time
}
