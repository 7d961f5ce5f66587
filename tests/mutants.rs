//! Each bug planted in the broker and the NameServer that needs no fault to show breaks a check that holds without it.
//! What the others need, a leader lost in the middle, is the simulator's.
#![cfg(test)]
#![cfg(debug_assertions)]

use std::path::Path;

use futures_util::FutureExt;
use quorumq::machine::Machine;
use quorumq::nameserver::route_table::{Registration, RouteTable, TableVersion, TopicTable};
use quorumq::protocol::batch::{self, BatchMessage};
use quorumq_raft::machine::Machine as _;
use quorumq_store::QueueOffset;
use quorumq_store::disk::MemoryDisk;
use quorumq_store::mutant::Mutant;

#[path = "harness/free_addr.rs"]
mod free_addr;
#[path = "harness/planted.rs"]
mod planted;
#[path = "broker_pull/rig.rs"]
#[expect(dead_code, reason = "shared with tests that need more of it")]
mod rig;

use planted::{Check, Outcome, each_breaks_its_check, holds};
use rig::{Client, GROUP, Rig, bodies, from, held};

/// What must hold, and the bug that breaks it.
const CHECKS: &[(Mutant, Check)] = &[
    (Mutant::BatchHalfStored, || a_batch_is_stored_whole().boxed()),
    (Mutant::LongPollSkips, || a_held_pull_gets_all_that_came().boxed()),
    (Mutant::OffsetCommitOutsideLog, || an_answered_commit_is_applied().boxed()),
    (Mutant::OffsetsNotInSnapshot, || a_snapshot_holds_consumer_offsets().boxed()),
    (Mutant::StaleRead, || a_member_alone_answers_no_read().boxed()),
    (Mutant::RebuildMixesLives, || a_rebuilt_queue_has_one_life().boxed()),
    (Mutant::RouteTermFenceOff, || a_leader_of_the_past_is_not_registered().boxed()),
];

#[test]
fn each_bug_breaks_a_check_that_holds_without_it() {
    each_breaks_its_check("each_bug_breaks_a_check_that_holds_without_it", CHECKS);
}

/// Stores a batch in queue 0 of `t`.
async fn produce_batch(client: &mut Client, messages: &[&str]) {
    let mut body = Vec::new();
    for message in messages {
        batch::append(&BatchMessage { flag: 0, body: message.as_bytes(), properties: "" }, &mut body);
    }
    let ext = [
        ("a", "p"),
        ("b", "t"),
        ("c", "TBW102"),
        ("d", "4"),
        ("e", "0"),
        ("f", "0"),
        ("g", "1700000000000"),
        ("h", "0"),
        ("i", ""),
        ("m", "true"),
    ];
    let opaque = client.send(320, &ext, &body, 0).await;
    let answer = client.answer(opaque).await;
    assert_eq!(answer.code, 0, "{answer:?}");
}

async fn a_batch_is_stored_whole() -> Outcome {
    let rig = Rig::start(1).await;
    let mut client = rig.client().await;
    produce_batch(&mut client, &["one", "two", "three"]).await;
    let found = bodies(&client.pull(from(0)).await);
    holds(found == ["one", "two", "three"], format!("of a batch of three: {found:?}"))
}

async fn a_held_pull_gets_all_that_came() -> Outcome {
    let rig = Rig::start(1).await;
    let (mut consumer, mut producer) = (rig.client().await, rig.client().await);
    let waiting = consumer.send_pull(held(from(0), 30_000)).await;
    assert!(!consumer.is_answered_soon(waiting).await, "there is nothing to answer with");
    produce_batch(&mut producer, &["one", "two"]).await;
    let found = bodies(&consumer.answer(waiting).await);
    holds(found == ["one", "two"], format!("a pull from the start was woken with {found:?}"))
}

