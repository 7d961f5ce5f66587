//! A change of leader: the new one knows all members, and NameServers know it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::rig::{Client, Rig, until};

/// Asks for the members of `g` until told to stop: every list there was, and the longest time without one.
async fn watch(mut client: Client, stop: Arc<AtomicBool>) -> (BTreeMap<Vec<String>, usize>, Duration) {
    let mut lists = BTreeMap::new();
    let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
    while !stop.load(Ordering::Relaxed) {
        let answer = client.ask(38, &[("consumerGroup", "g")], b"").await;
        if answer.code == 14 || answer.ext.get("outcome") == Some("unknown") {
            // Nobody leads at the moment, or the old leader went with the question.
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        }
        let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let list = serde_json::from_value(body["consumerIdList"].clone()).unwrap_or_default();
        *lists.entry(list).or_default() += 1;
        longest = longest.max(last.elapsed());
        last = Instant::now();
    }
    (lists, longest)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_leader_lists_all_members_or_none_and_everybody_is_told_again() {
    let rig = Rig::start(3).await;
    let mut clients = Vec::new();
    for (node, id) in ["a", "b", "c"].into_iter().enumerate() {
        let mut client = rig.client(node).await;
        client.join(id, &["g"]).await;
        clients.push(client);
    }
    rig.until_members("g", &["a", "b", "c"]).await;
    let stop = Arc::<AtomicBool>::default();
    let mut watching = Vec::new();
    for node in 0..3 {
        watching.push(tokio::spawn(watch(rig.client(node).await, Arc::clone(&stop))));
    }
    for _ in 0..8 {
        for client in &mut clients {
            client.forget_pushed().await;
        }
        let old = until("a leader", async || rig.brokers.iter().position(|b| b.broker.node().is_leader())).await;
        rig.brokers[old].broker.node().transfer_leadership(None, Duration::from_secs(5)).await.unwrap();
        // What changed while nobody led is not lost.
        for client in &mut clients {
            client.until_notified("g").await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    for watching in watching {
        let (lists, longest) = watching.await.unwrap();
        println!("lists of members: {lists:?}; none for at most {longest:?}");
        assert_eq!(lists.keys().collect::<Vec<_>>(), [&["a", "b", "c"].map(str::to_owned).to_vec()], "half a list");
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
