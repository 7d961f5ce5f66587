//! `config/*.json`: what people and tools read of a broker's state, in RocketMQ's words, on every member.

use std::path::Path;

use quorumq::protocol::body;
use quorumq::protocol::body::consumer::ConsumerOffsetTable;
use quorumq::protocol::body::subscription::SubscriptionGroupWrapper;
use quorumq::protocol::body::topic::TopicConfigSerializeWrapper;
use quorumq_raft::machine::Machine as _;
use quorumq_store::disk::MemoryDisk;
use quorumq_store::export;

use crate::rig::Rig;

const STORE: &str = "/store";

fn content(disk: &MemoryDisk, name: &str) -> Vec<u8> {
    let path = export::path(Path::new(STORE), name);
    disk.content(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_member_leaves_topics_groups_and_offsets_in_rocketmqs_files() {
    let disks: Vec<_> = (0..3).map(|_| MemoryDisk::new()).collect();
    let rig = Rig::on(&disks, |why| panic!("fatal: {why}")).await;
    let mut client = rig.client().await;
    client.produce(1, "", "one").await;
    let group = br#"{"groupName":"readers","retryMaxTimes":3}"#;
    let opaque = client.send(200, &[], group, 0).await;
    assert_eq!(client.answer(opaque).await.code, 0);
    let commit = [("consumerGroup", "readers"), ("topic", "t"), ("queueId", "1"), ("commitOffset", "1")];
    assert_eq!(client.ask(15, &commit).await.code, 0);
    let applied = rig.brokers.iter().map(|broker| broker.broker.node().applied()).max().unwrap();
    while rig.brokers.iter().any(|broker| broker.broker.node().applied() < applied) {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    rig.stop().await;
    for disk in &disks {
        let topics: TopicConfigSerializeWrapper = body::decode(&content(disk, "topics.json")).unwrap();
        assert_eq!(topics.topic_config_table["t"].read_queue_nums, 2);
        assert!(topics.topic_config_table.contains_key("TBW102") && topics.data_version.counter > 0, "{topics:?}");
        let groups: SubscriptionGroupWrapper = body::decode(&content(disk, "subscriptionGroup.json")).unwrap();
        assert_eq!(groups.subscription_group_table["readers"].retry_max_times, 3);
        let offsets = content(disk, "consumerOffset.json");
        assert!(String::from_utf8_lossy(&offsets).contains(r#""t@readers":{1:1}"#), "queue ids stand bare");
        let offsets: ConsumerOffsetTable = body::decode(&offsets).unwrap();
        assert_eq!(offsets.offset_table[&ConsumerOffsetTable::key("t", "readers")][&1], 1);
        let checkpoint = disk.content(&Path::new(STORE).join("checkpoint")).unwrap();
        let physic_ms = i64::from_be_bytes(checkpoint[..8].try_into().unwrap());
        assert!(checkpoint.len() == 4096 && physic_ms > 1_700_000_000_000, "{physic_ms}");
        assert!(disk.content(&Path::new(STORE).join("abort")).is_err(), "stopped cleanly");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_checkpoint_tells_what_the_last_flush_covered_while_messages_keep_coming() {
    let disk = MemoryDisk::new();
    let rig = Rig::on(std::slice::from_ref(&disk), |why| panic!("fatal: {why}")).await;
    let broker = &rig.brokers[0].broker;
    let mut client = rig.client().await;
    let mut seen = [0; 3];
    for n in 0..400 {
        // Over several segments; at each one's end what came before is flushed. Something always waits in memory.
        client.produce_with(0, &format!("KEYS\u{1}k{n}\u{2}"), &"x".repeat(4000)).await;
        if broker.node().machine().unflushed() > 0 {
            broker.export().await;
        }
        let Ok(checkpoint) = disk.content(&Path::new(STORE).join("checkpoint")) else { continue };
        let times = [0, 8, 16].map(|at| i64::from_be_bytes(checkpoint[at..at + 8].try_into().unwrap()));
        assert!(
            times[1] <= times[0] && times[2] <= times[0] && times[1] >= seen[1] && times[2] >= seen[2],
            "{times:?}"
        );
        if seen[1] > 0 && times[1] > seen[1] && times[2] > 0 {
            return rig.stop().await;
        }
        seen = times;
    }
    panic!("the times stay behind: {seen:?}");
}
