//! A group that was killed serves again soon, whatever is left of the files that are derived from its log.
//!
//! `QUORUMQ_RECOVERY_MESSAGES` sets how many messages of 1 KiB lie in it (20,000), `QUORUMQ_RECOVERY_SEGMENT` the bytes of
//! a CommitLog file (4 MiB); with both given, the times are held against what the product promises.
#![cfg(test)]

mod harness;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use harness::cluster::Cluster;
use harness::load::{Ack, Load, body, number};
use harness::node::Node;
use harness::{Plan, until};
use quorumq::client::producer::ProducerBuilder;
use quorumq::client::{Message, MessageQueue, Place, PullConsumer};
use quorumq_raft::runtime::tokio::Tokio;
use quorumq_store::QueueOffset;

const TOPIC: &str = "T";
const QUEUES: u32 = 8;
const BODY: usize = 1024;
/// Enough for a slow machine and two million messages.
const LONG: Duration = Duration::from_secs(600);
/// What is promised of two million messages.
const AFTER_A_KILL: Duration = Duration::from_secs(5);
const WITHOUT_THE_LAST_FILES: Duration = Duration::from_secs(10);
/// Directories of derived files.
const DERIVED: [&str; 2] = ["consumequeue", "index"];

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_group_serves_again_soon_and_rebuilds_what_was_deleted() {
    let (messages, segment) = (setting("QUORUMQ_RECOVERY_MESSAGES"), setting("QUORUMQ_RECOVERY_SEGMENT"));
    let is_measured = messages.is_some() && segment.is_some();
    // Index files are as large as their sizes say, whatever is in them.
    let conf: &[_] = match is_measured {
        true => &[("maxHashSlotNum", "500000"), ("maxIndexNum", "1200000")],
        false => &[("maxHashSlotNum", "4096"), ("maxIndexNum", "20000")],
    };
    let segment = segment.unwrap_or(4 << 20);
    let mut cluster = Plan { segment, conf, ..Plan::new("recovery") }.start().await;
    cluster.create_topic(TOPIC, QUEUES).await;
    let loading = Load { in_flight: 512, body: BODY, ..Load::new(TOPIC) }.start(&cluster.namesrv());
    loading.until_acked(messages.unwrap_or(20_000), LONG).await;
    let acks = loading.stop().await.acks;
    let ends = Ends::of(&acks);

    cluster.settled(0).await;
    cluster.stop_brokers();
    let before: Vec<_> = stores(&cluster).iter().map(|store| derived_files(store)).collect();
    for store in stores(&cluster) {
        DERIVED.iter().for_each(|dir| fs::remove_dir_all(store.join(dir)).expect("it can be removed"));
    }
    let begun = Instant::now();
    cluster.start_brokers().await;
    cluster.settled(0).await;
    for (node, before) in cluster.groups[0].nodes.iter().zip(&before) {
        until("a rebuild that has ended", LONG, async || is_rebuilt(node, before).then_some(())).await;
    }
    println!("both directories were rebuilt within {:?}", begun.elapsed());
    cluster.stop_brokers();
    let pairs = stores(&cluster).into_iter().zip(&before);
    let bytes: usize = pairs.map(|(store, before)| compare(before, &derived_files(&store))).sum();
    println!("{bytes} bytes of derived files on three members were rebuilt as they had been");
    cluster.start_brokers().await;

    kill_all(&mut cluster);
    let took = serves(&mut cluster, &ends).await;
    println!("{} messages: serves {took:?} after kill -9 and a start", acks.len());
    assert!(!is_measured || took <= AFTER_A_KILL, "{took:?}");

    kill_all(&mut cluster);
    let removed: usize = stores(&cluster).iter().map(|store| remove_last_files(store)).sum();
    let took = serves(&mut cluster, &ends).await;
    println!("serves {took:?} after a start without {removed} files of the last segment");
    assert!(!is_measured || took <= WITHOUT_THE_LAST_FILES, "{took:?}");
}

/// The first and the last message that was acknowledged.
struct Ends([Ack; 2]);

