//! 14, 15, 29, 30, 31, 32.

use quorumq::protocol::command::Command;

use crate::rig::{Client, GROUP, Pull, Rig, from, messages, outcome, refusal};

fn offset(answer: &Command) -> i64 {
    assert_eq!((answer.code, &answer.remark, answer.ext.len()), (0, &None, 1), "{answer:?}");
    answer.ext.get("offset").unwrap().parse().unwrap()
}

async fn query(client: &mut Client, group: &str) -> Command {
    client.ask(14, &[("consumerGroup", group), ("topic", "t"), ("queueId", "0")]).await
}

async fn commit(client: &mut Client, offset: &str, flag: i32) -> i32 {
    let ext = [("consumerGroup", GROUP), ("topic", "t"), ("queueId", "0"), ("commitOffset", offset)];
    client.send(15, &ext, b"", flag).await
}

async fn ask_queue(client: &mut Client, code: i32, more: &[(&str, &str)]) -> Command {
    let mut ext = vec![("topic", "t"), ("queueId", "0")];
    ext.extend(more);
    client.ask(code, &ext).await
}

/// Asks until the group's offset is this one.
async fn until_committed(client: &mut Client, expected: i64) {
    for _ in 0..500 {
        if offset(&query(client, GROUP).await) == expected {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the offset never became {expected}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_group_starts_at_zero_and_a_committed_offset_is_read_back() {
    let rig = Rig::start(1).await;
    let mut client = rig.client().await;
    for body in ["1", "2", "3"] {
        client.produce(0, "", body).await;
    }
    assert_eq!(offset(&query(&mut client, GROUP).await), 0);
    let only_if_known = ask_queue(&mut client, 14, &[("consumerGroup", GROUP), ("setZeroIfNotFound", "false")]).await;
    assert_eq!(refusal(&only_if_known).0, 22);

    let asked = commit(&mut client, "2", 0).await;
    let answer = client.answer(asked).await;
    assert_eq!(refusal(&answer), (0, ""));
    assert_eq!(offset(&query(&mut client, GROUP).await), 2, "an answered commit is applied");
    assert_eq!(offset(&query(&mut client, "another").await), 0);
    let back = commit(&mut client, "1", 0).await;
    assert_eq!(client.answer(back).await.code, 0);
    assert_eq!(offset(&query(&mut client, GROUP).await), 1, "operators reset offsets with the same code");

    let oneway = commit(&mut client, "3", 2).await;
    until_committed(&mut client, 3).await;
    assert!(!client.is_answered_soon(oneway).await);
    let negative = commit(&mut client, "-1", 0).await;
    assert_eq!(client.answer(negative).await.code, 1);
    let missing = client.ask(14, &[("consumerGroup", GROUP), ("topic", "none"), ("queueId", "0")]).await;
    assert_eq!(missing.code, 17);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_commits_the_offset_it_carries() {
    let rig = Rig::start(1).await;
    let mut client = rig.client().await;
    for body in ["1", "2", "3"] {
        client.produce(0, "", body).await;
    }
    assert_eq!(client.pull(Pull { flags: 4, commit: 1, ..from(0) }).await.code, 0);
    assert_eq!(client.pull(Pull { flags: 5, commit: 2, ..from(0) }).await.code, 0);
    until_committed(&mut client, 2).await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_commits_at_once_are_all_applied() {
    let rig = Rig::start(1).await;
    let mut client = rig.client().await;
    client.produce(0, "", "x").await;
    let mut opaques = Vec::new();
    for i in 0..500 {
        let group = format!("group-{i}");
        let ext = [("consumerGroup", group.as_str()), ("topic", "t"), ("queueId", "0"), ("commitOffset", "1")];
        opaques.push(client.send(15, &ext, b"", 0).await);
    }
    for opaque in opaques {
        assert_eq!(client.answer(opaque).await.code, 0);
    }
    for i in 0..500 {
        assert_eq!(offset(&query(&mut client, &format!("group-{i}")).await), 1);
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_tells_its_bounds_and_times() {
    let rig = Rig::start(1).await;
    let mut client = rig.client().await;
    assert_eq!(offset(&ask_queue(&mut client, 30, &[]).await), 0);
    let never = ask_queue(&mut client, 32, &[]).await;
    assert_eq!((never.code, never.ext.get("timestamp")), (0, Some("-1")));
    assert_eq!(offset(&ask_queue(&mut client, 29, &[("timestamp", "5")]).await), 0);
    for body in ["1", "2", "3"] {
        client.produce(0, "", body).await;
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(offset(&ask_queue(&mut client, 30, &[]).await), 3);
    assert_eq!(offset(&ask_queue(&mut client, 30, &[("committed", "false")]).await), 3);
    assert_eq!(offset(&ask_queue(&mut client, 31, &[]).await), 0);
    let times: Vec<i64> = messages(&client.pull(from(0)).await.body).iter().map(|m| m.store_time).collect();
    let earliest = ask_queue(&mut client, 32, &[]).await;
    assert_eq!(earliest.ext.get("timestamp"), Some(times[0].to_string().as_str()));
    for (boundary, time, expected) in [
        ("LOWER", times[0] - 1, 0),
        ("LOWER", times[1], 1),
        ("LOWER", times[1] + 1, 2),
        ("LOWER", times[2] + 1, 3),
        ("UPPER", times[0] - 1, 0),
        ("UPPER", times[1], 1),
        ("UPPER", times[2] - 1, 1),
        ("UPPER", i64::MAX, 2),
    ] {
        let more = [("timestamp", time.to_string()), ("boundaryType", boundary.to_owned())];
        let more = more.each_ref().map(|(key, value)| (*key, value.as_str()));
        assert_eq!(offset(&ask_queue(&mut client, 29, &more).await), expected, "{boundary} {time}");
    }
    let illegal = client.ask(30, &[("topic", "t"), ("queueId", "9")]).await;
    assert_eq!(refusal(&illegal).0, 1);
    assert_eq!(client.ask(31, &[("topic", "none"), ("queueId", "0")]).await.code, 17);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_purge_a_new_group_decides_itself_and_old_offsets_are_moved() {
    let rig = Rig::start(1).await;
    let mut client = rig.client().await;
    let body = "x".repeat(4000);
    for _ in 0..60 {
        client.produce(0, "", &body).await;
    }
    let purged = client.ask(30004, &[]).await;
    assert_eq!(purged.code, 0, "{purged:?}");
    let min = offset(&ask_queue(&mut client, 31, &[]).await);
    assert!(min > 0 && min < 60);
    let unknown = query(&mut client, GROUP).await;
    assert_eq!(refusal(&unknown), (22, "Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first"));
    assert_eq!(outcome(&client.pull(from(0)).await), (21, "OFFSET_TOO_SMALL", [min, min, 60]));
    let found = client.pull(from(min)).await;
    assert_eq!((found.code, messages(&found.body)[0].queue_offset), (0, min as u64));
    assert_eq!(offset(&ask_queue(&mut client, 29, &[("timestamp", "0")]).await), min);
    rig.stop().await;
}
