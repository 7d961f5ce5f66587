//! Three members whose disks fail: what is acknowledged stays, what cannot go on ends with a reason.
#![cfg(test)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use openraft_rt::AsyncRuntime;
use quorumq_raft::outcome::Outcome;
use quorumq_sim::disk::SimDisk;
use quorumq_sim::disk::atlas::{Atlas, Site};
use quorumq_sim::disk::durable::committed_frames;
use quorumq_sim::disk::rot::Part;
use quorumq_sim::runtime::SimRuntime;
use quorumq_sim::scenario::blow::Cluster;
use quorumq_sim::scenario::members::{Acked, CONSTANTS, Members};
use quorumq_sim::scenario::nodes::SOON;
use quorumq_sim::scenario::seat::DIR;
use quorumq_sim::scenario::{Verdict, until};
use quorumq_sim::tally::{Counts, Effect, Fault};
use quorumq_sim::world::{Config, Death, World, run};
use quorumq_store::PhysicalOffset;
use quorumq_store::commit_log::segment_path;
use quorumq_store::frame::{HEADER_LEN, Kind};
use rand::RngExt;

/// Runs a scenario with each seed; what its disks did, over all.
fn seeds<S, F>(seeds: std::ops::Range<u64>, scenario: S) -> Counts
where
    S: Fn(World) -> F + Copy + Send + 'static,
    F: Future<Output = Verdict>,
{
    let mut sum = Counts::default();
    for seed in seeds {
        let outcome = run(seed, Config::default(), move |world: World| async move {
            scenario(world.clone()).await.map(|()| world.tally().counts())
        });
        match outcome {
            Ok(outcome) => sum.add(&outcome.value.unwrap_or_else(|e| panic!("seed {seed}: {e}"))),
            Err(failure) => panic!("{failure}"),
        }
    }
    sum
}

/// Whose disk fails.
#[derive(Clone, Copy)]
enum Who {
    Leader,
    Follower,
}

impl Who {
    async fn find(self, members: &mut Members) -> Result<usize, String> {
        let (leader, _) = members.nodes.elected(&[]).await?;
        match self {
            Self::Leader => Ok(leader),
            Self::Follower => members.nodes.draw_follower(leader),
        }
    }
}

/// Writes while the node at `at` comes to its end because of its disk. What was acknowledged, and why it ended.
async fn write_until_it_ends(members: &Members, at: usize) -> Result<(Vec<Acked>, String), String> {
    let mut acked = Vec::new();
    loop {
        acked.extend(members.write(5).await?);
        if let Some(why) = members.nodes.take_fatal(at) {
            return Ok((acked, why));
        }
        if acked.len() > 1000 {
            return Err("the node goes on".to_owned());
        }
    }
}

/// A disk fails; its node ends with a reason, and acknowledges nothing more; the others go on. Then its process ends, or
/// its host loses power, and it starts again.
async fn fails(world: World, who: Who, strike: fn(&SimDisk, u64)) -> Verdict {
    let mut members = Members::form(&world, 3).await?;
    let mut acked = members.write(10).await?;
    let at = who.find(&mut members).await?;
    let skip = members.nodes.rng.random_range(0..8);
    strike(members.nodes.seat(at).disk(), skip);
    let (more, why) = write_until_it_ends(&members, at).await?;
    acked.extend(more);
    if !why.contains("Input/output error") {
        return Err(format!("the reason names no failed disk: {why}"));
    }
    // A checkpoint that cannot be written ends the node too, but its log is sound until then.
    let log_failed = !why.starts_with("recovery checkpoint");
    let late = members.propose(at, Kind::Records, b"after the end".to_vec()).await;
    if let Some(Outcome::Applied { .. }) = late.filter(|_| log_failed) {
        return Err(format!("a node acknowledges although its disk failed: {why}"));
    }
    let death = if members.nodes.rng.random() { Death::Crash } else { Death::PowerLoss };
    members.kill(at, death);
    acked.extend(members.write(10).await?);
    members.restart(at).await?;
    members.agree(&acked).await
}

