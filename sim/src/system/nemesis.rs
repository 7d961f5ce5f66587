//! Carries out the faults of a plan: each begins, lasts and is undone, while others do.

use std::net::IpAddr;
use std::time::Duration;

use rand::RngExt;

use super::System;
use super::plan::Step;
use crate::report::What;
use crate::runtime::SimRng;
use crate::tally::Fault;
use crate::world::{Death, World};

mod clock;
mod disk;
pub mod members;
mod network;
mod page_cache;
mod process;

/// What a fault that goes on has to do now and then, and what undoes it.
pub trait Going: std::fmt::Debug {
    /// A moment in between; called every few virtual milliseconds.
    fn tick(&mut self, system: &mut System) {
        let _ = system;
    }

    /// Undoes what was done.
    fn end(self: Box<Self>, system: &mut System);
}

/// How long a broker that ended by itself stays down: what watches over processes takes its time.
pub const RESTART_AFTER: Duration = Duration::from_secs(1);

/// Nothing goes on.
#[derive(Debug)]
struct Over;

impl Going for Over {
    fn end(self: Box<Self>, _: &mut System) {}
}

/// The faults of a run: those to come and those that go on.
#[derive(Debug, Default)]
pub struct Nemesis {
    /// To come, the next one last.
    steps: Vec<Step>,
    going: Vec<Lasting>,
}

/// A fault that goes on.
#[derive(Debug)]
struct Lasting {
    step: Step,
    /// The nodes it struck.
    nodes: Vec<IpAddr>,
    going: Box<dyn Going>,
}

impl Nemesis {
    /// The faults of a plan.
    #[must_use]
    pub fn new(steps: &[Step]) -> Self {
        Self { steps: steps.iter().rev().copied().collect(), going: Vec::new() }
    }

    /// Begins what is due, goes on with what goes on, ends what is over.
    pub fn tick(&mut self, system: &mut System) {
        let now = system.world.elapsed() - system.began;
        while self.steps.last().is_some_and(|step| step.at <= now) {
            let Some(step) = self.steps.pop() else { break };
            let begun = begin(step, system);
            let nodes = std::mem::take(&mut system.struck);
            if begun.is_some() && !counts_itself(step.fault) {
                system.world.tally().begun(step.fault);
            }
            self.going.push(Lasting { step, nodes, going: begun.unwrap_or_else(|| Box::new(Over)) });
        }
        let (over, going) = std::mem::take(&mut self.going).into_iter().partition(|lasting| lasting.step.until <= now);
        self.going = going;
        for lasting in &mut self.going {
            lasting.going.tick(system);
        }
        Self::end(over, system);
    }

    /// Ends everything.
    pub fn stop(&mut self, system: &mut System) {
        self.steps.clear();
        Self::end(std::mem::take(&mut self.going), system);
    }

    fn end(over: Vec<Lasting>, system: &mut System) {
        for Lasting { step, nodes, going } in over {
            for node in nodes {
                system.watch.note(node, What::FaultEnds(step.fault.name().to_owned()));
            }
            going.end(system);
        }
    }
}

/// Begins a fault; `None`: there is nothing it could strike now.
fn begin(step: Step, system: &mut System) -> Option<Box<dyn Going>> {
    let Step { group, fault, .. } = step;
    match fault {
        Fault::Kill
        | Fault::KillAll
        | Fault::CrashPoint
        | Fault::PowerLoss
        | Fault::PowerLossAll
        | Fault::Pause
        | Fault::RestartStorm
        | Fault::Stop
        | Fault::ClientCrash
        | Fault::NameServerLoss => process::begin(fault, group, system),
        Fault::PageCacheLoss => page_cache::begin(group, system),
        Fault::Isolation
        | Fault::OneWay
        | Fault::Bridge
        | Fault::Flapping
        | Fault::Loss
        | Fault::LongDelay
        | Fault::HangingConnect
        | Fault::Reset
        | Fault::Truncation
        | Fault::ShortWrite => network::begin(fault, group, system),
        Fault::ClockSkew | Fault::ClockJump | Fault::ClockFreeze => clock::begin(fault, group, system),
        Fault::WriteError
        | Fault::SyncError
        | Fault::DiskFull
        | Fault::BitRot
        | Fault::OnlyCopyRots
        | Fault::SlowDisk
        | Fault::StalledDisk => disk::begin(fault, group, system),
        Fault::Transfer
        | Fault::AddLearner
        | Fault::Promote
        | Fault::Remove
        | Fault::ReplaceWiped
        | Fault::WipedReturns
        | Fault::Purge => members::begin(fault, group, system),
    }
}

/// Whether the world counts the beginnings of a fault.
fn counts_itself(fault: Fault) -> bool {
    !matches!(
        fault,
        Fault::Kill
            | Fault::KillAll
            | Fault::PowerLoss
            | Fault::PowerLossAll
            | Fault::PageCacheLoss
            | Fault::RestartStorm
            | Fault::Stop
            | Fault::ClientCrash
            | Fault::NameServerLoss
            | Fault::Transfer
            | Fault::AddLearner
            | Fault::Remove
            | Fault::ReplaceWiped
            | Fault::WipedReturns
            | Fault::Purge
            | Fault::ShortWrite
            | Fault::OnlyCopyRots
    )
}

/// Notes that a fault has begun at a node.
fn noted(system: &mut System, fault: Fault, node: IpAddr) {
    system.watch.note(node, What::FaultBegins(fault.name().to_owned()));
    system.struck.push(node);
}

/// A time from now on.
fn soon(world: &World, rng: &mut SimRng, longest_ms: u64) -> Duration {
    world.elapsed() + Duration::from_millis(rng.random_range(0..=longest_ms))
}

/// A crash or a loss of power.
fn draw_death(rng: &mut SimRng) -> Death {
    if rng.random() { Death::PowerLoss } else { Death::Crash }
}
