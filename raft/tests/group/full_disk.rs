//! A follower without room says so, and owes no answer for what it has stored before.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::common::gate::gates;
use crate::common::{
    assert_sound, at, converge, form_hosts, leader, memory_seats, nodes_of, proposed, stays_unanswered, until, write,
};
use quorumq_raft::outcome::Outcome;
use quorumq_store::frame::Kind;
use quorumq_store::log_store::FlushMode;

/// Bytes of an entry's body.
const LEN: usize = 3000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_follower_stored_before_its_disk_was_full_is_acknowledged() {
    let (mut media, mut seats) = memory_seats(3);
    let mut gates = gates(&mut seats);
    let mut hosts = form_hosts(&seats, FlushMode::Sync).await;
    let nodes = nodes_of(&hosts);
    let lead = at(&nodes, leader(&nodes).await.id());
    hosts.swap(0, lead);
    seats.swap(0, lead);
    media.swap(0, lead);
    gates.swap(0, lead);
    write(&hosts[0].node, 10, 100).await;
    converge(&nodes_of(&hosts)).await;
    hosts.pop().unwrap().kill();
    let (lead, follower) = (&hosts[0].node, &hosts[1].node);

    media[1].set_capacity(Some(media[1].used()));
    gates[1].close();
    let mut stored = Vec::new();
    let mut refused = loop {
        let (has_room, before) = (follower.room(LEN as u64).is_ok(), follower.positions().last);
        let pending = proposed(lead, vec![1; LEN], Kind::Records).await;
        if !has_room {
            break pending;
        }
        until("the follower has it", || (follower.positions().last > before).then_some(())).await;
        stored.push(pending);
    };
    assert!(stored.len() > 1, "{} entries found room", stored.len());
    // Nothing is synced yet, so nothing is answered, when the first one without room comes.
    stays_unanswered(&mut refused).await;
    gates[1].open();
    for pending in stored {
        let outcome = timeout(Duration::from_secs(15), pending).await.expect("an answer").unwrap();
        assert!(matches!(outcome, Outcome::Applied { .. }), "{outcome:?}");
    }
    media[1].set_capacity(None);
    let outcome = refused.await.unwrap();
    assert!(matches!(outcome, Outcome::Applied { .. }), "{outcome:?}");
    converge(&[Arc::clone(lead), Arc::clone(follower)]).await;
    assert_sound(&seats[..2]);
}
