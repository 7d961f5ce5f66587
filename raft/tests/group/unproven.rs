//! ASYNC_FLUSH: a member that lost what it had acknowledged does not help to elect a leader that lacks it.

use std::time::Duration;

use crate::common::{
    Host, Seat, assert_sound, at, converge, form_hosts, leader, memory_seats, nodes_of, propose, proposed,
    stays_unanswered, synced, until, write,
};
use quorumq_raft::node::Timing;
use quorumq_raft::outcome::Outcome;
use quorumq_store::disk::MemoryDisk;
use quorumq_store::frame::Kind;
use quorumq_store::log_store::FlushMode;

/// Bytes of an entry's body for which a full volume has no room.
const LEN: usize = 3000;

/// Members of a group, the leader first. A seat without a host is down.
struct Group {
    media: Vec<MemoryDisk>,
    seats: Vec<Seat>,
    hosts: Vec<Option<Host>>,
}

impl Group {
    async fn form(members: usize) -> Self {
        let (mut media, mut seats) = memory_seats(members);
        for seat in &mut seats {
            seat.timing = Timing { heartbeat_ms: 50, election_min_ms: 150, election_max_ms: 300, ..Timing::default() };
        }
        let mut hosts = form_hosts(&seats, FlushMode::Async).await;
        let nodes = nodes_of(&hosts);
        let lead = at(&nodes, leader(&nodes).await.id());
        hosts.swap(0, lead);
        seats.swap(0, lead);
        media.swap(0, lead);
        write(&hosts[0].node, 10, 100).await;
        converge(&nodes).await;
        for node in &nodes {
            synced(node).await;
        }
        Self { media, seats, hosts: hosts.into_iter().map(Some).collect() }
    }

    fn host(&self, i: usize) -> &Host {
        self.hosts[i].as_ref().unwrap()
    }

    fn end_process(&mut self, i: usize) {
        self.hosts[i].take().unwrap().kill();
        self.media[i].kill();
    }

    fn lose_power(&mut self, i: usize) {
        self.hosts[i].take().unwrap().kill();
        self.media[i].crash();
    }

    async fn restart(&mut self, i: usize) {
        self.seats[i].disk = self.media[i].mount();
        self.hosts[i] = Some(Host::restart(&self.seats[i], FlushMode::Async).await);
    }

    /// Entries that the first two acknowledge, the second from its page cache alone, while the third is down; then that
    /// loses power and the first one ends. The index of the last entry.
    async fn acknowledge_and_lose(&mut self) -> u64 {
        self.end_process(2);
        self.media[1].hold_syncs();
        write(&self.host(0).node, 20, 100).await;
        let last = self.host(0).node.positions().last.unwrap().index.0;
        self.lose_power(1);
        self.end_process(0);
        last
    }

    fn is_unproven(&self, i: usize) -> bool {
        self.host(i).node.status().unproven
    }

    /// Whether it is proven and that is saved: a moment earlier it may vote already, and a crash would make it forget.
    fn is_proven(&self, i: usize) -> bool {
        let status = self.host(i).node.status();
        !status.unproven && status.is_fit
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_lost_what_it_acknowledged_votes_only_once_it_holds_it_again() {
    let mut group = Group::form(3).await;
    let last = group.acknowledge_and_lose().await;
    group.restart(1).await;
    assert!(group.is_unproven(1));
    // A crash does not make it forget.
    group.end_process(1);
    group.restart(1).await;
    group.restart(2).await;
    assert!(group.is_unproven(1) && !group.is_unproven(2));
    for _ in 0..150 {
        let leads = [1, 2].map(|i| group.host(i).node.is_leader());
        assert_eq!(leads, [false; 2], "elected by a vote of one that lacks what it has acknowledged");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // The one that holds everything is back: it is elected, and the other catches up.
    group.restart(0).await;
    until("it is proven", || group.is_proven(1).then_some(())).await;
    let nodes: Vec<_> = (0..3).map(|i| group.host(i).node.clone()).collect();
    converge(&nodes).await;
    assert!(nodes.iter().all(|node| node.positions().last.unwrap().index.0 > last), "something acknowledged is gone");
    // It votes again, also after a restart, and may lead.
    let lead = leader(&nodes).await;
    let gone = at(&nodes, lead.id());
    if gone != 1 {
        group.end_process(1);
        group.restart(1).await;
        assert!(!group.is_unproven(1));
    }
    group.end_process(gone);
    let left: Vec<_> = (0..3).filter(|i| *i != gone).map(|i| group.host(i).node.clone()).collect();
    write(&leader(&left).await, 10, 100).await;
    assert_sound(&group.seats);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_lost_power_takes_again_what_its_leader_knew_it_to_hold() {
    let mut group = Group::form(3).await;
    group.media[1].hold_syncs();
    write(&group.host(0).node, 20, 100).await;
    let held = group.host(1).node.clone();
    until("it has them", || (held.positions().last == group.host(0).node.positions().last).then_some(())).await;
    group.lose_power(1);
    group.restart(1).await;
    until("it is proven", || group.is_proven(1).then_some(())).await;
    // With it and the leader alone, writes go on.
    group.end_process(2);
    let outcome = propose(&group.host(0).node, vec![1; 100], Kind::Records).await;
    assert!(matches!(outcome, Outcome::Applied { .. }), "{outcome:?}");
    converge(&[group.host(0).node.clone(), group.host(1).node.clone()]).await;
    assert_sound(&group.seats);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_flushes_synchronously_is_proven_whatever_happens() {
    let (media, mut seats) = memory_seats(3);
    let mut hosts = form_hosts(&seats, FlushMode::Sync).await;
    leader(&nodes_of(&hosts)).await;
    hosts.remove(0).kill();
    media[0].crash();
    seats[0].disk = media[0].mount();
    let host = Host::restart(&seats[0], FlushMode::Sync).await;
    assert!(!host.node.status().unproven);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_its_leader_counts_for_more_than_is_committed_is_not_proven_before_it_holds_that() {
    let mut group = Group::form(5).await;
    (3..5).for_each(|i| group.end_process(i));
    // The third of the three that are left has no room for the next entry; heartbeats pass.
    let third = group.host(2).node.clone();
    group.media[2].set_capacity(Some(group.media[2].used()));
    while third.room(LEN as u64).is_ok() {
        write(&group.host(0).node, 1, LEN).await;
        synced(&third).await;
        synced(&group.host(1).node).await;
    }
    group.media[1].hold_syncs();
    let before = group.host(1).node.positions().last;
    let mut pending = proposed(&group.host(0).node, vec![1; LEN], Kind::Records).await;
    let second = group.host(1).node.clone();
    until("the second has it in its page cache", || (second.positions().last > before).then_some(())).await;
    drop(second);
    group.lose_power(1);
    // It has no room either when it comes back, so it cannot take again what the leader counts it for.
    group.media[1].set_capacity(Some(group.media[1].used()));
    group.restart(1).await;
    let lead = group.host(0).node.id();
    let told = group.host(1).node.clone();
    until("it knows the leader", || (told.leadership().1 == Some(lead)).then_some(())).await;
    assert!(told.positions().last <= before && group.is_unproven(1));
    stays_unanswered(&mut pending).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(group.is_unproven(1), "it is proven without what it had acknowledged");
    group.media[1..3].iter().for_each(|medium| medium.set_capacity(None));
    until("it is proven", || group.is_proven(1).then_some(())).await;
    assert!(told.positions().synced > before);
}
