//! Clients of every kind against three brokers and a NameServer: what they are told is true.
#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use quorumq_sim::history::{Action, Ended, History, Ledger, Op, Place, Read, SendKind};
use quorumq_sim::scenario::address;
use quorumq_sim::scenario::blow::{Blow, Cluster};
use quorumq_sim::scenario::brokers::Brokers;
use quorumq_sim::workload::fresh::fresh;
use quorumq_sim::workload::scan::scan;
use quorumq_sim::workload::settle::settle;
use quorumq_sim::workload::{Client, Kind, Topic, topics};
use quorumq_sim::world::{Config, Death, World, run};
use quorumq_store::log_store::FlushMode;
use tokio_util::sync::CancellationToken;

/// The first client's number among the world's addresses.
const FIRST_CLIENT: u8 = 20;
/// How long clients work.
const TIME: Duration = Duration::from_secs(15);
/// How long consumers may take to catch up once nothing goes wrong.
const PATIENCE: Duration = Duration::from_secs(240);

/// Three brokers, a NameServer, and what their clients did.
struct Cast {
    world: World,
    brokers: Brokers,
    ledger: Ledger,
    topics: Arc<[Topic]>,
    clients: u8,
}

impl Cast {
    async fn begin(world: World) -> Result<Self, String> {
        let brokers = Brokers::form(&world, 3, FlushMode::Sync).await?;
        let topic = |name: &str, queues| Topic { name: name.into(), queues };
        let topics = Arc::new([topic("orders", 4), topic("payments", 2)]);
        let mut cast = Self { world, brokers, ledger: Ledger::default(), topics, clients: 0 };
        let operator = cast.client("operator", Duration::ZERO);
        spawned(&operator, topics::create(operator.clone(), 1)).await?;
        Ok(cast)
    }

    /// A client on a host of its own.
    fn client(&mut self, name: &str, pause: Duration) -> Client {
        let host = self.world.add_node(address(FIRST_CLIENT + self.clients));
        self.clients += 1;
        Client {
            options: self.brokers.client_options(host.ip()),
            world: self.world.clone(),
            name: format!("{name}-{}", self.clients).into(),
            ledger: self.ledger.clone(),
            topics: Arc::clone(&self.topics),
            stop: CancellationToken::new(),
            host,
            pause,
        }
    }

    /// Clients of `kinds` work for `time`, while `meanwhile` happens; then all takes its end in good order.
    async fn play<F>(
        mut self,
        kinds: &[(Kind, Duration)],
        time: Duration,
        meanwhile: impl FnOnce(Brokers) -> F,
    ) -> Result<History, String>
    where
        F: Future<Output = Result<Brokers, String>>,
    {
        let began = self.world.elapsed();
        let mut working = Vec::new();
        for &(kind, pause) in kinds {
            let client = self.client(kind.name(), pause);
            working.push((kind, client.stop.clone(), kind.start(client)));
        }
        self.brokers = meanwhile(self.brokers).await?;
        madsim::time::sleep(time.saturating_sub(self.world.elapsed() - began)).await;
        let (consuming, working): (Vec<_>, Vec<_>) =
            working.into_iter().partition(|(kind, ..)| *kind == Kind::PushConsumer);
        for (_, stop, ended) in working {
            stop.cancel();
            ended.await.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
        }
        let last = self.client("last", Duration::ZERO);
        spawned(&last, fresh(last.clone(), 3, Duration::from_secs(20))).await?;
        spawned(&last, settle(last.clone(), PATIENCE)).await?;
        for (_, stop, ended) in consuming {
            stop.cancel();
            ended.await.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
        }
        spawned(&last, scan(last.clone())).await?;
        self.brokers.nodes.agree().await?;
        Ok(self.ledger.take())
    }
}

async fn spawned(
    client: &Client,
    work: impl Future<Output = Result<(), String>> + Send + 'static,
) -> Result<(), String> {
    client.host.spawn(work).await.map_err(|e| e.to_string())?
}

