//! Reads the whole CommitLog now and then, at a bounded rate: damage nobody reads would be found when the other copies are
//! gone too.

use std::sync::Arc;
use std::time::Duration;

use quorumq_store::StoreError;
use quorumq_store::mutant::{Mutant, planted};
use quorumq_store::repair::{BadRange, Scrub as Pass};

use crate::machine::Machine;
use crate::runtime::Runtime;
use crate::service::Core;

/// Steps in a second.
const STEPS: u64 = 10;
/// Pause between a start and the first pass, at most: a start has enough to do.
const FIRST: Duration = Duration::from_secs(10);

/// How the CommitLog is looked through for damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scrub {
    /// Bytes read in a second; 0 for not at all.
    pub bytes_per_second: u64,
    /// Pause between passes.
    pub interval: Duration,
}

impl Default for Scrub {
    fn default() -> Self {
        Self { bytes_per_second: 16 << 20, interval: Duration::from_secs(24 * 3600) }
    }
}

/// Looks through the log as long as the node runs.
pub async fn scrub<R: Runtime, M: Machine>(core: Arc<Core<R, M>>, scrub: Scrub) {
    if scrub.bytes_per_second == 0 {
        return std::future::pending().await;
    }
    R::sleep(FIRST.min(scrub.interval)).await;
    loop {
        match pass(&core, scrub).await {
            Ok((0, _)) => {}
            Ok((ranges, bytes)) => tracing::warn!(ranges, bytes, "a pass over the CommitLog found damage"),
            Err(e) => tracing::warn!("a pass over the CommitLog was cut short: {e}"),
        }
        core.mending.scrub_ended(R::wall_clock_ms());
        R::sleep(scrub.interval).await;
    }
}

/// One pass. Returns how many ranges are bad, and their bytes.
async fn pass<R: Runtime, M: Machine>(core: &Core<R, M>, scrub: Scrub) -> Result<(u64, u64), StoreError> {
    let budget = (scrub.bytes_per_second / STEPS).max(1);
    let mut pass = Pass::new(&core.store);
    let (mut ranges, mut bytes) = (0, 0);
    while !pass.is_done() {
        let (store, before) = (Arc::clone(&core.store), pass.at());
        let stepped = R::offload(move || {
            let found = pass.step(&store, budget);
            (pass, found)
        });
        let (rest, found) = stepped.await.map_err(|e| StoreError::Contract(e.to_string()))?;
        pass = rest;
        let found = found?;
        if !planted(Mutant::ScrubTellsNobody) {
            for bad in &found {
                // All of them: what is only told may find no room to wait in, and would be left to the next pass.
                core.impound(bad).await;
                core.suspects.suspect(bad.from);
            }
        }
        ranges += found.len() as u64;
        bytes += found.iter().map(BadRange::len).sum::<u64>();
        core.mending.scrubbed(pass.at());
        // A frame is read whole, and can be more than a step's share.
        let read = pass.at().0.saturating_sub(before.0).max(budget);
        R::sleep(Duration::from_micros(read.saturating_mul(1_000_000) / scrub.bytes_per_second)).await;
    }
    Ok((ranges, bytes))
}
