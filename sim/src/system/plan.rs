//! What a run will be like: drawn from its seed, printed in full with a failure.

use std::fmt;
use std::time::Duration;

use quorumq_store::log_store::FlushMode;
use rand::RngExt;

use crate::runtime::SimRng;
use crate::tally::Fault;

/// A broker group of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupPlan {
    /// Members that found it.
    pub founders: usize,
    /// When they acknowledge.
    pub flush: FlushMode,
    /// How long messages are kept; `None`: for the whole run, unless a fault purges them.
    pub reserved: Option<Duration>,
}

/// A fault of the plan: which member or link it strikes is drawn when it begins, from those there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// When it begins.
    pub at: Duration,
    /// When it ends.
    pub until: Duration,
    /// The number of the group.
    pub group: usize,
    /// What goes wrong.
    pub fault: Fault,
}

/// The plan of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Virtual time in which clients work and faults strike.
    pub length: Duration,
    /// NameServers.
    pub nameservers: u8,
    /// Groups.
    pub groups: Vec<GroupPlan>,
    /// Queues of each topic on each group.
    pub queues: u32,
    /// Largest skew of a host's wall clock.
    pub skew_ms: i64,
    /// Faults, in the order in which they begin. None: the run is free of faults.
    pub steps: Vec<Step>,
}

/// Each fault and how often it is drawn, relative to the others; the shortest and the longest time it lasts, in
/// milliseconds.
const MIX: &[(Fault, u32, (u64, u64))] = &[
    (Fault::Kill, 10, (0, 4_000)),
    (Fault::KillAll, 2, (0, 3_000)),
    (Fault::CrashPoint, 6, (0, 3_000)),
    (Fault::PowerLoss, 5, (0, 6_000)),
    (Fault::PowerLossAll, 3, (0, 3_000)),
    (Fault::PageCacheLoss, 12, (3_000, 7_000)),
    (Fault::Pause, 4, (50, 6_000)),
    (Fault::RestartStorm, 2, (500, 4_000)),
    (Fault::Stop, 3, (500, 4_000)),
    (Fault::ClientCrash, 5, (0, 2_000)),
    (Fault::NameServerLoss, 2, (100, 20_000)),
    (Fault::Isolation, 6, (50, 8_000)),
    (Fault::OneWay, 4, (50, 6_000)),
    (Fault::Bridge, 3, (50, 8_000)),
    (Fault::Flapping, 3, (500, 6_000)),
    (Fault::Loss, 3, (500, 8_000)),
    (Fault::LongDelay, 3, (500, 8_000)),
    (Fault::HangingConnect, 3, (100, 5_000)),
    (Fault::Reset, 4, (0, 1)),
    (Fault::Truncation, 4, (0, 1)),
    (Fault::ShortWrite, 2, (500, 10_000)),
    (Fault::ClockSkew, 2, (1_000, 20_000)),
    (Fault::ClockJump, 2, (1_000, 20_000)),
    (Fault::ClockFreeze, 2, (500, 10_000)),
    (Fault::WriteError, 2, (0, 3_000)),
    (Fault::SyncError, 2, (0, 3_000)),
    (Fault::DiskFull, 2, (200, 6_000)),
    (Fault::BitRot, 8, (0, 1_000)),
    (Fault::OnlyCopyRots, 4, (1_000, 6_000)),
    (Fault::SlowDisk, 3, (500, 10_000)),
    (Fault::StalledDisk, 2, (500, 6_000)),
    (Fault::Transfer, 4, (0, 1)),
    (Fault::AddLearner, 2, (2_000, 10_000)),
    (Fault::Remove, 2, (2_000, 10_000)),
    (Fault::ReplaceWiped, 3, (1_000, 10_000)),
    (Fault::WipedReturns, 2, (1_000, 6_000)),
    (Fault::Purge, 5, (1_000, 8_000)),
];

/// Seconds that messages are kept in a group whose retention is short.
const KEPT_SECS: std::ops::Range<u64> = 15..90;

impl Plan {
    /// Draws the plan of a run.
    #[must_use]
    pub fn draw(rng: &mut SimRng, length: Duration) -> Self {
        let mut groups = vec![GroupPlan::draw(rng)];
        if rng.random_range(0..3) == 0 {
            groups.push(GroupPlan::draw(rng));
        }
        let mut plan = Self {
            length,
            nameservers: 2,
            queues: rng.random_range(2..6),
            skew_ms: [0, 50, 1_500][rng.random_range(0..3)],
            steps: Vec::new(),
            groups,
        };
        // One seed in ten is free of faults: what breaks in a healthy cluster counts too.
        if rng.random_range(0..10) > 0 {
            plan.draw_steps(rng);
        }
        plan
    }

