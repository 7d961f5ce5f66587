//! Flipped bits in the files of members, at rest and while they run: nothing wrong is ever served, members heal themselves,
//! and the others never stop.
#![cfg(test)]

mod harness;

#[path = "damage/flip.rs"]
mod flip;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flip::{Flip, first_file};
use harness::cluster::Cluster;
use harness::load::{Load, Loading, Outcomes};
use harness::node::Node;
use harness::{Plan, logs, readback, until};
use quorumq_store::disk::{Disk, RealDisk};
use quorumq_store::hard_state::state_in;

const TOPIC: &str = "T";
/// Enough for a slow machine.
const LONG: Duration = Duration::from_secs(120);
const SEGMENT: u64 = 1 << 20;
/// CommitLog files that are written before anything is damaged.
const FILES: u64 = 8;
const BODY: usize = 4 << 10;

/// A group with some CommitLog files, and what was acknowledged.
async fn filled(name: &'static str) -> (Cluster, Outcomes) {
    // Damage that nobody reads is found within seconds, if index files are as small as the CommitLog's.
    let conf = &[
        ("scrubInterval", "1000"),
        ("scrubBytesPerSecond", "67108864"),
        ("maxHashSlotNum", "4096"),
        ("maxIndexNum", "20000"),
    ];
    let cluster = Plan { segment: SEGMENT, conf, ..Plan::new(name) }.start().await;
    cluster.create_topic(TOPIC, 4).await;
    let loading = Load { body: BODY, ..Load::new(TOPIC) }.start(&cluster.namesrv());
    loading.until_acked(FILES * SEGMENT / BODY as u64, LONG).await;
    let outcomes = loading.stop().await;
    cluster.settled(0).await;
    (cluster, outcomes)
}

/// One flip in each kind of file: an old CommitLog file, a ConsumeQueue unit, an index unit.
fn flip_one_of_each(store: &Path) -> Vec<Flip> {
    vec![
        Flip::bit(&first_file(store, "commitlog"), SEGMENT / 2),
        // The tags code of the 11th unit.
        Flip::bit(&first_file(store, "consumequeue/T/0"), 10 * 20 + 15),
        Flip::last_unit(&first_file(store, "index")),
    ]
}

async fn healed(flips: &[Flip]) -> Duration {
    let begun = Instant::now();
    until("every byte is as it was", LONG, async || flips.iter().all(Flip::is_healed).then_some(())).await;
    begun.elapsed()
}

fn steady(cluster: &Cluster) -> Loading {
    Load { in_flight: 4, body: BODY, rate: 100, ..Load::new("steady") }.start(&cluster.namesrv())
}

fn place_of(cluster: &Cluster, addr: &str) -> usize {
    let nodes = &cluster.groups[0].nodes;
    nodes.iter().position(|node| node.addr().to_string() == addr).expect("one of ours")
}

