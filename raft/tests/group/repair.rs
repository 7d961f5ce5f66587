//! A CommitLog that is damaged at rest heals from the other members, and nothing else stops.

use std::time::Duration;

use bytes::Bytes;

use crate::common::{
    CONSTANTS, Host, Seat, TestNode, assert_sound, converge, form_hosts, leader, memory_seats, nodes_of, same_logs,
    start, until, write,
};
use crate::three_nodes::add;
use quorumq_raft::form::{Start, ask};
use quorumq_raft::peer::handshake::dial;
use quorumq_raft::peer::message::{NodeStatus, Purpose, Request, Response, Role};
use quorumq_raft::peer::mux::Mux;
use quorumq_raft::repair::scrub::Scrub;
use quorumq_raft::runtime::tokio::Tokio;
use quorumq_store::commit_log::segment_path;
use quorumq_store::commit_log::verify::verify;
use quorumq_store::disk::MemoryDisk;
use quorumq_store::frame::HEADER_LEN;
use quorumq_store::log_store::FlushMode;
use quorumq_store::{PhysicalOffset, StoreError};

/// A group that was stopped, its log over several segments.
struct Stopped {
    media: Vec<MemoryDisk>,
    seats: Vec<Seat>,
}

impl Stopped {
    async fn new() -> Self {
        let (media, seats) = memory_seats(3);
        let hosts = form_hosts(&seats, FlushMode::Sync).await;
        let nodes = nodes_of(&hosts);
        write(&leader(&nodes).await, 250, 1000).await;
        converge(&nodes).await;
        for host in hosts {
            host.node.stop().await;
            host.kill();
        }
        Self { media, seats }
    }

    /// Flips a bit of a byte of the log on a member's disk.
    fn flip(&self, member: usize, at: u64) {
        let start = at - at % CONSTANTS.segment_size;
        let path = segment_path(&self.seats[member].dir, PhysicalOffset(start));
        self.media[member].flip_bit(&path, at - start, 2).unwrap();
    }

    /// Where the frames of a member's log start.
    fn frames(&self, member: usize) -> Vec<u64> {
        let seat = &self.seats[member];
        let mut frames = Vec::new();
        let checked = verify(&seat.disk, &seat.dir, &mut |entry| {
            frames.push(entry.position.0);
            Ok(())
        });
        checked.unwrap();
        frames
    }

    async fn restart(&self, members: &[usize]) -> Vec<Host> {
        let starting = members.iter().map(|i| Host::restart(&self.seats[*i], FlushMode::Sync));
        futures_util::future::join_all(starting).await
    }

