//! Three nodes elect, replicate, survive restarts, catch up.

use std::sync::Arc;
use std::time::Duration;

use crate::common::{
    Seat, assert_sound, converge, form, free_addr, leader, memory_seats, propose, real_seats, start, until, write,
};
use quorumq_raft::form::Start;
use quorumq_raft::outcome::Outcome;
use quorumq_store::disk::memory::MemoryDisk;
use quorumq_store::frame::Kind;
use quorumq_store::log_store::FlushMode;

async fn elect_write_and_converge(seats: Vec<Seat>, flush: FlushMode) {
    let nodes = form(&seats, flush).await;
    let lead = leader(&nodes).await;
    write(&lead, 100, 1000).await;
    converge(&nodes).await;
    for node in &nodes {
        node.read_barrier().await.unwrap();
    }
    let follower = nodes.iter().find(|n| !n.is_leader()).unwrap();
    let refused = propose(follower, vec![1], Kind::Records).await;
    assert!(matches!(refused, Outcome::Refused(_)), "{refused:?}");
    for node in &nodes {
        node.shutdown().await;
    }
    assert_sound(&seats);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_over_the_memory_disk_agree() {
    elect_write_and_converge(memory_seats(3).1, FlushMode::Sync).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_over_the_real_disk_agree() {
    let dir = tempfile::tempdir().unwrap();
    elect_write_and_converge(real_seats(3, dir.path()), FlushMode::Async).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_is_handed_over_and_a_restarted_node_catches_up() {
    let (_, seats) = memory_seats(3);
    let mut nodes = form(&seats, FlushMode::Sync).await;
    let lead = leader(&nodes).await;
    write(&lead, 200, 1000).await;
    let at = nodes.iter().position(|n| n.id() == lead.id()).unwrap();
    let gone = nodes.remove(at);
    gone.shutdown().await;
    drop((gone, lead));
    let lead = leader(&nodes).await;
    write(&lead, 50, 1000).await;
    let back = until_started(&seats[at]).await;
    nodes.push(back);
    converge(&nodes).await;
    assert_sound(&seats);
}

/// The port of a node that just stopped may take a moment to be free.
async fn until_started(seat: &Seat) -> crate::common::TestNode {
    for _ in 0..100 {
        match start(seat, Start::Existing, FlushMode::Sync).await {
            Ok(node) => return node,
            Err(e) if e.contains("listen") || e.contains("in use") => {
                tokio::time::sleep(Duration::from_millis(50)).await
            }
            Err(e) => panic!("{e}"),
        }
    }
    panic!("the node did not start again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_member_gets_one_snapshot_and_every_retained_entry() {
    let (_, seats) = memory_seats(4);
    let nodes = form(&seats[..3], FlushMode::Sync).await;
    let lead = leader(&nodes).await;
    // Six segments of 64 KiB.
    write(&lead, 400, 1000).await;
    let boundary: u64 = 3 * 64 * 1024;
    let purged = propose(&lead, boundary.to_be_bytes().to_vec(), Kind::Command).await;
    assert!(matches!(purged, Outcome::Applied { .. }));
    for node in &nodes {
        until("purged to the boundary", || {
            node.retain();
            (node.positions().first.0 == boundary).then_some(())
        })
        .await;
    }
    // The fourth node waits to be added, is given its id, and is added.
    let joining = {
        let seat = seats[3].clone();
        tokio::spawn(async move { start(&seat, Start::Join, FlushMode::Sync).await.unwrap() })
    };
    let member = add(&lead, &seats[3], 4).await;
    let joined = joining.await.unwrap();
    let before = lead.positions().last;
    lead.add_learner(4, member).await.unwrap();
    assert!(joined.positions().last >= before, "it is no voter before it has caught up");
    lead.promote(4).await.unwrap();
    write(&lead, 20, 1000).await;
    let mut all = nodes.clone();
    all.push(Arc::clone(&joined));
    converge(&all).await;
    assert_eq!(joined.status().snapshots_installed, 1);
    assert_eq!(joined.positions().first.0, boundary);
    assert_eq!(joined.positions().last, lead.positions().last);
    assert_sound(&seats);
}

/// Gives the node that waits at `seat` its id.
pub async fn add(lead: &crate::common::TestNode, seat: &Seat, id: u64) -> quorumq_raft::types::Member {
    use quorumq_raft::peer::message::{Request, Response};
    let identity = lead.identity();
    let request = Request::Format { group_uuid: identity.group_uuid, id, constants: identity.constants.into() };
    for _ in 0..200 {
        let local = lead.local_peer();
        match quorumq_raft::form::ask::<quorumq_raft::runtime::tokio::Tokio>(&local, seat.addr, request.clone()).await {
            Ok(Response::Formatted { incarnation, client_addr }) => {
                return quorumq_raft::types::Member { peer_addr: seat.addr.to_string(), client_addr, incarnation };
            }
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
    panic!("the joining node was not formatted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_member_is_refused_under_its_old_id() {
    let (_, mut seats) = memory_seats(3);
    let nodes = form(&seats, FlushMode::Sync).await;
    write(&leader(&nodes).await, 5, 10).await;
    let at = nodes.iter().position(|n| !n.is_leader()).unwrap();
    nodes[at].shutdown().await;
    seats[at].disk = MemoryDisk::new().mount();
    seats[at].addr = free_addr();
    seats[at].listen = seats[at].addr;
    let mut peers: Vec<_> = seats.iter().map(|s| s.addr).collect();
    peers[at] = seats[at].addr;
    let refused = start(&seats[at], Start::Bootstrap { peers, me: at }, FlushMode::Sync).await.err().unwrap();
    assert!(refused.contains("cannot come back under its old id"), "{refused}");
}
