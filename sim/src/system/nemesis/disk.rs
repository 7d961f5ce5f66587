//! Disks that fail, fill up, forget, or take their time.

use std::time::Duration;

use rand::RngExt;

use super::{Going, Over, noted};
use crate::disk::SimDisk;
use crate::disk::rot::Part;
use crate::system::System;
use crate::tally::Fault;
use crate::world::Death;

/// A write or a sync fails after at most so many good ones.
const SKIP: u64 = 50;
/// Longest stall, in milliseconds.
const STALL_MS: u64 = 12_000;

/// Longest that the others stay down once the only copy has rotted, in milliseconds.
const ALONE_MS: u64 = 6_000;

/// Begins one.
pub fn begin(fault: Fault, group: usize, system: &mut System) -> Option<Box<dyn Going>> {
    if fault == Fault::OnlyCopyRots {
        return only_copy_rots(group, system);
    }
    let at = system.groups[group].draw_member(&mut system.rng)?;
    let seat = system.groups[group].seat(at).clone();
    let disk = seat.machine().disk().clone();
    noted(system, fault, seat.ip());
    match fault {
        Fault::WriteError => {
            seat.doom(fault);
            disk.fail_write(system.rng.random_range(0..SKIP));
        }
        // A member that has lost what a sync had failed for counts as one that lost power.
        Fault::SyncError if !system.may_lose_power(group, at) => return None,
        Fault::SyncError => {
            seat.doom(fault);
            disk.fail_sync(system.rng.random_range(0..SKIP));
        }
        Fault::DiskFull => {
            // A member whose volume is full may end: it cannot store what the others do.
            seat.doom(fault);
            disk.fill(&mut system.rng);
            return Some(Box::new(Full(disk)));
        }
        Fault::BitRot => rot(group, at, system)?,
        Fault::SlowDisk => {
            disk.slow([3, 20, 100][system.rng.random_range(0..3)]);
            return Some(Box::new(Slow(disk)));
        }
        _ => disk.stall(Duration::from_millis(system.rng.random_range(200..STALL_MS))),
    }
    Some(Box::new(Over))
}

/// A bit flips. A read, the scrub or a start finds it, and the member makes it good. What it finds in its hard state ends
/// the process, and its disk is taken for lost.
fn rot(group: usize, at: usize, system: &mut System) -> Option<()> {
    let seat = system.groups[group].seat(at).clone();
    let part = Part::ALL[system.rng.random_range(0..Part::ALL.len())];
    if matches!(part, Part::CommitLog | Part::Checkpoint | Part::HardState) && !system.may_lose_disk(group, at) {
        return None;
    }
    let damage = seat.machine().disk().rot(part, &mut system.atlases[group], &mut system.rng)?;
    tracing::info!(ip = %seat.ip(), ?damage, "a bit flips");
    // Only a start reads a checkpoint as long as nobody needs a snapshot.
    if system.rng.random() || part == Part::Checkpoint {
        seat.kill(Fault::BitRot, Death::Crash);
        seat.start_at(Some(system.world.elapsed()));
    }
    Some(())
}

/// A follower is down, and lacks more and more.
fn only_copy_rots(group: usize, system: &mut System) -> Option<Box<dyn Going>> {
    let lagging = system.groups[group].draw_follower(&mut system.rng)?;
    let seat = system.groups[group].seat(lagging).clone();
    let lacks = seat.member()?.positions().end.0;
    noted(system, Fault::OnlyCopyRots, seat.ip());
    seat.kill(Fault::Kill, Death::Crash);
    Some(Box::new(OnlyCopy { group, lagging, lacks }))
}

/// What [`only_copy_rots`] leads to.
#[derive(Debug)]
struct OnlyCopy {
    group: usize,
    lagging: usize,
    /// Where the log of the one that is down ends.
    lacks: u64,
}

impl Going for OnlyCopy {
    /// A bit flips in what only the leader can give it: it comes back, and everybody else goes down.
    fn end(self: Box<Self>, system: &mut System) {
        let Self { group, lagging, lacks } = *self;
        let now = system.world.elapsed();
        system.groups[group].seat(lagging).start_at(Some(now));
        let Some((leader, _)) = system.groups[group].leader().filter(|(at, _)| *at != lagging) else { return };
        if !system.may_lose_disk(group, leader) {
            return;
        }
        let disk = system.groups[group].seat(leader).machine().disk().clone();
        let Some(damage) = disk.rot_log_from(lacks, &mut system.atlases[group], &mut system.rng) else { return };
        tracing::info!(leader, lagging, ?damage, "the only copy rots");
        system.world.tally().begun(Fault::OnlyCopyRots);
        system.world.tally().felt(Fault::OnlyCopyRots, 1);
        let others: Vec<_> = system.groups[group].seats().map(|(at, seat)| (at, seat.clone())).collect();
        for (_, seat) in others.iter().filter(|(at, _)| ![leader, lagging].contains(at)) {
            seat.kill(Fault::Kill, Death::Crash);
            seat.start_at(Some(now + Duration::from_millis(system.rng.random_range(0..ALONE_MS))));
        }
    }
}

#[derive(Debug)]
struct Full(SimDisk);

impl Going for Full {
    fn end(self: Box<Self>, _: &mut System) {
        self.0.relieve();
    }
}

#[derive(Debug)]
struct Slow(SimDisk);

impl Going for Slow {
    fn end(self: Box<Self>, _: &mut System) {
        self.0.slow(1);
    }
}
