//! A group of three broker processes, as its operator and its clients see it.
#![cfg(test)]

mod harness;

use std::time::Duration;

use harness::load::Load;
use harness::{Plan, readback};

/// Long enough for a slow machine.
const LONG: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_processes_take_messages_and_keep_them_over_restarts() {
    let mut cluster = Plan { name_servers: 2, ..Plan::new("restarts") }.start().await;
    cluster.create_topic("T", 4).await;
    let loading = Load::new("T").start(&cluster.namesrv());
    loading.until_acked(2000, LONG).await;
    let outcomes = loading.stop().await;
    assert_eq!((outcomes.unknown.len(), &outcomes.refused[..]), (0, &[][..]), "nothing happened that a send fails of");
    readback::check(&readback::read(&cluster.namesrv(), "T").await, &outcomes);

    cluster.stop_brokers();
    cluster.start_brokers().await;
    let topic = readback::read(&cluster.namesrv(), "T").await;
    let before = readback::check(&topic, &outcomes);
    assert_eq!(before.stored, before.acked);
}
