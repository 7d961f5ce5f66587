//! tokio passes the conformance checks of the runtime seam.
#![cfg(test)]

use std::future::Future;
use std::io;

use openraft_rt::AsyncRuntime;
use quorumq_raft::runtime::tokio::Tokio;

/// Two workers, so that tasks really run side by side.
fn run<F: Future<Output = io::Result<()>>>(check: impl FnOnce() -> F) {
    Tokio::new(2).block_on(check()).unwrap();
}

quorumq_raft::runtime_suite!(run, Tokio);

#[test]
fn passes_the_suite_of_openraft() {
    openraft_rt::testing::Suite::<Tokio>::test_all();
}
