//! Tests of the machine as a whole: a log is laid out and applied as a node would.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;

use bytes::{Bytes, BytesMut};
use quorumq_raft::machine::{Machine as _, MachineError};
use quorumq_store::consume_queue::Unit;
use quorumq_store::disk::MemoryDisk;
use quorumq_store::frame::{HEADER_LEN, Kind};
use quorumq_store::log_store::Entry;
use quorumq_store::record::Draft;
use quorumq_store::{LogId, LogIndex, PhysicalOffset, QueueOffset, Term};

use super::*;

mod commands;
mod offsets;
mod rebuild;
mod records;
mod replay;
mod topics;

/// Small, so that a test spans many segments.
const SEGMENT: u64 = 4096;
const DIR: &str = "/store";

fn medium() -> MemoryDisk {
    let medium = MemoryDisk::new();
    medium.mount().create_dir_all(Path::new(DIR)).unwrap();
    medium
}

fn machine(medium: &MemoryDisk) -> Machine {
    Machine::new(medium.mount(), Path::new(DIR), SEGMENT).unwrap()
}

/// Lays entries out as the CommitLog does: back to back, never over a segment's end.
#[derive(Default)]
struct Layout {
    entries: Vec<Entry>,
    end: u64,
}

impl Layout {
    fn push(&mut self, kind: Kind, body: Bytes) -> Entry {
        let len = HEADER_LEN + body.len() as u64;
        assert!(len <= SEGMENT);
        if self.end % SEGMENT + len > SEGMENT {
            self.end = self.end.next_multiple_of(SEGMENT);
        }
        let index = LogIndex(self.entries.len() as u64);
        let id = LogId { term: Term(1 + index.0 / 100), index };
        let entry = Entry { id, kind, position: PhysicalOffset(self.end), body };
        self.end += len;
        self.entries.push(entry.clone());
        entry
    }
}

/// A machine, and the log it was fed.
struct World {
    medium: MemoryDisk,
    machine: Machine,
    layout: Layout,
    effects: Vec<Effect>,
    time_ms: i64,
}

impl World {
    fn new() -> Self {
        let medium = medium();
        let machine = machine(&medium);
        Self { medium, machine, layout: Layout::default(), effects: Vec::new(), time_ms: 1_000 }
    }

    /// With topics of 4 queues.
    fn with_topics(topics: &[&str]) -> Self {
        let mut world = Self::new();
        for topic in topics {
            assert_eq!(world.create_topic(topic, 4), Outcome::Done);
        }
        world.effects.clear();
        world
    }

    fn apply(&mut self, kind: Kind, body: Bytes) -> Result<Reply, MachineError> {
        let entry = self.layout.push(kind, body);
        self.effects.clear();
        self.machine.apply(&entry, &mut self.effects)
    }

    fn send(&mut self, messages: &[Message<'_>]) -> Appended {
        self.time_ms += 1;
        let body = body_of(messages, self.time_ms);
        match self.apply(Kind::Records, body).unwrap() {
            Reply::Appended(appended) => appended,
            other => panic!("{other:?}"),
        }
    }

    fn run(&mut self, commands: Vec<Command>) -> Vec<Outcome> {
        self.time_ms += 1;
        let batch = CommandBatch { time_ms: self.time_ms, commands };
        match self.apply(Kind::Command, batch.encode().unwrap()).unwrap() {
            Reply::Commands(outcomes) => outcomes,
            other => panic!("{other:?}"),
        }
    }

    fn run_one(&mut self, command: Command) -> Outcome {
        self.run(vec![command]).remove(0)
    }

    fn create_topic(&mut self, topic: &str, queues: u32) -> Outcome {
        let config = TopicConfig::new(topic, queues, queues, 6);
        self.run_one(Command::UpdateTopic { config, if_absent: false })
    }

    fn delete_topic(&mut self, topic: &str) -> Outcome {
        self.run_one(Command::DeleteTopic { topic: topic.to_owned() })
    }

    fn commit(&mut self, group: &str, topic: &str, queue: u32, offset: u64) -> Outcome {
        let commits = vec![OffsetCommit::new(group, topic, queue, QueueOffset(offset))];
        self.run_one(Command::CommitOffsets { commits })
    }

    fn flush(&mut self, sync: bool) {
        flush(&mut self.machine, sync);
    }

    fn min_max(&self, topic: &str, queue: u32) -> Option<(u64, u64)> {
        self.machine.queue(topic, queue).map(|view| (view.min_offset().0, view.max_offset().0))
    }
}

fn flush(machine: &mut Machine, sync: bool) {
    if let Some(plan) = machine.plan_flush(false) {
        plan.write(sync).unwrap();
        machine.flushed(plan);
    }
}

/// Topic, queue id, tag.
type Message<'a> = (&'a str, u32, &'a str);

fn body_of(messages: &[Message<'_>], time_ms: i64) -> Bytes {
    let host = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 10_911);
    let mut body = BytesMut::new();
    for (i, (topic, queue_id, tag)) in messages.iter().enumerate() {
        let properties = format!("TAGS\x01{tag}\x02UNIQ_KEY\x01{time_ms}-{i}");
        let draft = Draft {
            queue_id: *queue_id,
            flag: 0,
            sys_flag: 0,
            born_timestamp_ms: time_ms - 1,
            born_host: host,
            store_timestamp_ms: time_ms,
            store_host: host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: b"hello",
            topic,
            properties: properties.as_bytes(),
        };
        draft.encode(&mut body);
    }
    body.freeze()
}

/// Every queue's units from its min on.
fn all_units(machine: &Machine) -> Vec<(String, u32, u64, Vec<Unit>)> {
    let mut all = Vec::new();
    for topic in machine.topics() {
        for queue in 0..topic.queue_count() {
            let view = machine.queue(&topic.topic_name, queue).unwrap();
            let mut units = Vec::new();
            view.read(view.min_offset(), usize::MAX, &mut units).unwrap();
            assert_eq!(units.len() as u64, view.max_offset().0 - view.min_offset().0);
            all.push((topic.topic_name.clone(), queue, view.min_offset().0, units));
        }
    }
    all
}
