//! The conformance suites on the memory and the real disk.

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

#[test]
fn the_log_conforms_on_the_memory_disk() {
    suite::run_all(&suite::log::checks(), MemoryMedium::default).unwrap();
}

#[test]
fn the_log_conforms_on_the_real_disk() {
    on_real_disk(&suite::log::checks()).unwrap();
}

#[test]
fn the_memory_disk_conforms() {
    suite::run_all(&suite::disk::checks(), MemoryMedium::default).unwrap();
}

#[test]
fn the_real_disk_conforms() {
    on_real_disk(&suite::disk::checks()).unwrap();
}
