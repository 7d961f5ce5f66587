//! Brokers whose fdatasync takes 300 ms longer, or fails: how long an acknowledgement takes tells what it waits for.
#![cfg(test)]

mod harness;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use harness::cluster::{Cluster, Leader};
use harness::load::Load;
use harness::process::run;
use harness::{Plan, readback};
use quorumq::client::producer::ProducerBuilder;
use quorumq::client::{Message, Place, Producer};
use quorumq_raft::runtime::tokio::Tokio;

/// What the shim adds.
const DELAY: Duration = Duration::from_millis(300);
/// A median below this did not wait for a slow disk.
const UNMOVED: Duration = Duration::from_millis(150);
/// Sends measured, one after the other.
const SENDS: usize = 15;

/// Enough for a slow machine.
const LONG: Duration = Duration::from_secs(60);

/// Three brokers with the shim preloaded.
struct Preloaded {
    cluster: Cluster,
    /// While it exists, the node of this place is slow.
    slow: Vec<PathBuf>,
    /// While it exists, its syncs fail.
    fails: Vec<PathBuf>,
    producer: Producer<Tokio>,
}

/// The shim; `None` if there is no C compiler, which is said.
fn shim(dir: &Path) -> Option<PathBuf> {
    let out = dir.join("fdatasync.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/shim/fdatasync.c");
    for compiler in ["cc", "gcc", "clang"] {
        if Command::new(compiler).arg("--version").output().is_ok() {
            let mut compile = Command::new(compiler);
            compile.args(["-shared", "-fPIC", "-O2", "-o"]).arg(&out).arg(&source).arg("-ldl");
            run(&mut compile, Duration::from_secs(60)).success();
            return Some(out);
        }
    }
    println!("skipped: no C compiler (cc, gcc, clang) to build the shim for fdatasync");
    None
}

impl Preloaded {
    async fn start(name: &'static str, conf: &'static [(&'static str, &'static str)]) -> Option<Self> {
        let mut cluster = Plan { conf, ..Plan::new(name) }.make();
        let shim = shim(cluster.dir.path())?;
        let dir = cluster.dir.path().to_owned();
        let (mut slow, mut fails) = (Vec::new(), Vec::new());
        for node in &mut cluster.group().nodes {
            let flag = |what| dir.join(format!("{}-{what}", node.name));
            let (is_slow, is_broken) = (flag("is-slow"), flag("fails"));
            node.env = vec![
                ("LD_PRELOAD", shim.clone()),
                ("FDATASYNC_SLOW", is_slow.clone()),
                ("FDATASYNC_FAILS", is_broken.clone()),
            ];
            slow.push(is_slow);
            fails.push(is_broken);
        }
        cluster.start().await;
        cluster.create_topic("T", 4).await;
        let builder = ProducerBuilder::new("slow", &cluster.namesrv()).expect("a list of NameServers");
        let producer = builder.start::<Tokio>().expect("a producer");
        Some(Self { cluster, slow, fails, producer })
    }

    /// Makes the disks of these nodes slow, and those of the others fast.
    fn slow(&self, nodes: &[usize]) {
        for (i, flag) in self.slow.iter().enumerate() {
            if nodes.contains(&i) {
                fs::write(flag, "").unwrap();
            } else {
                let _ = fs::remove_file(flag);
            }
        }
    }

    /// The leader, its place and those of its followers.
    async fn places(&self) -> (Leader, usize, Vec<usize>) {
        let leader = self.cluster.leader(0).await;
        let is_leader = |i: &usize| self.cluster.groups[0].nodes[*i].addr().to_string() == leader.addr;
        let (led, following): (Vec<usize>, Vec<usize>) = (0..3).partition(is_leader);
        (leader, led[0], following)
    }

    async fn send(&self) -> Duration {
        let began = Instant::now();
        self.producer.send_to(Message::new("T", vec![7; 100]), Place::Any).await.expect("an acknowledgement");
        began.elapsed()
    }

