//! What is acknowledged is on the disks that the flush mode promises.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;

use crate::common::gate::{Gate, GatedDisk, gates};
use crate::common::{
    Host, PANIC, Seat, TestNode, assert_sound, at, converge, form, form_hosts, leader, memory_seats, nodes_of, propose,
    proposed, stays_unanswered, synced, until, write,
};
use quorumq_raft::form::Start;
use quorumq_raft::outcome::Outcome;
use quorumq_raft::peer::handshake::dial;
use quorumq_raft::peer::message::{Purpose, Request, Response};
use quorumq_raft::peer::mux::Mux;
use quorumq_raft::runtime::tokio::Tokio;
use quorumq_raft::types::Proposal;
use quorumq_raft::wire::{WireVote, WireVoteRequest};
use quorumq_store::disk::MemoryDisk;
use quorumq_store::disk::memory::Operation;
use quorumq_store::frame::Kind;
use quorumq_store::log_store::FlushMode;

/// EIO.
const EIO: i32 = 5;

/// The members of a group: the leader first.
struct Group {
    media: Vec<MemoryDisk>,
    seats: Vec<Seat>,
    nodes: Vec<TestNode>,
    hosts: Vec<Host>,
}

impl Group {
    async fn form(flush: FlushMode) -> Self {
        let (mut media, mut seats) = memory_seats(3);
        let mut hosts = form_hosts(&seats, flush).await;
        let mut nodes = nodes_of(&hosts);
        let lead = leader(&nodes).await;
        let lead = at(&nodes, lead.id());
        nodes.swap(0, lead);
        media.swap(0, lead);
        seats.swap(0, lead);
        hosts.swap(0, lead);
        write(&nodes[0], 10, 100).await;
        converge(&nodes).await;
        Self { media, seats, nodes, hosts }
    }

    /// Holds the syncs of these members; the last entry of each waits for its sync once this returns the proposal's
    /// outcome to come.
    async fn propose_held(&self, held: &[usize]) -> crate::common::Pending {
        for &i in held {
            synced(&self.nodes[i]).await;
            self.media[i].hold_syncs();
        }
        let before = self.nodes[0].positions().last;
        let pending = proposed(&self.nodes[0], vec![7; 100], Kind::Records).await;
        until("the entry is everywhere", || {
            let has_it = |i: usize| self.nodes[i].positions().last > before;
            let waits = |i: usize| !held.contains(&i) || self.media[i].held_syncs() > 0;
            (0..3).all(|i| has_it(i) && waits(i)).then_some(())
        })
        .await;
        pending
    }

