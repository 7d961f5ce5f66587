//! What an operator asks of a group that has lost its leader, its room, or its older half.

use std::time::Duration;

use quorumq::broker::members::{GroupStatus, UNREACHABLE};
use quorumq::protocol::body;
use quorumq::protocol::code::request;
use quorumq_store::disk::MemoryDisk;

use crate::rig::{Client, Rig};

/// Bytes of the rig's CommitLog files.
const SEGMENT: u64 = 64 * 1024;

async fn status(client: &mut Client) -> GroupStatus {
    let answer = client.ask(request::GROUP_STATUS, &[]).await;
    assert_eq!(answer.code, 0, "{answer:?}");
    body::decode(&answer.body).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_left_alone_tells_the_groups_status_without_a_leader() {
    let mut rig = Rig::start(3).await;
    let survivor = rig.brokers.iter().rposition(|broker| !broker.broker.node().is_leader()).unwrap();
    let alone = rig.brokers.remove(survivor);
    // The leader last, and without handing over: nobody can be elected.
    rig.brokers.sort_by_key(|broker| broker.broker.node().is_leader());
    for gone in &rig.brokers {
        gone.broker.node().stop().await;
    }
    let mut client = Client::connect(alone.local_addr()).await;
    let status = status(&mut client).await;
    assert_eq!((status.leader, status.members.len()), (None, 3), "{status:?}");
    let me = alone.broker.node().id();
    for member in &status.members {
        assert_eq!(member.role == UNREACHABLE, member.id != me, "{status:?}");
        assert_eq!((member.lag, member.bytes_behind), (None, None), "behind of nobody");
    }
    let refused = client.ask(request::PURGE_LOG, &[("offset", "0")]).await;
    assert_eq!(refused.code, 14, "what needs a leader is refused: {refused:?}");
    alone.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_answers_from_where_on_messages_are_kept_whatever_was_asked() {
    let rig = Rig::start(1).await;
    let mut client = rig.client().await;
    let body = "x".repeat(10_000);
    while client.produce(0, "", &body).await < 3 * SEGMENT {}
    for (asked, start) in [(2 * SEGMENT + 7, 2 * SEGMENT), (2 * SEGMENT + 7, 2 * SEGMENT), (SEGMENT, 2 * SEGMENT)] {
        let answer = client.ask(request::PURGE_LOG, &[("offset", &asked.to_string())]).await;
        assert_eq!((answer.code, answer.ext.get("purgedTo")), (0, Some(&*start.to_string())), "{answer:?}");
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_room_on_a_majority_a_group_still_tells_its_status_and_tries_a_purge() {
    let disks: Vec<_> = (0..3).map(|_| MemoryDisk::new()).collect();
    let rig = Rig::on(&disks, |why| panic!("fatal: {why}")).await;
    let leads = |at: &usize| rig.brokers[*at].broker.node().is_leader();
    let leader = (0..3).find(leads).unwrap();
    let followers = (0..3).filter(|at| *at != leader);
    followers.for_each(|at| disks[at].set_capacity(Some(disks[at].used())));
    let mut client = Client::connect(rig.brokers[leader].local_addr()).await;
    let body = "x".repeat(10_000);
    let send = [("a", "p"), ("b", "t"), ("c", "TBW102"), ("d", "4"), ("e", "0"), ("f", "0"), ("g", "1"), ("h", "0")];
    let mut sender = Client::connect(rig.brokers[leader].local_addr()).await;
    for _ in 0..1000 {
        if rig.brokers[leader].broker.node().no_majority().is_some() {
            break;
        }
        sender.send(310, &send, body.as_bytes(), 0).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(rig.brokers[leader].broker.node().no_majority().is_some());

    let found = status(&mut client).await;
    assert_eq!(found.leader, Some(rig.brokers[leader].broker.node().id()));
    let commit = [("consumerGroup", "g"), ("topic", "t"), ("queueId", "0"), ("commitOffset", "0")];
    let refused = [(request::UPDATE_CONSUMER_OFFSET, &commit[..]), (request::GROUP_REMOVE_MEMBER, &[("nodeId", "1")])];
    for (code, ext) in refused {
        let answer = client.ask(code, ext).await;
        let remark = answer.remark.clone().unwrap_or_default();
        assert!(answer.code == 14 && remark.contains("have no room for entries"), "{code}: {answer:?}");
    }
    let answer = client.ask(request::GROUP_TRANSFER, &[("nodeId", "9")]).await;
    assert!(answer.remark.as_ref().is_some_and(|remark| remark.contains("no voter")), "it is looked at: {answer:?}");
    let answer = client.ask(request::PURGE_LOG, &[("offset", &SEGMENT.to_string())]).await;
    assert_eq!((answer.code, answer.ext.get("outcome")), (1, Some("unknown")), "{answer:?}");
    assert!(answer.remark.as_ref().is_some_and(|remark| remark.contains("have no room for entries")), "{answer:?}");

    disks.iter().for_each(|disk| disk.set_capacity(None));
    rig.stop().await;
}
