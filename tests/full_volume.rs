//! Volumes that are filled to the last byte under load, and emptied again: nothing acknowledged is lost, nobody has to be
//! restarted.
#![cfg(test)]

mod harness;

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use harness::cluster::Cluster;
use harness::load::{Load, Loading};
use harness::node::{Launch, Node};
use harness::process::in_mount_namespace;
use harness::wire::Wire;
use harness::{Plan, readback, until};
use quorumq::protocol::code::{request, response};

/// Enough for a slow machine.
const LONG: Duration = Duration::from_secs(60);
/// Bytes of a volume: some CommitLog files of 4 MiB.
const VOLUME: u64 = 48 << 20;
/// Bytes of the bodies that are sent.
const BODY: usize = 16 << 10;
/// Acknowledgements that show that sends are taken.
const SOME: u64 = 100;

/// Whether a process can have a volume of its own; says so if not.
fn volumes() -> bool {
    let mut command = in_mount_namespace();
    let tried = command.args(["sh", "-c", "mount -t tmpfs -o size=65536 tmpfs /mnt"]).output();
    let why = match tried {
        Ok(output) if output.status.success() => return true,
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(e) => e.to_string(),
    };
    eprintln!("SKIPPED: a full volume, because none can be mounted, neither as root nor with unshare -Urm: {why}");
    false
}

/// A group whose members at these places have small volumes. They may not be restarted: a volume ends with its process.
async fn with_small_volumes(name: &'static str, places: &[usize]) -> Cluster {
    let conf = &[("diskSpaceReserveBytes", "1048576")];
    let mut cluster = Plan { conf, ..Plan::new(name) }.make();
    for at in places {
        cluster.groups[0].nodes[*at].launch = Launch::OnVolume(VOLUME);
    }
    cluster.start().await;
    cluster.create_topic("T", 1).await;
    cluster
}

/// A file beside a node's store that takes what is left of its volume.
struct Filler(PathBuf);

impl Filler {
    /// Writes until there is no byte left.
    fn fill(node: &Node) -> Self {
        let store = node.store.strip_prefix("/").expect("an absolute path");
        // Nobody else sees what a process has mounted for itself.
        let path = PathBuf::from(format!("/proc/{}/root", node.pid())).join(store).join("filler");
        let mut file = File::create(&path).expect("a file on the volume");
        for len in [1 << 20, 4096, 1] {
            let bytes = vec![1; len];
            loop {
                match file.write_all(&bytes) {
                    Ok(()) => {}
                    Err(e) if e.kind() == ErrorKind::StorageFull => break,
                    Err(e) => panic!("{}: {e}", path.display()),
                }
            }
        }
        Self(path)
    }

    fn remove(self) {
        fs::remove_file(&self.0).expect("the file can be removed");
    }
}

async fn more_acked(loading: &Loading) {
    loading.until_acked(loading.acked() + SOME, LONG).await;
}

