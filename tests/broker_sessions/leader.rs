//! A change of leader: the new one knows all members, and NameServers know it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use quorumq::broker::Running;
use quorumq_raft::runtime::tokio::Tokio;

use crate::rig::{Client, PATIENCE, Rig, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_new_leader_answers_with_all_members_or_not_at_all() {
    let mut rig = Rig::start(3).await;
    let mut clients = Vec::new();
    for (node, id) in ["a", "b", "c"].into_iter().enumerate() {
        let mut client = rig.client(node).await;
        client.join(id, &["g"]).await;
        clients.push((node, id, client));
    }
    rig.until_members("g", &["a", "b", "c"]).await;
    let old = rig.leader();
    let leaving = rig.brokers.remove(old);
    let (_, gone, connection) = clients.remove(old);
    let left: Vec<&str> = clients.iter().map(|(_, id, _)| *id).collect();
    let stopping = tokio::spawn(Running::<Tokio>::shutdown(leaving));
    let mut asking = rig.client(0).await;
    let mut answers = BTreeMap::<Vec<String>, usize>::new();
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < PATIENCE, "{answers:?}");
        let answer = asking.ask(38, &[("consumerGroup", "g")], b"").await;
        if answer.code == 14 || answer.ext.get("outcome") == Some("unknown") {
            // Nobody leads at the moment, or the old leader left with the question.
            continue;
        }
        assert_eq!(answer.code, 0, "{answer:?}");
        let list: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let list: Vec<String> = serde_json::from_value(list["consumerIdList"].clone()).unwrap_or_default();
        *answers.entry(list.clone()).or_default() += 1;
        if list == left && stopping.is_finished() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut all = left.clone();
    all.push(gone);
    all.sort_unstable();
    for list in answers.keys() {
        assert!(*list == left || *list == all, "half a list: {list:?}");
    }
    drop(connection);
    stopping.await.unwrap();
    // Everybody is told once more: what changed while nobody led is not lost.
    for (.., client) in &mut clients {
        client.forget_pushed().await;
    }
    let mut new = rig.client(0).await;
    new.join("d", &["g"]).await;
    for (.., client) in &mut clients {
        client.until_notified("g").await;
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_leadership_moves_the_new_leader_is_registered_at_once() {
    let rig = Rig::start(3).await;
    let mut times = Vec::new();
    for _ in 0..4 {
        let old = rig.leader();
        rig.brokers[old].broker.node().transfer_leadership(None, Duration::from_secs(5)).await.unwrap();
        let moved = Instant::now();
        let new = until("a leader", async || rig.brokers.iter().position(|b| b.broker.node().is_leader())).await;
        let wanted = rig.brokers[new].local_addr().to_string();
        until("the new leader is registered", async || {
            (rig.route("TBW102").await.get(&0) == Some(&wanted)).then_some(())
        })
        .await;
        times.push(moved.elapsed());
        // The old one becomes a follower of it.
        assert_eq!(rig.until_registered("TBW102").await.len(), 3);
    }
    println!("a new leader was registered after {times:?}");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_stops_is_unregistered_and_its_clients_are_gone() {
    let mut rig = Rig::start(3).await;
    let follower = (rig.leader() + 1) % 3;
    let mut stays = rig.client(rig.leader()).await;
    stays.join("stays", &["g"]).await;
    let mut leaves: Client = rig.client(follower).await;
    leaves.join("leaves", &["g"]).await;
    rig.until_members("g", &["leaves", "stays"]).await;
    let stopped = rig.brokers.remove(follower);
    let addr = stopped.local_addr().to_string();
    stopped.shutdown().await;
    let route = rig.route("TBW102").await;
    assert!(route.len() == 2 && route.values().all(|known| *known != addr), "{route:?} still has {addr}");
    rig.until_members("g", &["stays"]).await;
    rig.stop().await;
}
