//! Each bug planted in the broker and the NameServer that needs no fault to show breaks a check that holds without it.
//! What the others need, a leader lost in the middle, is the simulator's.
#![cfg(test)]
#![cfg(debug_assertions)]

use std::path::Path;

use futures_util::FutureExt;
use quorumq::machine::Machine;
use quorumq::machine::rebuild::{self, Rebuild};
use quorumq::nameserver::route_table::{Registration, RouteTable, TableVersion, TopicTable};
use quorumq::protocol::batch::{self, BatchMessage};
use quorumq_raft::machine::Machine as _;
use quorumq_store::consume_queue::Mend;
use quorumq_store::disk::MemoryDisk;
use quorumq_store::mutant::Mutant;
use quorumq_store::{LogIndex, PhysicalOffset, QueueOffset};

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

/// The first unit of a topic that was deleted and created again, before and after its ConsumeQueues are lost.
async fn a_rebuilt_queue_has_one_life() -> Outcome {
    let rig = Rig::start(1).await;
    let mut client = rig.client().await;
    for body in ["former 0", "former 1"] {
        client.produce(0, "", body).await;
    }
    assert_eq!(client.ask(215, &[("topic", "t")]).await.code, 0);
    rig.create_topic("t", 2).await;
    for body in ["present 0", "present 1", "present 2"] {
        client.produce(0, "", body).await;
    }
    let node = rig.brokers[0].broker.node();
    let (entries, size) =
        (node.applied_entries(LogIndex(0), u64::MAX).unwrap(), node.identity().constants.segment_size);
    let (medium, dir) = (MemoryDisk::new(), Path::new("/other"));
    medium.mount().create_dir_all(dir).unwrap();
    let first = |machine: &Machine| {
        let mut units = Vec::new();
        machine.queue("t", 0).unwrap().read(QueueOffset(0), 1, &mut units).unwrap();
        units[0]
    };
    let mut machine = Machine::new(medium.mount(), dir, size).unwrap();
    entries.iter().for_each(|entry| drop(machine.apply(entry, &mut Vec::new()).unwrap()));
    let plan = machine.plan_flush(true).unwrap();
    plan.write(true).unwrap();
    machine.flushed(plan);
    let (expected, state) = (first(&machine), machine.encode());
    medium.mount().remove_dir_all(&dir.join("consumequeue")).unwrap();
    let mut machine = Machine::new(medium.mount(), dir, size).unwrap();
    machine.restore(&state).unwrap();
    machine.start(PhysicalOffset(0), PhysicalOffset(0)).unwrap();
    let mut queues = machine.damaged_queues();
    let mut again = Rebuild::new(dir, size, None, &queues).unwrap();
    for entry in &entries {
        again.apply(entry).unwrap();
        rebuild::write(&mut queues, &again.take()).unwrap();
    }
    let finished = rebuild::finish(queues, &|topic, queue_id, life| machine.written(topic, queue_id, life)).unwrap();
    assert_eq!(Mend::settle(finished), 0);
    let found = first(&machine);
    holds(found == expected, format!("the first unit was {expected:?}, made again it is {found:?}"))
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