#[test]
fn a_failed_write_ends_its_node_and_loses_nothing() {
    let leader = seeds(1..9, |world| fails(world, Who::Leader, |disk, skip| disk.fail_write(skip)));
    let follower = seeds(1..9, |world| fails(world, Who::Follower, |disk, skip| disk.fail_write(skip)));
    assert_eq!((leader.fault(Fault::WriteError).felt, follower.fault(Fault::WriteError).felt), (8, 8));
}

#[test]
fn a_failed_sync_ends_its_node_and_loses_nothing() {
    let leader = seeds(1..9, |world| fails(world, Who::Leader, |disk, skip| disk.fail_sync(skip)));
    let follower = seeds(1..9, |world| fails(world, Who::Follower, |disk, skip| disk.fail_sync(skip)));
    assert_eq!((leader.fault(Fault::SyncError).felt, follower.fault(Fault::SyncError).felt), (8, 8));
}

/// All disks stall in turn while proposals go on; what was acknowledged meanwhile is there in the end.
async fn stalls(world: World) -> Verdict {
    let mut members = Members::form(&world, 3).await?;
    let mut acked = members.write(10).await?;
    for round in 0..6u8 {
        let at = if round % 2 == 0 { Who::Leader } else { Who::Follower }.find(&mut members).await?;
        let ms = members.nodes.rng.random_range(0..5000);
        members.nodes.seat(at).disk().stall(Duration::from_millis(ms));
        acked.extend(members.write(5).await?);
    }
    for at in 0..3 {
        members.nodes.seat(at).disk().slow(50);
    }
    acked.extend(members.write(5).await?);
    (0..3).for_each(|at| members.nodes.seat(at).disk().heal());
    members.agree(&acked).await
}

#[test]
fn members_with_stalled_and_slow_disks_acknowledge_nothing_wrong() {
    let counts = seeds(1..9, stalls);
    assert!(counts.fault(Fault::StalledDisk).felt > 0 && counts.fault(Fault::SlowDisk).felt > 0);
}

/// A member with a stalled disk whose host then loses power: an acknowledgement that was counted on its memory alone
/// would be lost now.
async fn stalled_into_the_dark(world: World) -> Verdict {
    let mut members = Members::form(&world, 3).await?;
    let mut acked = members.write(10).await?;
    let (leader, _) = members.nodes.elected(&[]).await?;
    let stalled = members.nodes.draw_follower(leader)?;
    members.nodes.seat(stalled).disk().stall(Duration::from_secs(60));
    acked.extend(members.write(20).await?);
    members.kill(leader, Death::PowerLoss);
    members.kill(stalled, Death::PowerLoss);
    members.restart(leader).await?;
    members.nodes.seat(stalled).disk().heal();
    members.restart(stalled).await?;
    acked.extend(members.write(5).await?);
    members.agree(&acked).await
}

#[test]
fn a_stalled_member_that_loses_power_has_acknowledged_nothing_that_was_not_synced() {
    seeds(1..9, stalled_into_the_dark);
}

/// Rot in the last but one segment: read whole at every start.
async fn rotten_log(world: World) -> Verdict {
    let mut members = Members::form(&world, 3).await?;
    let mut acked = members.write(80).await?;
    members.agree(&acked).await?;
    let at = Who::Follower.find(&mut members).await?;
    members.kill(at, Death::Crash);
    let (mut atlas, mut rng) = (Atlas::new(), members.nodes.rng.clone());
    // As many damaged places as there are full segments: the last of them is among those that a start reads.
    while let Some(damage) = members.nodes.seat(at).disk().rot(Part::CommitLog, &mut atlas, &mut rng) {
        let last = last_full_segment(members.nodes.seat(at).disk());
        if damage.path.ends_with(&last) {
            break;
        }
        members.nodes.seat(at).disk().mend();
    }
    if members.nodes.seat(at).disk().rotten().len() != 1 {
        return Err("one place should be rotten".to_owned());
    }
    acked.extend(members.write(10).await?);
    members.restart(at).await?;
    // It has started, so what a start reads is whole.
    let rotten = members.nodes.seat(at).disk().rotten();
    if !rotten.is_empty() {
        return Err(format!("a member starts with damage: {rotten:?}"));
    }
    acked.extend(members.write(5).await?);
    members.agree(&acked).await
}

