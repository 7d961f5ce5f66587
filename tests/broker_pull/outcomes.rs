//! Outcomes nobody knows, and what is refused before it is proposed.

use quorumq::protocol::command::Command;
use quorumq_store::disk::MemoryDisk;
use quorumq_store::disk::memory::Operation;

use crate::rig::{Client, Rig};

type Ext<'a> = &'a [(&'a str, &'a str)];

const EIO: i32 = 5;
const NEW_TOPIC: Ext<'_> = &[
    ("topic", "new"),
    ("defaultTopic", "TBW102"),
    ("readQueueNums", "2"),
    ("writeQueueNums", "2"),
    ("perm", "6"),
    ("topicFilterType", "SINGLE_TAG"),
    ("order", "false"),
];
const COMMIT: Ext<'_> = &[("consumerGroup", "g"), ("topic", "t"), ("queueId", "0"), ("commitOffset", "0")];

/// The fields of a send (310) to queue 0 of a topic.
fn send_to(topic: &str) -> [(&str, &str); 10] {
    let (born, flag) = ("1700000000000", "0");
    let to = [("a", "p"), ("b", topic), ("c", "TBW102"), ("d", "4"), ("e", "0")];
    let rest = [("f", "0"), ("g", born), ("h", flag), ("i", ""), ("m", "false")];
    let mut fields = [("", ""); 10];
    fields[..5].copy_from_slice(&to);
    fields[5..].copy_from_slice(&rest);
    fields
}

/// The answer to a request that is proposed to a group of one, whose disk then fails.
async fn lost(code: i32, ext: Ext<'_>, body: &[u8]) -> Command {
    let disk = MemoryDisk::new();
    let rig = Rig::on(std::slice::from_ref(&disk), |_| {}).await;
    let mut client = rig.client().await;
    disk.fail(Operation::Sync, 0, EIO);
    let opaque = client.send(code, ext, body, 0).await;
    client.answer(opaque).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_that_is_proposed_says_when_its_outcome_is_unknown() {
    let group = br#"{"groupName":"g"}"#;
    let requests: [(i32, Ext<'_>, &[u8]); 6] = [
        (310, &send_to("t"), b"x"),
        (17, NEW_TOPIC, b""),
        (215, &[("topic", "t")], b""),
        (200, &[], group),
        (15, COMMIT, b""),
        (quorumq::protocol::code::request::PURGE_LOG, &[("offset", "0")], b""),
    ];
    for (code, ext, body) in requests {
        let answer = lost(code, ext, body).await;
        assert_eq!((answer.code, answer.ext.get("outcome")), (1, Some("unknown")), "{code}: {answer:?}");
        let remark = answer.remark.as_deref().unwrap_or_default();
        assert!(remark.starts_with("outcome unknown: "), "{code}: {remark}");
    }
}

/// It is not proposed itself: only its topic may be there or not.
#[tokio::test(flavor = "multi_thread")]
async fn a_send_whose_topic_may_have_been_created_or_not_is_refused() {
    for topic in ["new", "%RETRY%new"] {
        let answer = lost(310, &send_to(topic), b"x").await;
        assert_eq!((answer.code, answer.ext.get("outcome")), (14, None), "{answer:?}");
        let remark = answer.remark.as_deref().unwrap_or_default();
        assert!(remark.starts_with("whether the topic was created is unknown: "), "{remark}");
    }
}

/// Sends that the log does not have yet take room too: once each was measured by what the log had, and the node ended.
#[tokio::test(flavor = "multi_thread")]
async fn sends_that_are_under_way_together_do_not_outgrow_a_full_disk() {
    const SENDS: usize = 64;
    let disk = MemoryDisk::new();
    let rig = Rig::on(std::slice::from_ref(&disk), |why| panic!("fatal: {why}")).await;
    disk.set_capacity(Some(disk.used()));
    let mut clients = Vec::new();
    for _ in 0..SENDS {
        clients.push(Client::connect(rig.brokers[0].local_addr()).await);
    }
    let mut opaques = Vec::new();
    for client in &mut clients {
        opaques.push(client.send(310, &send_to("t"), &[b'x'; 8000], 0).await);
    }
    let mut codes = Vec::new();
    for (client, opaque) in clients.iter_mut().zip(opaques) {
        codes.push(client.answer(opaque).await.code);
    }
    assert!(codes.iter().all(|code| [0, 14].contains(code)), "{codes:?}");
    assert!(codes.contains(&0) && codes.contains(&14), "{codes:?}");
    disk.set_capacity(None);
    let again = async |client: &mut Client| {
        let opaque = client.send(310, &send_to("t"), b"x", 0).await;
        client.answer(opaque).await.code
    };
    while again(&mut clients[0]).await != 0 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    rig.stop().await;
}
