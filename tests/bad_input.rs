//! What a broker makes of input it cannot use, and of a disk it cannot use: a clear error, and nothing is lost.
#![cfg(test)]

mod harness;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use harness::cluster::Cluster;
use harness::load::{Load, body};
use harness::node::{Launch, Node};
use harness::ports::Ports;
use harness::process::{Finished, in_mount_namespace, quorumq, run};
use harness::raw::send_header;
use harness::wire::Wire;
use harness::{Plan, readback, until};
use quorumq::protocol::code::{request, response};

/// Enough for a slow machine.
const LONG: Duration = Duration::from_secs(60);
/// Longest until a connection with nonsense on it is closed: a Raft port waits 2 s for a handshake.
const HANG_UP: Duration = Duration::from_secs(10);
/// RocketMQ's largest body.
const MAX_BODY: usize = 4 << 20;
/// Files whose quarter takes such a body.
const SEGMENT: u64 = 20 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_are_none_end_their_connection_and_nothing_else() {
    let mut cluster = Plan { segment: SEGMENT, ..Plan::new("frames") }.start().await;
    cluster.create_topic("T", 4).await;
    let load = Load { in_flight: 4, pause: Duration::from_millis(5), ..Load::new("T") };
    let loading = load.start(&cluster.namesrv());
    loading.until_acked(20, LONG).await;

    for (port, name) in ports(&cluster) {
        for (what, bytes) in nonsense() {
            let mut wire = Wire::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await;
            wire.write(&bytes).await;
            if what.starts_with("truncated") {
                wire.finish().await;
            }
            let answer = wire.hung_up(HANG_UP).await;
            let answer = answer.unwrap_or_else(|| panic!("{name} keeps a connection with {what} open"));
            assert!(answer.is_empty(), "{name} answers {what} with {answer:?}");
        }
    }
    bodies_up_to_4_mib(&cluster).await;

    let from = loading.acked();
    loading.until_acked(from + 20, LONG).await;
    let outcomes = loading.stop().await;
    assert_eq!((outcomes.unknown.len(), &outcomes.refused[..]), (0, &[][..]));
    readback::check(&readback::read(&cluster.namesrv(), "T").await, &outcomes);
    println!("meanwhile {} sends of another client were acknowledged, none failed, all read back", outcomes.acks.len());
    for node in cluster.groups[0].nodes.iter().chain(&cluster.name_servers) {
        tell_lines(node, "no valid frame", 3);
    }
    tell_lines(&cluster.groups[0].nodes[0], "peer connection ended", 3);
    let running = |node: &mut Node| assert!(node.is_running(), "{} has ended", node.name);
    cluster.groups[0].nodes.iter_mut().chain(&mut cluster.name_servers).for_each(running);
}

/// Every port of every process.
fn ports(cluster: &Cluster) -> Vec<(u16, String)> {
    let name_server = &cluster.name_servers[0];
    let mut found = vec![(name_server.ports.name_server(), "the NameServer".to_owned())];
    for node in &cluster.groups[0].nodes {
        found.push((node.ports.listen(), format!("{}'s listenPort", node.name)));
        found.push((node.ports.vip(), format!("{}'s VIP port", node.name)));
        found.push((node.ports.raft(), format!("{}'s Raft port", node.name)));
    }
    found
}

fn nonsense() -> Vec<(&'static str, Vec<u8>)> {
    let mut oversized = 0x7fff_ffff_u32.to_be_bytes().to_vec();
    oversized.extend([0; 2000]);
    let mut just_oversized = (64_u32 * 1024 * 1024 + 1).to_be_bytes().to_vec();
    just_oversized.extend([0; 2000]);
    let mut bad_header = 100_u32.to_be_bytes().to_vec();
    bad_header.extend(90_u32.to_be_bytes());
    bad_header.extend([b'x'; 96]);
    vec![
        ("an oversized frame", oversized),
        ("a frame one byte over the limit", just_oversized),
        ("a negative length", (-5_i32).to_be_bytes().to_vec()),
        ("a header that is none", bad_header.clone()),
        ("truncated: half a frame", bad_header[..50].to_vec()),
        ("truncated: two bytes", vec![0, 0]),
        ("garbage", body(12_345, 5000)),
        ("a web browser", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()),
    ]
}

async fn bodies_up_to_4_mib(cluster: &Cluster) {
    let leader = cluster.leader(0).await;
    let mut wire = Wire::connect(leader.addr.parse().expect("an address")).await;
    let header = || send_header("large", 0);
    cluster.create_topic("large", 1).await;
    let answer = wire.call_fields(request::SEND_MESSAGE_V2, header(), vec![b'x'; MAX_BODY]).await;
    assert_eq!(answer.code, response::SUCCESS, "4 MiB: {:?}", answer.remark);
    let answer = wire.call_fields(request::SEND_MESSAGE_V2, header(), vec![b'x'; MAX_BODY + 1]).await;
    assert_eq!(answer.code, response::MESSAGE_ILLEGAL, "{:?}", answer.remark);
    println!("a body of 4 MiB and one byte: code {}, {}", answer.code, answer.remark.unwrap_or_default());
    let stored = readback::read(&cluster.namesrv(), "large").await;
    let lengths: Vec<_> = stored.values().flatten().map(|read| read.body.len()).collect();
    assert_eq!(lengths, [MAX_BODY], "the connection that was refused one message stores others");
}

