//! One seed is one run, in every process.
#![cfg(test)]

use std::collections::BTreeSet;
use std::process::Command;

use quorumq_raft::runtime::Runtime;
use quorumq_sim::runtime::SimRuntime;
use quorumq_sim::scenario::{self, Scenario};
use quorumq_sim::world::{Config, run};

/// Runs the binary; its lines.
fn lines(scenario: &str, seed: u64) -> Vec<String> {
    let seed = seed.to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorumq-sim"));
    let output = command.args(["run", "--scenario", scenario, "--seed", &seed]).output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{stdout}{}", String::from_utf8_lossy(&output.stderr));
    stdout.lines().map(str::to_owned).collect()
}

/// Runs a seed in two processes, which have to end alike. Their lines.
fn twice(scenario: &str, seed: u64) -> Vec<String> {
    let (one, two) = (lines(scenario, seed), lines(scenario, seed));
    assert_eq!(one, two);
    let hash = one.last().unwrap().strip_prefix(&format!("seed {seed} OK hash ")).unwrap();
    assert_eq!(hash.len(), 16);
    assert!(hash.chars().all(|c| c.is_ascii_hexdigit()), "{one:?}");
    one
}

/// Three brokers, a NameServer and a client: elect, send 100, pull 100.
#[test]
fn the_whole_group_gives_one_trace_hash_in_two_processes() {
    for seed in [1, 2, 77] {
        let lines = twice("group", seed);
        println!("{}", lines.join("\n"));
        assert!(lines.iter().any(|line| line.starts_with("100 stored, 0 refused, 0 unknown, 100 read")), "{lines:?}");
    }
}

#[test]
fn so_does_a_group_under_faults() {
    for scenario in ["group-deaths", "members-storm"] {
        println!("{}", twice(scenario, 5).join("\n"));
    }
}

#[test]
fn so_does_the_seam_alone() {
    twice("echo", 77);
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
            let hash = format!("seed {seed} OK hash {:016x}", outcome.hash);
            assert_eq!(lines("echo", seed).last(), Some(&hash));
        }
    }
    assert_eq!(hashes.len(), 10, "two seeds gave one hash");
}

#[test]
fn what_is_applied_shows_in_the_hash() {
    let hash = |upto, digest| {
        let applied = run(1, Config::default(), move |world| async move {
            let node = world.add_node(scenario::address(1));
            node.spawn(async move { SimRuntime::applied(upto, digest) }).await.unwrap();
        });
        applied.unwrap().hash
    };
    assert_eq!(hash(7, 8), hash(7, 8));
    assert_ne!(hash(7, 8), hash(7, 9));
    assert_ne!(hash(7, 8), hash(8, 8));
}

#[test]
fn every_member_of_a_group_tells_the_trace_what_it_reads_writes_syncs_and_applies() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorumq-sim"));
    let output = command.args(["run", "--scenario", "members", "--seed", "1", "--trace"]).output().unwrap();
    let trace = String::from_utf8_lossy(&output.stderr);
    for node in 1..=3 {
        for what in ["read", "write", "disk-write", "disk-sync", "apply"] {
            let event = format!(" {} {what} ", scenario::address(node));
            assert!(trace.contains(&event), "no event like{event}in the trace");
        }
    }
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