    fn draw_steps(&mut self, rng: &mut SimRng) {
        // Some runs are rough, others leave time to recover in between.
        let pause_ms = [3_000, 8_000, 15_000][rng.random_range(0..3)];
        // A run has favourites: the same few faults again and again meet each other in ways that an even mix does not.
        let favourites: Vec<_> = (0..4).map(|_| Self::draw_fault(rng)).collect();
        let mut at_ms = rng.random_range(1_000..4_000);
        let end_ms = u64::try_from(self.length.as_millis()).unwrap_or(u64::MAX);
        while at_ms < end_ms {
            let favourite = favourites[rng.random_range(0..favourites.len())];
            let group = rng.random_range(0..self.groups.len());
            let (mut fault, mut times) = if rng.random() { favourite } else { Self::draw_fault(rng) };
            while !self.groups[group].knows(fault) {
                (fault, times) = Self::draw_fault(rng);
            }
            let until_ms = (at_ms + rng.random_range(times.0..=times.1)).min(end_ms);
            let (at, until) = (Duration::from_millis(at_ms), Duration::from_millis(until_ms));
            self.steps.push(Step { at, until, group, fault });
            at_ms += rng.random_range(100..2 * pause_ms);
        }
    }

    fn draw_fault(rng: &mut SimRng) -> (Fault, (u64, u64)) {
        let total: u32 = MIX.iter().map(|(_, weight, _)| weight).sum();
        let mut at = rng.random_range(0..total);
        for (fault, weight, times) in MIX {
            if at < *weight {
                return (*fault, *times);
            }
            at -= weight;
        }
        unreachable!("the weights add up to their sum")
    }
}

impl GroupPlan {
    fn draw(rng: &mut SimRng) -> Self {
        let founders = if rng.random_range(0..8) == 0 { 5 } else { 3 };
        let flush = if rng.random_range(0..4) == 0 { FlushMode::Async } else { FlushMode::Sync };
        let reserved = rng.random::<bool>().then(|| Duration::from_secs(rng.random_range(KEPT_SECS)));
        Self { founders, flush, reserved }
    }

    /// Whether a fault can strike such a group.
    fn knows(&self, fault: Fault) -> bool {
        fault != Fault::PageCacheLoss || self.flush == FlushMode::Async
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { length, nameservers, groups, queues, skew_ms, steps } = self;
        writeln!(
            f,
            "{length:?}, {nameservers} NameServers, {queues} queues a topic and group, clocks off by up to {skew_ms} ms"
        )?;
        for (at, GroupPlan { founders, flush, reserved }) in groups.iter().enumerate() {
            let kept = reserved.map_or_else(String::new, |kept| format!(", messages kept for {kept:?}"));
            writeln!(f, "group {at}: {founders} members, {flush:?}{kept}")?;
        }
        if steps.is_empty() {
            writeln!(f, "no faults")?;
        }
        for Step { at, until, group, fault } in steps {
            let (from, to) = (at.as_millis(), until.as_millis());
            writeln!(f, "{from:>8} ms to {to:>8} ms  group {group}  {}", fault.name())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::{self, Config};

    #[test]
    fn only_groups_that_flush_asynchronously_lose_what_only_their_page_caches_hold() {
        let plans = world::run(1, Config::default(), |world| async move {
            (0..200).map(|_| Plan::draw(&mut world.rng(), Duration::from_secs(60))).collect::<Vec<_>>()
        });
        let plans = plans.unwrap().value;
        let flush = |plan: &Plan, step: &Step| plan.groups[step.group].flush;
        let lost = |flushed| {
            let steps =
                plans.iter().flat_map(|plan| plan.steps.iter().map(move |step| (flush(plan, step), step.fault)));
            steps.filter(|step| *step == (flushed, Fault::PageCacheLoss)).count()
        };
        assert_eq!(lost(FlushMode::Sync), 0);
        assert!(lost(FlushMode::Async) > 10, "{}", lost(FlushMode::Async));
        let groups = || plans.iter().flat_map(|plan| &plan.groups);
        let share = groups().filter(|group| group.flush == FlushMode::Async).count() * 100 / groups().count();
        assert!((15..35).contains(&share), "{share} % of the groups");
    }
}
