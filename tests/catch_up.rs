//! A fourth member joins a loaded group and gets its whole log, an old one is removed, and senders hardly notice.
//!
//! `QUORUMQ_CATCH_UP_BYTES` sets how large the log is (24 MiB), `QUORUMQ_CATCH_UP_WINDOW` the seconds of a window in which
//! catch-up runs or is paused (1), `QUORUMQ_CATCH_UP_RATE` its bytes a second (4 MiB). With the first two given, latencies
//! are held against what the product promises.
#![cfg(test)]

mod harness;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use harness::cluster::Cluster;
use harness::load::{Load, Outcomes, body};
use harness::node::Node;
use harness::ports::Ports;
use harness::process::{quorumq, run};
use harness::{Plan, readback, until};
use quorumq::client::producer::ProducerBuilder;
use quorumq::client::{Message, Place, Producer};
use quorumq_raft::runtime::tokio::Tokio;

const GROUP: &str = "broker-a";
const TOPIC: &str = "T";
/// The topic of the sends whose latency is measured.
const FRESH: &str = "fresh";
/// Enough for a slow machine.
const LONG: Duration = Duration::from_secs(900);
/// Bytes of the bodies that fill the log.
const LARGE: usize = 16 << 10;
/// Sends whose latency is measured, a second.
const RATE: u32 = 400;
/// Tasks that send.
const SENDERS: u32 = 20;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_catches_up_hardly_slows_senders_and_takes_an_old_ones_place() {
    let (bytes, window) = (setting("QUORUMQ_CATCH_UP_BYTES"), setting("QUORUMQ_CATCH_UP_WINDOW"));
    let is_measured = bytes.is_some() && window.is_some();
    let segment = if is_measured { 256 << 20 } else { 4 << 20 };
    let mut cluster = Plan { segment, ..Plan::new("catch-up") }.start().await;
    cluster.create_topic(TOPIC, 8).await;
    cluster.create_topic(FRESH, 8).await;
    let outcomes = fill(&cluster, bytes.unwrap_or(24 << 20)).await;

    let fresh = Fresh::start(&cluster.namesrv());
    let raft = start_the_fourth(&mut cluster);
    let window = Duration::from_secs(window.unwrap_or(1));
    let windows = join(&cluster, &raft, window).await;
    remove_a_follower(&mut cluster).await;
    let sends = fresh.stop().await;
    cluster.settled(0).await;

    let [running, paused] = [true, false].map(|runs| latencies(&sends, &windows, runs));
    println!("catch-up running: {}", told(&running));
    println!("catch-up paused:  {}", told(&paused));
    let checked = readback::check(&readback::read(&cluster.namesrv(), TOPIC).await, &outcomes);
    let stored: usize = readback::read(&cluster.namesrv(), FRESH).await.values().map(Vec::len).sum();
    println!("{checked:?}; {} sends meanwhile, {stored} stored", sends.len());
    assert!(sends.iter().all(|send| send.ok) && stored == sends.len(), "no send failed, and none was stored twice");
    if is_measured {
        let (running, paused) = (p99(&running), p99(&paused));
        assert!(running <= 2 * paused, "p99 {running:?} with catch-up, {paused:?} without");
    }
}

/// Writes until the log has so many bytes.
async fn fill(cluster: &Cluster, bytes: u64) -> Outcomes {
    let loading = Load { body: LARGE, ..Load::new(TOPIC) }.start(&cluster.namesrv());
    loading.until_acked(bytes / LARGE as u64, LONG).await;
    loading.stop().await
}

/// A broker that waits to be added; where its peers reach it.
fn start_the_fourth(cluster: &mut Cluster) -> String {
    let ports = Ports::take();
    let raft = format!("127.0.0.1:{}", ports.raft());
    let model = fs::read_to_string(&cluster.groups[0].nodes[0].conf).expect("a configuration");
    let mut node = Node::broker(cluster.dir.path(), "fourth", ports);
    let line = |line: &str| match line.split_once('=') {
        Some(("listenPort", _)) => format!("listenPort={}\n", node.ports.listen()),
        Some(("storePathRootDir", _)) => format!("storePathRootDir={}\n", node.store.display()),
        Some(("dLegerPeers", peers)) => format!("dLegerPeers={peers};n3-{raft}\n"),
        Some(("dLegerSelfId", _)) => "dLegerSelfId=n3\n".to_owned(),
        Some(("bootstrap", _)) => "join=true\n".to_owned(),
        _ => format!("{line}\n"),
    };
    node.write_conf(&model.lines().map(line).collect::<String>());
    node.start();
    cluster.group().nodes.push(node);
    raft
}

/// `quorumq group …`
fn group(namesrv: &str, what: &str, args: &[&str]) -> String {
    let told = run(quorumq().args(["group", what, GROUP]).args(args).args(["-n", namesrv]), LONG).success();
    println!("$ quorumq group {what} {GROUP} {}\n  {}", args.join(" "), told.trim_end());
    told
}

