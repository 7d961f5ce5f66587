//! Messages that are damaged on a disk: what is handed out is right, or nothing is.

use std::net::SocketAddr;
use std::path::Path;

use quorumq::protocol::code::response;
use quorumq_store::PhysicalOffset;
use quorumq_store::commit_log::segment_path;
use quorumq_store::disk::MemoryDisk;
use quorumq_store::record::Record;

use crate::free_addr::free_addr;
use crate::rig::{Client, Pull, Rig, bodies, from, messages, outcome};

const SEGMENT: u64 = 64 * 1024;
const MESSAGES: i64 = 20;

/// A group that was started again, so that it reads what it holds from its disks.
async fn restarted(n: usize) -> (Vec<MemoryDisk>, Rig) {
    let disks: Vec<_> = (0..n).map(|_| MemoryDisk::new()).collect();
    let peers: Vec<SocketAddr> = (0..n).map(|_| free_addr()).collect();
    let fatal = |why| panic!("fatal: {why}");
    let rig = Rig::among(&peers, &disks, fatal).await;
    let mut client = rig.client().await;
    for i in 0..MESSAGES {
        client.produce(0, "tag", &i.to_string()).await;
    }
    rig.stop().await;
    (disks.clone(), Rig::among(&peers, &disks, fatal).await)
}

/// Pulls one message.
async fn one(client: &mut Client, offset: i64) -> quorumq::protocol::command::Command {
    client.pull(Pull { max: 1, ..from(offset) }).await
}

/// Flips a bit of the last byte of a message, which is of its properties: its own CRC does not cover them.
fn flip(disk: &MemoryDisk, record: &[u8]) {
    let record = Record::parse(record).unwrap();
    let last = record.physical_offset().0 + record.len() as u64 - 1;
    let start = last - last % SEGMENT;
    disk.flip_bit(&segment_path(Path::new("/store"), PhysicalOffset(start)), last - start, 0).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_of_a_damaged_message_gets_it_as_it_was_from_every_node() {
    let (disks, rig) = restarted(3).await;
    for (i, broker) in rig.brokers.iter().enumerate() {
        let mut client = Client::connect(broker.local_addr()).await;
        let offset = 5 + i as i64;
        let sound = one(&mut client, offset).await;
        assert_eq!(bodies(&sound), [offset.to_string()]);
        flip(&disks[i], &sound.body);
        let again = one(&mut client, offset).await;
        assert_eq!((outcome(&again).0, &again.body), (0, &sound.body), "node {i}");
        assert_eq!(disks[i].rotten(), [], "it was repaired");
        assert_eq!(messages(&client.pull(from(0)).await.body).len(), MESSAGES as usize);
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_message_without_a_copy_is_refused_and_the_others_are_served() {
    let (disks, rig) = restarted(1).await;
    let mut client = rig.client().await;
    let sound = one(&mut client, 5).await;
    flip(&disks[0], &sound.body);
    let refused = one(&mut client, 5).await;
    let why = refused.remark.as_deref().unwrap_or_default();
    assert_eq!(refused.code, response::SYSTEM_ERROR, "{why}");
    assert!(why.contains("damaged"), "{why}");
    for offset in (0..MESSAGES).filter(|offset| *offset != 5) {
        assert_eq!(bodies(&one(&mut client, offset).await), [offset.to_string()]);
    }
    client.produce(0, "", "new").await;
    assert_eq!(bodies(&one(&mut client, MESSAGES).await), ["new"]);
    rig.stop().await;
}
