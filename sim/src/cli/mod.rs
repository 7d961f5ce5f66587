//! The command line: one file per noun. What is simulated is the library's; here is what is asked of it and what is told.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod child;
mod crew;
mod determinism;
mod failure;
mod hunt;
mod log;
mod many;
mod mutants;
mod one;
mod output;
mod page;
mod planted;
mod progress;
mod range;
mod run;
mod scenario;
mod setting;
mod sum;

/// Runs QuoruMQ in a simulated world. The same seed does the same, to the last byte.
#[derive(Parser)]
#[command(name = "quorumq-sim", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs one seed, or many of them in processes of their own.
    Run(run::RunArgs),
    /// Shows that a seed is one run: each runs in two processes, which must end with the same hash.
    Determinism(determinism::DeterminismArgs),
    /// Plants one bug after the other and shows that a rule catches it.
    Mutants(mutants::MutantsArgs),
}

/// How a command ends: with an exit code, or with what kept it from doing its work.
type Done = Result<ExitCode, String>;

/// Something did not hold.
const VIOLATED: u8 = 1;
/// The command could not do its work.
const UNUSABLE: u8 = 2;
/// Ctrl-C, as shells have it.
const INTERRUPTED: u8 = 130;

/// Without them invariants that are assertions are off, and so are planted bugs: a run would show nothing.
const NO_ASSERTIONS: &str = "this quorumq-sim was built without debug assertions, so it would overlook much of what it \
     looks for. Use `cargo sim`, which builds with the profile `sim`.";

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let command = Cli::parse().command;
    let done = if cfg!(debug_assertions) {
        match command {
            Command::Run(args) => args.run(),
            Command::Determinism(args) => args.run(),
            Command::Mutants(args) => args.run(),
        }
    } else {
        Err(NO_ASSERTIONS.to_owned())
    };
    done.unwrap_or_else(|message| {
        output::aside(&format!("error: {message}"));
        ExitCode::from(UNUSABLE)
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Cli;

    #[test]
    fn the_arguments_of_all_commands_fit_together() {
        Cli::command().debug_assert();
    }
}
