//! A learner catches up before it votes.
//!
//! A voter counts for every majority. Where a member is down, as when one is being replaced, nothing is committed without
//! the new one: promoted with the log still to be fetched, it would hold up all sends until it has it. openraft waits
//! until a learner is some number of entries behind, of which each may be as large as a quarter of a segment.

use std::time::Duration;

use openraft::metrics::WaitError;
use openraft_rt::Instant;

use crate::machine::Machine;
use crate::runtime::Runtime;
use crate::service::Core;
use crate::types::NodeId;

/// What was appended during a round is what the next one fetches: after a round as short as this, the promotion holds
/// nobody up for longer.
const SHORT_ROUND: Duration = Duration::from_millis(100);
/// A learner that has no short round among so many is slower than what is written.
const ROUNDS: usize = 50;
/// Longest time without an entry for the learner.
const STALLED: Duration = Duration::from_secs(60);

impl<R: Runtime, M: Machine> Core<R, M> {
    /// Waits until a learner holds, synced, what this leader holds, but for the last moment's.
    pub async fn caught_up(&self, id: NodeId) -> Result<(), String> {
        for round in 1..=ROUNDS {
            let begun = <R::Instant as Instant>::now();
            let Some(last) = self.store.positions().last else { return Ok(()) };
            self.until_held(id, last.index.0).await?;
            let took = begun.elapsed();
            tracing::info!(id, round, %last, ?took, "the learner has caught up with what was there");
            if took <= SHORT_ROUND {
                return Ok(());
            }
        }
        Err(format!(
            "node {id} is slower than what is written now; it stays a learner: run the command again when less is"
        ))
    }

    /// Waits until a learner holds the entry with this index.
    async fn until_held(&self, id: NodeId, index: u64) -> Result<(), String> {
        let mut held = None;
        loop {
            let before = held;
            let moved = |matched: Option<Option<u64>>| matched.is_none_or(|now| now >= Some(index) || now > before);
            let wait = self.raft.wait(Some(STALLED));
            let seen = wait.metrics(|metrics| moved(matched(metrics, id)), "a learner's progress");
            let metrics = match seen.await {
                Ok(metrics) => metrics,
                Err(WaitError::ShuttingDown) => {
                    return Err("this node has come to its end; run the command again".to_owned());
                }
                // An operator has said so.
                Err(WaitError::Timeout(..)) if self.pace.was_paused(STALLED) => continue,
                Err(WaitError::Timeout(..)) => return Err(not_taken(id, held, index)),
            };
            match matched(&metrics, id) {
                None => return Err("this node no longer leads; run the command again".to_owned()),
                Some(now) if now >= Some(index) => return Ok(()),
                Some(now) => held = now,
            }
        }
    }
}

fn not_taken(id: NodeId, held: Option<u64>, index: u64) -> String {
    let held = held.map_or_else(|| "nothing".to_owned(), |held| format!("entries up to {held} of {index}"));
    format!(
        "node {id} holds {held} and has taken none for {STALLED:?}; it stays a learner: run the command again once it can \
         be reached"
    )
}

/// Index of the last entry that a node is known to hold; `None` if this node does not lead.
fn matched<R: Runtime, M: Machine>(
    metrics: &openraft::RaftMetrics<crate::types::Types<R, M>>,
    id: NodeId,
) -> Option<Option<u64>> {
    let replication = metrics.replication.as_ref()?;
    Some(replication.get(&id).and_then(|held| held.as_ref()).map(|held| held.index))
}