    /// The median of sends one after the other.
    async fn median(&self, what: &str) -> Duration {
        // The first ones may meet what was under way.
        for _ in 0..3 {
            self.send().await;
        }
        let mut times = Vec::new();
        for _ in 0..SENDS {
            times.push(self.send().await);
        }
        times.sort();
        let median = times[SENDS / 2];
        println!("{what}: median {:.1} ms, fastest {:.1} ms", ms(median), ms(times[0]));
        median
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledgement_waits_for_the_syncs_of_two_members_and_not_of_one() {
    let Some(group) = Preloaded::start("slow-sync", &[("flushDiskType", "SYNC_FLUSH")]).await else { return };
    let (leader, led, following) = group.places().await;
    let plain = group.median("SYNC_FLUSH, no disk is slow").await;
    assert!(plain < UNMOVED, "{plain:?}");
    group.slow(&following[..1]);
    let one = group.median("SYNC_FLUSH, one follower's disk is slow").await;
    assert!(one < UNMOVED, "it moved from {plain:?} to {one:?}");
    group.slow(&[led]);
    let own = group.median("SYNC_FLUSH, the leader's disk is slow").await;
    assert!(own < UNMOVED, "it moved from {plain:?} to {own:?}");
    group.slow(&following);
    let two = group.median("SYNC_FLUSH, both followers' disks are slow").await;
    assert!(two >= DELAY, "{two:?}");
    group.slow(&[led, following[0]]);
    let mixed = group.median("SYNC_FLUSH, the leader's and a follower's disk are slow").await;
    assert!(mixed >= DELAY, "{mixed:?}");
    let after = group.cluster.leader(0).await;
    assert_eq!((after.id, after.term), (leader.id, leader.term), "a slow disk is no reason to elect another leader");
    group.producer.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asynchronous_flushing_acknowledges_before_any_sync_but_a_vote_waits_for_its_own() {
    let Some(mut group) = Preloaded::start("slow-async", &[("flushDiskType", "ASYNC_FLUSH")]).await else { return };
    let (leader, led, _) = group.places().await;
    group.slow(&[0, 1, 2]);
    let all = group.median("ASYNC_FLUSH, every disk is slow").await;
    assert!(all < UNMOVED, "{all:?}");
    let killed = Instant::now();
    group.cluster.group().nodes[led].kill();
    group.cluster.leader_after(0, leader.term).await;
    let elected = killed.elapsed();
    println!("ASYNC_FLUSH, every disk is slow: a new leader after {:.1} ms", ms(elected));
    // The candidate's vote for itself, then the other's vote for it.
    assert!(elected >= 2 * DELAY, "{elected:?}");
    group.producer.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_sync_ends_the_process_with_a_reason_and_loses_nothing_acknowledged() {
    let Some(mut group) = Preloaded::start("failed-sync", &[("flushDiskType", "SYNC_FLUSH")]).await else { return };
    let (leader, led, following) = group.places().await;
    let loading = Load::new("T").start(&group.cluster.namesrv());
    loading.until_acked(500, LONG).await;
    for (place, role) in [(following[0], "follower"), (led, "leader")] {
        fs::write(&group.fails[place], "").unwrap();
        let node = &mut group.cluster.group().nodes[place];
        let status = node.wait(LONG);
        let output = node.output();
        let reason = output.lines().rfind(|line| line.starts_with("error: ")).unwrap_or_default();
        println!("{role}: {status}: {reason}");
        assert_eq!(status.code(), Some(1), "{output}");
        assert!(reason.contains("the node cannot go on") && reason.contains("Input/output error"), "{output}");
        fs::remove_file(&group.fails[place]).unwrap();
        node.start();
        let from = loading.acked();
        loading.until_acked(from + 500, LONG).await;
    }
    group.cluster.leader_after(0, leader.term).await;
    let outcomes = loading.stop().await;
    group.cluster.settled(0).await;
    readback::check(&readback::read(&group.cluster.namesrv(), "T").await, &outcomes);
    group.producer.close().await;
}
