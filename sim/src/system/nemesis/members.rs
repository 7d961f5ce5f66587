//! Changes of membership and leadership, and purges, while everything else happens.

use std::time::Duration;

use rand::RngExt;

use super::{Going, Over, noted};
use crate::system::System;
use crate::system::errand::Errand;
use crate::tally::Fault;
use crate::world::Death;

/// Most members a group grows to.
const MOST: usize = 5;
/// Fewest members a group shrinks to.
const FEWEST: usize = 3;
/// Longest a transfer takes.
const TRANSFER: Duration = Duration::from_secs(2);

/// Begins one.
pub fn begin(fault: Fault, group: usize, system: &mut System) -> Option<Box<dyn Going>> {
    match fault {
        Fault::Transfer => transfer(group, system),
        Fault::AddLearner => add(group, system),
        Fault::Remove => remove(group, system),
        Fault::ReplaceWiped | Fault::WipedReturns => lose_one(fault, group, system),
        Fault::Purge => purge(group, system),
        _ => None,
    }
}

fn transfer(group: usize, system: &mut System) -> Option<Box<dyn Going>> {
    let (at, leader) = system.groups[group].leader()?;
    let host = system.groups[group].seat(at).host().clone();
    noted(system, Fault::Transfer, host.ip());
    let tally = system.world.tally().clone();
    drop(host.spawn(async move {
        if leader.transfer_leadership(None, TRANSFER).await.is_ok() {
            tally.felt(Fault::Transfer, 1);
        }
    }));
    Some(Box::new(Over))
}

/// Adds a member to a group; nothing if another change of its membership is under way.
fn add(group: usize, system: &mut System) -> Option<Box<dyn Going>> {
    if system.errands.is_busy(group) || system.groups[group].seats().count() >= MOST {
        return None;
    }
    let new = system.groups[group].add_seat();
    let seat = system.groups[group].seat(new).clone();
    noted(system, Fault::AddLearner, seat.ip());
    system.groups[group].start(new);
    let name = system.groups[group].name.clone();
    system.errands.run(group, Errand::Add { group: name, peer: seat.peer_addr(), seat: new });
    Some(Box::new(Over))
}

/// Removes a member, the leader now and then.
fn remove(group: usize, system: &mut System) -> Option<Box<dyn Going>> {
    if system.errands.is_busy(group) || system.groups[group].seats().count() <= FEWEST {
        return None;
    }
    let at = system.groups[group].draw_member(&mut system.rng)?;
    let seat = system.groups[group].seat(at).clone();
    let node_id = seat.node_id()?;
    noted(system, Fault::Remove, seat.ip());
    let name = system.groups[group].name.clone();
    system.errands.run(group, Errand::Remove { group: name, node_id, seat: at });
    Some(Box::new(Over))
}

/// A member loses its disk, and a new one takes its place.
fn lose_one(fault: Fault, group: usize, system: &mut System) -> Option<Box<dyn Going>> {
    if system.errands.is_busy(group) || !system.atlases[group].is_sound() {
        return None;
    }
    let at = system.groups[group].draw_member(&mut system.rng)?;
    if !system.may_lose_disk(group, at) {
        return None;
    }
    let seat = system.groups[group].seat(at).clone();
    noted(system, fault, seat.ip());
    seat.kill(fault, Death::PowerLoss);
    seat.wipe();
    replace(fault, group, at, system);
    if fault == Fault::WipedReturns && system.groups[group].is_founder(at) {
        // Somebody starts it as if nothing had happened: it has to be refused.
        system.groups[group].start(at);
    }
    Some(Box::new(Over))
}

/// Puts a new member in the place of one whose process has ended; false if another change is under way.
pub fn replace(fault: Fault, group: usize, at: usize, system: &mut System) -> bool {
    let old = system.groups[group].seat(at).clone();
    let Some(node_id) = old.node_id() else { return false };
    if system.errands.is_busy(group) {
        return false;
    }
    old.kill(fault, Death::Crash);
    let new = system.groups[group].add_seat();
    let peer = system.groups[group].seat(new).peer_addr();
    system.groups[group].start(new);
    let name = system.groups[group].name.clone();
    system.errands.run(group, Errand::Replace { group: name, peer, node_id, ip: old.ip(), fault });
    system.groups[group].retire(at);
    true
}

/// A follower is down for a while, and the log is purged meanwhile: it needs a snapshot when it is back.
fn purge(group: usize, system: &mut System) -> Option<Box<dyn Going>> {
    let at = system.groups[group].draw_follower(&mut system.rng)?;
    let seat = system.groups[group].seat(at).clone();
    noted(system, Fault::Purge, seat.ip());
    if system.rng.random_range(0..4) > 0 {
        seat.kill(Fault::Purge, Death::Crash);
    }
    Some(Box::new(Purge { group, at }))
}

#[derive(Debug)]
struct Purge {
    group: usize,
    at: usize,
}

impl Going for Purge {
    fn end(self: Box<Self>, system: &mut System) {
        let Self { group, at } = *self;
        let name = system.groups[group].name.clone();
        system.errands.run_aside(Errand::Purge { group: name });
        // It comes back while the purge is under way, or after it.
        let back = system.world.elapsed() + Duration::from_millis(system.rng.random_range(0..1_000));
        system.groups[group].seat(at).start_at(Some(back));
    }
}
