//! Each bug planted in the consensus node breaks a check that holds without it.
#![cfg(test)]
#![cfg(debug_assertions)]

use std::time::Duration;

use futures_util::FutureExt;
use quorumq_raft::form::Start;
use quorumq_store::disk::MemoryDisk;
use quorumq_store::frame::Kind;
use quorumq_store::log_store::FlushMode;
use quorumq_store::mutant::Mutant;

#[path = "group/common/mod.rs"]
#[expect(dead_code, reason = "shared with tests that need more of it")]
mod common;
#[path = "../../tests/harness/planted.rs"]
mod planted;

use common::{
    Host, Seat, TestNode, at, converge, form_hosts, leader, memory_seats, nodes_of, proposed, synced, until, write,
};
use planted::{Check, Outcome, each_breaks_its_check, holds};

/// What must hold, and the bug that breaks it.
const CHECKS: &[(Mutant, Check)] = &[
    (Mutant::LeaderAcksBeforeSync, || nothing_is_acknowledged_while_two_sync([0, 1]).boxed()),
    (Mutant::FollowerAcksBeforeSync, || nothing_is_acknowledged_while_two_sync([1, 2]).boxed()),
    (Mutant::LeaderRestoreOn, || a_restarted_leader_leads_a_new_term().boxed()),
    (Mutant::WipedNodeVotes, || a_wiped_node_is_refused().boxed()),
    (Mutant::UnprovenVotes, || one_that_lost_what_it_acknowledged_does_not_vote().boxed()),
    (Mutant::ReadAboveCommitted, || a_start_applies_what_is_committed().boxed()),
    (Mutant::AppliedPositionNotRestored, || a_restart_applies_each_entry_once().boxed()),
    (Mutant::ApplyDependsOnClock, || members_apply_alike().boxed()),
];

#[test]
fn each_bug_breaks_a_check_that_holds_without_it() {
    each_breaks_its_check("each_bug_breaks_a_check_that_holds_without_it", CHECKS);
}

/// A group of three with ten entries, its leader first.
async fn three() -> (Vec<MemoryDisk>, Vec<Seat>, Vec<Host>) {
    let (mut media, mut seats) = memory_seats(3);
    let mut hosts = form_hosts(&seats, FlushMode::Sync).await;
    let nodes = nodes_of(&hosts);
    let lead = at(&nodes, leader(&nodes).await.id());
    media.swap(0, lead);
    seats.swap(0, lead);
    hosts.swap(0, lead);
    write(&hosts[0].node, 10, 100).await;
    converge(&nodes).await;
    (media, seats, hosts)
}

/// Two members cannot sync: the leader, which is the first, and a follower, or both followers.
async fn nothing_is_acknowledged_while_two_sync(held: [usize; 2]) -> Outcome {
    let (media, _seats, hosts) = three().await;
    for i in held {
        synced(&hosts[i].node).await;
        media[i].hold_syncs();
    }
    let pending = proposed(&hosts[0].node, vec![7; 100], Kind::Records).await;
    let answer = tokio::time::timeout(Duration::from_millis(500), pending).await;
    media.iter().for_each(MemoryDisk::release_syncs);
    holds(answer.is_err(), format!("acknowledged while members {held:?} had not synced: {answer:?}"))
}

async fn one() -> (Vec<MemoryDisk>, Seat, Host) {
    let (media, mut seats) = memory_seats(1);
    let host = form_hosts(&seats, FlushMode::Sync).await.remove(0);
    leader(std::slice::from_ref(&host.node)).await;
    (media, seats.remove(0), host)
}

async fn again(media: &[MemoryDisk], seat: &mut Seat, host: Host) -> Host {
    host.kill();
    media[0].kill();
    seat.disk = media[0].mount();
    let host = Host::restart(seat, FlushMode::Sync).await;
    leader(std::slice::from_ref(&host.node)).await;
    host
}

async fn a_restarted_leader_leads_a_new_term() -> Outcome {
    let (media, mut seat, host) = one().await;
    let before = host.node.leadership().0;
    let host = again(&media, &mut seat, host).await;
    let after = host.node.leadership().0;
    holds(after > before, format!("led term {before}, leads term {after} after a restart"))
}