/// Prints lines of a log that say this; there must be some.
fn tell_lines(node: &Node, text: &str, count: usize) {
    let output = node.output();
    let lines: Vec<_> = output.lines().filter(|line| line.contains(text)).collect();
    assert!(!lines.is_empty(), "{} says nothing of: {text}\n{output}", node.name);
    for line in lines.iter().take(count) {
        println!("{}: {line}", node.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_cannot_be_started_says_why() {
    let mut cluster = Plan::new("refused").start().await;
    cluster.create_topic("T", 4).await;
    let loading = Load { in_flight: 4, pause: Duration::from_millis(5), ..Load::new("T") }.start(&cluster.namesrv());
    loading.until_acked(20, LONG).await;

    let conf = conf_of(&cluster.groups[0].nodes[0]);
    let ports = Ports::take();
    let refused = start(&mut cluster, "twice", &conf);
    tell("a second broker on the same ports", &refused, &["listenPort", "taken"]);

    let elsewhere = moved(&conf, &cluster.groups[0].nodes[0], &ports);
    let refused = start(&mut cluster, "same-directory", &elsewhere);
    tell("a second broker on the same directory", &refused, &["in use by another process", "storePathRootDir"]);

    let refused = start(&mut cluster, "unknown-key", &format!("{conf}mappedFileSizeComitLog=1\n"));
    tell("an unknown key", &refused, &["mappedFileSizeComitLog", "mappedFileSizeCommitLog"]);

    another_cluster(&mut cluster, &conf, &ports);

    let from = loading.acked();
    loading.until_acked(from + 20, LONG).await;
    let outcomes = loading.stop().await;
    assert_eq!((outcomes.unknown.len(), &outcomes.refused[..]), (0, &[][..]));
    readback::check(&readback::read(&cluster.namesrv(), "T").await, &outcomes);
    println!("meanwhile {} sends were acknowledged, none failed, all read back", outcomes.acks.len());
}

/// A node of another cluster that names this one's members as its peers, and a member that says it is of another cluster.
fn another_cluster(cluster: &mut Cluster, conf: &str, ports: &Ports) {
    let store = cluster.dir.path().join("stranger");
    let peers = conf.lines().find_map(|line| line.strip_prefix("dLegerPeers=")).expect("peers").to_owned();
    let (own, raft) = (cluster.groups[0].nodes[0].store.clone(), ports.raft());
    let stranger = moved(conf, &cluster.groups[0].nodes[0], ports)
        .replace(&format!("storePathRootDir={}", own.display()), &format!("storePathRootDir={}", store.display()))
        .replace("brokerClusterName=DefaultCluster", "brokerClusterName=OtherCluster")
        .replace("dLegerSelfId=n0", "dLegerSelfId=n3");
    let stranger = replace_line(&stranger, "dLegerPeers", &format!("{peers};n3-127.0.0.1:{raft}"));
    let refused = start(cluster, "stranger", &stranger);
    tell("a peer of another cluster", &refused, &["DefaultCluster", "OtherCluster"]);

    let node = &mut cluster.groups[0].nodes[0];
    node.terminate();
    let renamed = conf.replace("brokerClusterName=DefaultCluster", "brokerClusterName=OtherCluster");
    let refused = start(cluster, "renamed", &renamed);
    tell("a member that says it is of another cluster", &refused, &["DefaultCluster", "OtherCluster"]);
    cluster.groups[0].nodes[0].start();
}

fn conf_of(node: &Node) -> String {
    std::fs::read_to_string(&node.conf).expect("its configuration")
}

/// The configuration of a node on other ports.
fn moved(conf: &str, node: &Node, ports: &Ports) -> String {
    let conf = replace_line(conf, "listenPort", &ports.listen().to_string());
    conf.replace(&format!(":{}", node.ports.raft()), &format!(":{}", ports.raft()))
}

fn replace_line(conf: &str, key: &str, value: &str) -> String {
    let line = |line: &str| match line.split_once('=') {
        Some((name, _)) if name == key => format!("{key}={value}\n"),
        _ => format!("{line}\n"),
    };
    conf.lines().map(line).collect()
}

/// Starts a broker with this configuration, which must end by itself.
fn start(cluster: &mut Cluster, name: &str, conf: &str) -> Finished {
    let path = cluster.dir.path().join(format!("{name}.conf"));
    std::fs::write(&path, conf).expect("the configuration can be written");
    run(quorumq().arg("broker").arg("-c").arg(&path), LONG)
}

/// Prints why it did not start; the reason must name all of `parts`.
fn tell(what: &str, refused: &Finished, parts: &[&str]) {
    println!("{what}: {}\n{}", refused.status, refused.stderr.trim_end());
    assert!(!refused.status.success(), "{what} was started");
    for part in parts {
        assert!(refused.stderr.contains(part), "{what}: nothing of {part}");
    }
    assert!(!refused.stderr.contains("FATAL"), "{what}: a panic");
}

/// Bytes of a volume: some CommitLog files of 4 MiB.
const VOLUME: u64 = 32 << 20;
/// Bytes of the bodies that fill it.
const FILLING: usize = 64 << 10;

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

/// A group whose member at this place has a small volume. It may not be restarted: its volume ends with its process.
async fn with_a_small_volume(name: &'static str, at: usize) -> Cluster {
    let conf = &[("diskSpaceReserveBytes", "1048576")];
    let mut cluster = Plan { conf, ..Plan::new(name) }.make();
    cluster.groups[0].nodes[at].launch = Launch::OnVolume(VOLUME);
    cluster.start().await;
    cluster.create_topic("T", 1).await;
    cluster
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_volume_is_full_refuses_sends_and_goes_on_reading() {
    if !volumes() {
        return;
    }
    let mut cluster = with_a_small_volume("full-leader", 0).await;
    let small = cluster.groups[0].nodes[0].addr();
    lead(&mut cluster, small).await;
    let mut wire = Wire::connect(small).await;
    let mut acked = 0;
    let refused = loop {
        let message = body(acked, FILLING);
        let answer = wire.call_fields(request::SEND_MESSAGE_V2, send_header("T", 0), message).await;
        if answer.code != response::SUCCESS {
            break answer;
        }
        acked += 1;
        assert!(acked * (FILLING as u64) < VOLUME, "the volume holds more than it can");
    };
    assert_eq!(refused.code, response::SERVICE_NOT_AVAILABLE, "{:?}", refused.remark);
    let remark = refused.remark.unwrap_or_default();
    println!("{acked} messages of {FILLING} bytes on a volume of {VOLUME}, then code 14: {remark}");
    let store = cluster.groups[0].nodes[0].store.display().to_string();
    // The disk's own words, or the reserve that was to stay free.
    let told = remark.contains("No space left on device") || remark.contains("diskSpaceReserveBytes");
    assert!(remark.contains(&store) && told, "the cause: {remark}");

    let stored = readback::read(&cluster.namesrv(), "T").await;
    let numbers: Vec<_> = stored.values().flatten().map(|read| harness::load::number(&read.body)).collect();
    assert_eq!(numbers, (0..acked).collect::<Vec<_>>(), "what was acknowledged is there, what was refused is not");
    for node in &mut cluster.groups[0].nodes {
        assert!(node.is_running(), "{} has ended", node.name);
    }
    println!("all {acked} read back from the leader with the full volume; no process has ended");
    room_again(&cluster, &mut wire, acked).await;
}

/// A purge gives the volume room, and sends go on.
async fn room_again(cluster: &Cluster, wire: &mut Wire, acked: u64) {
    let purged = run(quorumq().args(["group", "purge", "broker-a", "-n", &cluster.namesrv()]), LONG).success();
    let sent = async || {
        let answer = wire.call_fields(request::SEND_MESSAGE_V2, send_header("T", 0), body(acked, FILLING)).await;
        (answer.code == response::SUCCESS).then_some(())
    };
    until("a send after the purge", LONG, sent).await;
    println!("{} and sends are taken again", purged.trim_end());
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
    let mut cluster = with_a_small_volume("full-follower", 2).await;
    let leader = not_led_by(&mut cluster, 2).await;
    let load = Load { in_flight: 8, body: FILLING, ..Load::new("T") };
    let loading = load.start(&cluster.namesrv());
    let wanted = 2 * VOLUME / FILLING as u64;
    loading.until_acked(wanted, LONG).await;
    let outcomes = loading.stop().await;
    assert_eq!((outcomes.unknown.len(), &outcomes.refused[..]), (0, &[][..]), "nobody notices");
    readback::check(&readback::read(&cluster.namesrv(), "T").await, &outcomes);

    let status = cluster.status(0).await.expect("a leader");
    let small = cluster.groups[0].nodes[2].addr().to_string();
    let full = status.members.iter().find(|member| member.client_addr == small).expect("the full one");
    println!(
        "{} messages of {FILLING} bytes acknowledged and read back; the follower with a volume of {VOLUME} bytes is a \
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
    tell_lines(cluster.group().at(&leader), "no space", 1);
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
