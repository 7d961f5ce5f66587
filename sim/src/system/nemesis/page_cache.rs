//! What a majority acknowledged from its page caches is left on one member only, and that one is away: the rest of the
//! group must not elect a leader without it.
//!
//! A minority of followers is killed; the others acknowledge without it. Then one of these, the leader as well as any,
//! loses power, the rest of them ends, and those that are left are a majority again: the one that lost its page cache, and
//! the minority that never had what was in it.

use std::time::Duration;

use quorumq_store::log_store::FlushMode;
use rand::RngExt;
use rand::seq::SliceRandom;

use super::{Going, noted, soon};
use crate::system::System;
use crate::tally::Fault;
use crate::world::Death;

/// Fewest and most milliseconds that the majority acknowledges before it is struck.
const ALONE_MS: (u64, u64) = (300, 1_500);
/// Most milliseconds until those come back that are to elect.
const BACK_MS: u64 = 300;

/// Begins one, if everything is sound with a group that flushes asynchronously.
pub fn begin(group: usize, system: &mut System) -> Option<Box<dyn Going>> {
    let members = &system.groups[group];
    let (leader, _) = members.leader()?;
    let mut followers: Vec<_> = members.members().map(|(at, _)| at).filter(|at| *at != leader).collect();
    let is_whole = followers.len() + 1 == members.seats().count();
    if members.flush == FlushMode::Sync || !is_whole || followers.len() < 2 {
        return None;
    }
    followers.shuffle(&mut system.rng);
    let away = followers.split_off(followers.len().div_ceil(2));
    let mut holders = [&followers[..], &[leader]].concat();
    let struck = holders.swap_remove(system.rng.random_range(0..holders.len()));
    if !system.may_lose_power(group, struck) {
        return None;
    }
    for at in &away {
        noted(system, Fault::PageCacheLoss, system.groups[group].seat(*at).ip());
        system.groups[group].seat(*at).kill(Fault::PageCacheLoss, Death::Crash);
    }
    let alone = Duration::from_millis(system.rng.random_range(ALONE_MS.0..ALONE_MS.1));
    Some(Box::new(Loss { group, away, struck, holders, strike_at: Some(system.world.elapsed() + alone) }))
}

#[derive(Debug)]
struct Loss {
    group: usize,
    /// Those that do not have what is acknowledged.
    away: Vec<usize>,
    /// The one that loses it.
    struck: usize,
    /// Those that hold it.
    holders: Vec<usize>,
    /// When power is lost; `None` once it was.
    strike_at: Option<Duration>,
}

impl Loss {
    fn strike(&self, system: &mut System) {
        // Meanwhile another fault may have taken what the group can bear to lose.
        if system.may_lose_power(self.group, self.struck) {
            let seat = system.groups[self.group].seat(self.struck).clone();
            noted(system, Fault::PageCacheLoss, seat.ip());
            seat.kill(Fault::PageCacheLoss, Death::PowerLoss);
            for at in &self.holders {
                system.groups[self.group].seat(*at).kill(Fault::PageCacheLoss, Death::Crash);
            }
        }
        self.bring_back(&self.away, system);
        self.bring_back(&[self.struck], system);
    }

    fn bring_back(&self, seats: &[usize], system: &mut System) {
        for at in seats.iter().filter(|at| !system.groups[self.group].is_retired(**at)) {
            let when = soon(&system.world, &mut system.rng, BACK_MS);
            system.groups[self.group].seat(*at).start_at(Some(when));
        }
    }
}

impl Going for Loss {
    fn tick(&mut self, system: &mut System) {
        if self.strike_at.is_some_and(|at| at <= system.world.elapsed()) {
            self.strike_at = None;
            self.strike(system);
        }
    }

    fn end(self: Box<Self>, system: &mut System) {
        if self.strike_at.is_some() {
            self.bring_back(&self.away, system);
        }
        self.bring_back(&self.holders, system);
    }
}
