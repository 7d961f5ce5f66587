//! One node: heartbeats, members, notices, leaving, limits.

use std::time::Duration;

use quorumq::protocol::command::Encoding;

use crate::rig::{Rig, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_finds_itself_in_its_group_as_soon_as_its_heartbeat_is_answered() {
    let rig = Rig::start(1).await;
    for encoding in [Encoding::Json, Encoding::Binary] {
        let mut client = rig.client(0).await;
        client.encoding = encoding;
        let (id, group) = (format!("c@{encoding:?}"), format!("g_{encoding:?}"));
        assert_eq!(client.members(&group).await, Vec::<String>::new());
        client.join(&id, &[&group]).await;
        assert_eq!(client.members(&group).await, [id.as_str()]);
        let push = client.until_notified(&group).await;
        assert!(push.is_oneway() && !push.is_response() && push.body.is_empty(), "{push:?}");
        assert_eq!((push.flag, push.ext.len(), push.encoding), (2, 1, encoding));
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_creates_the_group_and_its_retry_topic_and_registers_it() {
    let rig = Rig::start(1).await;
    let mut client = rig.client(0).await;
    client.join("c", &["g"]).await;
    // No wait: they exist when the heartbeat is answered.
    let groups = client.ask(201, &[], b"").await;
    assert!(String::from_utf8_lossy(&groups.body).contains(r#""g":{"#), "{groups:?}");
    let topics = client.ask(21, &[], b"").await;
    assert!(String::from_utf8_lossy(&topics.body).contains(r#""%RETRY%g":{"#), "{topics:?}");
    rig.until_registered("%RETRY%g").await;
    let queues = rig.route_body("%RETRY%g").await["queueDatas"][0].clone();
    assert_eq!(
        (&queues["readQueueNums"], &queues["writeQueueNums"], &queues["perm"]),
        (&1.into(), &1.into(), &6.into())
    );
    // A retry topic that was deleted comes back with the next heartbeat, which says nothing new.
    assert_eq!(client.ask(215, &[("topic", "%RETRY%g")], b"").await.code, 0);
    client.join("c", &["g"]).await;
    let topics = client.ask(21, &[], b"").await;
    assert!(String::from_utf8_lossy(&topics.body).contains(r#""%RETRY%g":{"#), "{topics:?}");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_automatic_groups_a_consumer_of_an_unknown_group_counts_and_nothing_is_created() {
    let rig = Rig::with(1, |options| options.auto_create_group = false).await;
    let mut client = rig.client(0).await;
    client.join("c", &["g"]).await;
    assert_eq!(client.members("g").await, ["c"]);
    let groups = client.ask(201, &[], b"").await;
    assert!(!String::from_utf8_lossy(&groups.body).contains(r#""g":{"#), "{groups:?}");
    let topics = client.ask(21, &[], b"").await;
    assert!(!String::from_utf8_lossy(&topics.body).contains("%RETRY%g"), "{topics:?}");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_leaves_a_group_with_or_without_naming_its_producers() {
    let rig = Rig::start(1).await;
    let (mut a, mut b) = (rig.client(0).await, rig.client(0).await);
    a.join("a", &["g"]).await;
    b.join("b", &["g"]).await;
    assert_eq!(a.members("g").await, ["a", "b"]);
    a.forget_pushed().await;
    let left = b.ask(35, &[("clientID", "b"), ("producerGroup", ""), ("consumerGroup", "g")], b"").await;
    assert_eq!((left.code, left.remark, left.ext.len()), (0, None, 0));
    a.until_notified("g").await;
    assert_eq!(a.members("g").await, ["a"]);
    // Nothing to leave is left in peace.
    for ext in [&[("clientID", "b")][..], &[("clientID", "x"), ("consumerGroup", "none")]] {
        assert_eq!(b.ask(35, ext, b"").await.code, 0);
    }
    let nobody = b.ask(35, &[("consumerGroup", "g")], b"").await;
    assert_eq!((nobody.code, nobody.remark.as_deref()), (1, Some("code 35 lacks the field clientID")));
    assert_eq!(a.ask(35, &[("clientID", "a"), ("consumerGroup", "g")], b"").await.code, 0);
    until("the group is empty", async || a.members("g").await.is_empty().then_some(())).await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_sends_no_heartbeats_is_forgotten_and_one_that_does_is_not() {
    let rig = Rig::with(1, |options| options.client_expiry = Duration::from_millis(400)).await;
    let (mut silent, mut lively) = (rig.client(0).await, rig.client(0).await);
    silent.join("silent", &["g"]).await;
    lively.join("lively", &["g"]).await;
    assert_eq!(lively.members("g").await, ["lively", "silent"]);
    lively.forget_pushed().await;
    until("the silent client is gone", async || {
        lively.join("lively", &["g"]).await;
        (lively.members("g").await == ["lively"]).then_some(())
    })
    .await;
    lively.until_notified("g").await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_wants_no_notices_gets_none() {
    let rig = Rig::start(1).await;
    let mut client = rig.client(0).await;
    let config = br#"{"groupName":"a_quiet","notifyConsumerIdsChangedEnable":false}"#;
    assert_eq!(client.ask(200, &[], config).await.code, 0);
    client.join("c", &["a_quiet", "b_loud"]).await;
    // Groups are told in the order of their names.
    let first = client.pushed().await;
    assert_eq!(first.ext.get("consumerGroup"), Some("b_loud"));
    assert_eq!(client.members("a_quiet").await, ["c"]);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_that_cannot_be_taken_is_refused_with_the_cause() {
    let rig = Rig::start(1).await;
    let mut client = rig.client(0).await;
    let mut refused = async |body: &[u8]| {
        let answer = client.ask(34, &[], body).await;
        (answer.code, answer.remark.unwrap_or_default())
    };
    let (code, remark) = refused(b"{").await;
    assert_eq!((code, remark.starts_with("body is no HeartbeatData: ")), (1, true), "{remark}");
    assert_eq!(refused(b"{}").await, (1, "the heartbeat lacks its clientID".to_owned()));
    let long = [b"{\"clientID\":\"c\"}".as_slice(), &[b' '; 1024 * 1024]].concat();
    assert_eq!(refused(&long).await, (1, "the heartbeat has 1048592 bytes, more than 1048576".to_owned()));
    let odd = br#"{"clientID":"c","consumerDataSet":[{"groupName":"a.b"}]}"#;
    let (code, remark) = refused(odd).await;
    assert_eq!((code, remark.starts_with("the group name \"a.b\" holds '.'")), (1, true), "{remark}");
    let missing = client.ask(38, &[], b"").await;
    assert_eq!((missing.code, missing.remark.as_deref()), (1, Some("code 38 lacks the field consumerGroup")));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_right_behind_a_heartbeat_finds_the_subscription_it_brought() {
    let rig = Rig::start(1).await;
    let mut client = rig.client(0).await;
    let topic = [
        ("topic", "t"),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", "1"),
        ("writeQueueNums", "1"),
        ("perm", "6"),
        ("topicFilterType", "SINGLE_TAG"),
        ("order", "false"),
    ];
    assert_eq!(client.ask(17, &topic, b"").await.code, 0);
    client.join("c", &["g"]).await;
    for version in 2..200_i64 {
        let (heartbeat, pull) = client.heartbeat_and_pull("c", "g", version).await;
        assert_eq!(heartbeat.code, 0, "{heartbeat:?}");
        assert_eq!((pull.code, pull.remark.as_deref()), (19, Some("NO_MESSAGE_IN_QUEUE")), "version {version}");
    }
    rig.stop().await;
}
