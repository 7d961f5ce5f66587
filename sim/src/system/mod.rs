//! The whole system under one seed: NameServers, groups of brokers, clients, and all that can go wrong.

use std::time::{Duration, Instant};

use crate::report::{Report, Violation};
use crate::scenario::group;
use crate::world::{self, Config};

/// What a run is told besides its seed.
#[derive(Clone, Debug)]
pub struct Options {
    /// Virtual time during which clients work and faults strike.
    pub length: Duration,
    /// The bug to plant, by name.
    pub mutant: Option<String>,
    /// Prints every event of the trace to stderr.
    pub print_trace: bool,
    /// Flips one bit of the n-th run of bytes that a connection carries: shows that the hash covers it.
    pub flip_bit_of: Option<u64>,
}

/// Runs a seed to its end.
#[must_use]
pub fn run(seed: u64, options: &Options) -> Report {
    let began = Instant::now();
    let Options { print_trace, flip_bit_of, .. } = *options;
    let config = Config { print_trace, flip_bit_of, ..Config::default() };
    let failed = |rule: &str, what: String| Some(Violation { rule: rule.to_owned(), what, at_ms: 0 });
    let mut report = Report { seed, ..Report::default() };
    match world::run(seed, config, group::storm::run) {
        Ok(outcome) => {
            report.hash = format!("{:016x}", outcome.hash);
            (report.events, report.virtual_ms) = (outcome.events, outcome.elapsed.as_millis() as u64);
            report.violation = outcome.value.err().and_then(|what| failed("history", what));
        }
        Err(failure) => {
            report.hash = format!("{:016x}", failure.hash);
            report.violation = failed("panic", failure.message);
        }
    }
    report.wall_ms = began.elapsed().as_millis() as u64;
    report
}
