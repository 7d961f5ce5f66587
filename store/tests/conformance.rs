//! The conformance suites on the memory and the real disk.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use quorumq_store::suite::{self, MemoryMedium, RealMedium};

/// Runs checks below a temporary directory each; they are kept until all are done.
fn on_real_disk(checks: &[suite::Check]) -> suite::Outcome {
    let mut directories = Vec::new();
    suite::run_all(checks, || {
        let directory = tempfile::tempdir().unwrap();
        let medium = RealMedium::new(directory.path());
        directories.push(directory);
        medium
    })
}

fn passed(outcome: suite::Outcome) {
    if let Err(failures) = outcome {
        panic!("{failures}");
    }
}

#[test]
fn the_memory_disk_conforms() {
    passed(suite::run_all(&suite::disk::checks(), MemoryMedium::default));
}

#[test]
fn the_real_disk_conforms() {
    passed(on_real_disk(&suite::disk::checks()));
}

#[test]
fn the_log_conforms_on_the_memory_disk() {
    passed(suite::run_all(&suite::log::checks(), MemoryMedium::default));
}

#[test]
fn the_log_conforms_on_the_real_disk() {
    passed(on_real_disk(&suite::log::checks()));
}

#[test]
fn the_log_withstands_crashes_on_the_memory_disk() {
    passed(suite::run_all(&suite::crash::checks(), MemoryMedium::default));
}

#[test]
fn the_log_withstands_crashes_that_tear_writes() {
    for seed in 0..5 {
        passed(suite::run_all(&suite::crash::checks(), || MemoryMedium::torn(seed)));
    }
}

#[test]
fn the_log_withstands_damage_on_the_real_disk() {
    passed(on_real_disk(&suite::crash::checks()));
}
