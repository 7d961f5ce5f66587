//! `quorumq-sim`: runs the simulator by seed.

use std::process::ExitCode;

mod cli;

fn main() -> ExitCode {
    cli::main()
}