fn all_run(cluster: &mut Cluster) {
    for node in &mut cluster.groups[0].nodes {
        assert!(node.is_running(), "{} has ended:\n{}", node.name, node.output());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_volume_is_full_hands_over_and_follows_again_when_it_has_room() {
    if !volumes() {
        return;
    }
    let mut cluster = with_small_volumes("full-leader", &[0]).await;
    let small = cluster.groups[0].nodes[0].addr();
    lead(&mut cluster, small).await;
    let loading = Load { in_flight: 4, body: BODY, rate: 200, ..Load::new("T") }.start(&cluster.namesrv());
    more_acked(&loading).await;
    let filler = Filler::fill(&cluster.groups[0].nodes[0]);
    let another = async || {
        let leader = cluster.leader(0).await;
        (leader.addr != small.to_string()).then_some(leader)
    };
    let leader = until("another leader", LONG, another).await;
    more_acked(&loading).await;
    let status = cluster.status(0).await.expect("a status");
    let full = status.members.iter().find(|member| member.client_addr == small.to_string()).expect("the full one");
    println!("{} handed over to node {}; it is {:?} entries behind", full.id, leader.id, full.lag);
    filler.remove();
    more_acked(&loading).await;
    let outcomes = loading.stop().await;
    cluster.settled(0).await;
    all_run(&mut cluster);
    let checked = readback::check(&readback::read(&cluster.namesrv(), "T").await, &outcomes);
    println!("{checked:?}, {} refused, {} unknown", outcomes.refused.len(), outcomes.unknown.len());
    assert_eq!(outcomes.refused, [], "another member had room");
    let output = cluster.groups[0].nodes[0].output();
    let told = output.lines().find(|line| line.contains("has handed leadership over"));
    println!("{}", told.expect("the log says why"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_whose_volumes_are_all_full_refuses_sends_until_there_is_room_again() {
    if !volumes() {
        return;
    }
    let mut cluster = with_small_volumes("full-group", &[0, 1, 2]).await;
    let loading = Load { in_flight: 4, body: BODY, rate: 100, ..Load::new("T") }.start(&cluster.namesrv());
    more_acked(&loading).await;
    let fillers: Vec<_> = cluster.groups[0].nodes.iter().map(Filler::fill).collect();
    until("sends are refused", LONG, async || (loading.refused() > 0).then_some(())).await;
    let acked = loading.acked();
    let stored = readback::read(&cluster.namesrv(), "T").await;
    let read: usize = stored.values().map(Vec::len).sum();
    assert!(read as u64 >= acked, "{acked} were acknowledged and {read} can be read while the volumes are full");
    fillers.into_iter().for_each(Filler::remove);
    more_acked(&loading).await;
    let outcomes = loading.stop().await;
    cluster.settled(0).await;
    all_run(&mut cluster);
    let checked = readback::check(&readback::read(&cluster.namesrv(), "T").await, &outcomes);
    let (_, remark) = outcomes.refused.first().expect("a refused send");
    println!("{checked:?}, {} refused: {remark}", outcomes.refused.len());
    // The disk's own words, or the reserve that was to stay free.
    let told = remark.contains("No space left on device") || remark.contains("diskSpaceReserveBytes");
    let is_ours = cluster.groups[0].nodes.iter().any(|node| remark.contains(&node.store.display().to_string()));
    assert!(told && is_ours, "the cause: {remark}");
}

/// Freezes the node at this place until another one leads, if it leads; the address of who does.
async fn not_led_by(cluster: &mut Cluster, at: usize) -> String {
    let leader = cluster.leader(0).await;
    let node = &cluster.groups[0].nodes[at];
    if leader.addr != node.addr().to_string() {
        return leader.addr;
    }
    node.freeze();
    let next = cluster.leader_after(0, leader.term).await;
    cluster.groups[0].nodes[at].wake();
    next.addr
}

/// Makes the node at `addr` lead: whoever else leads is restarted until it does.
async fn lead(cluster: &mut Cluster, addr: SocketAddr) {
    for _ in 0..20 {
        let leader = cluster.leader(0).await;
        if leader.addr == addr.to_string() {
            return;
        }
        let node = cluster.group().at(&leader.addr);
        node.terminate();
        cluster.leader_after(0, leader.term).await;
        cluster.group().at(&leader.addr).start();
        cluster.settled(0).await;
    }
    panic!("{addr} was not elected in 20 elections");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_whose_volume_is_full_stops_nobody() {
    if !volumes() {
        return;
    }
    let mut cluster = with_small_volumes("full-follower", &[2]).await;
    let leader = not_led_by(&mut cluster, 2).await;
    let load = Load { in_flight: 8, body: BODY, ..Load::new("T") };
    let loading = load.start(&cluster.namesrv());
    let wanted = 2 * VOLUME / BODY as u64;
    loading.until_acked(wanted, LONG).await;
    let outcomes = loading.stop().await;
    assert_eq!((outcomes.unknown.len(), &outcomes.refused[..]), (0, &[][..]), "nobody notices");
    readback::check(&readback::read(&cluster.namesrv(), "T").await, &outcomes);

    let status = cluster.status(0).await.expect("a leader");
    let small = cluster.groups[0].nodes[2].addr().to_string();
    let full = status.members.iter().find(|member| member.client_addr == small).expect("the full one");
    println!(
        "{} messages of {BODY} bytes acknowledged and read back; the follower with a volume of {VOLUME} bytes is a \
         {} and {:?} entries behind",
        outcomes.acks.len(),
        full.role,
        full.lag
    );
    assert!(full.lag.is_some_and(|lag| lag > 0), "{full:?}");
    let mut wire = Wire::connect(cluster.groups[0].nodes[2].addr()).await;
    let answer = wire.call(request::PULL_MESSAGE, &first_of_t(), "").await;
    assert_eq!(answer.code, response::SUCCESS, "a pull from the full node: {:?}", answer.remark);
    for node in &mut cluster.groups[0].nodes {
        assert!(node.is_running(), "{} has ended", node.name);
    }
    let output = cluster.group().at(&leader).output();
    assert!(output.lines().filter(|line| line.contains("no space")).count() >= 1, "the leader's log:\n{output}");
}

/// A pull of the first message of topic T.
fn first_of_t() -> [(&'static str, &'static str); 10] {
    [
        ("consumerGroup", "pullers"),
        ("topic", "T"),
        ("queueId", "0"),
        ("queueOffset", "0"),
        ("maxMsgNums", "1"),
        ("sysFlag", "4"),
        ("commitOffset", "0"),
        ("suspendTimeoutMillis", "0"),
        ("subscription", "*"),
        ("subVersion", "0"),
    ]
}
