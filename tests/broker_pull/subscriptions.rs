//! What a group wants, as its heartbeats told this node or another one.

use quorumq::protocol::body;
use quorumq::protocol::body::heartbeat::{ConsumerData, HeartbeatData, SubscriptionData};

use crate::rig::{Client, GROUP, Pull, Rig, bodies, from, held, outcome, refusal};

/// Tells a broker what the group wants of `t`.
async fn heartbeat(client: &mut Client, subscription: SubscriptionData) {
    let consumer = ConsumerData {
        group_name: GROUP.to_owned(),
        subscription_data_set: vec![subscription],
        ..ConsumerData::default()
    };
    let data = HeartbeatData {
        client_id: "127.0.0.1@1".to_owned(),
        consumer_data_set: vec![consumer],
        ..HeartbeatData::default()
    };
    let opaque = client.send(34, &[], &body::encode(&data), 0).await;
    assert_eq!(client.answer(opaque).await.code, 0);
}

/// A pull that leaves the subscription to the group's heartbeats; its own expression counts for nothing.
fn announced(version: i64, offset: i64) -> Pull<'static> {
    Pull { flags: 0, version, expression: "", ..from(offset) }
}

async fn produce(client: &mut Client) {
    for (tag, body) in [("a", "1"), ("b", "2"), ("a", "3")] {
        client.produce(0, tag, body).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_follows_the_groups_last_heartbeat() {
    let rig = Rig::start(1).await;
    let mut client = rig.client().await;
    produce(&mut client).await;
    assert_eq!(refusal(&client.pull(announced(5, 0)).await), (24, "the consumer's subscription not exist"));
    heartbeat(&mut client, SubscriptionData::of_tags("t", "a", 5)).await;
    assert_eq!(bodies(&client.pull(announced(5, 0)).await).join(""), "13");
    assert_eq!(bodies(&client.pull(announced(4, 0)).await).join(""), "13", "an older client of the group");
    let newer = client.pull(announced(6, 0)).await;
    assert_eq!(refusal(&newer), (25, "the consumer's subscription not latest"));
    let without_hashes =
        SubscriptionData { code_set: vec![], tags_set: vec![], ..SubscriptionData::of_tags("t", "b", 6) };
    heartbeat(&mut client, without_hashes).await;
    assert_eq!(bodies(&client.pull(announced(6, 0)).await).join(""), "2");
    let waiting = client.send_pull(held(announced(6, 3), 30_000)).await;
    client.produce(0, "a", "4").await;
    assert!(!client.is_answered_soon(waiting).await);
    client.produce(0, "b", "5").await;
    assert_eq!(bodies(&client.answer(waiting).await), ["5"]);
    let sql = SubscriptionData { expression_type: "SQL92".to_owned(), ..SubscriptionData::of_tags("t", "a > 5", 7) };
    heartbeat(&mut client, sql).await;
    assert_eq!(refusal(&client.pull(announced(7, 0)).await).0, 1);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_told_to_one_node_counts_on_every_other() {
    let rig = Rig::start(3).await;
    let mut clients = rig.clients().await;
    produce(&mut clients[0]).await;
    // By a client of a follower; [0] is the leader.
    heartbeat(&mut clients[1], SubscriptionData::of_tags("t", "a", 5)).await;
    for (node, client) in clients.iter_mut().enumerate() {
        let answer = client.pull(announced(5, 0)).await;
        assert_eq!((outcome(&answer).0, bodies(&answer).join("")), (0, "13".to_owned()), "node {node}");
        let newer = client.pull(announced(6, 0)).await;
        assert_eq!(refusal(&newer).0, 25, "node {node}");
    }
    heartbeat(&mut clients[1], SubscriptionData::of_tags("t", "b", 6)).await;
    for (node, client) in clients.iter_mut().enumerate() {
        let mut answer = client.pull(announced(6, 0)).await;
        if answer.code == 25 {
            // Asked again within a moment of the last time; a client comes back as well.
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            answer = client.pull(announced(6, 0)).await;
        }
        assert_eq!((answer.code, bodies(&answer).join("")), (0, "2".to_owned()), "node {node}");
    }
    rig.stop().await;
}
