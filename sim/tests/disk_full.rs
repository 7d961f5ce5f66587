//! Brokers on full disks: sends are refused with the reason, reads go on, and writes come back with the room.
#![cfg(test)]

use std::path::Path;
use std::time::Duration;

use quorumq::client::{Admin, ClientOptions};
use quorumq::protocol::ExtFields;
use quorumq::protocol::code::request;
use quorumq_sim::history::{Ended, Ledger};
use quorumq_sim::runtime::SimRuntime;
use quorumq_sim::scenario::cast::{Cast, on_host};
use quorumq_sim::scenario::members::{self, Members};
use quorumq_sim::scenario::nodes::SOON;
use quorumq_sim::scenario::seat::{DIR, RESERVE};
use quorumq_sim::scenario::{Verdict, until};
use quorumq_sim::tally::Fault;
use quorumq_sim::workload::scan::scan;
use quorumq_sim::workload::{Client, synchronous};
use quorumq_sim::world::{Config, World, run};

/// A client sends `count` messages, one after the other. How each ended.
async fn send(cast: &mut Cast, name: &str, count: u32) -> Result<Vec<Ended>, String> {
    let client = cast.client(name, Duration::ZERO);
    on_host(&client, synchronous::send(client.clone(), count)).await?;
    Ok(cast
        .ledger
        .look(|history| history.ops.iter().filter(|op| op.client == client.name).map(|op| op.ended.clone()).collect()))
}

fn stored(ended: &[Ended]) -> usize {
    ended.iter().filter(|ended| matches!(ended, Ended::Stored { .. })).count()
}

fn says_why(ended: &Ended) -> bool {
    matches!(ended, Ended::Refused(why) if why.contains("no room") || why.contains("no space"))
}

/// Every member's disk fills up.
async fn fills_up_everywhere(world: World) -> Verdict {
    let mut cast = Cast::begin(world.clone()).await?;
    if stored(&send(&mut cast, "before", 30).await?) != 30 {
        return Err("not all was stored before the disks were full".to_owned());
    }
    (0..3).for_each(|at| cast.brokers.nodes.seat(at).disk().fill(&mut world.rng()));
    let mut meanwhile = Vec::new();
    while !meanwhile.iter().any(says_why) {
        if meanwhile.len() > 500 {
            return Err(format!("nothing was refused for lack of room, {} stored", stored(&meanwhile)));
        }
        meanwhile.extend(send(&mut cast, "meanwhile", 10).await?);
    }
    // A scan is the last look of a history: this one is not the last of the cast's.
    let reader = Client { ledger: Ledger::default(), ..cast.client("reader", Duration::ZERO) };
    on_host(&reader, scan(reader.clone())).await?;
    let seen = reader.ledger.take();
    let (read, acked) = (seen.scanned().values().map(|read| read.len()).sum::<usize>(), stored(&meanwhile) + 30);
    if read < acked {
        return Err(format!("{read} messages are read from full disks, {acked} were acknowledged"));
    }
    (0..3).for_each(|at| cast.brokers.nodes.seat(at).disk().relieve());
    madsim::time::sleep(Duration::from_secs(3)).await;
    goes_on(&mut cast).await?;
    let last = cast.client("last", Duration::ZERO);
    let left = cast.end(&last).await?;
    let now = left.history.scanned();
    match seen.scanned().into_iter().find(|(place, read)| !now[place].starts_with(read)) {
        Some((place, read)) => Err(format!("{place} held {} messages that are not there now", read.len())),
        None => Ok(()),
    }
}

async fn goes_on(cast: &mut Cast) -> Verdict {
    let after = send(cast, "after", 100).await?;
    match stored(&after) {
        100 => Ok(()),
        stored => Err(format!("only {stored} of 100 were stored once there was room again")),
    }
}

/// The leader's disk fills up: another one leads, and takes what is sent.
async fn fills_up_at_the_leader(world: World) -> Verdict {
    let mut cast = Cast::begin(world.clone()).await?;
    let (leader, _) = cast.brokers.nodes.elected(&[]).await?;
    cast.brokers.nodes.seat(leader).disk().fill(&mut world.rng());
    madsim::time::sleep(Duration::from_secs(3)).await;
    let meanwhile = send(&mut cast, "meanwhile", 500).await?;
    let (next, _) = cast.brokers.nodes.elected(&[]).await?;
    if next == leader || stored(&meanwhile) != 500 {
        return Err(format!("{leader} led, {next} leads; {} of 500 were stored", stored(&meanwhile)));
    }
    cast.brokers.nodes.seat(leader).disk().relieve();
    madsim::time::sleep(Duration::from_secs(3)).await;
    goes_on(&mut cast).await?;
    let last = cast.client("last", Duration::ZERO);
    cast.end(&last).await.map(drop)
}