    fn release(&self) {
        self.media.iter().for_each(MemoryDisk::release_syncs);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_acknowledged_while_two_members_have_not_synced() {
    let group = Group::form(FlushMode::Sync).await;
    for held in [[1, 2], [0, 2]] {
        let mut pending = group.propose_held(&held).await;
        let other = (0..3).find(|i| !held.contains(i)).unwrap();
        synced(&group.nodes[other]).await;
        stays_unanswered(&mut pending).await;
        group.release();
        let outcome = pending.await.unwrap();
        assert!(matches!(outcome, Outcome::Applied { .. }), "{outcome:?}");
    }
    assert_sound(&group.seats);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledgements_go_on_while_one_member_cannot_sync() {
    let group = Group::form(FlushMode::Sync).await;
    for held in [0, 1] {
        let outcome = group.propose_held(&[held]).await.await.unwrap();
        assert!(matches!(outcome, Outcome::Applied { .. }), "{outcome:?}");
        // Over several segments.
        write(&group.nodes[0], 300, 1000).await;
        let positions = group.nodes[held].positions();
        assert!(positions.synced < positions.last, "{positions:?}");
        group.release();
        converge(&group.nodes).await;
    }
    assert_sound(&group.seats);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asynchronous_flushing_acknowledges_from_the_page_cache_but_a_vote_waits_for_its_sync() {
    let mut group = Group::form(FlushMode::Async).await;
    group.media.iter().for_each(MemoryDisk::hold_syncs);
    write(&group.nodes[0], 50, 100).await;
    let syncing = || group.media.iter().all(|medium| medium.held_syncs() > 0);
    until("every node syncs what it has written", || syncing().then_some(())).await;
    write(&group.nodes[0], 50, 100).await;
    for node in &group.nodes {
        let positions = node.positions();
        assert!(positions.synced < positions.last, "{positions:?}");
    }
    let term = group.nodes[0].leadership().0;
    // One voter can sync again, the other cannot; the leader dies.
    group.media[2].release_syncs();
    group.hosts.remove(0).kill();
    let (held, free) = (&group.nodes[1], &group.nodes[2]);
    until("the one that cannot sync has voted, in memory", || {
        let voted = held.vote().is_some_and(|vote| vote.term.0 > term);
        (voted && group.media[1].held_syncs() > 0).then_some(())
    })
    .await;
    for _ in 0..30 {
        assert!(!held.is_leader() && !free.is_leader(), "elected by a vote that is not on disk");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    group.release();
    leader(&group.nodes[1..]).await;
    assert_sound(&group.seats);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_sync_ends_the_leader_and_it_acknowledges_nothing_more() {
    let group = Group::form(FlushMode::Sync).await;
    let (lead, seat) = (&group.nodes[0], &group.seats[0]);
    for i in 1..3 {
        synced(&group.nodes[i]).await;
        group.media[i].hold_syncs();
    }
    synced(lead).await;
    group.media[0].fail(Operation::Sync, 0, EIO);
    let mut pending = Vec::new();
    for i in 0..20 {
        pending.push(proposed(lead, vec![i; 100], Kind::Records).await);
    }
    let reason = until("the leader has to end", || seat.fatal()).await;
    assert!(reason.contains("Input/output error"), "{reason}");
    group.release();
    let successor = leader(&group.nodes[1..]).await;
    for pending in pending {
        let outcome = pending.await.unwrap();
        assert!(!matches!(outcome, Outcome::Applied { .. }), "{outcome:?}");
    }
    let late = propose(lead, vec![1; 100], Kind::Records).await;
    assert!(!matches!(late, Outcome::Applied { .. }), "{late:?}");
    write(&successor, 20, 100).await;
    converge(&group.nodes[1..]).await;
    assert_sound(&group.seats[1..]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_sync_ends_an_idle_node_that_flushes_asynchronously() {
    let group = Group::form(FlushMode::Async).await;
    for node in &group.nodes {
        synced(node).await;
    }
    group.media[1].fail(Operation::Sync, 0, EIO);
    write(&group.nodes[0], 1, 100).await;
    let reason = until("the follower has to end", || group.seats[1].fatal()).await;
    assert!(reason.contains("Input/output error"), "{reason}");
    write(&group.nodes[0], 20, 100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_sync_ends_a_follower_and_the_group_goes_on() {
    let group = Group::form(FlushMode::Sync).await;
    synced(&group.nodes[1]).await;
    group.media[1].fail(Operation::Sync, 0, EIO);
    write(&group.nodes[0], 20, 100).await;
    let reason = until("the follower has to end", || group.seats[1].fatal()).await;
    assert!(reason.contains("Input/output error"), "{reason}");
    write(&group.nodes[0], 20, 100).await;
    assert!(group.nodes[0].is_leader());
    assert_sound(&[group.seats[0].clone(), group.seats[2].clone()]);
}

/// openraft takes every earlier append for flushed once a vote is saved: a vote that overtook an append would let out
/// an acknowledgement of what is on no disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vote_lets_out_no_acknowledgement_of_an_append_that_waits_for_its_sync() {
    let (_, mut seats) = memory_seats(3);
    let gates = gates(&mut seats);
    let nodes = form(&seats, FlushMode::Sync).await;
    let lead = leader(&nodes).await;
    write(&lead, 10, 100).await;
    converge(&nodes).await;
    let lead_at = at(&nodes, lead.id());
    let (voter, other) = ((lead_at + 1) % 3, (lead_at + 2) % 3);
    for i in [voter, other] {
        synced(&nodes[i]).await;
        gates[i].close();
    }
    // One append is in its sync, one waits behind it, then comes the vote.
    let mut first = proposed(&lead, vec![1; 100], Kind::Records).await;
    until("the first append is in its sync", || (gates[voter].waiting() == 1).then_some(())).await;
    let before = nodes[voter].positions().last;
    let mut second = proposed(&lead, vec![2; 100], Kind::Records).await;
    let followers = [voter, other];
    let have_it = || followers.iter().all(|i| nodes[*i].positions().last > before);
    until("the second append waits", || have_it().then_some(())).await;
    let vote = ask_for_vote(&nodes[other], &seats[voter], lead.leadership().0 + 1).await;
    until("the vote is taken in", || nodes[voter].vote().filter(|vote| vote.node == nodes[other].id())).await;
    gates[voter].let_one_pass();
    stays_unanswered(&mut second).await;
    assert!(!vote.is_finished(), "the vote was granted before the append ahead of it was synced");
    gates.iter().for_each(|gate| gate.open());
    assert!(vote.await.unwrap(), "the vote was not granted");
    for pending in [&mut first, &mut second] {
        pending.await.unwrap();
    }
    leader(&nodes).await;
    converge(&nodes).await;
    assert_sound(&seats);
}

/// Asks the node at `seat` for its vote in the name of `candidate`, as one to whom leadership is transferred: no lease
/// stands in the way. Whether it was granted.
async fn ask_for_vote(candidate: &TestNode, seat: &Seat, term: u64) -> tokio::task::JoinHandle<bool> {
    let dialed = dial::<Tokio>(&candidate.local_peer(), seat.addr, Purpose::Control, None).await.unwrap();
    let mux = Mux::start::<Tokio>(dialed.stream, || {});
    let vote = WireVote { term, node: candidate.id(), committed: false };
    let last = candidate.positions().last.map(Into::into);
    let request = Request::Vote(WireVoteRequest { vote, last, leadership_transfer: true });
    tokio::spawn(async move {
        match mux.call(request, &[]).await {
            Ok((Response::Vote(answer), _)) => answer.granted,
            other => panic!("{other:?}"),
        }
    })
}

/// It would write other entries under terms and indexes that its followers already hold.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_leader_does_not_resume_its_term() {
    let (media, mut seats) = memory_seats(1);
    let mut hosts = form_hosts(&seats, FlushMode::Sync).await;
    let mut term = 0;
    for _ in 0..3 {
        let lead = leader(&nodes_of(&hosts)).await;
        write(&lead, 5, 100).await;
        let now = lead.leadership().0;
        assert!(now > term, "term {now} after term {term}");
        term = now;
        drop(lead);
        hosts.remove(0).kill();
        media[0].kill();
        seats[0].disk = media[0].mount();
        hosts.push(Host::restart(&seats[0], FlushMode::Sync).await);
    }
    assert_sound(&seats);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_the_machine_ends_the_node_with_a_reason() {
    let (_, seats) = memory_seats(1);
    let nodes = form(&seats, FlushMode::Sync).await;
    let lead = leader(&nodes).await;
    let outcome = propose(&lead, PANIC.to_vec(), Kind::Records).await;
    assert!(matches!(outcome, Outcome::Unknown(_)), "{outcome:?}");
    let reason = until("the node has to end", || seats[0].fatal()).await;
    assert!(reason.starts_with("a panic in the state machine: "), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_on_the_disk_thread_ends_the_node_with_a_reason() {
    let (_, mut seats) = memory_seats(1);
    let gate = Arc::new(Gate::default());
    seats[0].disk = Arc::new(GatedDisk { disk: Arc::clone(&seats[0].disk), gate: Arc::clone(&gate) });
    let nodes = form(&seats, FlushMode::Sync).await;
    let lead = leader(&nodes).await;
    gate.panic();
    let pending = proposed(&lead, vec![1; 100], Kind::Records).await;
    let reason = until("the node has to end", || seats[0].fatal()).await;
    assert_eq!(reason, "a panic in the disk thread: told to");
    drop(nodes);
    assert!(pending.now_or_never().is_none(), "answered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_the_raft_core_ends_the_node_with_a_reason() {
    let group = Group::form(FlushMode::Sync).await;
    // The core itself refuses what a follower is asked to propose, and calls back.
    let proposal = Proposal { kind: Kind::Records, body: vec![1].into() };
    group.nodes[1].propose(proposal, |_| panic!("told to")).await;
    let reason = until("the node has to end", || group.seats[1].fatal()).await;
    assert!(reason.starts_with("the Raft core "), "{reason}");
    write(&group.nodes[0], 20, 100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_directory_does_not_start_by_itself() {
    let (_, seats) = memory_seats(1);
    let refused = Host::start(&seats[0], Start::Existing, FlushMode::Sync).await.err().unwrap();
    assert!(refused.contains("holds no store"), "{refused}");
}

/// The watch for a core that stops may hear of it before it hears that it is meant to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_stopped_gives_no_reason_to_end() {
    let (_, seats) = memory_seats(20);
    let alone = seats.iter().map(|seat| async {
        let nodes = form(std::slice::from_ref(seat), FlushMode::Sync).await;
        write(&leader(&nodes).await, 1, 100).await;
        nodes[0].shutdown().await;
    });
    futures_util::future::join_all(alone).await;
    assert_sound(&seats);
}
