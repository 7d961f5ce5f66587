//! A member that is far behind is caught up with at a pace, which holds up neither fresh traffic nor the group.

use std::sync::Arc;

use crate::common::{
    Host, Seat, TestNode, assert_sound, at, converge, form_hosts, leader, memory_seats, nodes_of, proposed, until,
    write,
};
use quorumq_raft::outcome::Outcome;
use quorumq_raft::pace::CatchUp;
use quorumq_store::frame::Kind;
use quorumq_store::log_store::FlushMode;

/// Bytes of an entry's body, and how many are more than a node keeps in memory.
const LEN: usize = 15 * 1024;
const MORE_THAN_MEMORY: usize = 1300;

/// Three members, the leader first; the last one is down, and what it lacks is in old segments only. All of them pause.
async fn one_far_behind() -> (Vec<Host>, Vec<Seat>, Seat) {
    let (_, mut seats) = memory_seats(3);
    let mut hosts = form_hosts(&seats, FlushMode::Sync).await;
    let nodes = nodes_of(&hosts);
    let lead = at(&nodes, leader(&nodes).await.id());
    hosts.swap(0, lead);
    seats.swap(0, lead);
    write(&hosts[0].node, 10, 100).await;
    converge(&nodes_of(&hosts)).await;
    hosts.pop().unwrap().kill();
    let behind = seats.pop().unwrap();
    let lead = &hosts[0].node;
    for _ in 0..MORE_THAN_MEMORY / 50 {
        let mut batch = Vec::new();
        for _ in 0..50 {
            batch.push(proposed(lead, vec![5; LEN], Kind::Records).await);
        }
        for pending in batch {
            let outcome = pending.await.unwrap();
            assert!(matches!(outcome, Outcome::Applied { .. }), "{outcome:?}");
        }
    }
    converge(&nodes_of(&hosts)).await;
    hosts.iter().for_each(|host| host.node.set_catch_up(CatchUp::Paused));
    (hosts, seats, behind)
}

/// The leader has found out where the member stands.
async fn is_followed(node: &TestNode) {
    until("it follows the leader", || node.leadership().1.filter(|id| *id != node.id())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fresh_entries_are_acknowledged_while_catch_up_is_paused_and_it_goes_on_once_resumed() {
    let (hosts, seats, behind) = one_far_behind().await;
    let lead = Arc::clone(&hosts[0].node);
    let late = Host::restart(&behind, FlushMode::Sync).await;
    is_followed(&late.node).await;
    let held = late.node.positions().last;
    for _ in 0..3 {
        write(&lead, 200, 100).await;
        assert_eq!(late.node.positions().last, held, "catch-up is paused");
    }
    lead.set_catch_up(CatchUp::from_setting(4 << 20));
    until("some of it has come", || (late.node.positions().last > held).then_some(())).await;
    assert!(late.node.positions().last < lead.positions().last, "20 MB in no time at 4 MB/s");
    lead.set_catch_up(CatchUp::Unlimited);
    let all = [lead, Arc::clone(&hosts[1].node), Arc::clone(&late.node)];
    converge(&all).await;
    write(&all[0], 10, 100).await;
    converge(&all).await;
    assert_sound(&[&seats[..], &[behind]].concat());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_without_which_nothing_is_committed_is_caught_up_with_whatever_the_pace() {
    let (mut hosts, seats, behind) = one_far_behind().await;
    let late = Host::restart(&behind, FlushMode::Sync).await;
    is_followed(&late.node).await;
    hosts.pop().unwrap().kill();
    let lead = Arc::clone(&hosts[0].node);
    write(&lead, 20, 100).await;
    assert_eq!(lead.catch_up(), CatchUp::Paused);
    converge(&[lead, Arc::clone(&late.node)]).await;
    assert_sound(&[seats[0].clone(), behind]);
}
