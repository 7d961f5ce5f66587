//! Many seeds' results in one: the closing table.

use std::collections::BTreeMap;
use std::time::Duration;

use quorumq_sim::history::Outcomes;
use quorumq_sim::report::Report;
use quorumq_sim::tally::{Counts, Effect, Fault};

use super::output::{share, table};

/// From so many seeds on, whatever never happened is taken for a fault that is not tested.
pub const ENOUGH_SEEDS: u64 = 500;

/// The sum over some seeds.
#[derive(Clone, Debug, Default)]
pub struct Sum {
    /// Seeds that left a report.
    pub seeds: u64,
    /// Those of them in which a rule did not hold.
    pub violated: u64,
    /// Seeds that left no report: crashed, hung, killed.
    pub lost: u64,
    virtual_ms: u64,
    wall_ms: u64,
    events: u64,
    acknowledged: u64,
    sending_ms: u64,
    outcomes: Outcomes,
    counts: Counts,
    /// Seeds in which an effect came at all.
    seeds_with: BTreeMap<Effect, u64>,
    /// Seeds in which a fault was felt at all.
    seeds_that_felt: BTreeMap<Fault, u64>,
}

impl Sum {
    /// Takes a seed in.
    pub fn add(&mut self, report: &Report) {
        self.seeds += 1;
        self.violated += u64::from(report.violation.is_some());
        self.virtual_ms += report.virtual_ms;
        self.wall_ms += report.wall_ms;
        self.events += report.events;
        self.acknowledged += report.acknowledged;
        self.sending_ms += report.sending_ms;
        for (name, columns) in &report.outcomes {
            let sum = self.outcomes.entry(name.clone()).or_default();
            sum.iter_mut().zip(columns).for_each(|(sum, n)| *sum += n);
        }
        self.counts.add(&report.counts);
        for (effect, _) in report.counts.effects.iter().filter(|(_, times)| **times > 0) {
            *self.seeds_with.entry(*effect).or_default() += 1;
        }
        for (fault, _) in report.counts.faults.iter().filter(|(_, struck)| struck.felt > 0) {
            *self.seeds_that_felt.entry(*fault).or_default() += 1;
        }
    }

    /// Seeds that failed, one way or the other.
    pub fn failed(&self) -> u64 {
        self.violated + self.lost
    }

    /// Simulated hours.
    pub fn hours(&self) -> f64 {
        self.virtual_ms as f64 / 3_600_000.0
    }

    /// Simulated seconds per wall second of a run: of one core, if no more runs than cores were at work.
    pub fn speed(&self) -> f64 {
        self.virtual_ms as f64 / self.wall_ms.max(1) as f64
    }

    /// What never happened, once that says something.
    pub fn never(&self) -> Vec<&'static str> {
        if self.seeds >= ENOUGH_SEEDS { self.counts.zeroes() } else { Vec::new() }
    }

    /// The table. `wall`: how long all of it took.
    pub fn text(&self, wall: Duration) -> String {
        [self.heads(wall), self.operations(), self.effects(), self.faults()].join("\n\n")
    }

    fn heads(&self, wall: Duration) -> String {
        let Self { seeds, violated, lost, acknowledged, events, .. } = self;
        let all = self.virtual_ms as f64 / 1000.0 / wall.as_secs_f64().max(0.001);
        let rate = *acknowledged as f64 * 1000.0 / self.sending_ms.max(1) as f64;
        let ok = seeds - violated;
        let (hours, speed) = (self.hours(), self.speed());
        [
            format!("seeds         {} ({ok} ok, {violated} violated a rule, {lost} lost)", seeds + lost),
            format!("simulated     {hours:.2} h, {events} events"),
            format!("speed         {speed:.0} simulated s per wall s per core, {all:.0} in all"),
            format!("acknowledged  {rate:.1} messages per simulated s of sending, {acknowledged} in all"),
        ]
        .join("\n")
    }

    fn operations(&self) -> String {
        let rows = self.outcomes.iter().map(|(name, [ok, refused, unknown])| {
            [name.clone(), ok.to_string(), refused.to_string(), unknown.to_string()]
        });
        table(["OPERATION", "OK", "REFUSED", "UNKNOWN"], rows)
    }

    fn effects(&self) -> String {
        let rows = Effect::ALL.iter().map(|effect| {
            let times = self.counts.effect(*effect);
            let per_seed = times as f64 / self.seeds.max(1) as f64;
            let seeds = self.seeds_with.get(effect).copied().unwrap_or_default();
            let name = effect.name().to_owned();
            [name, times.to_string(), format!("{per_seed:.2}"), seeds.to_string(), share(seeds, self.seeds)]
        });
        table(["EFFECT", "TIMES", "PER SEED", "SEEDS WITH", "SHARE"], rows)
    }

    fn faults(&self) -> String {
        let rows = Fault::ALL.iter().map(|fault| {
            let struck = self.counts.fault(*fault);
            let seeds = self.seeds_that_felt.get(fault).copied().unwrap_or_default();
            let name = fault.name().to_owned();
            [name, struck.begun.to_string(), struck.felt.to_string(), seeds.to_string(), share(seeds, self.seeds)]
        });
        table(["FAULT", "BEGUN", "FELT", "SEEDS THAT FELT IT", "SHARE"], rows)
    }
}