/// Both followers are short of room, the leader is not. What they have allocated is not used up by sends: a purge finds its
/// place there, and makes room again on disks that stay as small.
async fn short_followers(world: World) -> Verdict {
    let mut cast = Cast::begin(world.clone()).await?;
    send(&mut cast, "before", 400).await?;
    let (leader, _) = cast.brokers.nodes.elected(&[]).await?;
    let disks: Vec<_> =
        (0..3).filter(|at| *at != leader).map(|at| cast.brokers.nodes.seat(at).disk().clone()).collect();
    for disk in &disks {
        disk.medium().set_capacity(Some(disk.medium().used() + RESERVE / 2));
    }
    // Sends go on until the leader has asked the others.
    let mut meanwhile = Vec::new();
    while !meanwhile.iter().any(says_why) {
        if meanwhile.len() > 50 {
            return Err(format!("nothing was refused for lack of room, {} stored", stored(&meanwhile)));
        }
        madsim::time::sleep(Duration::from_millis(100)).await;
        meanwhile.extend(send(&mut cast, "meanwhile", 1).await?);
    }
    let operator = cast.client("operator", Duration::ZERO);
    on_host(&operator, purge(operator.options.clone())).await?;
    let is_roomy =
        || disks.iter().all(|disk| disk.mount().space(Path::new(DIR)).is_ok_and(|it| it.available >= RESERVE));
    until("room again", SOON, || is_roomy().then_some(())).await?;
    madsim::time::sleep(Duration::from_secs(3)).await;
    if stored(&send(&mut cast, "after the purge", 1).await?) != 1 {
        return Err("a send is refused although there is room again".to_owned());
    }
    disks.iter().for_each(|disk| disk.medium().set_capacity(None));
    goes_on(&mut cast).await
}

/// Drops the older half of the group's log.
async fn purge(options: ClientOptions) -> Verdict {
    let admin = Admin::<SimRuntime>::start_with(options).map_err(|e| e.to_string())?;
    let groups = admin.groups(None).await.map_err(|e| e.to_string())?;
    let purged = admin.call_group(&groups[0], request::PURGE_LOG, ExtFields::default(), Vec::new()).await;
    admin.close().await;
    purged.map(drop).map_err(|e| e.to_string())
}

#[test]
fn followers_short_of_room_still_take_the_purge_that_makes_room() {
    for seed in 1..6 {
        run(seed, Config::default(), short_followers).unwrap().value.unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    }
}

/// A follower's disk has no room at all when its log goes on to the segment that is allocated already. (A leader would
/// hand over.)
async fn full_at_a_roll(world: World) -> Verdict {
    let members = Members::form(&world, 3).await?;
    let size = members::CONSTANTS.segment_size;
    let mut acked = members.write(10).await?;
    let (leader, _) = members.nodes.elected(&[]).await?;
    let full = (leader + 1) % 3;
    let end = || members.nodes.member(full).map_or(0, |member| member.positions().end.0);
    while !(size / 2..size * 3 / 4).contains(&(end() % size)) {
        acked.extend(members.write(1).await?);
    }
    let medium = members.nodes.seat(full).disk().medium().clone();
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

#[test]
fn a_leader_whose_disk_is_full_hands_over_to_one_that_has_room() {
    for seed in 1..6 {
        run(seed, Config::default(), fills_up_at_the_leader)
            .unwrap()
            .value
            .unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    }
}

#[test]
fn a_group_whose_disks_are_full_refuses_sends_and_serves_reads_until_there_is_room() {
    for seed in 1..6 {
        let outcome = run(seed, Config::default(), |world: World| async move {
            fills_up_everywhere(world.clone()).await.map(|()| world.tally().counts())
        });
        let counts = outcome.unwrap().value.unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        assert!(counts.fault(Fault::DiskFull).felt > 0);
    }
}
