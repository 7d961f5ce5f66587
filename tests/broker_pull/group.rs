//! Three nodes: followers serve pulls, and none says "nothing new" without a leader.

use std::time::Duration;

use quorumq_raft::runtime::tokio::Tokio;

use crate::rig::{Client, GROUP, Pull, Rig, bodies, from, held, outcome};

#[tokio::test(flavor = "multi_thread")]
async fn every_node_serves_pulls_and_offsets_as_the_leader_knows_them() {
    let rig = Rig::start(3).await;
    let mut clients = rig.clients().await;
    for round in 0..10_i64 {
        let sent = clients[0].produce(0, "", &round.to_string()).await;
        // Followers first, and no wait: one that has not heard of the message must not say that there is none.
        for client in clients.iter_mut().rev() {
            let answer = client.pull(from(round)).await;
            assert_eq!((outcome(&answer).0, bodies(&answer)), (0, vec![round.to_string()]));
            let max = client.ask(30, &[("topic", "t"), ("queueId", "0")]).await;
            assert_eq!(max.ext.get("offset"), Some((round + 1).to_string().as_str()));
            let viewed = client.ask(33, &[("offset", &sent.to_string())]).await;
            assert_eq!(viewed.code, 0);
        }
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_held_by_a_follower_is_woken_by_a_message_sent_to_the_leader() {
    let rig = Rig::start(3).await;
    let mut clients = rig.clients().await;
    let waiting = clients[1].send_pull(held(from(0), 30_000)).await;
    assert!(!clients[1].is_answered_soon(waiting).await);
    clients[0].produce(0, "", "news").await;
    assert_eq!(bodies(&clients[1].answer(waiting).await), ["news"]);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_message_slips_between_a_look_and_a_hold() {
    const MESSAGES: i64 = 300;
    let rig = Rig::start(3).await;
    let mut clients = rig.clients().await;
    let mut producer = Client::connect(rig.brokers[0].local_addr()).await;
    // A pull that missed its message would be held for 30 s; an answer is waited for 10 s.
    let consuming = clients.iter_mut().enumerate().map(|(node, client)| async move {
        let mut next = 0;
        while next < MESSAGES {
            let answer = client.pull(held(Pull { max: 1, ..from(next) }, 30_000)).await;
            assert_eq!((outcome(&answer).0, bodies(&answer)), (0, vec![next.to_string()]), "node {node}");
            next += 1;
        }
    });
    let producing = async {
        for i in 0..MESSAGES {
            producer.produce(0, "", &i.to_string()).await;
        }
    };
    tokio::join!(futures_util::future::join_all(consuming), producing);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offset_that_a_pull_carries_to_a_follower_reaches_the_leader() {
    let rig = Rig::start(3).await;
    let mut clients = rig.clients().await;
    for body in ["1", "2", "3"] {
        clients[0].produce(0, "", body).await;
    }
    assert_eq!(clients[1].pull(Pull { flags: 5, commit: 2, ..from(0) }).await.code, 0);
    let mut committed = None;
    for _ in 0..500 {
        let answer = clients[2].ask(14, &[("consumerGroup", GROUP), ("topic", "t"), ("queueId", "0")]).await;
        committed = answer.ext.get("offset").map(str::to_owned);
        if committed.as_deref() == Some("2") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(committed.as_deref(), Some("2"));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_a_leader_serves_what_it_has_and_never_says_nothing_new() {
    let mut rig = Rig::start(3).await;
    let mut clients = rig.clients().await;
    clients[0].produce(0, "", "x").await;
    assert_eq!(bodies(&clients[1].pull(from(0)).await), ["x"]);
    // The last of the clients' brokers survives alone.
    let survivor = rig.brokers.iter().rposition(|broker| !broker.broker.node().is_leader()).unwrap();
    let alone = rig.brokers.remove(survivor);
    let mut client = Client::connect(alone.local_addr()).await;
    // It holds the message: a pull at the tail was answered behind a barrier.
    assert_eq!(bodies(&client.pull(from(0)).await), ["x"]);
    assert_eq!(client.pull(from(1)).await.code, 19);
    let waiting = client.send_pull(held(from(1), 300)).await;
    futures_util::future::join_all(rig.brokers.drain(..).map(quorumq::broker::Running::<Tokio>::shutdown)).await;
    let unproven = client.answer(waiting).await.code;
    assert!(unproven == 14 || unproven == 19, "{unproven}: 19 only if it was proven before the others left");
    assert_eq!(bodies(&client.pull(from(0)).await), ["x"], "what is committed is served");
    for pull in [from(1), held(from(1), 300), from(5), Pull { topic: "none", ..from(0) }] {
        let answer = client.pull(pull).await;
        assert_eq!(answer.code, 14, "{answer:?}");
    }
    for code in [14, 30, 31] {
        let answer = client.ask(code, &[("consumerGroup", GROUP), ("topic", "t"), ("queueId", "0")]).await;
        assert_eq!(answer.code, 14);
    }
    alone.shutdown().await;
}
