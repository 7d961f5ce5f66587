//! A dead leader is replaced at once; one that lives is not deposed by a follower that alone lost it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::common::{
    Host, Seat, TestNode, assert_sound, at, behind_proxies, converge, form_hosts, leader, memory_seats, nodes_of,
    propose, until, write,
};
use quorumq_raft::node::Timing;
use quorumq_raft::outcome::Outcome;
use quorumq_raft::peer::handshake::dial;
use quorumq_raft::peer::message::{Purpose, Request, Response};
use quorumq_raft::peer::mux::Mux;
use quorumq_raft::runtime::tokio::Tokio;
use quorumq_raft::wire::{WireVote, WireVoteRequest};
use quorumq_store::frame::Kind;
use quorumq_store::log_store::FlushMode;

/// Kills measured.
const KILLS: usize = 5;
/// Median time within which a dead leader's successor has acknowledged a write.
const REPLACED_WITHIN: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_process_dies_is_replaced_at_once() {
    let (media, mut seats) = memory_seats(3);
    let mut hosts: Vec<Option<Host>> = form_hosts(&seats, FlushMode::Sync).await.into_iter().map(Some).collect();
    let mut times = Vec::new();
    for _ in 0..KILLS {
        let nodes: Vec<_> = hosts.iter().flatten().map(|host| Arc::clone(&host.node)).collect();
        let lead = leader(&nodes).await;
        write(&lead, 20, 100).await;
        converge(&nodes).await;
        all_linked(&nodes).await;
        let (term, dead) = (lead.leadership().0, at(&nodes, lead.id()));
        drop((nodes, lead));
        let killed = Instant::now();
        hosts[dead].take().unwrap().kill();
        let survivors: Vec<_> = hosts.iter().flatten().map(|host| Arc::clone(&host.node)).collect();
        let successor = first_acknowledgement(&survivors).await;
        times.push(killed.elapsed());
        assert!(successor.leadership().0 > term);
        media[dead].kill();
        seats[dead].disk = media[dead].mount();
        hosts[dead] = Some(Host::restart(&seats[dead], FlushMode::Sync).await);
    }
    let nodes: Vec<_> = hosts.iter().flatten().map(|host| Arc::clone(&host.node)).collect();
    write(&leader(&nodes).await, 20, 100).await;
    converge(&nodes).await;
    assert_sound(&seats);
    times.sort_unstable();
    println!("from kill to the next acknowledged write: {times:?}");
    assert!(times[KILLS / 2] < REPLACED_WITHIN, "{times:?}");
}

/// Waits until every node knows whom to ask for votes, as it does soon after its start: a link to every other is up.
async fn all_linked(nodes: &[TestNode]) {
    for node in nodes {
        for other in nodes {
            for _ in 0..100 {
                if node.status_of(other.id()).await.is_ok() {
                    break;
                }
            }
        }
    }
}

/// Offers writes to every node until one takes one.
async fn first_acknowledgement(nodes: &[TestNode]) -> TestNode {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(15) {
        for node in nodes.iter().filter(|node| node.is_leader()) {
            if let Outcome::Applied { .. } = propose(node, vec![1; 100], Kind::Records).await {
                return Arc::clone(node);
            }
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("no write was acknowledged");
}

/// The follower sees the leader's port refuse, as if its process were gone, and gives up its own lease; the other voter
/// still hears the leader.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_alone_loses_the_leader_does_not_depose_it() {
    let (_, mut seats) = memory_seats(3);
    let net = behind_proxies(&mut seats).await;
    let hosts = form_hosts(&seats, FlushMode::Sync).await;
    let nodes = nodes_of(&hosts);
    let lead = leader(&nodes).await;
    write(&lead, 20, 100).await;
    converge(&nodes).await;
    all_linked(&nodes).await;
    let term = lead.leadership().0;
    let lead_at = at(&nodes, lead.id());
    let (alone, other) = ((lead_at + 1) % 3, (lead_at + 2) % 3);
    assert!(!would_vote(&nodes[other], &seats[alone], term).await);

    net.0[lead_at].refuse().await;
    net.cut(lead.id(), nodes[alone].id());
    for _ in 0..500 {
        if would_vote(&nodes[other], &seats[alone], term).await {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(would_vote(&nodes[other], &seats[alone], term).await, "it never gave up the leader");
    assert!(!would_vote(&nodes[alone], &seats[other], term).await, "the other one gave up the leader too");
    // Long enough for every attempt it makes, and for its election timeout.
    let until = Instant::now() + 3 * Duration::from_millis(Timing::default().election_max_ms);
    while Instant::now() < until {
        write(&lead, 5, 100).await;
        assert_eq!(lead.leadership(), (term, Some(lead.id())));
    }
    assert_eq!(nodes[other].leadership(), (term, Some(lead.id())));

    net.0[lead_at].listen().await;
    net.heal(lead.id(), nodes[alone].id());
    write(&lead, 5, 100).await;
    converge(&nodes).await;
    for node in &nodes {
        assert_eq!(node.leadership(), (term, Some(lead.id())), "the term rose when the follower came back");
    }
    assert_sound(&seats);
}

/// Whether the node at `seat` would now vote for `candidate` in the next term.
async fn would_vote(candidate: &TestNode, seat: &Seat, term: u64) -> bool {
    let dialed = dial::<Tokio>(&candidate.local_peer(), seat.listen, Purpose::Control, None).await.unwrap();
    let mux = Mux::start::<Tokio>(dialed.stream, || {});
    let vote = WireVote { term: term + 1, node: candidate.id(), committed: false };
    let request = Request::PreVote(WireVoteRequest {
        vote,
        // Ahead of any log: only the lease can stand in the way.
        last: Some(quorumq_raft::wire::WireLogId(term + 1, u64::MAX)),
        leadership_transfer: false,
    });
    let answer = mux.call(request, &[]).await;
    mux.close();
    match answer {
        Ok((Response::Vote(answer), _)) => answer.granted,
        other => panic!("{other:?}"),
    }
}

/// A leader cut off from both others loses its group to them, and follows once it hears from them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_cut_off_is_replaced_and_follows_when_it_is_back() {
    let (_, mut seats) = memory_seats(3);
    let net = behind_proxies(&mut seats).await;
    let hosts = form_hosts(&seats, FlushMode::Sync).await;
    let nodes = nodes_of(&hosts);
    let lead = leader(&nodes).await;
    write(&lead, 20, 100).await;
    converge(&nodes).await;
    net.isolate(lead.id());
    let others: Vec<_> = nodes.iter().filter(|node| node.id() != lead.id()).cloned().collect();
    let successor = leader(&others).await;
    write(&successor, 20, 100).await;
    // It may believe that it leads; its reads say otherwise.
    lead.read_barrier().await.unwrap_err();
    net.rejoin(lead.id());
    until("the old leader follows", || (lead.leadership() == successor.leadership()).then_some(())).await;
    lead.read_barrier().await.unwrap();
    converge(&nodes).await;
    assert_sound(&seats);
}