    /// All members go on, and their logs are equal once they stop.
    async fn goes_on(&self, hosts: Vec<Host>) {
        let nodes = nodes_of(&hosts);
        write(&leader(&nodes).await, 20, 1000).await;
        converge(&nodes).await;
        assert_sound(&self.seats);
        for host in hosts {
            host.node.stop().await;
            host.kill();
        }
        same_logs(&self.seats);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_synced_frame_is_filled_at_a_start_while_the_others_go_on() {
    let group = Stopped::new().await;
    let last = *group.frames(2).last().unwrap();
    group.flip(2, last + 60);
    let mut hosts = group.restart(&[0, 1]).await;
    let nodes = nodes_of(&hosts);
    write(&leader(&nodes).await, 100, 1000).await;
    hosts.extend(group.restart(&[2]).await);
    group.goes_on(hosts).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_segment_file_is_filled_at_a_start() {
    let group = Stopped::new().await;
    let path = segment_path(&group.seats[1].dir, PhysicalOffset(CONSTANTS.segment_size));
    group.seats[1].disk.remove(&path).unwrap();
    let hosts = group.restart(&[0, 1, 2]).await;
    group.goes_on(hosts).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_that_only_raft_meets_at_a_start_is_filled_before_it_runs() {
    let group = Stopped::new().await;
    let frames = group.frames(0);
    let in_old = |at: &&u64| !at.is_multiple_of(CONSTANTS.segment_size) && **at < 2 * CONSTANTS.segment_size;
    // Raft searches the whole log for where terms begin; a start of the store only reads its end.
    for at in frames.iter().filter(in_old).step_by(7) {
        group.flip(0, at + 20);
    }
    let mut hosts = group.restart(&[1, 2]).await;
    hosts.extend(group.restart(&[0]).await);
    assert_eq!(group.media[0].rotten(), [], "something was left for later");
    group.goes_on(hosts).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_byte_on_two_of_three_is_filled_from_the_third_without_a_leader() {
    let group = Stopped::new().await;
    let frames = group.frames(0);
    let at = frames[frames.len() - 3] + 100;
    group.flip(0, at);
    group.flip(1, at);
    // No two of them can elect a leader before the third gives away what it has.
    let hosts = group.restart(&[0, 1, 2]).await;
    group.goes_on(hosts).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_lack_different_bytes_heal_from_each_other_though_neither_runs() {
    let group = Stopped::new().await;
    let frames = group.frames(0);
    let n = frames.len();
    group.flip(0, frames[n - 3] + 100);
    group.flip(1, frames[n - 6] + 100);
    let mut hosts = group.restart(&[0, 1]).await;
    let nodes = nodes_of(&hosts);
    write(&leader(&nodes).await, 5, 1000).await;
    hosts.extend(group.restart(&[2]).await);
    group.goes_on(hosts).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_finds_no_copy_says_so_votes_for_nobody_and_can_be_stopped() {
    let group = Stopped::new().await;
    let frames = group.frames(0);
    let at = frames[frames.len() - 3] + 100;
    (0..3).for_each(|i| group.flip(i, at));
    // It has no member to ask that answers.
    let seat = group.seats[0].clone();
    let starting = tokio::spawn(async move { start(&seat, Start::Existing, FlushMode::Sync).await });
    let mut told = None;
    let (_, others) = memory_seats(1);
    let other = form_hosts(&others, FlushMode::Sync).await;
    // A peer of the same group: the identity it was formed with is what the disk says.
    for _ in 0..500 {
        let probed = ask::<Tokio>(&other[0].node.local_peer(), group.seats[0].listen, Request::Probe).await;
        if let Ok(Response::Probed(probed)) = probed {
            assert!(!probed.pristine, "its store would pass for a new one");
            told = Some(probed);
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let caller = told.and_then(|probed| probed.identity).unwrap();
    let mut local = other[0].node.local_peer();
    local.caller = Some(caller);
    let dialed = dial::<Tokio>(&local, group.seats[0].listen, Purpose::Control, None).await.unwrap();
    let mux = Mux::start::<Tokio>(dialed.stream, || {});
    let (answer, _) = mux.call(Request::Status, &[]).await.unwrap();
    let Response::Status(NodeStatus { role, log, is_fit, .. }) = answer else { panic!("{answer:?}") };
    assert_eq!((role, is_fit, log.bad_ranges), (Role::Repairing, false, 1));
    assert!(log.bad_bytes > 1000 && log.filled_bytes == 0, "{log:?}");
    let (refused, _) = mux.call(Request::ReadIndex, &[]).await.unwrap();
    assert!(matches!(&refused, Response::Error(why) if why.contains("repairs its CommitLog")), "{refused:?}");
    starting.abort();
    assert!(starting.await.is_err());
    until("its port is free", || std::net::TcpListener::bind(group.seats[0].listen).ok()).await;
    // What was found is still there: nothing of it was made up.
    assert_eq!(group.media[0].rotten().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_hard_state_a_node_is_told_to_come_back_under_a_new_id() {
    let group = Stopped::new().await;
    let seat = &group.seats[0];
    seat.disk.remove(&quorumq_store::hard_state::path(&seat.dir)).unwrap();
    let refused = start(seat, Start::Existing, FlushMode::Sync).await.err().unwrap();
    assert!(refused.contains("hardstate") && refused.contains("quorumq group add"), "{refused}");
}

/// Reads what the body of an entry holds, through a node, until it can.
async fn reads(node: &TestNode, at: u64) -> Bytes {
    until("the bytes are served", || node.bytes(PhysicalOffset(at + HEADER_LEN), 100).ok()).await
}

fn is_whole(group: &Stopped, nodes: &[TestNode]) -> bool {
    let healed = |node: &TestNode| {
        let status = node.status();
        status.log.bad_ranges == 0 && status.is_fit
    };
    group.media.iter().all(|medium| medium.rotten().is_empty()) && nodes.iter().all(healed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flip_that_a_read_meets_is_filled_on_followers_and_on_the_leader() {
    let group = Stopped::new().await;
    let frames = group.frames(0);
    let hosts = group.restart(&[0, 1, 2]).await;
    let nodes = nodes_of(&hosts);
    leader(&nodes).await;
    for (i, node) in nodes.iter().enumerate() {
        let at = frames[20 + i];
        // Of the header, and of the body: neither is what is read.
        for offset in [20, HEADER_LEN + 700] {
            let sound = reads(node, at).await;
            group.flip(i, at + offset);
            assert!(node.bytes(PhysicalOffset(at + HEADER_LEN), 100).is_err(), "damage was served");
            assert_eq!(reads(node, at).await, sound);
            until("all is whole", || is_whole(&group, &nodes).then_some(())).await;
            assert!(node.status().log.filled_bytes > 0);
        }
    }
    group.goes_on(hosts).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_meets_damage_hands_over_and_may_lead_again_once_it_is_filled() {
    let group = Stopped::new().await;
    let frames = group.frames(0);
    let hosts = group.restart(&[0, 1, 2]).await;
    let nodes = nodes_of(&hosts);
    let lead = leader(&nodes).await;
    let lead_at = crate::common::at(&nodes, lead.id());
    // Nobody has a sound copy: it stays as it is.
    (0..3).for_each(|i| group.flip(i, frames[30] + 100));
    assert!(lead.bytes(PhysicalOffset(frames[30] + HEADER_LEN), 10).is_err());
    until("another leads", || {
        let other = nodes.iter().find(|node| node.is_leader());
        other.filter(|other| other.id() != lead.id()).map(drop)
    })
    .await;
    let status = lead.status();
    assert_eq!((status.is_fit, status.log.bad_ranges, status.log.filled_bytes), (false, 1, 0));
    write(&leader(&nodes).await, 20, 1000).await;
    // One copy comes back.
    group.media[(lead_at + 1) % 3].mend();
    until("it is filled", || lead.status().is_fit.then_some(())).await;
    reads(&lead, frames[30]).await;
    assert!(group.media[lead_at].rotten().is_empty());
    group.media.iter().for_each(MemoryDisk::mend);
    group.goes_on(hosts).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_that_nobody_reads_is_found_by_the_scrub_on_every_member() {
    let mut group = Stopped::new().await;
    for seat in &mut group.seats {
        seat.scrub = Scrub { bytes_per_second: 8 << 20, interval: Duration::from_millis(50) };
    }
    let frames = group.frames(0);
    let hosts = group.restart(&[0, 1, 2]).await;
    let nodes = nodes_of(&hosts);
    leader(&nodes).await;
    until("every member has ended a pass", || {
        nodes.iter().all(|node| node.status().log.scrub_ended_ms.is_some()).then_some(())
    })
    .await;
    for i in 0..3 {
        group.flip(i, frames[10 + i] + 10);
        group.flip(i, frames[100 + i] + 500);
    }
    let path = segment_path(&group.seats[0].dir, PhysicalOffset(2 * CONSTANTS.segment_size));
    group.seats[0].disk.remove(&path).unwrap();
    until("all is whole", || (is_whole(&group, &nodes) && group.seats[0].disk.exists(&path).unwrap()).then_some(()))
        .await;
    group.goes_on(hosts).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_of_one_keeps_damage_quarantined_and_goes_on() {
    let (media, seats) = memory_seats(1);
    let hosts = form_hosts(&seats, FlushMode::Sync).await;
    write(&leader(&nodes_of(&hosts)).await, 250, 1000).await;
    for host in hosts {
        host.node.stop().await;
        host.kill();
    }
    let group = Stopped { media, seats };
    let frames = group.frames(0);
    let hosts = group.restart(&[0]).await;
    let lead = leader(&nodes_of(&hosts)).await;
    group.flip(0, frames[50] + 100);
    assert!(lead.bytes(PhysicalOffset(frames[50] + HEADER_LEN), 10).is_err());
    until("it is quarantined", || (lead.status().log.bad_ranges == 1).then_some(())).await;
    write(&lead, 20, 1000).await;
    assert!(lead.is_leader() && lead.bytes(PhysicalOffset(frames[51] + HEADER_LEN), 10).is_ok());
    let refused = lead.bytes(PhysicalOffset(frames[50] + HEADER_LEN), 10).unwrap_err();
    assert!(matches!(refused, StoreError::Quarantined { .. }), "{refused}");
    assert_sound(&group.seats);
}

/// Starts an empty node and makes it a learner.
async fn learner(lead: &TestNode, seat: &Seat, id: u64) -> Host {
    let joining = {
        let seat = seat.clone();
        tokio::spawn(async move { Host::start(&seat, Start::Join, FlushMode::Sync).await.unwrap() })
    };
    let member = add(lead, seat, id).await;
    let joined = joining.await.unwrap();
    lead.add_learner(id, member).await.unwrap();
    joined
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replication_that_meets_damage_on_a_leader_waits_for_its_repair_and_goes_on() {
    let (media, seats) = memory_seats(3);
    let mut hosts = form_hosts(&seats[..1], FlushMode::Sync).await;
    write(&leader(&nodes_of(&hosts)).await, 250, 1000).await;
    // It has a copy, and no vote: nobody but the first can lead.
    let copy = learner(&hosts[0].node, &seats[1], 2).await;
    converge(&[hosts[0].node.clone(), copy.node.clone()]).await;
    let host = hosts.remove(0);
    host.node.stop().await;
    host.kill();
    let group = Stopped { media, seats };
    let frames = group.frames(0);
    let first = Host::restart(&group.seats[0], FlushMode::Sync).await;
    let lead = leader(std::slice::from_ref(&first.node)).await;
    for at in [40, 41, 90, 200] {
        group.flip(0, frames[at] + 20);
        group.flip(0, frames[at + 2] + 300);
    }
    let new = learner(&lead, &group.seats[2], 3).await;
    assert!(group.media[0].rotten().is_empty() && lead.status().log.filled_bytes > 5000);
    group.goes_on(vec![first, copy, new]).await;
}
