//! The leader dies in the middle of sends.

use std::time::Duration;

use futures_util::future::join;
use quorumq_raft::runtime::Runtime;
use quorumq_store::log_store::FlushMode;
use rand::RngExt;

use super::{Report, Run};
use crate::runtime::SimRuntime;
use crate::scenario::blow::Blow;
use crate::world::{Death, World};

/// Sends on several lanes; meanwhile the leader's process is killed and started again, three times. Everything
/// acknowledged has to be read back from where it was acknowledged.
///
/// # Errors
/// What does not hold.
pub async fn run(world: World) -> Result<Report, String> {
    let mut group = Run::begin(&world, FlushMode::Sync).await?;
    let sending = group.send(&group.client, "lane", 4, 60, Duration::from_millis(40));
    let striking = async {
        let mut struck_ms = Vec::new();
        for _ in 0..3 {
            let rng = &mut group.brokers.nodes.rng;
            let (before, down) = (rng.random_range(10..300), rng.random_range(0..600));
            madsim::time::sleep(Duration::from_millis(before)).await;
            group.brokers.nodes.elected(&[]).await?;
            struck_ms.push(SimRuntime::wall_clock_ms());
            let struck = Blow::KillLeader(Death::Crash).strike(&mut group.brokers).await?;
            madsim::time::sleep(Duration::from_millis(down)).await;
            struck.make_good(&mut group.brokers).await?;
        }
        Ok::<_, String>(struck_ms)
    };
    let ((), struck_ms) = join(sending, striking).await;
    let longest_gap = group.longest_gap(&struck_ms?);
    Ok(Report { longest_gap, ..group.end().await? })
}
