//! About a minute of what `scripts/soak.sh` does for hours, through the command line that does it.
#![cfg(test)]

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Simulated minutes of a seed.
const MINUTES: &str = "0.2";

fn quorumq_sim(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_quorumq-sim")).args(arguments).output().unwrap()
}

/// Standard output of a command that has to end with this exit code.
fn told(arguments: &[&str], code: i32) -> String {
    let output = quorumq_sim(arguments);
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{stdout}\n{stderr}");
    println!("{stdout}");
    stdout.into_owned()
}

fn last_line(text: &str) -> &str {
    text.lines().last().unwrap_or_default()
}

#[test]
fn tens_of_short_seeds_hold() {
    let folder = tempfile::tempdir().unwrap();
    let failures = folder.path().to_str().unwrap();
    let table = told(&["run", "--seeds", "1..21", "--minutes", MINUTES, "--failures", failures], 0);
    assert_eq!(last_line(&table), "20 seeds OK");
    for part in ["20 ok, 0 violated a rule, 0 lost", "OPERATION", "elections", "snapshots installed", "restart-storm"] {
        assert!(table.contains(part), "no {part}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "only failures are kept");
}

/// Of the three thirds of the house: the store, consensus, the broker.
#[test]
fn three_planted_bugs_are_caught() {
    let bugs = ["directory-sync-skipped-at-roll", "follower-acks-before-sync", "batch-half-stored"];
    let table = told(&[&["mutants", "--seeds", "1..21", "--minutes", MINUTES], &bugs[..]].concat(), 0);
    assert_eq!(last_line(&table), "3 of 3 mutants caught");
}

#[test]
fn the_same_seed_gives_one_hash_in_two_processes_and_a_flipped_bit_another() {
    let table = told(&["determinism", "--seeds", "101..104", "--minutes", MINUTES], 0);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines, ["3 of 3 equal", "3 of 3 unlike all others", "a flipped bit changes the hash"]);
}

#[test]
fn a_seed_ends_with_its_hash_and_leaves_a_page_if_asked() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("seed.html");
    let seed = ["run", "--seed", "7", "--minutes", "0.05"];
    let text = told(&[&seed[..], &["--report", page.to_str().unwrap()]].concat(), 0);
    let hash = last_line(&text).strip_prefix("seed 7 OK hash ").unwrap();
    assert!(hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit()), "{text}");
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains(hash) && page.contains("<svg class=\"band\""), "{page}");

    let json = told(&[&seed[..], &["--json"]].concat(), 0);
    let report: quorumq_sim::report::Report = serde_json::from_str(&json).unwrap();
    assert_eq!((report.seed, report.hash.as_str(), report.violation), (7, hash, None));
}

#[test]
fn a_run_that_takes_too_long_is_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    let failures = folder.path().to_str().unwrap();
    let hang = ["run", "--seeds", "1..2", "--minutes", "1000", "--wall-limit-s", "1", "--failures", failures];
    let table = told(&hang, 1);
    assert!(table.contains("seed 1 FAILED not over after 1 s of wall time"), "{table}");
    assert_eq!(last_line(&table), "1 seeds FAILED");
    let kept = std::fs::read_to_string(folder.path().join("seed-1.txt")).unwrap();
    assert!(kept.contains("again  cargo sim run --seed 1 --minutes 1000"), "{kept}");
}

/// Processes that run with this argument.
fn with_argument(argument: &str) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let has = |line: Vec<u8>| line.split(|byte| *byte == 0).any(|word| word == argument.as_bytes());
    processes.filter(|entry| std::fs::read(entry.path().join("cmdline")).is_ok_and(has)).count()
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(30), "not within 30 s: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn ctrl_c_ends_the_children_and_prints_the_table() {
    // Minutes that no other test asks for: they tell its processes from all others.
    let minutes = "9876.5";
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorumq-sim"));
    command.args(["run", "--seeds", "1..", "--hours", "1", "--jobs", "2", "--minutes", minutes]);
    let running = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("two children", || with_argument(minutes) == 3);
    let interrupt = Command::new("kill").args(["-INT", &running.id().to_string()]).status().unwrap();
    assert!(interrupt.success());
    let output = running.wait_with_output().unwrap();
    let table = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(130), "{table}");
    assert!(table.starts_with("seeds         0 ") && table.ends_with("0 seeds OK so far, interrupted\n"), "{table}");
    until("no child", || with_argument(minutes) == 0);
}

#[test]
fn arguments_that_make_no_sense_are_told() {
    for (arguments, part) in [
        (&["run"][..], "--seed"),
        (&["run", "--seeds", "5..1"], "the range is empty"),
        (&["run", "--seeds", "5.."], "needs --hours"),
        (&["run", "--seed", "1", "--seeds", "1..2"], "cannot be used with"),
        (&["run", "--seeds", "1..2", "--trace"], "cannot be used with"),
        (&["run", "--seed", "1", "--minutes", "0"], "more than 0"),
        (&["run", "--seed", "1", "--mutant", "no-such-bug"], "no-such-bug"),
        (&["mutants", "no-such-bug"], "there is no mutant \"no-such-bug\""),
        (&["determinism", "--seeds", "1.."], "needs an end"),
    ] {
        let output = quorumq_sim(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}\n{stderr}");
        assert!(stderr.contains(part), "{arguments:?}\n{stderr}");
    }
}