#[cfg(test)]
mod tests {
    use quorumq_sim::tally::Tally;

    use super::*;

    fn report(seed: u64) -> Report {
        let tally = Tally::default();
        tally.begun(Fault::Kill);
        tally.felt(Fault::Kill, seed);
        tally.effect(Effect::Election, 2);
        Report {
            seed,
            virtual_ms: 360_000,
            wall_ms: 3_000,
            events: 1_000,
            acknowledged: 30_000,
            sending_ms: 300_000,
            outcomes: Outcomes::from([("send".to_owned(), [7, 2, 1])]),
            counts: tally.counts(),
            ..Report::default()
        }
    }

    fn of(seeds: u64) -> Sum {
        let mut sum = Sum::default();
        (0..seeds).for_each(|seed| sum.add(&report(seed)));
        sum
    }

    #[test]
    fn a_table_adds_up_its_seeds() {
        let mut sum = of(2);
        sum.lost = 1;
        let text = sum.text(Duration::from_secs(4));
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        let line = |first: &str| {
            let found = lines.iter().find(|words| words.join(" ").starts_with(first));
            found.unwrap_or_else(|| panic!("no {first} in\n{text}")).join(" ")
        };
        assert_eq!(line("seeds"), "seeds 3 (2 ok, 0 violated a rule, 1 lost)");
        assert_eq!(line("simulated"), "simulated 0.20 h, 2000 events");
        assert_eq!(line("speed"), "speed 120 simulated s per wall s per core, 180 in all");
        assert_eq!(line("acknowledged"), "acknowledged 100.0 messages per simulated s of sending, 60000 in all");
        assert_eq!(line("send"), "send 14 4 2");
        assert_eq!(line("elections"), "elections 4 2.00 2 100.0 %");
        assert_eq!(line("kill"), "kill 2 1 1 50.0 %", "seed 0 began a kill and did not feel it");
        assert_eq!(line("bit-rot"), "bit-rot 0 0 0 0.0 %");
    }

    #[test]
    fn what_never_happened_counts_from_five_hundred_seeds_on() {
        assert_eq!(of(ENOUGH_SEEDS - 1).never(), Vec::<&str>::new());
        let never = of(ENOUGH_SEEDS).never();
        assert!(never.contains(&"bit-rot") && never.contains(&"frames torn"), "{never:?}");
        assert!(!never.contains(&"kill") && !never.contains(&"elections"), "{never:?}");
    }

    #[test]
    fn a_violation_is_a_failure() {
        let mut sum = of(1);
        let violation = quorumq_sim::report::Violation { rule: "lost-write".into(), what: "k".into(), at_ms: 1 };
        sum.add(&Report { violation: Some(violation), ..report(1) });
        assert_eq!((sum.seeds, sum.violated, sum.failed()), (2, 1, 1));
    }
}
