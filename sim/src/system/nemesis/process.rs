//! Processes that end, stop, and come back.

use rand::RngExt;
use rand::seq::SliceRandom;

use super::{Going, draw_death, noted, soon};
use crate::system::System;
use crate::tally::Fault;
use crate::world::Death;

/// Longest from a crash point to the crash itself, in milliseconds; if the point is the creation of a file, a crash that
/// comes at once when it is reached.
const DOOM_MS: u64 = 10;
const CREATE_MS: u64 = 4_000;

/// Begins one.
pub fn begin(fault: Fault, group: usize, system: &mut System) -> Option<Box<dyn Going>> {
    match fault {
        Fault::Kill => kill_one(fault, group, Death::Crash, system),
        Fault::PowerLoss => kill_one(fault, group, Death::PowerLoss, system),
        Fault::KillAll => Some(kill_all(fault, group, Death::Crash, system)),
        Fault::PowerLossAll => Some(kill_all(fault, group, Death::PowerLoss, system)),
        Fault::CrashPoint => crash_point(group, system),
        Fault::Pause => pause(group, system),
        Fault::RestartStorm => {
            let at = system.groups[group].draw_member(&mut system.rng)?;
            noted(system, fault, system.groups[group].seat(at).ip());
            Some(Box::new(Storm { group, at }))
        }
        Fault::Stop => stop(group, system),
        Fault::ClientCrash => Some(client_crash(system)),
        Fault::NameServerLoss => Some(name_server_loss(system)),
        _ => None,
    }
}

/// Seats to be started again.
#[derive(Debug)]
struct Dead {
    group: usize,
    seats: Vec<usize>,
}

impl Going for Dead {
    fn end(self: Box<Self>, system: &mut System) {
        for at in self.seats {
            // Not all at one moment: who comes back first matters.
            let when = soon(&system.world, &mut system.rng, 500);
            system.groups[self.group].seat(at).start_at(Some(when));
        }
    }
}

/// With ASYNC_FLUSH a host loses power only where the group promises to survive it.
fn kill_one(fault: Fault, group: usize, death: Death, system: &mut System) -> Option<Box<dyn Going>> {
    let at = system.groups[group].draw_member(&mut system.rng)?;
    let seat = system.groups[group].seat(at).clone();
    noted(system, fault, seat.ip());
    seat.kill(fault, system.bearable(group, at, death));
    Some(Box::new(Dead { group, seats: vec![at] }))
}

fn kill_all(fault: Fault, group: usize, death: Death, system: &mut System) -> Box<dyn Going> {
    let mut seats: Vec<_> = system.groups[group].seats().map(|(at, seat)| (at, seat.clone())).collect();
    // With ASYNC_FLUSH one of them may lose power; the others end beside it.
    seats.shuffle(&mut system.rng);
    for (at, seat) in &seats {
        noted(system, fault, seat.ip());
        seat.kill(fault, system.bearable(group, *at, death));
    }
    Box::new(Dead { group, seats: seats.into_iter().map(|(at, _)| at).collect() })
}

/// The process ends in the middle of a write: its disk fails a little before.
fn crash_point(group: usize, system: &mut System) -> Option<Box<dyn Going>> {
    let at = system.groups[group].draw_member(&mut system.rng)?;
    let seat = system.groups[group].seat(at).clone();
    noted(system, Fault::CrashPoint, seat.ip());
    seat.doom(Fault::CrashPoint);
    // Anywhere in the next few changes, or between the creation of a file and the sync of its directory.
    let longest_ms = if system.rng.random() {
        seat.machine().disk().crash_at_create();
        CREATE_MS
    } else {
        seat.machine().disk().crash_after(system.rng.random_range(0..6));
        DOOM_MS
    };
    let when = soon(&system.world, &mut system.rng, longest_ms);
    seat.kill_at(when, Fault::CrashPoint, draw_death(&mut system.rng));
    Some(Box::new(Dead { group, seats: vec![at] }))
}

fn pause(group: usize, system: &mut System) -> Option<Box<dyn Going>> {
    let at = system.groups[group].draw_member(&mut system.rng)?;
    let seat = system.groups[group].seat(at).clone();
    noted(system, Fault::Pause, seat.ip());
    seat.host().pause();
    Some(Box::new(Paused { group, at, life: seat.life() }))
}

#[derive(Debug)]
struct Paused {
    group: usize,
    at: usize,
    life: u64,
}

impl Going for Paused {
    fn end(self: Box<Self>, system: &mut System) {
        let seat = system.groups[self.group].seat(self.at);
        if seat.life() == self.life && !seat.is_down() {
            seat.host().resume();
        }
    }
}

/// A process that is killed and started again and again.
#[derive(Debug)]
struct Storm {
    group: usize,
    at: usize,
}

impl Going for Storm {
    fn tick(&mut self, system: &mut System) {
        let seat = system.groups[self.group].seat(self.at).clone();
        if seat.is_down() {
            seat.start_at(Some(system.world.elapsed()));
        } else if system.rng.random_range(0..40) == 0 {
            seat.kill(Fault::RestartStorm, Death::Crash);
        }
    }

    fn end(self: Box<Self>, system: &mut System) {
        system.groups[self.group].seat(self.at).start_at(Some(system.world.elapsed()));
    }
}

fn stop(group: usize, system: &mut System) -> Option<Box<dyn Going>> {
    let at = system.groups[group].draw_member(&mut system.rng)?;
    let seat = system.groups[group].seat(at).clone();
    noted(system, Fault::Stop, seat.ip());
    seat.stop();
    Some(Box::new(Dead { group, seats: vec![at] }))
}

fn client_crash(system: &mut System) -> Box<dyn Going> {
    let at = system.rng.random_range(0..system.crew.count());
    let under_way = system.crew.kill(at, draw_death(&mut system.rng));
    noted(system, Fault::ClientCrash, system.crew.host(at).ip());
    system.world.tally().felt(Fault::ClientCrash, under_way);
    Box::new(DeadClient(at))
}

#[derive(Debug)]
struct DeadClient(usize);

impl Going for DeadClient {
    fn end(self: Box<Self>, system: &mut System) {
        system.crew.restart(self.0);
    }
}

fn name_server_loss(system: &mut System) -> Box<dyn Going> {
    let at = system.rng.random_range(0..system.nameservers.count());
    noted(system, Fault::NameServerLoss, system.nameservers.ip(at));
    if !system.nameservers.is_down(at) {
        system.nameservers.kill(at, draw_death(&mut system.rng));
    }
    Box::new(DeadNameServer(at))
}

#[derive(Debug)]
struct DeadNameServer(usize);

impl Going for DeadNameServer {
    fn end(self: Box<Self>, system: &mut System) {
        if system.nameservers.is_down(self.0) {
            system.nameservers.restart(self.0);
        }
    }
}