/// Name of the last segment behind which another one is begun.
fn last_full_segment(disk: &SimDisk) -> String {
    let begun = |path: &PathBuf| disk.medium().durable_range(path, 0..64).is_ok_and(|head| head != [0; 64]);
    let paths =
        disk.medium().paths().into_iter().filter(|path| path.parent().is_some_and(|p| p.ends_with("commitlog")));
    let segments: Vec<_> = paths.filter(begun).collect();
    segments[segments.len() - 2].file_name().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn a_member_with_a_rotten_commit_log_is_repaired_at_its_start() {
    let counts = seeds(1..9, rotten_log);
    assert!(counts.fault(Fault::BitRot).felt >= 8);
}

/// Longer than the synced mark takes to become durable.
const IDLE: Duration = Duration::from_millis(1500);

/// A bit flips in the very last synced frame of one member or of two, and power is lost: there, or everywhere. That is no
/// torn tail: nobody may cut it off.
async fn rotten_end(world: World, rotten: usize, everywhere: bool) -> Verdict {
    let mut members = Members::form(&world, 3).await?;
    let mut acked = members.write(30).await?;
    members.agree(&acked).await?;
    madsim::time::sleep(IDLE).await;
    let first = members.nodes.rng.random_range(0..3);
    let struck: Vec<_> = (first..first + rotten).map(|at| at % 3).collect();
    for at in &struck {
        flip_in_the_last_frame(&mut members, *at)?;
    }
    let dark: Vec<_> = if everywhere { (0..3).collect() } else { struck.clone() };
    dark.iter().for_each(|at| members.kill(*at, Death::PowerLoss));
    if dark.len() == 1 {
        acked.extend(members.write(5).await?);
    }
    // A damaged member starts once another one has given it what it lacks; a sound one starts by itself.
    let mut order: Vec<_> = dark.iter().copied().filter(|at| !struck.contains(at)).collect();
    order.extend(struck.iter().filter(|at| dark.contains(at)));
    for at in order {
        members.restart(at).await?;
        let rotten = members.nodes.seat(at).disk().rotten();
        if !rotten.is_empty() {
            return Err(format!("a member has started with damage: {rotten:?}"));
        }
    }
    if world.tally().counts().effect(Effect::FrameTorn) > 0 {
        return Err("a frame that was synced counts as torn".to_owned());
    }
    acked.extend(members.write(5).await?);
    members.agree(&acked).await
}

/// In its header or in its body.
fn flip_in_the_last_frame(members: &mut Members, at: usize) -> Verdict {
    let end = members.nodes.member(at).ok_or("it runs")?.positions().end.0;
    let start = (end - 1) / CONSTANTS.segment_size * CONSTANTS.segment_size;
    let disk = members.nodes.seat(at).disk().clone();
    let frame = committed_frames(disk.medium(), Path::new(DIR), start).pop().ok_or("an empty segment")?;
    if start + frame.end != end {
        return Err(format!("the durable mark is at {}, the log ends at {end}", start + frame.end));
    }
    let (offset, bit) = (members.nodes.rng.random_range(frame), members.nodes.rng.random_range(0..8));
    let path = segment_path(Path::new(DIR), PhysicalOffset(start));
    disk.flip(&path, offset, bit).then_some(()).ok_or_else(|| format!("{} is no file", path.display()))
}

#[test]
fn a_flipped_bit_in_the_last_synced_frame_is_no_torn_tail_after_a_power_loss() {
    for (rotten, everywhere) in [(1, false), (1, true), (2, true)] {
        let counts = seeds(1..17, move |world| rotten_end(world, rotten, everywhere));
        assert!(
            counts.fault(Fault::BitRot).felt >= 16 * rotten as u64,
            "{rotten} rotten, power lost everywhere: {everywhere}"
        );
    }
}

/// One damaged copy of the hard state is outvoted by the others; damage in all of them is named.
async fn rotten_hard_state(world: World) -> Verdict {
    let mut members = Members::form(&world, 3).await?;
    let mut acked = members.write(10).await?;
    let at = Who::Follower.find(&mut members).await?;
    members.kill(at, Death::Crash);
    let (mut atlas, mut rng) = (Atlas::new(), members.nodes.rng.clone());
    let disk = members.nodes.seat(at).disk().clone();
    let damage = disk.rot(Part::HardState, &mut atlas, &mut rng).ok_or("no hard state")?;
    let none = (0..20).find_map(|_| disk.rot(Part::HardState, &mut atlas, &mut rng));
    if let Some(second) = none {
        return Err(format!("{damage:?}, and then {second:?}"));
    }
    members.restart(at).await?;
    acked.extend(members.write(5).await?);
    members.agree(&acked).await?;
    members.kill(at, Death::Crash);
    for page in 0..4 {
        disk.medium().flip_bit(&damage.path, page * 4096 + 20, 0).map_err(|e| e.to_string())?;
    }
    match members.restart(at).await {
        Err(e) if e.contains("corrupt hard state") && e.contains("hardstate at byte") => {}
        other => return Err(format!("every copy of the hard state is damaged: {other:?}")),
    }
    members.kill(at, Death::Crash);
    acked.extend(members.write(5).await?);
    disk.mend();
    members.restart(at).await?;
    members.agree(&acked).await
}

#[test]
fn a_member_outlives_one_damaged_copy_of_its_hard_state_and_names_damage_in_all() {
    let counts = seeds(1..9, rotten_hard_state);
    assert!(counts.fault(Fault::BitRot).felt >= 8);
}

/// A leader with rot in an old segment is asked for it by a follower that was away. Nobody else runs, so it leads on.
/// Whether it met the rot then, or at its start already, which then waits for a copy: some entries of the whole log are
/// read by that.
async fn rotten_leader(world: World) -> Result<bool, String> {
    let mut members = Members::form(&world, 3).await?;
    let (leader, _) = members.nodes.elected(&[]).await?;
    let away = members.nodes.draw_follower(leader)?;
    members.kill(away, Death::Crash);
    let mut acked = members.write(100).await?;
    let (leader, _) = members.nodes.elected(&[]).await?;
    let third = 3 - leader - away;
    [leader, third].into_iter().for_each(|at| members.kill(at, Death::Crash));
    let disk = members.nodes.seat(leader).disk().clone();
    let (mut atlas, mut rng) = (Atlas::new(), members.nodes.rng.clone());
    // A start reads what the last checkpoint does not cover, and the last full segment: spare all but the oldest two.
    if !atlas.strike(members.nodes.ip(third), Site::CommitLog(2 * CONSTANTS.segment_size..u64::MAX)) {
        return Err("an empty atlas allows nothing".to_owned());
    }
    while disk.rotten().is_empty() {
        let damage = disk.rot(Part::CommitLog, &mut atlas, &mut rng).ok_or("no full segment")?;
        if damage.offset < HEADER_LEN {
            // The first header of each segment is read by every start.
            disk.mend();
        }
    }
    let has_started = match SimRuntime::timeout(Duration::from_secs(5), members.restart(leader)).await {
        Ok(started) => {
            started?;
            members.restart(away).await?;
            let bad = || members.nodes.member(leader).map(|node| node.status().log.bad_ranges);
            until("the leader meets its rotten log", SOON, || bad().filter(|bad| *bad > 0)).await?;
            // Nobody has a copy for so long that whoever waits for one has given up: that ends nobody.
            madsim::time::sleep(Duration::from_secs(40)).await;
            acked.extend(members.write(3).await.unwrap_or_default());
            true
        }
        Err(_) => {
            members.kill(leader, Death::Crash);
            members.restart(away).await?;
            false
        }
    };
    members.restart(third).await?;
    if !has_started {
        members.restart(leader).await?;
    }
    until("the rot is repaired", SOON, || disk.rotten().is_empty().then_some(())).await?;
    acked.extend(members.write(10).await?);
    members.agree(&acked).await.map(|()| has_started)
}

#[test]
fn a_leader_sends_no_follower_what_is_rotten_in_its_log() {
    let met_while_sending = (1..9).filter(|seed| {
        let outcome = run(*seed, Config::default(), rotten_leader);
        outcome.unwrap().value.unwrap_or_else(|e| panic!("seed {seed}: {e}"))
    });
    assert!(met_while_sending.count() >= 3);
}
