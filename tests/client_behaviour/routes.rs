//! NameServers and routes.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use quorumq::client::{ClientError, ClientOptions, Message, Producer, ProducerBuilder};
use quorumq::protocol::code::request::GET_ROUTEINFO_BY_TOPIC;
use quorumq_raft::runtime::tokio::Tokio;

use super::fake::{Act, Fake, dead, eventually, options, route};

fn producer(options: ClientOptions) -> Producer<Tokio> {
    ProducerBuilder::with_client("producers", options).start().expect("a producer")
}

#[tokio::test]
async fn a_dead_nameserver_is_left_for_the_next_one() {
    let broker = Fake::broker().await;
    let addr = broker.addr;
    let namesrv = Fake::namesrv(move |_| Some(route(4, &[("g", &[addr])]))).await;
    // Whichever it begins with, it finds the one that lives.
    for _ in 0..4 {
        let producer = producer(ClientOptions::new(vec![dead(), namesrv.addr, dead()]));
        producer.send(Message::new("T", "b")).await.expect("stored");
        producer.close().await;
    }
}

#[tokio::test]
async fn a_hanging_nameserver_costs_a_share_of_the_time() {
    let broker = Fake::broker().await;
    let addr = broker.addr;
    let namesrv = Fake::namesrv(move |_| Some(route(4, &[("g", &[addr])]))).await;
    let hanging = Fake::start(|_, _| Act::Silence).await;
    for _ in 0..3 {
        let producer = producer(ClientOptions::new(vec![hanging.addr, namesrv.addr]));
        producer.send(Message::new("T", "b")).await.expect("stored within the send's own time");
    }
}

#[tokio::test]
async fn one_nameserver_is_talked_to_over_one_connection() {
    let broker = Fake::broker().await;
    let addr = broker.addr;
    let servers = [
        Fake::namesrv(move |_| Some(route(4, &[("g", &[addr])]))).await,
        Fake::namesrv(move |_| Some(route(4, &[("g", &[addr])]))).await,
    ];
    let producer = producer(ClientOptions::new(servers.iter().map(|server| server.addr).collect()));
    for topic in ["A", "B", "C", "A"] {
        producer.send(Message::new(topic, "b")).await.expect("stored");
    }
    assert_eq!(servers.iter().map(Fake::connections).sum::<usize>(), 1);
    assert_eq!(servers.iter().map(|server| server.count(GET_ROUTEINFO_BY_TOPIC)).sum::<usize>(), 3, "once per topic");
}

#[tokio::test]
async fn known_routes_outlive_the_nameservers() {
    let broker = Fake::broker().await;
    let addr = broker.addr;
    let namesrv = Fake::namesrv(move |_| Some(route(4, &[("g", &[addr])]))).await;
    let mut options = options(&namesrv);
    options.route_interval = Duration::from_millis(20);
    options.api_timeout = Duration::from_millis(200);
    let producer = producer(options);
    producer.send(Message::new("T", "b")).await.expect("stored");
    namesrv.kill().await;
    for _ in 0..10 {
        producer.send(Message::new("T", "b")).await.expect("stored");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let error = producer.send(Message::new("New", "b")).await.expect_err("no NameServer");
    assert!(matches!(error, ClientError::NotSent(_) | ClientError::NoAnswer(_)), "{error}");
}

#[tokio::test]
async fn routes_are_fetched_again_and_show_what_has_changed() {
    let broker = Fake::broker().await;
    let addr = broker.addr;
    let queues = Arc::new(AtomicI32::new(2));
    let told = Arc::clone(&queues);
    let namesrv = Fake::namesrv(move |_| Some(route(told.load(Ordering::SeqCst), &[("g", &[addr])]))).await;
    let mut options = options(&namesrv);
    options.route_interval = Duration::from_millis(20);
    let producer = producer(options);
    assert_eq!(producer.route("T").await.expect("a route").write.len(), 2);
    queues.store(6, Ordering::SeqCst);
    let routes = &producer.core().routes;
    eventually("six queues", || routes.known("T").is_some_and(|route| route.write.len() == 6)).await;
}

#[tokio::test]
async fn a_route_that_failed_is_fetched_again_soon() {
    let broker = Fake::broker().await;
    let addr = broker.addr;
    let asked = Arc::new(AtomicI32::new(0));
    let counting = Arc::clone(&asked);
    let gone = dead();
    // The group has moved: only the second answer tells where to.
    let namesrv = Fake::namesrv(move |_| {
        let member = if counting.fetch_add(1, Ordering::SeqCst) == 0 { gone } else { addr };
        Some(route(4, &[("g", &[member])]))
    })
    .await;
    let producer = producer(options(&namesrv));
    producer.send(Message::new("T", "b")).await.expect("stored within the send's own time");
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}
