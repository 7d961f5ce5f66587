//! The `quorumq` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    quorumq::cli::main()
}
