//! Random histories of one node against a model.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::ops::Range;

use quorumq_store::suite::{MemoryMedium, RealMedium, history};

/// `QUORUMQ_HISTORY_SEEDS=from..to` asks for other seeds than those of every test run.
fn seeds() -> Range<u64> {
    let asked = std::env::var("QUORUMQ_HISTORY_SEEDS").ok();
    let range = asked.as_deref().and_then(|range| range.split_once(".."));
    range.map_or(0..200, |(from, to)| from.parse().unwrap()..to.parse().unwrap())
}

#[test]
fn random_histories_keep_every_promise_on_the_memory_disk() {
    let failures: Vec<_> =
        seeds().filter_map(|seed| history::run(&MemoryMedium::torn(seed), seed, 120).err()).collect();
    assert!(failures.is_empty(), "{} failed:\n{}", failures.len(), failures[..failures.len().min(3)].join("\n"));
}

#[test]
fn random_histories_keep_every_promise_on_the_real_disk() {
    for seed in 0..4 {
        let directory = tempfile::tempdir().unwrap();
        history::run(&RealMedium::new(directory.path()), seed, 60).unwrap();
    }
}
