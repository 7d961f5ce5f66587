//! What is expired, and who drops it: 306 and 329.

use std::time::Duration;

use quorumq::broker::BrokerOptions;
use quorumq_store::PhysicalOffset;
use quorumq_store::disk::MemoryDisk;

use super::rig::Rig;

/// Everything is expired at once, and goes only when somebody asks.
fn only_when_asked(options: &mut BrokerOptions) {
    options.retention.interval = Duration::from_secs(86_400);
    options.retention.policy.reserved = Duration::ZERO;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cleaning_expired_consume_queues_drops_no_message() {
    let rig = Rig::one(MemoryDisk::new().mount(), only_when_asked).await;
    let mut client = rig.client().await;
    for _ in 0..30 {
        client.produce(0, "", &"x".repeat(10_000)).await;
    }
    let node = rig.brokers[0].broker.node();
    assert!(node.machine().segments().len() > 2);
    assert_eq!(client.ask(306, &[]).await.code, 0);
    assert_eq!(node.machine().segments()[0].start, PhysicalOffset(0));
    // What 329 is for.
    assert_eq!(client.ask(329, &[]).await.code, 0);
    assert!(node.machine().segments()[0].start > PhysicalOffset(0));
    rig.stop().await;
}