impl Ends {
    fn of(acks: &[Ack]) -> Self {
        let first = acks.iter().find(|ack| ack.offset == 0).expect("a first one");
        let last = acks.iter().max_by_key(|ack| ack.offset).expect("a last one");
        Self([first.clone(), last.clone()])
    }
}

fn kill_all(cluster: &mut Cluster) {
    for node in &mut cluster.group().nodes {
        node.kill();
    }
}

fn stores(cluster: &Cluster) -> Vec<PathBuf> {
    cluster.groups[0].nodes.iter().map(|node| node.store.clone()).collect()
}

/// Starts every broker; how long it takes until a send is acknowledged and the first and the last message are pulled.
async fn serves(cluster: &mut Cluster, ends: &Ends) -> Duration {
    let begun = Instant::now();
    cluster.group().nodes.iter_mut().for_each(Node::start);
    let producer =
        ProducerBuilder::new("after", &cluster.namesrv()).expect("a list").start::<Tokio>().expect("a producer");
    let message = || Message::new(TOPIC, body(u64::MAX, BODY));
    until("a send", LONG, async || producer.send_to(message(), Place::Any).await.ok()).await;
    let consumer = PullConsumer::<Tokio>::start("after", &cluster.namesrv()).expect("a consumer");
    for ack in &ends.0 {
        let queue = MessageQueue::new(TOPIC, &ack.group, ack.queue);
        let pull = async || {
            let pulled = consumer.pull(&queue, QueueOffset(ack.offset), 1, "*", Duration::ZERO).await.ok()?;
            pulled.messages.into_iter().next()
        };
        let found = until("a pull", LONG, pull).await;
        assert_eq!((number(&found.body), found.queue_offset.0), (ack.number, ack.offset));
    }
    let took = begun.elapsed();
    producer.close().await;
    consumer.close().await;
    took
}

/// Every file below the directories of derived files, and what it holds. Not those whose names begin with a dot: they
/// tell how far a directory is complete, not what is in it.
fn derived_files(store: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut dirs: Vec<_> = DERIVED.iter().map(|dir| store.join(dir)).collect();
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten() {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                dirs.push(path);
            } else if !path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
                // One that is replaced at this moment is there at the next look.
                && let Ok(bytes) = fs::read(&path)
            {
                files.insert(path, bytes);
            }
        }
    }
    files
}

/// Removes the newest file of each directory of derived files.
fn remove_last_files(store: &Path) -> usize {
    let mut last: BTreeMap<PathBuf, PathBuf> = BTreeMap::new();
    for path in derived_files(store).into_keys() {
        let is_numbered =
            path.file_stem().is_some_and(|name| name.to_string_lossy().bytes().all(|b| b.is_ascii_digit()));
        if is_numbered {
            last.insert(path.parent().expect("a directory").to_owned(), path);
        }
    }
    last.values().for_each(|path| fs::remove_file(path).expect("it can be removed"));
    last.len()
}

/// Whether a node has made its ConsumeQueues again, and the index files of all segments but the newest: what the last flush
/// left in memory is written at the stop.
fn is_rebuilt(node: &Node, before: &BTreeMap<PathBuf, Vec<u8>>) -> bool {
    let index: Vec<_> = before.iter().filter(|(path, _)| path.starts_with(node.store.join("index"))).collect();
    let older = &index[..index.len() - 1];
    node.output().contains("ConsumeQueues were made again from the log")
        && older.iter().all(|(path, bytes)| fs::read(path).is_ok_and(|now| now == **bytes))
}

/// The same files, byte for byte; how many bytes that are.
fn compare(before: &BTreeMap<PathBuf, Vec<u8>>, now: &BTreeMap<PathBuf, Vec<u8>>) -> usize {
    assert_eq!(before.keys().collect::<Vec<_>>(), now.keys().collect::<Vec<_>>());
    let differs = before.iter().find(|(path, bytes)| now[*path] != **bytes);
    if let Some((path, bytes)) = differs {
        let at = bytes.iter().zip(&now[path]).position(|(before, now)| before != now);
        panic!("{} differs at {at:?}: {} bytes before, {} now", path.display(), bytes.len(), now[path].len());
    }
    before.values().map(Vec::len).sum()
}
