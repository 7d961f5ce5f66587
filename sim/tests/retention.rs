//! Segments go by age while clients work: on all members alike, and consumers that are behind go on from what is left.
#![cfg(test)]

use std::time::Duration;

use quorumq::broker::retention::RetentionOptions;
use quorumq::broker::retention::policy::Policy;
use quorumq_raft::machine::Machine as _;
use quorumq_sim::scenario::Verdict;
use quorumq_sim::scenario::brokers::Brokers;
use quorumq_sim::scenario::cast::Cast;
use quorumq_sim::workload::Kind;
use quorumq_sim::world::{Config, World, run};
use quorumq_store::PhysicalOffset;

/// How long messages are kept.
const RESERVED: Duration = Duration::from_secs(20);

fn options() -> RetentionOptions {
    let policy = Policy { reserved: RESERVED, delete_when: (0..24).collect(), ..Policy::default() };
    RetentionOptions { policy, interval: Duration::from_secs(2), ..RetentionOptions::default() }
}

/// From where on each member keeps the log, by its state and on its disk.
fn kept(brokers: &Brokers) -> Vec<(PhysicalOffset, PhysicalOffset)> {
    brokers.nodes.alive().map(|(_, node)| (node.machine().retained_from(), node.positions().first)).collect()
}

async fn ages(world: World) -> Verdict {
    let working = [Kind::Producer, Kind::Producer, Kind::PushConsumer, Kind::PullConsumer];
    let kinds = working.map(|kind| (kind, kind.usual_pause()));
    let cast = Cast::begin_with(world, options()).await?;
    let (_, kept) = cast
        .play(&kinds, Duration::from_secs(60), async |brokers| {
            madsim::time::sleep(Duration::from_secs(58)).await;
            Ok(kept(brokers))
        })
        .await?;
    match kept.iter().all(|(state, disk)| *state == kept[0].0 && disk.0 > 0 && disk <= state) {
        true => Ok(()),
        false => Err(format!("nothing was dropped, or not on all members: {kept:?}")),
    }
}

#[test]
fn segments_of_old_messages_go_on_every_member_while_clients_work() {
    for seed in 1..6 {
        let outcome = run(seed, Config::default(), ages).unwrap();
        outcome.value.unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    }
}
