//! Members lose their disks and are replaced by new ones.

use std::time::Duration;

use futures_util::future::join;
use quorumq_store::log_store::FlushMode;
use rand::RngExt;

use super::{Report, Run};
use crate::runtime::SimRuntime;
use crate::scenario::Verdict;
use crate::scenario::blow::{Blow, Cluster};
use crate::scenario::client::{purge, replace_member};
use crate::world::{Death, World};

/// Sends go on while members lose their disks and are replaced by new ones, three times; now and then something else
/// goes wrong meanwhile.
///
/// # Errors
/// What does not hold.
pub async fn run(world: World) -> Result<Report, String> {
    let mut group = Run::begin(&world, FlushMode::Sync).await?;
    let sending = group.send(&group.client, "lane", 4, 120, Duration::from_millis(60));
    let replacing = async {
        for _ in 0..3 {
            let before = group.brokers.nodes.rng.random_range(10..500);
            madsim::time::sleep(Duration::from_millis(before)).await;
            if group.brokers.nodes.rng.random() {
                let purging = group.client.spawn(purge::<SimRuntime>(group.options(&group.client)));
                drop(purging.await);
            }
            replace_one(&mut group).await?;
        }
        Ok::<_, String>(())
    };
    let ((), replaced) = join(sending, replacing).await;
    replaced?;
    group.end().await
}

async fn replace_one(group: &mut Run) -> Verdict {
    let (leader, _) = group.brokers.nodes.elected(&[]).await?;
    let follower = group.brokers.nodes.draw_follower(leader)?;
    let lost = if group.brokers.nodes.rng.random_range(0..3) == 0 { leader } else { follower };
    let Some(old) = group.brokers.nodes.member(lost).map(|member| member.id()) else { return Ok(()) };
    group.brokers.kill(lost, Death::PowerLoss);
    let (new, joining) = group.brokers.join();
    tracing::info!(old, lost = %group.brokers.nodes.ip(lost), new = %group.brokers.nodes.ip(new), "replace");
    let options = group.options(&group.client);
    let asking = group.client.spawn(replace_member::<SimRuntime>(options, group.brokers.peer_addr(new), old));
    if group.brokers.nodes.rng.random() {
        // One of the two others dies while the new one is being added.
        let (before, down) =
            (group.brokers.nodes.rng.random_range(0..40), group.brokers.nodes.rng.random_range(0..1000));
        madsim::time::sleep(Duration::from_millis(before)).await;
        let blow = if group.brokers.nodes.rng.random() {
            Blow::KillLeader(Death::Crash)
        } else {
            Blow::KillFollower(Death::Crash)
        };
        let struck = blow.strike(&mut group.brokers).await?;
        madsim::time::sleep(Duration::from_millis(down)).await;
        struck.make_good(&mut group.brokers).await?;
    }
    let running = joining.await?;
    group.brokers.joined(new, running);
    asking.await.map_err(|e| e.to_string())?
}
