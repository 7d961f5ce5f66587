//! Three consensus nodes under virtual time: elections, deaths, partitions, recovery.
#![cfg(test)]

use std::time::Duration;

use quorumq_raft::outcome::Outcome;
use quorumq_sim::runtime::Delay;
use quorumq_sim::scenario::blow::Cluster;
use quorumq_sim::scenario::members::Members;
use quorumq_sim::scenario::{Scenario, Verdict};
use quorumq_sim::world::{Config, Death, NetConfig, World, run};
use quorumq_store::frame::Kind;

/// Runs a scenario with each seed; what each returned.
fn seeds<T, S, F>(seeds: std::ops::Range<u64>, scenario: S) -> Vec<T>
where
    S: Fn(World) -> F + Copy + Send + 'static,
    F: Future<Output = Result<T, String>>,
    T: Send + 'static,
{
    let one = |seed| match run(seed, Config::default(), scenario) {
        Ok(outcome) => outcome.value.unwrap_or_else(|e| panic!("seed {seed}: {e}")),
        Err(failure) => panic!("{failure}"),
    };
    seeds.map(one).collect()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

#[test]
fn three_members_take_100_proposals_and_agree() {
    seeds(1..6, |world| Scenario::Members.run(world));
}

#[test]
fn members_agree_after_deaths_and_partitions() {
    seeds(1..11, |world| Scenario::MembersStorm.run(world));
}

/// Kills the leader while it has nothing to do. How long it took until another one led.
async fn succession(world: World, death: Death) -> Result<Duration, String> {
    let mut members = Members::form(&world, 3).await?;
    let mut acked = members.write(10).await?;
    // Followers know of a dead leader by their links to it, which they look after every 250 ms.
    madsim::time::sleep(Duration::from_millis(600)).await;
    let (dead, _) = members.nodes.elected(&[]).await?;
    members.kill(dead, death);
    let (_, took) = members.nodes.elected(&[dead]).await?;
    acked.extend(members.write(10).await?);
    members.restart(dead).await?;
    members.agree(&acked).await?;
    Ok(took)
}

#[test]
fn a_killed_leader_is_succeeded_without_waiting_for_a_timeout() {
    let times = seeds(1..16, |world| succession(world, Death::Crash));
    let worst = times.iter().max().copied().unwrap();
    println!("after a crash: median {:?}, worst {worst:?}", median(times.clone()));
    assert!(median(times) <= Duration::from_millis(100));
    assert!(worst <= Duration::from_millis(500), "{worst:?}");
}

#[test]
fn a_leader_that_lost_power_is_succeeded_after_its_lease() {
    let times = seeds(1..8, |world| succession(world, Death::PowerLoss));
    let worst = times.iter().max().copied().unwrap();
    println!("after a power loss: median {:?}, worst {worst:?}", median(times.clone()));
    assert!(times.iter().all(|took| *took > Duration::from_millis(500)), "{times:?}");
    assert!(worst <= Duration::from_secs(5), "{worst:?}");
}

async fn follower_is_back(world: World) -> Verdict {
    let mut members = Members::form(&world, 3).await?;
    let mut acked = members.write(10).await?;
    let (leader, _) = members.nodes.elected(&[]).await?;
    let follower = (leader + 1) % 3;
    members.kill(follower, Death::Crash);
    acked.extend(members.write(60).await?);
    members.restart(follower).await?;
    members.agree(&acked).await?;
    let (still, _) = members.nodes.elected(&[]).await?;
    if still == leader { Ok(()) } else { Err("a follower that came back cost the leader its place".to_owned()) }
}

#[test]
fn a_follower_that_comes_back_catches_up_and_deposes_nobody() {
    seeds(1..6, follower_is_back);
}

async fn cut_off_leader(world: World) -> Verdict {
    let members = Members::form(&world, 3).await?;
    let mut acked = members.write(10).await?;
    let (old, _) = members.nodes.elected(&[]).await?;
    members.nodes.isolate(old);
    let lonely = members.propose(old, Kind::Records, b"nobody hears this".to_vec());
    let rest = async {
        let (_, took) = members.nodes.elected(&[old]).await?;
        // Two election timeouts and the votes.
        if took > Duration::from_secs(5) {
            return Err(format!("it took {took:?}"));
        }
        acked.extend(members.write(20).await?);
        world.heal_all();
        Ok(acked)
    };
    let (lonely, acked) = futures_util::future::join(lonely, rest).await;
    if let Some(Outcome::Applied { .. } | Outcome::Refused(_)) = lonely {
        return Err(format!("a leader without followers answered {lonely:?}"));
    }
    members.agree(&acked?).await
}

#[test]
fn a_leader_that_is_cut_off_is_replaced_and_acknowledges_nothing() {
    seeds(1..6, cut_off_leader);
}

async fn lone_loss(world: World) -> Verdict {
    let members = Members::form(&world, 3).await?;
    let mut acked = members.write(10).await?;
    madsim::time::sleep(Duration::from_millis(600)).await;
    let (leader, _) = members.nodes.elected(&[]).await?;
    let term = |at: usize| members.nodes.alive().find(|(i, _)| *i == at).map(|(_, member)| member.leadership());
    let before = term(leader);
    for follower in (0..3).filter(|at| *at != leader) {
        world.cut(members.nodes.ip(leader), members.nodes.ip(follower));
        acked.extend(members.write(10).await?);
    }
    madsim::time::sleep(Duration::from_secs(5)).await;
    acked.extend(members.write(10).await?);
    members.agree(&acked).await?;
    if term(leader) == before { Ok(()) } else { Err(format!("{before:?} became {:?}", term(leader))) }
}

#[test]
fn connections_reset_by_the_network_depose_nobody() {
    seeds(1..8, lone_loss);
}

/// The first listed member coordinates when a group is formed; later it must not wait for the others to be there.
async fn one_after_the_other(world: World) -> Verdict {
    let mut members = Members::form(&world, 3).await?;
    let acked = members.write(10).await?;
    (0..3).for_each(|at| members.kill(at, Death::Crash));
    for at in 0..3 {
        members.restart(at).await?;
    }
    members.agree(&acked).await
}

#[test]
fn members_of_a_formed_group_start_one_after_the_other() {
    seeds(1..3, one_after_the_other);
}

async fn form_slowly(world: World) -> Verdict {
    let (us, ms) = (Duration::from_micros, Duration::from_millis);
    let latency = Delay { usual: us(50)..ms(20), slow: ms(20)..ms(200), slow_one_in: 20 };
    let disk = Delay { usual: us(100)..ms(50), slow: ms(50)..ms(250), slow_one_in: 10 };
    world.set_weather(NetConfig { latency, disk, ..NetConfig::default() });
    let members = Members::form(&world, 3).await?;
    members.agree(&members.write(5).await?).await
}

/// A member that was told its id and runs already was taken for one of a group formed earlier, by those not told yet.
#[test]
fn a_group_is_formed_over_slow_networks_and_disks() {
    seeds(1..30, form_slowly);
}

#[test]
fn a_group_is_formed_although_a_member_dies_on_the_way() {
    seeds(1..30, |world| Scenario::MembersForming.run(world));
    // Told its id by the first member's life before, after the second life had asked whether it had one.
    seeds(292..293, |world| Scenario::MembersForming.run(world));
}

/// What lags is sent a MiB at a time, which takes longer here than the leader waits for an answer. It used to begin anew
/// each time, for ever.
#[test]
fn a_lagging_member_catches_up_over_a_network_that_is_slow_but_moves() {
    seeds(1..3, |world| async move {
        let mut group = Members::form(&world, 3).await?;
        let (leader, _) = group.nodes.elected(&[]).await?;
        let lagging = (leader + 1) % 3;
        group.nodes.kill(lagging, Death::Crash);
        group.write(1200).await?;
        let ms = Duration::from_millis;
        let latency = Delay { usual: ms(10)..ms(14), slow: ms(14)..ms(20), slow_one_in: 100 };
        world.set_weather(NetConfig { latency, window_bytes: 4096, ..NetConfig::default() });
        group.restart(lagging).await?;
        group.nodes.agree().await
    });
}
