//! Runs each check of planted bugs without its bug, where it has to hold, and with it, where it has to break.
//!
//! A process has one planted bug: the test runs itself again for each, with the bug's name in the environment.

use std::process::Command;

use futures_util::future::BoxFuture;
use quorumq_store::mutant::{Mutant, plant};

const PLANT: &str = "QUORUMQ_PLANT";

/// What a check came to: `Err` says what does not hold.
pub type Outcome = Result<(), String>;
/// A check.
pub type Check = fn() -> BoxFuture<'static, Outcome>;

/// Each of `checks` holds, and breaks under the bug beside it. `test` is the name of the test that calls this.
pub fn each_breaks_its_check(test: &str, checks: &[(Mutant, Check)]) {
    if let Ok(name) = std::env::var(PLANT) {
        let (mutant, check) = checks.iter().find(|(mutant, _)| mutant.name() == name).unwrap();
        plant(*mutant);
        println!("{name}: {}", run(*check).unwrap_err());
        return;
    }
    for (mutant, check) in checks {
        run(*check).unwrap_or_else(|e| panic!("without {mutant:?}: {e}"));
        let mut child = Command::new(std::env::current_exe().unwrap());
        let ended = child.args(["--exact", test]).env(PLANT, mutant.name()).output().unwrap();
        assert!(ended.status.success(), "{mutant:?} breaks nothing:\n{}", String::from_utf8_lossy(&ended.stdout));
    }
}

fn run(check: Check) -> Outcome {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(check())
}

/// The outcome of a check: `what` is seen, and whether it is as it has to be.
pub fn holds(condition: bool, what: impl Into<String>) -> Outcome {
    if condition { Ok(()) } else { Err(what.into()) }
}