/// A time in which catch-up ran or was paused.
struct Window {
    runs: bool,
    from: Instant,
    to: Instant,
}

/// Adds the member, and lets it catch up in every other window only.
async fn join(cluster: &Cluster, raft: &str, window: Duration) -> Vec<Window> {
    let rate = setting("QUORUMQ_CATCH_UP_RATE").unwrap_or(4 << 20).to_string();
    let (namesrv, peer) = (cluster.namesrv(), raft.to_owned());
    let added = Arc::new(AtomicBool::new(false));
    group(&namesrv, "catch-up", &["--rate", &rate]);
    let adding = {
        let (added, namesrv) = (Arc::clone(&added), namesrv.clone());
        tokio::task::spawn_blocking(move || {
            group(&namesrv, "add", &["--raft", &peer, "--timeout", "15m"]);
            added.store(true, Ordering::Release);
        })
    };
    let mut windows = Vec::new();
    for n in 0.. {
        let runs = n % 2 == 0;
        let args: &[&str] = if runs { &["--rate", &rate] } else { &["--pause"] };
        tokio::task::block_in_place(|| group(&namesrv, "catch-up", args));
        let from = Instant::now();
        while from.elapsed() < window && !added.load(Ordering::Acquire) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        windows.push(Window { runs, from, to: Instant::now() });
        if added.load(Ordering::Acquire) {
            break;
        }
    }
    adding.await.expect("it was added");
    windows
}

/// Removes an old member that does not lead, and deletes its store.
async fn remove_a_follower(cluster: &mut Cluster) {
    let status = cluster.status(0).await.expect("a status");
    let old = status.members.iter().find(|member| member.role == "follower" && member.id <= 3).expect("an old one");
    let (id, addr) = (old.id.to_string(), old.client_addr.clone());
    let namesrv = cluster.namesrv();
    tokio::task::block_in_place(|| group(&namesrv, "remove", &["--id", &id]));
    let node = cluster.group().at(&addr);
    node.terminate();
    fs::remove_dir_all(&node.store).expect("its store can be deleted");
    cluster.group().nodes.retain(|node| node.addr().to_string() != addr);
    let three = async || {
        let status = cluster.status(0).await?;
        (status.members.len() == 3 && status.members.iter().all(|member| member.voter)).then_some(())
    };
    until("three voters", LONG, three).await;
}

/// A send whose latency was measured.
struct Send {
    at: Instant,
    took: Duration,
    ok: bool,
}

/// Senders at a steady rate.
struct Fresh {
    producer: Producer<Tokio>,
    stop: Arc<AtomicBool>,
    senders: Vec<tokio::task::JoinHandle<Vec<Send>>>,
}

impl Fresh {
    fn start(namesrv: &str) -> Self {
        let producer = ProducerBuilder::new("fresh", namesrv).expect("a list").start::<Tokio>().expect("a producer");
        let stop = Arc::new(AtomicBool::new(false));
        let sender = |n: u32| tokio::spawn(send(producer.clone(), Arc::clone(&stop), n));
        Self { senders: (0..SENDERS).map(sender).collect(), producer, stop }
    }

    async fn stop(self) -> Vec<Send> {
        self.stop.store(true, Ordering::Release);
        let mut sends = Vec::new();
        for sender in self.senders {
            sends.extend(sender.await.expect("a sender"));
        }
        self.producer.close().await;
        sends
    }
}

async fn send(producer: Producer<Tokio>, stop: Arc<AtomicBool>, n: u32) -> Vec<Send> {
    let every = Duration::from_secs(1) * SENDERS / RATE;
    tokio::time::sleep(every * n / SENDERS).await;
    let mut ticks = tokio::time::interval(every);
    let mut sends = Vec::new();
    while !stop.load(Ordering::Acquire) {
        ticks.tick().await;
        let at = Instant::now();
        let message = Message::new(FRESH, body(0, 1024));
        let ok = producer.send_to(message, Place::Any).await.is_ok();
        sends.push(Send { at, took: at.elapsed(), ok });
    }
    sends
}

/// Sorted latencies of sends in windows in which catch-up ran, or was paused.
fn latencies(sends: &[Send], windows: &[Window], runs: bool) -> Vec<Duration> {
    let is_in =
        |send: &&Send| windows.iter().any(|window| window.runs == runs && (window.from..window.to).contains(&send.at));
    let mut times: Vec<_> = sends.iter().filter(is_in).map(|send| send.took).collect();
    times.sort();
    times
}

fn p99(times: &[Duration]) -> Duration {
    times.get(times.len() * 99 / 100).copied().unwrap_or_default()
}

fn told(times: &[Duration]) -> String {
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    format!(
        "{} sends, median {median:.2?}, p99 {:.2?}, longest {:.2?}",
        times.len(),
        p99(times),
        times.last().copied().unwrap_or_default()
    )
}
