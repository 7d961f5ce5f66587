//! Three brokers, a NameServer and a client: what was acknowledged is read back, whatever happens meanwhile.
#![cfg(test)]

use std::time::Duration;

use quorumq_sim::scenario::group::{self, Report};
use quorumq_sim::world::{Config, World, run};

/// Runs a scenario with each seed; what each counted.
fn seeds<S, F>(seeds: impl IntoIterator<Item = u64>, scenario: S) -> Vec<Report>
where
    S: Fn(World) -> F + Copy + Send + 'static,
    F: Future<Output = Result<Report, String>>,
{
    let one = |seed| match run(seed, Config::default(), scenario) {
        Ok(outcome) => outcome.value.unwrap_or_else(|e| panic!("seed {seed}: {e}")),
        Err(failure) => panic!("{failure}"),
    };
    let show = |seed| {
        let report = one(seed);
        println!("seed {seed}: {report}");
        report
    };
    seeds.into_iter().map(show).collect()
}

#[test]
fn a_hundred_messages_are_sent_and_read() {
    seeds(1..4, group::calm);
}

#[test]
fn leaders_die_in_the_middle_of_sends_and_nothing_acknowledged_is_lost() {
    let mut gaps: Vec<_> = seeds(1..8, group::deaths).iter().map(|report| report.longest_gap).collect();
    gaps.sort();
    // From a leader's death to the next acknowledged send, by our own client.
    assert!(gaps[gaps.len() / 2] <= Duration::from_millis(200), "{gaps:?}");
    assert!(gaps[gaps.len() - 1] <= Duration::from_secs(2), "{gaps:?}");
}
