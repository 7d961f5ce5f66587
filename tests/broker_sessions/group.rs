//! Three nodes: one list of members on all of them, and notices on the connection's own node.

use quorumq::protocol::command::Encoding;

use crate::rig::{Rig, until};

#[tokio::test(flavor = "multi_thread")]
async fn every_node_lists_the_members_of_all_nodes_and_tells_its_own_of_a_change() {
    let rig = Rig::start(3).await;
    let mut clients = Vec::new();
    for (node, id) in ["a", "b", "c"].into_iter().enumerate() {
        let mut client = rig.client(node).await;
        client.encoding = if node == 1 { Encoding::Binary } else { Encoding::Json };
        client.join(id, &["g"]).await;
        // It is listed by whichever node is asked, as soon as its heartbeat is answered.
        for asked in 0..3 {
            assert!(rig.client(asked).await.members("g").await.contains(&id.to_owned()));
        }
        clients.push(client);
    }
    rig.until_members("g", &["a", "b", "c"]).await;
    for client in &mut clients {
        client.until_notified("g").await;
        client.forget_pushed().await;
    }
    // One comes: the others are told, each on its connection and in its encoding.
    let mut late = rig.client(0).await;
    late.join("d", &["g"]).await;
    for client in &mut clients {
        let push = client.until_notified("g").await;
        assert_eq!((push.encoding, push.flag), (client.encoding, 2));
    }
    // One is lost: the same.
    for client in &mut clients {
        client.forget_pushed().await;
    }
    drop(clients.remove(1));
    for client in &mut clients {
        client.until_notified("g").await;
    }
    rig.until_members("g", &["a", "c", "d"]).await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_all_nodes_counts_once_until_its_last_connection_is_lost() {
    let rig = Rig::start(3).await;
    let mut connections = Vec::new();
    for node in 0..3 {
        let mut connection = rig.client(node).await;
        connection.join("everywhere", &["g"]).await;
        connections.push(connection);
    }
    let mut watching = rig.client(0).await;
    watching.join("watching", &["g"]).await;
    rig.until_members("g", &["everywhere", "watching"]).await;
    watching.until_notified("g").await;
    watching.forget_pushed().await;
    let last = connections.pop();
    drop(connections);
    // What changes another group shows that the lost connections are known; the group itself has not changed.
    rig.client(0).await.join("other", &["h"]).await;
    rig.until_members("g", &["everywhere", "watching"]).await;
    drop(last);
    watching.until_notified("g").await;
    rig.until_members("g", &["watching"]).await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_to_a_follower_creates_the_group_before_it_is_answered() {
    let rig = Rig::start(3).await;
    for node in 0..3 {
        let group = format!("g{node}");
        let mut client = rig.client(node).await;
        client.join("c", &[&group]).await;
        let topics = client.ask(21, &[], b"").await;
        assert!(String::from_utf8_lossy(&topics.body).contains(&format!(r#""%RETRY%{group}":{{"#)), "{topics:?}");
        rig.until_registered(&format!("%RETRY%{group}")).await;
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_without_a_subscription_finds_the_one_of_a_heartbeat_to_any_node() {
    let rig = Rig::start(3).await;
    let mut creator = rig.client(0).await;
    let topic = [
        ("topic", "t"),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", "1"),
        ("writeQueueNums", "1"),
        ("perm", "6"),
        ("topicFilterType", "SINGLE_TAG"),
        ("order", "false"),
    ];
    assert_eq!(creator.ask(17, &topic, b"").await.code, 0);
    for node in 0..3 {
        let group = format!("g{node}");
        rig.client(node).await.join("short", &[&group]).await;
        let mut member = rig.client(node).await;
        member.join("c", &[&group]).await;
        for asked in 0..3 {
            let mut client = rig.client(asked).await;
            let pull = [
                ("consumerGroup", group.as_str()),
                ("topic", "t"),
                ("queueId", "0"),
                ("queueOffset", "0"),
                ("maxMsgNums", "1"),
                ("sysFlag", "0"),
                ("commitOffset", "0"),
                ("suspendTimeoutMillis", "0"),
                ("subVersion", "1"),
            ];
            until("the topic is there", async || (client.ask(11, &pull, b"").await.code != 17).then_some(())).await;
            assert_eq!(client.ask(11, &pull, b"").await.code, 19, "node {asked}, heartbeat to {node}");
            let newer: Vec<_> = pull.iter().map(|(k, v)| (*k, if *k == "subVersion" { "2" } else { v })).collect();
            assert_eq!(client.ask(11, &newer, b"").await.code, 25);
        }
    }
    rig.stop().await;
}
