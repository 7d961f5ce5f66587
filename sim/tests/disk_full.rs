//! Brokers on full disks: sends are refused with the reason, reads go on, and writes come back with the room.
#![cfg(test)]

use std::path::Path;
use std::sync::PoisonError;
use std::time::Duration;

use quorumq::client::ClientOptions;
use quorumq::client::producer::ProducerBuilder;
use quorumq_sim::runtime::SimRuntime;
use quorumq_sim::scenario::brokers::Brokers;
use quorumq_sim::scenario::client::{Content, Followed, Lane, create_topic, follow, read_all, send_lane};
use quorumq_sim::scenario::history::{Ended, History, Ledger};
use quorumq_sim::scenario::members::{self, Members};
use quorumq_sim::scenario::nodes::SOON;
use quorumq_sim::scenario::{Verdict, address, until};
use quorumq_sim::tally::Fault;
use quorumq_sim::world::{Config, Node, World, run};
use quorumq_store::log_store::FlushMode;

const TOPIC: &str = "orders";

/// Sends `count` messages, one after the other. How each ended.
async fn send(client: &Node, options: ClientOptions, name: &str, count: u32, ledger: &Ledger) -> Vec<Ended> {
    let already = ledger.sent().len();
    let lane =
        Lane { topic: TOPIC.to_owned(), name: name.to_owned(), count, pause: Duration::ZERO, ledger: ledger.clone() };
    let sending = client.spawn(async move {
        let producer = ProducerBuilder::with_client("senders", options).start::<SimRuntime>().unwrap();
        send_lane(producer.clone(), lane).await;
        producer.close().await;
    });
    sending.await.unwrap();
    ledger.sent().into_iter().skip(already).map(|sent| sent.ended).collect()
}

fn stored(ended: &[Ended]) -> usize {
    ended.iter().filter(|ended| matches!(ended, Ended::Stored { .. })).count()
}

fn says_why(ended: &Ended) -> bool {
    matches!(ended, Ended::Refused(why) if why.contains("no room") || why.contains("no space"))
}

/// The leader's disk fills up, or that of every member.
async fn fills_up(world: World, everywhere: bool) -> Verdict {
    let client = world.add_node(address(20));
    let brokers = Brokers::form(&world, 3, FlushMode::Sync).await?;
    let options = brokers.client_options(client.ip());
    let creating = client.spawn(create_topic::<SimRuntime>(options.clone(), TOPIC, 4));
    creating.await.map_err(|e| e.to_string())??;
    let ledger = Ledger::default();
    if stored(&send(&client, options.clone(), "before", 30, &ledger).await) != 30 {
        return Err("not all was stored before the disks were full".to_owned());
    }
    let (leader, _) = brokers.nodes.elected(&[]).await?;
    let full: Vec<_> = (0..3).filter(|at| everywhere || *at == leader).collect();
    full.iter().for_each(|at| brokers.nodes.seat(*at).disk().fill(&mut world.rng()));
    let mut meanwhile = Vec::new();
    while !meanwhile.iter().any(says_why) {
        if meanwhile.len() > 500 {
            return Err(format!("nothing was refused for lack of room: {meanwhile:?}"));
        }
        meanwhile.extend(send(&client, options.clone(), &format!("meanwhile{}-", meanwhile.len()), 10, &ledger).await);
    }
    let followed = Followed::default();
    drop(client.spawn(follow::<SimRuntime>(options.clone(), "followers".into(), TOPIC.into(), followed.clone())));
    let acked = stored(&meanwhile) + 30;
    let read = || followed.lock().unwrap_or_else(PoisonError::into_inner).len() >= acked;
    until("all that was stored is read from full disks", SOON, || read().then_some(())).await?;
    full.iter().for_each(|at| brokers.nodes.seat(*at).disk().relieve());
    madsim::time::sleep(Duration::from_secs(3)).await;
    let after = send(&client, options.clone(), "after", 100, &ledger).await;
    if stored(&after) != 100 {
        return Err(format!("not all was stored once there was room again: {after:?}"));
    }
    let reading = client.spawn(read_all::<SimRuntime>(options, "readers", TOPIC));
    let Content { read, begins } = reading.await.map_err(|e| e.to_string())??;
    let followed = followed.lock().unwrap_or_else(PoisonError::into_inner).clone();
    History { sent: ledger.sent(), read, begins, followed }.check()?;
    brokers.nodes.agree().await.map(drop)
}

/// The leader's disk has no room at all when its log goes on to the segment that is allocated already.
async fn full_at_a_roll(world: World) -> Verdict {
    let members = Members::form(&world, 3).await?;
    let size = members::CONSTANTS.segment_size;
    let mut acked = members.write(10).await?;
    let (leader, _) = members.nodes.elected(&[]).await?;
    let end = || members.nodes.member(leader).map_or(0, |member| member.positions().end.0);
    while !(size / 2..size * 3 / 4).contains(&(end() % size)) {
        acked.extend(members.write(1).await?);
    }
    let medium = members.nodes.seat(leader).disk().medium().clone();
    medium.set_capacity(Some(medium.used()));
    let next = end().next_multiple_of(size);
    while end() < next + size / 8 {
        acked.extend(members.write(1).await?);
    }
    madsim::time::sleep(Duration::from_secs(1)).await;
    let checkpoint = |at: u64| medium.paths().contains(&Path::new("/store/checkpoints").join(format!("{at:020}")));
    if checkpoint(next) {
        return Err("a checkpoint was written where there is no room".to_owned());
    }
    medium.set_capacity(None);
    acked.extend(members.write(30).await?);
    members.agree(&acked).await?;
    if checkpoint(next + size) { Ok(()) } else { Err("no checkpoint although there is room again".to_owned()) }
}

#[test]
fn a_full_disk_leaves_a_checkpoint_out_and_does_not_end_the_node() {
    for seed in 1..6 {
        let outcome = run(seed, Config::default(), full_at_a_roll);
        outcome.unwrap().value.unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    }
}

fn seeds(everywhere: bool) {
    for seed in 1..6 {
        let outcome = run(seed, Config::default(), move |world: World| async move {
            fills_up(world.clone(), everywhere).await.map(|()| world.tally().counts())
        });
        let counts = outcome.unwrap().value.unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        assert!(counts.fault(Fault::DiskFull).felt > 0);
    }
}

#[test]
fn a_leader_whose_disk_is_full_refuses_sends_and_serves_reads_until_there_is_room() {
    seeds(false);
}

#[test]
fn a_group_whose_disks_are_full_refuses_sends_and_serves_reads_until_there_is_room() {
    seeds(true);
}