/// Runs a seed: what clients did.
fn history<F>(seed: u64, kinds: Vec<(Kind, Duration)>, time: Duration, meanwhile: fn(Brokers) -> F) -> History
where
    F: Future<Output = Result<Brokers, String>> + 'static,
{
    let play = move |world| async move { Cast::begin(world).await?.play(&kinds, time, meanwhile).await };
    let outcome = run(seed, Config::default(), play).unwrap_or_else(|failure| panic!("{failure}"));
    let history = outcome.value.unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    println!("seed {seed}, {:?}, {} events: {:?}", outcome.elapsed, outcome.events, history.outcomes());
    history
}

/// The messages of every scanned queue.
fn scanned(history: &History) -> BTreeMap<Place, Vec<Read>> {
    let scan = |op: &Op| match (&op.action, &op.ended) {
        (Action::Scan { place }, Ended::Read { messages, .. }) => Some((place.clone(), messages.clone())),
        _ => None,
    };
    history.ops.iter().filter_map(scan).collect()
}

/// Everything acknowledged is where it was acknowledged; nothing refused is anywhere. How much was acknowledged.
fn check(history: &History) -> usize {
    let found = scanned(history);
    let keys: BTreeSet<_> = found.values().flatten().map(|read| &read.key).collect();
    let is_deletion = |op: &&Op| matches!(op.action, Action::Topic { queues: 0, .. });
    let deleted: BTreeSet<_> = history.ops.iter().filter(is_deletion).map(|op| topic(&op.action)).collect();
    let mut acknowledged = 0;
    for op in &history.ops {
        let Action::Send { topic, messages, .. } = &op.action else { continue };
        match &op.ended {
            _ if deleted.contains(topic) => {}
            Ended::Stored { place, offset, .. } => {
                for (sent, offset) in messages.iter().zip(*offset..) {
                    let read = found[place].iter().find(|read| read.offset == offset);
                    let read = read.unwrap_or_else(|| panic!("{} is not at {offset} of {place}", sent.key));
                    assert_eq!((&read.key, read.body), (&sent.key, sent.body), "at {offset} of {place}");
                    acknowledged += 1;
                }
            }
            Ended::Refused(why) => {
                assert!(messages.iter().all(|sent| !keys.contains(&sent.key)), "refused and stored: {op:?}: {why}");
            }
            _ => {}
        }
    }
    acknowledged
}

fn topic(action: &Action) -> Arc<str> {
    match action {
        Action::Topic { topic, .. } => Arc::clone(topic),
        other => panic!("{other:?}"),
    }
}

async fn nothing(brokers: Brokers) -> Result<Brokers, String> {
    Ok(brokers)
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
    assert!(check(&history) as u64 > TIME.as_secs() * 50, "a mix of all kinds gets 50 messages a second acknowledged");
}

/// Kills the leader again and again, each time once the one before is back.
async fn kill_leaders(mut brokers: Brokers) -> Result<Brokers, String> {
    for _ in 0..4 {
        madsim::time::sleep(TIME / 20).await;
        let struck = Blow::KillLeader(Death::Crash).strike(&mut brokers).await?;
        madsim::time::sleep(TIME / 20).await;
        struck.make_good(&mut brokers).await?;
        brokers.nodes().elected(&[]).await?;
    }
    Ok(brokers)
}

#[test]
fn while_leaders_die_outcomes_become_unknown_and_nothing_acknowledged_is_missing() {
    // Who asks a follower makes one attempt only, and each member forwards what it has to a leader that may be dying.
    let busy = [Kind::FollowerProducer, Kind::FollowerProducer, Kind::FollowerProducer, Kind::AsyncProducer];
    let mut kinds = busy.map(|kind| (kind, Duration::from_millis(20))).to_vec();
    kinds.extend([Kind::PushConsumer, Kind::PullConsumer, Kind::Committer].map(|kind| (kind, kind.usual_pause())));
    let (mut unknown, mut maybe_duplicate) = (0, 0);
    for seed in 1..3 {
        let history = history(seed, kinds.clone(), TIME / 2, kill_leaders);
        assert!(check(&history) > 500);
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