/// A broker with three messages, of which the group has consumed two; and the group's offset as a client sees it.
async fn committed() -> (Rig, Option<String>) {
    let rig = Rig::start(1).await;
    let mut client = rig.client().await;
    for body in ["1", "2", "3"] {
        client.produce(0, "", body).await;
    }
    let queue = [("consumerGroup", GROUP), ("topic", "t"), ("queueId", "0")];
    let commit = [&queue[..], &[("commitOffset", "2")]].concat();
    assert_eq!(client.ask(15, &commit).await.code, 0);
    let offset = client.ask(14, &queue).await.ext.get("offset").map(str::to_owned);
    (rig, offset)
}

async fn an_answered_commit_is_applied() -> Outcome {
    let (_rig, offset) = committed().await;
    holds(offset.as_deref() == Some("2"), format!("committed 2, then read {offset:?}"))
}

async fn a_snapshot_holds_consumer_offsets() -> Outcome {
    let (rig, _) = committed().await;
    let node = rig.brokers[0].broker.node();
    let state = node.machine().encode();
    let mut restored =
        Machine::new(MemoryDisk::new().mount(), Path::new("/other"), node.identity().constants.segment_size).unwrap();
    restored.restore(&state).unwrap();
    let offset = restored.consumer_offset(GROUP, "t", 0);
    holds(offset == Some(QueueOffset(2)), format!("committed 2, restored {offset:?}"))
}

async fn a_member_alone_answers_no_read() -> Outcome {
    let mut rig = Rig::start(3).await;
    let alone = rig.brokers.pop().unwrap();
    futures_util::future::join_all(rig.brokers.into_iter().map(quorumq::broker::Running::shutdown)).await;
    let answer = Client::connect(alone.local_addr()).await.ask(30, &[("topic", "t"), ("queueId", "0")]).await;
    holds(answer.code == 14, format!("a member without a majority answered {answer:?}"))
}

/// The first message of a topic that was deleted and created again, after its ConsumeQueues were lost.
async fn a_rebuilt_queue_has_one_life() -> Outcome {
    let disks = [MemoryDisk::new()];
    let rig = Rig::on(&disks, |why| panic!("fatal: {why}")).await;
    let mut client = rig.client().await;
    let padding = "-".repeat(2000);
    for n in 0..3 {
        client.produce(0, "", &format!("former {n}{padding}")).await;
    }
    assert_eq!(client.ask(215, &[("topic", "t")]).await.code, 0);
    rig.create_topic("t", 2).await;
    // So many that segments are left behind: a checkpoint relies on their units.
    for n in 0..60 {
        client.produce(0, "", &format!("present {n}{padding}")).await;
    }
    drop(client);
    rig.stop().await;
    disks[0].mount().remove_dir_all(Path::new("/store/consumequeue")).unwrap();
    let rig = Rig::on(&disks, |why| panic!("fatal: {why}")).await;
    let mut client = rig.client().await;
    for _ in 0..2000 {
        let answer = client.pull(from(0)).await;
        if answer.code == 0 {
            let first = bodies(&answer).remove(0);
            return holds(first.starts_with("present 0"), format!("the first message is {}", &first[..9]));
        }
        assert_eq!(answer.code, 1, "{answer:?}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    Err("the queue is never made again".to_owned())
}

async fn a_leader_of_the_past_is_not_registered() -> Outcome {
    let leader = |addr: &str, term| Registration {
        cluster: "C".to_owned(),
        group: "g".to_owned(),
        addr: addr.to_owned(),
        ha_addr: String::new(),
        broker_id: 0,
        term: Some(term),
        group_uuid: Some("uuid".to_owned()),
        version: TableVersion::default(),
        topics: TopicTable::new(),
        conn: term,
    };
    let mut table = RouteTable::new(120_000);
    table.register(leader("new", 3), 0).unwrap();
    let registered = table.register(leader("old", 2), 1);
    holds(registered.is_err(), format!("the leader of term 2 displaced that of term 3: {registered:?}"))
}