/// Reads everything again and again until told to stop, through whoever serves it. What is read has to be what was sent.
async fn reading(namesrv: String, outcomes: Arc<Outcomes>, stop: tokio_util::sync::CancellationToken) -> usize {
    let mut rounds = 0;
    while !stop.is_cancelled() {
        readback::check(&readback::read(&namesrv, TOPIC).await, &outcomes);
        rounds += 1;
    }
    rounds
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bits_that_flip_in_a_running_member_are_healed_while_it_is_read_from() {
    let (mut cluster, outcomes) = filled("flipped-running").await;
    cluster.create_topic("steady", 2).await;
    let outcomes = Arc::new(outcomes);
    let loading = steady(&cluster);
    let stop = tokio_util::sync::CancellationToken::new();
    let reader = tokio::spawn(reading(cluster.namesrv(), Arc::clone(&outcomes), stop.clone()));
    for who in ["a follower", "the leader"] {
        let leader = place_of(&cluster, &cluster.leader(0).await.addr);
        let at = if who == "the leader" { leader } else { (leader + 1) % 3 };
        let flips = flip_one_of_each(&cluster.groups[0].nodes[at].store);
        let took = healed(&flips).await;
        println!("{who}: three files healed within {took:.2?}");
        loading.until_acked(loading.acked() + 50, LONG).await;
    }
    stop.cancel();
    let rounds = reader.await.expect("nothing wrong was served");
    let sent = loading.stop().await;
    println!("everything was read {rounds} times meanwhile; {} sends acknowledged", sent.acks.len());
    assert_eq!((sent.unknown.len(), &sent.refused[..]), (0, &[][..]), "the others never stopped");
    readback::check(&readback::read(&cluster.namesrv(), "steady").await, &sent);
    told_once(&cluster);
    stop_and_compare(&mut cluster);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bits_that_flip_while_a_member_is_down_are_healed_when_it_starts() {
    let (mut cluster, outcomes) = filled("flipped-at-rest").await;
    cluster.create_topic("steady", 2).await;
    let loading = steady(&cluster);
    let leader = place_of(&cluster, &cluster.leader(0).await.addr);
    let node = &mut cluster.groups[0].nodes[(leader + 1) % 3];
    node.kill();
    let mut flips = flip_one_of_each(&node.store);
    // In what a start reads, too.
    flips.push(Flip::bit(&newest_full_segment(node), SEGMENT / 3));
    node.start();
    println!("healed within {:.2?} of the start", healed(&flips).await);
    loading.until_acked(loading.acked() + 50, LONG).await;
    let sent = loading.stop().await;
    assert_eq!((sent.unknown.len(), &sent.refused[..]), (0, &[][..]), "the others never stopped");
    cluster.settled(0).await;
    readback::check(&readback::read(&cluster.namesrv(), TOPIC).await, &outcomes);
    stop_and_compare(&mut cluster);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_bit_on_two_of_three_members_is_healed_from_the_third() {
    let (mut cluster, outcomes) = filled("flipped-twice").await;
    // Running: in the oldest file, that nobody but the scrub reads.
    let flips: Vec<_> =
        (0..2).map(|at| Flip::bit(&first_file(&cluster.groups[0].nodes[at].store, "commitlog"), SEGMENT / 2)).collect();
    println!("two running members healed within {:.2?}", healed(&flips).await);
    // At rest, where both find it before they can vote.
    cluster.stop_brokers();
    let at = synced_end(&cluster.groups[0].nodes[0].store) - SEGMENT / 2;
    let flips: Vec<_> = (0..2).map(|n| Flip::in_log(&cluster.groups[0].nodes[n].store, SEGMENT, at)).collect();
    let begun = Instant::now();
    cluster.group().nodes.iter_mut().for_each(Node::start);
    healed(&flips).await;
    let healed_in = begun.elapsed();
    cluster.leader(0).await;
    let loading = Load { in_flight: 1, ..Load::new(TOPIC) }.start(&cluster.namesrv());
    loading.until_acked(1, LONG).await;
    println!(
        "two members at rest: healed {healed_in:.2?} after the start, first send acknowledged after {:.2?}",
        begun.elapsed()
    );
    loading.stop().await;
    let stored = readback::read(&cluster.namesrv(), TOPIC).await;
    for ack in &outcomes.acks {
        let read = &stored[&(ack.group.clone(), ack.queue)][usize::try_from(ack.offset).expect("an offset")];
        assert_eq!(read.msg_id, ack.msg_id, "{ack:?}");
    }
    cluster.settled(0).await;
    stop_and_compare(&mut cluster);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bit_in_the_very_last_synced_frame_is_found_after_a_clean_stop() {
    let (mut cluster, outcomes) = filled("flipped-last").await;
    cluster.stop_brokers();
    let node = &cluster.groups[0].nodes[1];
    let flips = [Flip::in_log(&node.store, SEGMENT, synced_end(&node.store) - 1)];
    cluster.start_brokers().await;
    println!("the last frame healed within {:.2?}", healed(&flips).await);
    cluster.settled(0).await;
    readback::check(&readback::read(&cluster.namesrv(), TOPIC).await, &outcomes);
    let output = cluster.groups[0].nodes[1].output();
    let told: Vec<_> = output.lines().filter(|line| line.contains("damage") || line.contains("repair")).collect();
    println!("{}", told.join("\n"));
    assert!(!told.is_empty(), "the log says so:\n{output}");
    stop_and_compare(&mut cluster);
}

/// Where the log of a stopped node is known to be synced up to.
fn synced_end(store: &Path) -> u64 {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    state_in(&*disk, store).expect("a hard state").mark.end.0
}

/// The newest CommitLog file behind which another one is begun.
fn newest_full_segment(node: &Node) -> std::path::PathBuf {
    let end = synced_end(&node.store);
    let start = (end / SEGMENT - 1) * SEGMENT;
    node.store.join("commitlog").join(format!("{start:020}"))
}

/// A member that was damaged tells of it, and not over and over.
fn told_once(cluster: &Cluster) {
    for node in &cluster.groups[0].nodes {
        let output = node.output();
        let warned = output.lines().filter(|line| line.contains(" WARN ") && line.contains("damage")).count();
        println!("{}: {warned} warnings of damage", node.name);
        assert!(warned <= 20, "{}:\n{output}", node.name);
    }
}

/// Stops everything, and compares the members' logs byte for byte.
fn stop_and_compare(cluster: &mut Cluster) {
    cluster.stop_brokers();
    let stores: Vec<_> = cluster.groups[0].nodes.iter().map(|node| node.store.as_path()).collect();
    let end = stores.iter().map(|store| synced_end(store)).min().expect("members");
    let common = logs::compare(&stores, end);
    println!("CommitLog files equal byte for byte: {}..{}, over {} files", common.from, common.to, common.files);
}
