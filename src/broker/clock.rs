//! A leader whose clock runs ahead of the majority's must not stamp messages with it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use quorumq_raft::runtime::Runtime;

use super::Broker;
use super::leadership::Leader;

/// Pause between looks at the members' clocks.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long a handover may take.
const HANDOVER: Duration = Duration::from_secs(2);

/// How far `own` runs ahead of the majority: of all clocks, itself included, the one that a majority has reached.
/// `None` while less than a majority answers.
fn ahead_ms(own: i64, others: &[Option<i64>]) -> Option<i64> {
    let mut clocks: Vec<i64> = others.iter().copied().flatten().chain([own]).collect();
    let majority = usize::midpoint(others.len(), 1) + 1;
    if clocks.len() < majority {
        return None;
    }
    clocks.sort_unstable_by(|a, b| b.cmp(a));
    // The majority-th highest clock: at least a majority shows it or more.
    Some(own - clocks[majority - 1])
}

/// Watches the clock while this node leads; hands leadership over when it runs more than the bound ahead.
pub async fn run<R: Runtime>(broker: Arc<Broker<R>>) {
    let bound_ms = i64::try_from(broker.options.max_clock_skew.as_millis()).unwrap_or(i64::MAX);
    loop {
        R::sleep(LOOK_EVERY).await;
        if broker.leadership.now(broker.node.id()) != Leader::Here {
            continue;
        }
        let Some(ahead) = broker.clock_ahead_ms().await.filter(|ahead| *ahead > bound_ms) else { continue };
        tracing::error!(
            "this node's clock runs {ahead} ms ahead of the majority's, maxClockSkewMs is {bound_ms}: it stops leading; \
             set the clock right"
        );
        if let Err(e) = broker.node.transfer_leadership(None, HANDOVER).await {
            tracing::error!("leadership was not handed over: {e}");
        }
    }
}

impl<R: Runtime> Broker<R> {
    /// How many milliseconds this node's clock runs ahead of the majority's; less than none: behind. `None` while less than
    /// a majority answers.
    pub(super) async fn clock_ahead_ms(&self) -> Option<i64> {
        let me = self.node.id();
        let others: Vec<_> = self.node.members().into_iter().filter(|(id, _, voter)| *voter && *id != me).collect();
        let clocks = join_all(others.iter().map(|(id, ..)| self.node.status_of(*id))).await;
        let clocks: Vec<_> = clocks.into_iter().map(|status| status.ok().map(|status| status.wall_clock_ms)).collect();
        ahead_ms(R::wall_clock_ms(), &clocks)
    }
}

#[cfg(test)]
mod tests {
    use super::ahead_ms;

    #[test]
    fn a_clock_is_held_against_the_majority_not_against_one_member() {
        assert_eq!(ahead_ms(100, &[Some(90), Some(0)]), Some(10), "one slow member proves nothing");
        assert_eq!(ahead_ms(9000, &[Some(90), Some(80)]), Some(8910));
        assert_eq!(ahead_ms(0, &[Some(90), Some(80)]), Some(-80), "running behind is no danger: stamps never go back");
        assert_eq!(ahead_ms(9000, &[None, Some(80)]), Some(8920));
        assert_eq!(ahead_ms(9000, &[None, None]), None, "without a majority there is nothing to compare with");
        assert_eq!(ahead_ms(9000, &[]), Some(0), "a group of one has only its own clock");
    }
}
