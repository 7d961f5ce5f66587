//! A member that comes to a purged log: one snapshot, then every retained entry, byte for byte, while writes go on and
//! whatever is cut off in between.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::common::gate::gates;
use crate::common::{
    CONSTANTS, Fatals, Host, Seat, TestNode, assert_sound, converge, form_hosts, leader, memory_seats, nodes_of,
    propose, proposed, same_logs, until, write,
};
use quorumq_raft::form::{Start, ask};
use quorumq_raft::outcome::Outcome;
use quorumq_raft::peer::message::{Request, Response};
use quorumq_raft::runtime::tokio::Tokio;
use quorumq_raft::types::{Member, NodeId};
use quorumq_store::disk::MemoryDisk;
use quorumq_store::frame::Kind;
use quorumq_store::log_store::FlushMode;

/// Bytes of an entry's body; some sixty fill a segment.
const LEN: usize = 1000;

/// Cuts the log at a segment start, on every node.
async fn purge(nodes: &[TestNode], segment: u64) {
    let boundary = segment * CONSTANTS.segment_size;
    let purged = propose(&leader(nodes).await, boundary.to_be_bytes().to_vec(), Kind::Command).await;
    assert!(matches!(purged, Outcome::Applied { .. }), "{purged:?}");
    for node in nodes {
        until("purged to the boundary", || {
            node.retain();
            (node.positions().first.0 == boundary).then_some(())
        })
        .await;
    }
}

