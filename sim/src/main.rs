//! `quorumq-sim`: runs the simulator by seed.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use quorumq_sim::scenario::Scenario;
use quorumq_sim::world::{self, Config};

/// Runs QuoruMQ in a simulated world. The same seed does the same, to the last byte.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs one seed. The last line is `seed N OK|FAILED hash H`.
    Run(Run),
}

#[derive(Args)]
struct Run {
    /// The seed: decides everything that is drawn.
    #[arg(long)]
    seed: u64,
    /// What to run.
    #[arg(long, value_enum, default_value_t = Scenario::Group)]
    scenario: Scenario,
    /// Prints every event of the trace to stderr, to compare two runs.
    #[arg(long)]
    trace: bool,
    /// Virtual seconds after which the run has failed.
    #[arg(long, default_value_t = 3600)]
    time_limit_s: u64,
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    match Cli::parse().command {
        Command::Run(options) => run(&options),
    }
}

fn run(options: &Run) -> ExitCode {
    let config = Config {
        time_limit: Duration::from_secs(options.time_limit_s),
        print_trace: options.trace,
        ..Config::default()
    };
    let (seed, scenario, trace) = (options.seed, options.scenario, if options.trace { " --trace" } else { "" });
    let name = scenario.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
    let (hash, failure) = match world::run(seed, config, move |world| scenario.run(world)) {
        Ok(outcome) => {
            let (events, elapsed) = (outcome.events, outcome.elapsed);
            println!("{events} events in {elapsed:.3?} of virtual time");
            match outcome.value {
                Ok(report) => {
                    println!("{report}");
                    (outcome.hash, None)
                }
                Err(message) => (outcome.hash, Some(message)),
            }
        }
        Err(failure) => (failure.hash, Some(failure.message)),
    };
    match failure {
        None => {
            println!("seed {seed} OK hash {hash:016x}");
            ExitCode::SUCCESS
        }
        Some(message) => {
            println!("{message}");
            println!("again: cargo run -p quorumq-sim -- run --scenario {name} --seed {seed}{trace}");
            println!("seed {seed} FAILED hash {hash:016x}");
            ExitCode::FAILURE
        }
    }
}
