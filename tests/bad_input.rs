//! What a broker makes of input it cannot use: a clear error, and nothing is lost.
#![cfg(test)]

mod harness;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use harness::cluster::Cluster;
use harness::load::{Load, body};
use harness::node::Node;
use harness::ports::Ports;
use harness::process::{Finished, quorumq, run};
use harness::raw::send_header;
use harness::wire::Wire;
use harness::{Plan, readback};
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
