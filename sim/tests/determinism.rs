//! One seed is one run, in every process.
#![cfg(test)]

use std::collections::BTreeSet;
use std::process::Command;

use quorumq_sim::scenario::{self, Scenario};
use quorumq_sim::world::{Config, run};

/// Runs the binary; its last line.
fn last_line(seed: u64) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_quorumq-sim"))
        .args(["run", "--scenario", "echo", "--seed", &seed.to_string()])
        .output()
        .unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{stdout}{}", String::from_utf8_lossy(&output.stderr));
    stdout.lines().last().unwrap().to_owned()
}

#[test]
fn one_seed_in_two_processes_gives_one_trace_hash() {
    for seed in [1, 2, 77] {
        let (one, two) = (last_line(seed), last_line(seed));
        assert_eq!(one, two);
        let hash = one.strip_prefix(&format!("seed {seed} OK hash ")).unwrap();
        assert_eq!(hash.len(), 16);
        assert!(hash.chars().all(|c| c.is_ascii_hexdigit()), "{one}");
    }
}

#[test]
fn a_seed_run_after_others_in_one_process_gives_the_hash_of_a_process_of_its_own() {
    let mut hashes = BTreeSet::new();
    for seed in 1..=10 {
        let outcome = run(seed, Config::default(), |world| Scenario::Echo.run(world)).unwrap();
        assert_eq!(outcome.value, Ok(String::new()));
        assert!(outcome.events > 300, "only {} events: the scenario does nothing", outcome.events);
        hashes.insert(outcome.hash);
        if seed > 8 {
            assert_eq!(last_line(seed), format!("seed {seed} OK hash {:016x}", outcome.hash));
        }
    }
    assert_eq!(hashes.len(), 10, "two seeds gave one hash");
}

#[test]
fn a_panic_on_a_node_is_a_failure_with_its_hash_and_message() {
    let fail = |seed| {
        let failed = run::<(), _, _>(seed, Config::default(), |world| async move {
            let node = world.add_node(scenario::address(1));
            node.spawn(async { panic!("broken promise") }).await.unwrap();
        });
        failed.unwrap_err()
    };
    let failure = fail(3);
    assert_eq!(failure.message, "broken promise");
    assert_eq!(failure, fail(3));
}

#[test]
fn a_run_in_which_nothing_can_happen_fails_instead_of_hanging() {
    let stuck = run(1, Config::default(), |_| std::future::pending::<()>());
    let message = stuck.unwrap_err().message;
    assert!(message.contains("block forever"), "{message}");
}