/// Starts a node that waits to be added, and gives it its id.
async fn join(lead: &TestNode, seat: &Seat, id: NodeId) -> (Host, Member) {
    let joining = {
        let seat = seat.clone();
        tokio::spawn(async move { Host::start(&seat, Start::Join, FlushMode::Sync).await.unwrap() })
    };
    let identity = lead.identity();
    let request = Request::Format { group_uuid: identity.group_uuid, id, constants: identity.constants.into() };
    for _ in 0..200 {
        if let Ok(Response::Formatted { incarnation, client_addr }) =
            ask::<Tokio>(&lead.local_peer(), seat.addr, request.clone()).await
        {
            let member = Member { peer_addr: seat.addr.to_string(), client_addr, incarnation };
            return (joining.await.unwrap(), member);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the joining node was not formatted");
}

/// Adds a node that has been given its id, and waits until it has caught up.
fn add(lead: &TestNode, id: NodeId, member: Member) -> tokio::task::JoinHandle<()> {
    let lead = Arc::clone(lead);
    tokio::spawn(async move { lead.add_learner(id, member).await.unwrap() })
}

async fn stop_all(hosts: Vec<Host>) {
    for host in &hosts {
        host.node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_member_comes_back_under_a_new_id_while_writes_go_on() {
    let (_, mut seats) = memory_seats(3);
    let mut hosts = form_hosts(&seats, FlushMode::Sync).await;
    let lead = leader(&nodes_of(&hosts)).await;
    write(&lead, 400, LEN).await;
    purge(&nodes_of(&hosts), 3).await;

    // Writes from here to the end, 32 in flight.
    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let (lead, stop) = (Arc::clone(&lead), Arc::clone(&stop));
        tokio::spawn(async move {
            let mut written = 0;
            while !stop.load(Ordering::Relaxed) {
                let mut batch = Vec::new();
                for _ in 0..32 {
                    batch.push(proposed(&lead, vec![3; LEN], Kind::Records).await);
                }
                for pending in batch {
                    let outcome = pending.await.unwrap();
                    assert!(matches!(outcome, Outcome::Applied { .. }), "{outcome:?}");
                    written += 1;
                }
            }
            written
        })
    };
    let wiped = hosts.iter().position(|host| host.node.id() != lead.id()).unwrap();
    let old = hosts[wiped].node.id();
    hosts.remove(wiped).kill();
    seats[wiped] = Seat::new(MemoryDisk::new().mount(), "/store");
    lead.remove(old).await.unwrap();
    let (joined, member) = join(&lead, &seats[wiped], 4).await;
    add(&lead, 4, member).await.unwrap();
    lead.promote(4).await.unwrap();
    hosts.push(joined);
    stop.store(true, Ordering::Relaxed);
    let written = writer.await.unwrap();
    println!("{written} writes meanwhile");
    assert!(written >= 100, "only {written} writes meanwhile");
    // It counts: with it and the leader alone, writes go on.
    let at = hosts.iter().position(|host| ![lead.id(), 4].contains(&host.node.id())).unwrap();
    hosts.remove(at).kill();
    write(&lead, 100, LEN).await;
    converge(&nodes_of(&hosts)).await;
    let joined = &hosts.iter().find(|host| host.node.id() == 4).unwrap().node;
    assert_eq!(joined.status().snapshots_installed, 1);
    assert_eq!(joined.positions().first.0, 3 * CONSTANTS.segment_size);
    let seats = [seats[lead.id() as usize - 1].clone(), seats[wiped].clone()];
    drop(lead);
    stop_all(hosts).await;
    assert!(same_logs(&seats) >= 3);
    assert_sound(&seats);
}

/// Raft holds a purge back while an append that reads there is under way. A member that the purge will leave behind asked
/// for a snapshot while the log still began with its first entry, was told that there is none, and the leader ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_member_gets_a_snapshot_while_an_append_holds_the_purge_back() {
    let (_, mut seats) = memory_seats(4);
    let gates = gates(&mut seats);
    let mut hosts = form_hosts(&seats[..3], FlushMode::Sync).await;
    let lead = leader(&nodes_of(&hosts)).await;
    write(&lead, 20, LEN).await;
    converge(&nodes_of(&hosts)).await;
    let mut followers = hosts.iter().map(|host| Arc::clone(&host.node)).filter(|node| node.id() != lead.id());
    let (slow, follower) = (followers.next().unwrap(), followers.next().unwrap());
    drop(followers);
    gates[slow.id() as usize - 1].close();
    write(&lead, 400, LEN).await;
    let boundary = 3 * CONSTANTS.segment_size;
    let purged = propose(&lead, boundary.to_be_bytes().to_vec(), Kind::Command).await;
    assert!(matches!(purged, Outcome::Applied { .. }), "{purged:?}");
    until("purged at the other follower", || {
        follower.retain();
        (follower.positions().first.0 == boundary).then_some(())
    })
    .await;
    // The leader builds its snapshot and asks for the purge as the follower has.
    lead.retain();
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(lead.positions().purged, None, "nothing holds the purge back");
    let (joined, member) = join(&lead, &seats[3], 4).await;
    add(&lead, 4, member).await.unwrap();
    hosts.push(joined);
    gates.iter().for_each(|gate| gate.open());
    write(&lead, 20, LEN).await;
    converge(&nodes_of(&hosts)).await;
    until("purged at the leader too", || {
        lead.retain();
        (lead.positions().first.0 == boundary).then_some(())
    })
    .await;
    drop((lead, slow, follower));
    stop_all(hosts).await;
    assert_sound(&seats);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_member_that_restarts_right_after_its_snapshot_goes_on() {
    let (media, mut seats) = memory_seats(4);
    let mut hosts = form_hosts(&seats[..3], FlushMode::Sync).await;
    let nodes = nodes_of(&hosts);
    let lead = leader(&nodes).await;
    write(&lead, 400, LEN).await;
    purge(&nodes, 3).await;
    let (joined, member) = join(&lead, &seats[3], 4).await;
    let adding = add(&lead, 4, member);
    until("the snapshot is installed", || (joined.node.status().snapshots_installed == 1).then_some(())).await;
    joined.kill();
    media[3].crash();
    seats[3].disk = media[3].mount();
    let joined = Host::restart(&seats[3], FlushMode::Sync).await;
    assert!(joined.node.positions().first.0 == 3 * CONSTANTS.segment_size, "{:?}", joined.node.positions());
    adding.await.unwrap();
    assert_eq!(joined.node.status().snapshots_installed, 0, "the snapshot was installed again");
    write(&lead, 20, LEN).await;
    hosts.push(joined);
    drop((nodes, lead));
    converge(&nodes_of(&hosts)).await;
    stop_all(hosts).await;
    assert!(same_logs(&seats) >= 3);
    assert_sound(&seats);
}

/// The new member loses power after each disk operation that installing its snapshot takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_loss_anywhere_in_an_install_is_survived() {
    let (_, seats) = memory_seats(3);
    let hosts = form_hosts(&seats, FlushMode::Sync).await;
    let nodes = nodes_of(&hosts);
    let lead = leader(&nodes).await;
    write(&lead, 300, LEN).await;
    purge(&nodes, 2).await;
    let mut crashes = 0;
    for operations in 0..60 {
        let id = 4 + operations;
        let medium = MemoryDisk::new();
        let mut seat = Seat::new(medium.mount(), "/store");
        let (joined, member) = join(&lead, &seat, id).await;
        medium.freeze_after(operations);
        let adding = add(&lead, id, member);
        let frozen = until("caught up, or frozen", || {
            let frozen = medium.is_frozen();
            (frozen || joined.node.status().snapshots_installed == 1).then_some(frozen)
        })
        .await;
        joined.kill();
        medium.crash();
        seat.disk = medium.mount();
        seat.fatals = Fatals::default();
        let joined = Host::restart(&seat, FlushMode::Sync).await;
        adding.await.unwrap();
        write(&lead, 1, LEN).await;
        converge(&[Arc::clone(&lead), Arc::clone(&joined.node)]).await;
        assert_eq!(joined.node.positions().first.0, 2 * CONSTANTS.segment_size);
        lead.remove(id).await.unwrap();
        joined.node.shutdown().await;
        drop(joined);
        assert_sound(&[seat.clone()]);
        same_logs(std::slice::from_ref(&seat));
        if !frozen {
            break;
        }
        crashes += 1;
    }
    println!("{crashes} crashes");
    // Checkpoint, intent, segments, derived files, first segment, cleared intent: each is written and synced.
    assert!((12..60).contains(&crashes), "{crashes} crashes");
    assert_sound(&seats);
}
