//! `run --scenario`: the small scenarios, each of which breaks one thing.

use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;
use quorumq_sim::scenario::Scenario;
use quorumq_sim::world::{self, Config};

use super::log::Log;
use super::{VIOLATED, output};

/// Runs a scenario with a seed. The last line is `seed N OK|FAILED hash H`.
pub fn run(scenario: Scenario, seed: u64, time_limit: Duration, print_trace: bool) -> ExitCode {
    Log::keep();
    let config = Config { time_limit, print_trace, ..Config::default() };
    let (hash, failure) = match world::run(seed, config, move |world| scenario.run(world)) {
        Ok(outcome) => {
            let (events, elapsed) = (outcome.events, outcome.elapsed);
            output::line(&format!("{events} events in {elapsed:.3?} of virtual time"));
            match outcome.value {
                Ok(report) => {
                    output::line(&report);
                    (outcome.hash, None)
                }
                Err(message) => (outcome.hash, Some(message)),
            }
        }
        Err(failure) => (failure.hash, Some(failure.message)),
    };
    let Some(message) = failure else {
        output::line(&format!("seed {seed} OK hash {hash:016x}"));
        return ExitCode::SUCCESS;
    };
    let name = scenario.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
    output::line(&message);
    output::line(&format!("again  cargo sim run --scenario {name} --seed {seed}"));
    output::line(&format!("seed {seed} FAILED hash {hash:016x}"));
    ExitCode::from(VIOLATED)
}
