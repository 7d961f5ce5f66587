//! The simulator passes the conformance checks of the runtime seam, on a node and with several seeds.
#![cfg(test)]

use std::future::Future;
use std::io;

use quorumq_sim::runtime::SimRuntime;
use quorumq_sim::scenario::address;
use quorumq_sim::world::{Config, run};

fn on_a_node<F>(check: impl FnOnce() -> F + Clone + Send + 'static)
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    for seed in 1..=5 {
        let check = check.clone();
        let outcome = run(seed, Config::default(), |world| async move {
            world.add_node(address(1)).spawn(async move { check().await }).await.unwrap()
        });
        outcome.unwrap().value.unwrap();
    }
}

quorumq_raft::runtime_suite!(on_a_node, SimRuntime);

#[test]
fn passes_the_suite_of_openraft() {
    openraft_rt::testing::Suite::<SimRuntime>::test_all();
}
