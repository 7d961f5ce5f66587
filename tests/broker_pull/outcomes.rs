//! Outcomes nobody knows, and what is refused before it is proposed.

use quorumq::protocol::command::Command;
use quorumq_store::disk::MemoryDisk;
use quorumq_store::disk::memory::Operation;

use crate::rig::Rig;

const EIO: i32 = 5;
const NEW_TOPIC: &[(&str, &str)] = &[
    ("topic", "new"),
    ("defaultTopic", "TBW102"),
    ("readQueueNums", "2"),
    ("writeQueueNums", "2"),
    ("perm", "6"),
    ("topicFilterType", "SINGLE_TAG"),
    ("order", "false"),
];
const COMMIT: &[(&str, &str)] = &[("consumerGroup", "g"), ("topic", "t"), ("queueId", "0"), ("commitOffset", "0")];

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
async fn lost(code: i32, ext: &[(&str, &str)], body: &[u8]) -> Command {
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
    let requests: [(i32, &[(&str, &str)], &[u8]); 6] = [
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
