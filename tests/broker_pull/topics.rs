//! Topics as clients change them: 17, and what 21 says of them.

use std::collections::BTreeMap;

use quorumq::protocol::body;
use quorumq::protocol::body::topic::TopicConfigSerializeWrapper;
use quorumq::protocol::command::Command;

use super::rig::{Client, Rig};

async fn update(client: &mut Client, topic: &str, queues: &str, attributes: Option<&str>) -> Command {
    let mut ext = vec![
        ("topic", topic),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", queues),
        ("writeQueueNums", queues),
        ("perm", "6"),
        ("topicFilterType", "SINGLE_TAG"),
        ("order", "false"),
    ];
    ext.extend(attributes.map(|attributes| ("attributes", attributes)));
    client.ask(17, &ext).await
}

/// Queues and attributes of a topic.
async fn settings(client: &mut Client, topic: &str) -> (i32, BTreeMap<String, String>) {
    let answer = client.ask(21, &[]).await;
    let table: TopicConfigSerializeWrapper = body::decode(&answer.body).unwrap();
    let config = &table.topic_config_table[topic];
    (config.read_queue_nums, config.attributes.clone())
}

fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_keeps_the_attributes_that_an_update_does_not_name() {
    let rig = Rig::start(1).await;
    let mut client = rig.client().await;
    let changes = "+reserve.time=100,+message.type=NORMAL";
    assert_eq!(update(&mut client, "t", "2", Some(changes)).await.code, 0);
    // As our own command line and every 4.x client ask: without attributes.
    assert_eq!(update(&mut client, "t", "4", None).await.code, 0);
    let both = pairs([("reserve.time", "100"), ("message.type", "NORMAL")]);
    assert_eq!(settings(&mut client, "t").await, (4, both));
    assert_eq!(update(&mut client, "t", "4", Some("+reserve.time=200")).await.code, 0);
    let both = pairs([("reserve.time", "200"), ("message.type", "NORMAL")]);
    assert_eq!(settings(&mut client, "t").await, (4, both));
    assert_eq!(update(&mut client, "t", "4", Some("-reserve.time,-never.there,+a=b=c")).await.code, 0);
    assert_eq!(settings(&mut client, "t").await, (4, pairs([("message.type", "NORMAL"), ("a", "b=c")])));
    // A topic that is deleted and created again begins without any.
    assert_eq!(client.ask(215, &[("topic", "t")]).await.code, 0);
    assert_eq!(update(&mut client, "t", "1", Some("+k=v")).await.code, 0);
    assert_eq!(settings(&mut client, "t").await, (1, pairs([("k", "v")])));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_updates_at_once_neither_takes_back_the_others_attributes() {
    let rig = Rig::start(1).await;
    let (mut one, mut other) = (rig.client().await, rig.client().await);
    for round in 0..20 {
        let topic = format!("r{round}");
        let (a, b) =
            tokio::join!(update(&mut one, &topic, "1", Some("+a=1")), update(&mut other, &topic, "1", Some("+b=2")));
        assert_eq!((a.code, b.code), (0, 0));
        assert_eq!(settings(&mut one, &topic).await.1, pairs([("a", "1"), ("b", "2")]), "round {round}");
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reserve_time_out_of_range_is_refused_by_name_with_its_range() {
    let rig = Rig::start(1).await;
    let mut client = rig.client().await;
    for bad in ["30d", "4294967296", "-2", "", "1.5", "99999999999999999999"] {
        let answer = update(&mut client, "t", "2", Some(&format!("+reserve.time={bad}"))).await;
        let remark = answer.remark.as_deref().unwrap_or_default();
        assert_eq!(answer.code, 1, "{bad}");
        let tells = ["reserve.time", "hours", "-1 to 4294967295", bad].iter().all(|part| remark.contains(part));
        assert!(tells, "{bad}: {remark}");
    }
    assert_eq!(settings(&mut client, "t").await, (2, pairs([])), "nothing was changed");
    // RocketMQ's own default is -1: none.
    for good in ["-1", "0", "1", "4294967295"] {
        assert_eq!(update(&mut client, "t", "2", Some(&format!("+reserve.time={good}"))).await.code, 0);
        assert_eq!(settings(&mut client, "t").await.1, pairs([("reserve.time", good)]));
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_attributes_that_is_none_is_refused() {
    let rig = Rig::start(1).await;
    let mut client = rig.client().await;
    for bad in ["k=v", "k", "+k", "-k=v", "+=v", "-", "+k=1,-k", "+a=1,b=2"] {
        let answer = update(&mut client, "t", "2", Some(bad)).await;
        let remark = answer.remark.as_deref().unwrap_or_default();
        assert!(answer.code == 1 && remark.contains("attributes"), "{bad}: {answer:?}");
    }
    assert_eq!(settings(&mut client, "t").await, (2, pairs([])));
    rig.stop().await;
}
