//! A group of three broker processes, as its operator and its clients see it.
#![cfg(test)]

mod harness;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use harness::load::Load;
use harness::ports::Ports;
use harness::process::run;
use harness::raw::send_header;
use harness::wire::Wire;
use harness::{Directory, Plan, readback};
use quorumq::protocol::code::{request, response};
use tokio::net::TcpListener;

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
    let checked = readback::check(&readback::read(&cluster.namesrv(), "T").await, &outcomes);
    assert_eq!(checked.stored, checked.acked);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_told_to_stop_hands_over_and_no_send_fails() {
    let mut cluster = Plan::new("stop").start().await;
    cluster.create_topic("T", 4).await;
    let loading = Load::new("T").start(&cluster.namesrv());
    for _ in 0..3 {
        let from = loading.acked();
        loading.until_acked(from + 500, LONG).await;
        let leader = cluster.leader(0).await;
        let node = cluster.group().at(&leader.addr);
        let abort = node.store.join("abort");
        assert!(abort.exists(), "a running store is marked by {}", abort.display());
        let (status, took) = node.terminate();
        assert!(status.success() && took <= harness::node::STOP_LIMIT, "{status} after {took:?}:\n{}", node.output());
        assert!(!abort.exists(), "{} is still there after a clean stop", abort.display());
        let next = cluster.leader_after(0, leader.term).await;
        println!(
            "SIGTERM: node {} ended with 0 after {} ms; node {} leads in term {}",
            leader.id,
            took.as_millis(),
            next.id,
            next.term
        );
        cluster.group().at(&leader.addr).start();
    }
    let outcomes = loading.stop().await;
    assert_eq!((outcomes.unknown.len(), &outcomes.refused[..]), (0, &[][..]));
    readback::check(&readback::read(&cluster.namesrv(), "T").await, &outcomes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_hands_leadership_from_member_to_member_while_traffic_runs() {
    let mut cluster = Plan::new("transfer").start().await;
    cluster.create_topic("T", 4).await;
    let namesrv = cluster.namesrv();
    let transfer = |to: &[&str]| {
        let mut command = harness::process::quorumq();
        command.args(["group", "transfer", "broker-a", "-n", &namesrv]).args(to);
        tokio::task::block_in_place(|| run(&mut command, LONG))
    };
    let loading = Load::new("T").start(&namesrv);
    for _ in 0..2 {
        for to in ["1", "2", "3"] {
            loading.until_acked(loading.acked() + 300, LONG).await;
            let told = transfer(&["--to", to]).success();
            assert_eq!(told.trim_end(), format!("node {to} leads broker-a now"));
            assert_eq!(cluster.leader(0).await.id.to_string(), to);
        }
    }
    let term = cluster.leader(0).await.term;
    transfer(&["--to", "3"]).success();
    let named = transfer(&["--to", "9"]).failure();
    assert!(named.contains("node 9 is no voter"), "{named}");
    assert_eq!(cluster.leader(0).await.term, term, "it leads already, and there is no node 9");
    let chosen = transfer(&[]).success();
    let leader = cluster.leader_after(0, term).await;
    assert!(leader.id != 3 && chosen.contains(&format!("node {} leads", leader.id)), "{chosen}");

    let down = cluster.group().nodes.iter_mut().find(|node| node.addr().to_string() != leader.addr);
    let down = down.expect("a follower");
    down.kill();
    let addr = down.addr().to_string();
    let status = cluster.status(0).await.expect("a status");
    let down = status.members.iter().find(|member| member.client_addr == addr).expect("a member").id;
    let refused = transfer(&["--to", &down.to_string()]).failure();
    println!("{}", refused.trim_end());
    assert!(refused.contains(&format!("node {down} does not answer")), "{refused}");
    loading.until_acked(loading.acked() + 300, LONG).await;
    assert_eq!(cluster.leader(0).await.term, leader.term, "nothing was tried that could not succeed");
    let outcomes = loading.stop().await;
    assert_eq!((outcomes.unknown.len(), &outcomes.refused[..]), (0, &[][..]));
    readback::check(&readback::read(&namesrv, "T").await, &outcomes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn group_status_shows_the_members_of_a_group_that_has_lost_its_leader() {
    let mut cluster = Plan::new("leaderless").start().await;
    let leader = cluster.leader(0).await;
    let other = cluster.groups[0].followers(&leader)[0].addr().to_string();
    for addr in [&leader.addr, &other] {
        cluster.group().at(addr).kill();
    }
    let mut command = harness::process::quorumq();
    command.args(["group", "status", "-n", &cluster.namesrv()]);
    let told = tokio::task::block_in_place(|| run(&mut command, LONG));
    println!("{}{}", told.stdout, told.stderr);
    assert_eq!(told.status.code(), Some(1), "{told:?}");
    assert!(told.stdout.starts_with("group broker-a  leader none  term "), "{told:?}");
    assert_eq!(told.stdout.matches("unreachable").count(), 2, "{told:?}");
    assert!(told.stderr.starts_with("error: broker-a has no leader\n"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_port_of_every_node_takes_sends() {
    let cluster = Plan::new("ports").start().await;
    cluster.create_topic("T", 1).await;
    let mut sent = Vec::new();
    for node in &cluster.groups[0].nodes {
        for port in [node.ports.listen(), node.ports.vip()] {
            let mut wire = Wire::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await;
            let body = format!("through port {port}");
            let answer = wire.call_fields(request::SEND_MESSAGE_V2, send_header("T", 0), body.clone()).await;
            assert_eq!(answer.code, response::SUCCESS, "port {port}: {:?}", answer.remark);
            sent.push(body.into_bytes());
        }
    }
    let stored = readback::read(&cluster.namesrv(), "T").await;
    let stored: Vec<_> = stored.values().flatten().map(|read| read.body.to_vec()).collect();
    assert_eq!(stored, sent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_hangs_up_is_dialled_at_a_steady_pace() {
    const DIALS: usize = 40;
    let mut cluster = Plan::new("dials").start().await;
    cluster.create_topic("T", 4).await;
    let leader = cluster.leader(0).await;
    let down = cluster.group().nodes.iter_mut().find(|node| node.addr().to_string() != leader.addr);
    let down = down.expect("a follower");
    down.terminate();
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, down.ports.raft())).await.expect("its port is free");
    let loading = Load { in_flight: 4, pause: Duration::from_millis(5), ..Load::new("T") }.start(&cluster.namesrv());
    loading.until_acked(10, LONG).await;
    let begun = Instant::now();
    for _ in 0..DIALS {
        port.accept().await.expect("a connection, which is dropped at once");
    }
    let took = begun.elapsed();
    println!("{DIALS} dials in {} ms", took.as_millis());
    // The log connection every 50 ms, the others less often: a leader that does not pause needs some milliseconds.
    assert!(took > Duration::from_millis(300), "{took:?}");
    loading.stop().await;
}

/// The script of the README, on ports of the test's own.
struct Script {
    dir: Directory,
    ports: String,
    // Kept as long as the processes run.
    _taken: Vec<Ports>,
}

impl Script {
    fn new() -> Self {
        let taken: Vec<_> = (0..5).map(|_| Ports::take()).collect();
        let ports: Vec<_> = taken.iter().map(|ports| ports.listen().to_string()).collect();
        Self { dir: Directory::new("script"), ports: ports.join(" "), _taken: taken }
    }

    fn call(&self, what: &str) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/three-nodes.sh");
        let mut command = Command::new("bash");
        command.arg(script).arg(what).current_dir(self.dir.path()).env_remove("RUST_LOG");
        command.env("QUORUMQ_BIN", env!("CARGO_BIN_EXE_quorumq")).env("QUORUMQ_PORTS", &self.ports);
        command.env("QUORUMQ_SEGMENT", (4 << 20).to_string());
        run(&mut command, LONG).success()
    }

    /// Process id by name, of what runs.
    fn running(&self) -> Vec<(String, String)> {
        let status = self.call("status");
        let line = |line: &str| {
            let (name, pid) = line.split_once(" runs, pid ")?;
            Some((name.to_owned(), pid.to_owned()))
        };
        status.lines().filter_map(line).collect()
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        // Ends what it started, and only that. In a failing test it may have been called before.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.call("stop")));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_sh_starts_what_is_down_and_keeps_the_data() {
    let script = Script::new();
    let namesrv = format!("127.0.0.1:{}", script.ports.split(' ').next().expect("five ports"));
    let quorumq = |args: &[&str]| run(harness::process::quorumq().args(args).args(["-n", &namesrv]), LONG).success();
    let started = script.call("start");
    assert!(started.contains("group broker-a  leader "), "{started}");
    let first = script.running();
    let names: Vec<_> = first.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["ns0", "ns1", "n0", "n1", "n2"]);
    script.call("start");
    assert_eq!(script.running(), first, "what runs is left alone");
    quorumq(&["topic", "create", "T", "--queues", "1"]);
    quorumq(&["send", "T", "kept"]);

    let killed = script.call("kill-leader");
    println!("{}", killed.trim());
    let name = killed.split([' ', ',']).nth(1).expect("its name").to_owned();
    let left = script.running();
    assert_eq!(left.len(), 4, "{left:?}");
    assert!(killed.contains("pid ") && killed.contains("term ") && !left.iter().any(|(left, _)| *left == name));
    script.call("start");
    let again = script.running();
    assert!(again.len() == 5 && left.iter().all(|process| again.contains(process)), "only {name} was started");
    for node in ["n0", "n1", "n2"] {
        let log = script.dir.path().join("quorumq-data/three").join(node).join("commitlog");
        assert!(log.is_dir(), "{} is missing", log.display());
    }
    script.call("stop");
    assert_eq!(script.running(), []);
    script.call("start");
    let stored = readback::read(&namesrv, "T").await;
    let bodies: Vec<_> = stored.values().flatten().map(|read| &read.body[..]).collect();
    assert_eq!(bodies, [b"kept"]);
}
