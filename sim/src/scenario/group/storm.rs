//! Everything goes wrong that can be made good again.

use std::time::Duration;

use futures_util::future::join;
use quorumq_store::log_store::FlushMode;
use rand::RngExt;

use super::{CLIENT, Report, Run, TOPIC};
use crate::runtime::SimRuntime;
use crate::scenario::blow::Blow;
use crate::scenario::client::{follow, purge};
use crate::scenario::{address, weather};
use crate::world::{ClockFault, Death, World};

/// Clients send and read under faults drawn from the seed; one of them dies now and then, and the log is purged.
///
/// # Errors
/// What does not hold.
pub async fn run(world: World) -> Result<Report, String> {
    weather::draw(&world);
    // What asynchronous flushing promises when power is lost is not kept yet: only processes die in it.
    let (flush, power) =
        if world.rng().random_range(0..4) == 0 { (FlushMode::Async, false) } else { (FlushMode::Sync, true) };
    let mut group = Run::begin(&world, flush).await?;
    for at in 0..group.brokers.nodes.count() {
        let skew_ms = group.brokers.nodes.rng.random_range(-1500..1500);
        group.brokers.nodes.seat(at).host().strike_clock(ClockFault::Skew(skew_ms));
    }
    let (mortal, reader) = (world.add_node(address(CLIENT + 1)), world.add_node(address(CLIENT + 2)));
    let following =
        follow::<SimRuntime>(group.options(&reader), "followers".to_owned(), TOPIC.to_owned(), group.followed.clone());
    let following = reader.spawn(following);
    let sending = group.send(&group.client, "lane", 4, 80, Duration::from_millis(200));
    let striking = async {
        for life in 0..4 {
            drop(group.send(&mortal, &format!("life{life}-"), 2, 1000, Duration::from_millis(30)));
            let rng = &mut group.brokers.nodes.rng;
            madsim::time::sleep(Duration::from_millis(rng.random_range(10..500))).await;
            let (blow, time) = (Blow::draw(rng, power), Duration::from_millis(rng.random_range(0..4000)));
            let struck = blow.strike(&mut group.brokers).await?;
            if blow.leaves_majority() && group.brokers.nodes.rng.random_range(0..3) == 0 {
                drop(group.client.spawn(purge::<SimRuntime>(group.options(&group.client))));
            }
            madsim::time::sleep(time).await;
            mortal.kill(if group.brokers.nodes.rng.random() { Death::Crash } else { Death::PowerLoss });
            struck.make_good(&mut group.brokers).await?;
            mortal.restart();
        }
        Ok::<_, String>(())
    };
    let ((), struck) = join(sending, striking).await;
    struck?;
    if following.is_finished() {
        following.await.map_err(|e| e.to_string())??;
    }
    reader.kill(Death::Crash);
    group.end().await
}