async fn a_wiped_node_is_refused() -> Outcome {
    let (_media, mut seats, mut hosts) = three().await;
    let wiped = hosts[2].node.id() as usize - 1;
    hosts.remove(2).kill();
    let mut peers: Vec<_> = seats.iter().map(|seat| (seat.addr, seat)).collect();
    // In the order they were formed in: node n is peer n - 1.
    peers.sort_by_key(|(_, seat)| id_of(&hosts, seat).unwrap_or(wiped as u64 + 1));
    let peers = peers.into_iter().map(|(addr, _)| addr).collect();
    seats[2].disk = MemoryDisk::new().mount();
    let start = Start::Bootstrap { peers, me: wiped };
    for _ in 0..200 {
        match Host::start(&seats[2], start.clone(), FlushMode::Sync).await {
            Ok(host) => return Err(format!("node {} came back with an empty store", host.node.id())),
            // Its port may take a moment to be free.
            Err(e) if e.contains("in use") => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(e) => return holds(e.contains("cannot come back"), e),
        }
    }
    Err("no word of its refusal".to_owned())
}

/// Of two members that acknowledged an entry one loses it with its power, the other ends; a third has never had it.
async fn one_that_lost_what_it_acknowledged_does_not_vote() -> Outcome {
    let (media, mut seats) = memory_seats(3);
    let mut hosts = form_hosts(&seats, FlushMode::Async).await;
    let nodes = nodes_of(&hosts);
    let lead = leader(&nodes).await;
    let lead_at = at(&nodes, lead.id());
    let (lost, late) = ((lead_at + 1) % 3, (lead_at + 2) % 3);
    write(&lead, 10, 100).await;
    converge(&nodes).await;
    for node in &nodes {
        synced(node).await;
    }
    let mut hosts: Vec<_> = hosts.drain(..).map(Some).collect();
    hosts[late].take().unwrap().kill();
    media[lost].hold_syncs();
    write(&lead, 5, 100).await;
    hosts[lost].take().unwrap().kill();
    hosts[lead_at].take().unwrap().kill();
    media[lost].crash();
    media[late].kill();
    let mut back = Vec::new();
    for i in [lost, late] {
        seats[i].disk = media[i].mount();
        back.push(Host::restart(&seats[i], FlushMode::Async).await);
    }
    for _ in 0..300 {
        if let Some(host) = back.iter().find(|host| host.node.is_leader()) {
            return Err(format!("node {} leads without what was acknowledged", host.node.id()));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// The id of the node that runs on a seat.
fn id_of(hosts: &[Host], seat: &Seat) -> Option<u64> {
    hosts.iter().find(|host| host.node.peer_addr() == seat.listen).map(|host| host.node.id())
}

/// A leader ends with an entry that its followers, who cannot sync, have not acknowledged.
async fn a_start_applies_what_is_committed() -> Outcome {
    let (media, seats, mut hosts) = three().await;
    for i in [1, 2] {
        synced(&hosts[i].node).await;
        media[i].hold_syncs();
    }
    let before = hosts[0].node.positions().last;
    let _pending = proposed(&hosts[0].node, vec![7; 100], Kind::Records).await;
    until("the entry is in the log", || (hosts[0].node.positions().last > before).then_some(())).await;
    synced(&hosts[0].node).await;
    let applied = hosts[0].node.machine().entries;
    hosts.remove(0).kill();
    media[0].kill();
    let seat = Seat { disk: media[0].mount(), ..seats[0].clone() };
    let host = Host::restart(&seat, FlushMode::Sync).await;
    let now = host.node.machine().entries;
    media.iter().for_each(MemoryDisk::release_syncs);
    holds(now <= applied, format!("{applied} entries were committed, {now} are applied at the start"))
}

async fn a_restart_applies_each_entry_once() -> Outcome {
    let (media, mut seat, host) = one().await;
    write(&host.node, 100, 1000).await;
    let host = again(&media, &mut seat, host).await;
    agree(&host.node).await
}

/// Whether the machine has counted the log's entries.
async fn agree(node: &TestNode) -> Outcome {
    let (entries, applied) = until("an applied entry", || Some((node.machine().entries, node.applied()?))).await;
    holds(entries == applied.index.0 + 1, format!("{entries} entries were applied up to {applied}"))
}

async fn members_apply_alike() -> Outcome {
    let (_media, _seats, hosts) = three().await;
    // As much of a record as a stamp needs: its length.
    let mut body = vec![0; 100];
    body[3] = 100;
    for _ in 0..30 {
        drop(proposed(&hosts[0].node, body.clone(), Kind::Records).await.await);
    }
    let counts = || hosts.iter().map(|host| host.node.machine().entries).collect::<Vec<_>>();
    until("all have applied the same", || counts().windows(2).all(|pair| pair[0] == pair[1]).then_some(())).await;
    let digests: Vec<_> = hosts.iter().map(|host| host.node.machine().digest).collect();
    holds(digests.windows(2).all(|pair| pair[0] == pair[1]), format!("digests differ: {digests:?}"))
}
