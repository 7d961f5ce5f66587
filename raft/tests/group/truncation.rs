//! What a deposed leader appended and nobody committed is cut off, on disk too, and the members' CommitLogs are equal
//! byte for byte again.

use std::sync::Arc;

use crate::common::proxy::Net;
use crate::common::{
    Host, Pending, Seat, TestNode, assert_sound, at, behind_proxies, converge, form_hosts, leader, memory_seats,
    nodes_of, proposed, real_seats, same_logs, until, write,
};
use quorumq_raft::node::Timing;
use quorumq_raft::outcome::Outcome;
use quorumq_store::disk::MemoryDisk;
use quorumq_store::frame::Kind;
use quorumq_store::log_store::FlushMode;

/// Bytes of an entry's body; some sixty fill a segment.
const LEN: usize = 1000;

/// A leader that is cut off, with a tail nobody else has.
struct Deposed {
    node: TestNode,
    at: usize,
    tail: Vec<Pending>,
}

/// Cuts the leader off, and lets it append `entries` before it notices.
async fn depose(net: &Net, nodes: &[TestNode], entries: usize) -> Deposed {
    let node = leader(nodes).await;
    write(&node, 3, LEN).await;
    converge(nodes).await;
    net.isolate(node.id());
    let before = node.positions().last.unwrap();
    let mut tail = Vec::new();
    for i in 0..entries {
        tail.push(proposed(&node, vec![i as u8 ^ 0xFF; LEN], Kind::Records).await);
    }
    let appended = || node.positions().last.unwrap().index.0 == before.index.0 + entries as u64;
    until("the tail is appended", || appended().then_some(())).await;
    crate::common::synced(&node).await;
    Deposed { at: at(nodes, node.id()), node, tail }
}

async fn elect_another(nodes: &[TestNode], deposed: &Deposed, entries: usize) -> TestNode {
    let others: Vec<_> = nodes.iter().filter(|node| node.id() != deposed.node.id()).cloned().collect();
    let successor = leader(&others).await;
    write(&successor, entries, LEN).await;
    successor
}

async fn cut_and_compare(mut seats: Vec<Seat>) {
    let net = behind_proxies(&mut seats).await;
    let hosts = form_hosts(&seats, FlushMode::Sync).await;
    let nodes = nodes_of(&hosts);
    write(&leader(&nodes).await, 150, LEN).await;
    // A tail over several segments; the successor's log is shorter at first, then longer.
    let deposed = depose(&net, &nodes, 200).await;
    let tail_end = deposed.node.positions().end;
    let successor = elect_another(&nodes, &deposed, 20).await;
    assert!(successor.positions().end < tail_end);
    net.rejoin(deposed.node.id());
    until("the tail is cut", || (deposed.node.positions().last == successor.positions().last).then_some(())).await;
    for pending in deposed.tail {
        let outcome = pending.await.unwrap();
        assert!(matches!(outcome, Outcome::Unknown(_)), "{outcome:?}");
    }
    converge(&nodes).await;
    let lead = leader(&nodes).await;
    write(&lead, 200, LEN).await;
    converge(&nodes).await;
    drop((lead, successor, deposed.node));
    for node in &nodes {
        node.shutdown().await;
    }
    drop((nodes, hosts));
    let segments = same_logs(&seats);
    assert!(segments >= 4, "only {segments} segments were compared");

    // All of it comes back as it was.
    let mut hosts = Vec::new();
    for seat in &seats {
        hosts.push(Host::restart(seat, FlushMode::Sync).await);
    }
    let nodes = nodes_of(&hosts);
    write(&leader(&nodes).await, 20, LEN).await;
    converge(&nodes).await;
    until("every entry is applied once", || {
        let once = |node: &TestNode| node.machine().entries == node.positions().last.unwrap().index.0 + 1;
        nodes.iter().all(once).then_some(())
    })
    .await;
    assert_sound(&seats);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_uncommitted_tail_is_cut_and_the_logs_are_equal_on_the_memory_disk() {
    cut_and_compare(memory_seats(3).1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_uncommitted_tail_is_cut_and_the_logs_are_equal_on_the_real_disk() {
    let dir = tempfile::tempdir().unwrap();
    cut_and_compare(real_seats(3, dir.path())).await;
}

/// A seat whose disk has lost power, and works again.
fn crash(medium: &MemoryDisk, seat: &mut Seat) {
    medium.crash();
    seat.disk = medium.mount();
    seat.fatals = Arc::default();
}

/// The deposed leader loses power after each disk operation that cutting its tail takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_loss_anywhere_in_a_truncation_leaves_a_log_that_can_be_cut() {
    let (media, mut seats) = memory_seats(3);
    for seat in &mut seats {
        seat.timing = Timing { heartbeat_ms: 100, election_min_ms: 300, election_max_ms: 600, ..Timing::default() };
    }
    let net = behind_proxies(&mut seats).await;
    let mut hosts = form_hosts(&seats, FlushMode::Sync).await;
    let mut crashes = 0;
    for operations in 0.. {
        let nodes = nodes_of(&hosts);
        let deposed = depose(&net, &nodes, 70).await;
        let successor = elect_another(&nodes, &deposed, 5).await;
        let (i, node) = (deposed.at, deposed.node);
        media[i].freeze_after(operations);
        net.rejoin(node.id());
        let is_cut = || node.positions().synced == successor.positions().last;
        let crashed = until("cut, or frozen", || {
            let frozen = media[i].is_frozen();
            (frozen || is_cut()).then_some(frozen)
        })
        .await;
        drop((nodes, node));
        crashes += u32::from(crashed);
        hosts.remove(i).kill();
        crash(&media[i], &mut seats[i]);
        hosts.insert(i, Host::restart(&seats[i], FlushMode::Sync).await);
        let nodes = nodes_of(&hosts);
        write(&leader(&nodes).await, 5, LEN).await;
        converge(&nodes).await;
        for node in &nodes {
            crate::common::synced(node).await;
        }
        if !crashed {
            break;
        }
    }
    // Vote, intent, dropped segments, zeroes, cleared intent: each is written and synced.
    assert!(crashes >= 8, "only {crashes} crashes");
    for node in nodes_of(&hosts) {
        node.shutdown().await;
    }
    drop(hosts);
    assert!(same_logs(&seats) >= 2);
    assert_sound(&seats);
}
