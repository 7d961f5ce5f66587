//! Clients of every kind against three brokers and a NameServer: what they are told is true.
#![cfg(test)]

use std::time::Duration;

use quorumq_sim::history::{Action, Ended, History, SendKind};
use quorumq_sim::scenario::blow::{Blow, Cluster};
use quorumq_sim::scenario::brokers::Brokers;
use quorumq_sim::scenario::cast::{Cast, Left};
use quorumq_sim::workload::Kind;
use quorumq_sim::world::{Config, Death, run};

/// How long clients work.
const TIME: Duration = Duration::from_secs(15);

/// Runs a seed: what clients did. Every rule holds of it.
fn history<M>(seed: u64, kinds: Vec<(Kind, Duration)>, time: Duration, meanwhile: M) -> History
where
    M: AsyncFnOnce(&mut Brokers) -> Result<(), String> + Send + 'static,
{
    let play = move |world| async move { Cast::begin(world).await?.play(&kinds, time, meanwhile).await };
    let outcome = run(seed, Config::default(), play).unwrap_or_else(|failure| panic!("{failure}"));
    let (Left { history, .. }, ()) = outcome.value.unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    println!("seed {seed}, {:?}, {} events: {:?}", outcome.elapsed, outcome.events, history.outcomes());
    history
}

async fn nothing(_: &mut Brokers) -> Result<(), String> {
    Ok(())
}

#[test]
fn every_kind_of_client_gets_its_work_done_when_nothing_goes_wrong() {
    let all = Kind::ALL.iter().map(|kind| (*kind, kind.usual_pause())).collect();
    let history = history(1, all, TIME, nothing);
    for kind in Kind::ALL {
        let ops: Vec<_> = history.ops.iter().filter(|op| op.client.starts_with(&format!("{}-", kind.name()))).collect();
        assert!(ops.len() > 3, "{kind:?} did {} things", ops.len());
        for op in ops {
            let is_fine = match (&op.action, &op.ended) {
                (Action::Send { kind: SendKind::OneWay, .. }, ended) => matches!(ended, Ended::Unknown(_)),
                // Pulls under way when they were told to stop.
                (Action::Pull { .. }, Ended::Unknown(why)) => why == "the client was told to stop",
                (_, ended) => !matches!(ended, Ended::Unknown(_) | Ended::Refused(_)),
            };
            assert!(is_fine, "{kind:?}: {op:?}");
        }
    }
    assert!(history.acknowledged() > TIME.as_secs() * 50, "a mix of all kinds gets 50 messages a second acknowledged");
}

/// Kills the leader again and again, each time once the one before is back.
async fn kill_leaders(brokers: &mut Brokers) -> Result<(), String> {
    for _ in 0..4 {
        madsim::time::sleep(TIME / 20).await;
        let struck = Blow::KillLeader(Death::Crash).strike(brokers).await?;
        madsim::time::sleep(TIME / 20).await;
        struck.make_good(brokers).await?;
        brokers.nodes().elected(&[]).await?;
    }
    Ok(())
}

#[test]
fn while_leaders_die_outcomes_become_unknown_and_nothing_acknowledged_is_missing() {
    // Who asks a follower makes one attempt only, and each member forwards what it has to a leader that may be dying.
    let busy = [Kind::FollowerProducer, Kind::FollowerProducer, Kind::FollowerProducer, Kind::AsyncProducer];
    let mut kinds = busy.map(|kind| (kind, Duration::from_millis(20))).to_vec();
    kinds.extend([Kind::PushConsumer, Kind::PullConsumer, Kind::Committer].map(|kind| (kind, kind.usual_pause())));
    let (mut unknown, mut maybe_duplicate) = (0, 0);
    for seed in 1..5 {
        let history = history(seed, kinds.clone(), TIME / 2, kill_leaders);
        assert!(history.acknowledged() > 500);
        for op in history.ops.iter().filter(|op| matches!(op.action, Action::Send { .. })) {
            match op.ended {
                Ended::Unknown(_) => unknown += 1,
                Ended::Stored { maybe_duplicate: true, .. } => maybe_duplicate += 1,
                _ => {}
            }
        }
    }
    println!("{unknown} unknown, {maybe_duplicate} maybe stored twice");
    assert!(unknown > 0 && maybe_duplicate > 0, "{unknown} unknown, {maybe_duplicate} maybe stored twice");
}
