//! What a pull finds, takes and answers, over a machine that was fed a log.

use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::Path;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use quorumq_raft::machine::Machine as _;
use quorumq_store::disk::MemoryDisk;
use quorumq_store::frame::{HEADER_LEN, Kind};
use quorumq_store::log_store::Entry;
use quorumq_store::record::{Draft, Record, records};
use quorumq_store::{LogId, LogIndex, PhysicalOffset, StoreError, Term};

use super::*;
use crate::broker::options::BrokerOptions;
use crate::broker::reply::{Collector, ReplyTo};
use crate::broker::subscription::Subscription;
use crate::machine::command::Command as MachineCommand;
use crate::machine::topics::perm;
use crate::machine::{Machine, SubscriptionGroupConfig, TopicConfig};
use crate::protocol::command::Encoding;
use crate::protocol::ext::ExtFields;
use crate::protocol::{code, frame};

const SEGMENT: u64 = 1 << 20;
const TOPIC: &str = "orders";

pub(in crate::broker) fn options() -> BrokerOptions {
    BrokerOptions {
        cluster: "c".to_owned(),
        name: "b".to_owned(),
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        vip: false,
        advertised: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 10911),
        namesrv: Vec::new(),
        register_period: Duration::from_secs(30),
        auto_create_topic: true,
        auto_create_group: true,
        default_topic_queues: 8,
        max_message_size: 4 << 20,
        max_pending_bytes: 64 << 20,
        client_expiry: Duration::from_secs(120),
        max_clock_skew: Duration::from_secs(5),
        retention: crate::broker::retention::RetentionOptions::default(),
        scrub: quorumq_raft::repair::scrub::Scrub::default(),
        index: quorumq_store::index_file::IndexSizes { slots: 64, units: 256 },
        limits: crate::server::Limits::SERVER,
    }
}

/// A machine and the bytes of the log it was fed.
struct World {
    machine: Machine,
    entries: u64,
    log: BytesMut,
}

impl World {
    fn new() -> Self {
        let medium = MemoryDisk::new();
        medium.mount().create_dir_all(Path::new("/store")).unwrap();
        let machine = Machine::new(medium.mount(), Path::new("/store"), SEGMENT).unwrap();
        let mut world = Self { machine, entries: 0, log: BytesMut::new() };
        world.command(topic(2, perm::READ | perm::WRITE));
        world
    }

    fn apply(&mut self, kind: Kind, body: Bytes) {
        let id = LogId { term: Term(1), index: LogIndex(self.entries) };
        let position = PhysicalOffset(self.log.len() as u64);
        self.entries += 1;
        self.log.extend_from_slice(&[0xEE; HEADER_LEN as usize]);
        self.log.extend_from_slice(&body);
        self.machine.apply(&Entry { id, kind, position, body }, &mut Vec::new()).unwrap();
    }

    fn command(&mut self, command: MachineCommand) {
        self.apply(Kind::Command, command.at(1_000).encode().unwrap());
    }

    /// One entry with one message per tag, to queue 0.
    fn send(&mut self, tags: &[&str], body: &[u8]) {
        let mut out = BytesMut::new();
        for tag in tags {
            let properties = format!("TAGS\u{1}{tag}\u{2}");
            let properties = if tag.is_empty() { &[][..] } else { properties.as_bytes() };
            draft(body, properties).encode(&mut out);
        }
        self.apply(Kind::Records, out.freeze());
    }

    fn look(&self, pull: &Pull<u64>) -> Looked {
        look(&self.machine, pull, &options())
    }

    /// Chooses and fetches; every read of the log is noted.
    fn fetch(&self, pull: &Pull<u64>) -> (Fetched, usize) {
        let Looked::Units(read, _) = self.look(pull) else { panic!("no units at {}", pull.offset) };
        let reads = RefCell::new(0);
        let bytes = |at: PhysicalOffset, len: u32| {
            *reads.borrow_mut() += 1;
            let at = at.0 as usize;
            Ok(Bytes::copy_from_slice(&self.log[at..at + len as usize]))
        };
        let fetched = fetch::choose(&read, pull).unwrap().fetch(bytes).unwrap();
        (fetched, reads.into_inner())
    }
}

fn topic(queues: u32, perm: u32) -> MachineCommand {
    MachineCommand::UpdateTopic { config: TopicConfig::new(TOPIC, queues, queues, perm), if_absent: false }
}

fn draft<'a>(body: &'a [u8], properties: &'a [u8]) -> Draft<'a> {
    let host = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 10911);
    Draft {
        queue_id: 0,
        flag: 0,
        sys_flag: 0,
        born_timestamp_ms: 1_000,
        born_host: host,
        store_timestamp_ms: 1_000,
        store_host: host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body,
        topic: TOPIC,
        properties,
    }
}

fn header(queue_id: i32, offset: i64) -> PullMessageRequest<'static> {
    PullMessageRequest {
        consumer_group: "g",
        topic: TOPIC,
        queue_id,
        queue_offset: offset,
        max_msg_nums: 32,
        sys_flag: 0,
        commit_offset: 0,
        suspend_timeout_millis: 0,
        sub_version: 0,
        subscription: None,
        expression_type: None,
        max_msg_bytes: None,
        request_source: None,
        broker_name: None,
    }
}

type Answers = tokio::sync::oneshot::Receiver<Bytes>;

fn pull_of(header: &PullMessageRequest<'_>, expression: &str) -> (Pull<u64>, Answers) {
    let (collector, answers) = Collector::new(1);
    let origin = Origin { client: SocketAddr::from(([127, 0, 0, 1], 5)), reply_to: ReplyTo::Collector(collector) };
    let request = Command::request(Encoding::Binary, code::request::PULL_MESSAGE, ExtFields::default(), Bytes::new());
    let request = Command { opaque: 77, ..request };
    (Pull::new(header, Subscription::parse(expression, 0).unwrap(), &request, &origin), answers)
}

fn pull(queue_id: i32, offset: i64, expression: &str) -> Pull<u64> {
    pull_of(&header(queue_id, offset), expression).0
}

fn answer(mut answers: Answers) -> Command {
    let mut bytes = BytesMut::from(&answers.try_recv().expect("one answer")[..]);
    let answer = frame::decode(&mut bytes).unwrap().unwrap();
    assert!(bytes.is_empty());
    answer
}

fn bodies_and_offsets(body: &[u8]) -> Vec<(String, u64)> {
    let read = records(body).map(|(_, record)| record.unwrap());
    read.map(|r: Record<'_>| (String::from_utf8(r.body().to_vec()).unwrap(), r.queue_offset().0)).collect()
}

#[test]
fn an_offset_is_found_at_the_tail_below_or_above() {
    let mut world = World::new();
    assert!(matches!(
        world.look(&pull(0, 0, "*")),
        Looked::Nothing(Status::NoMessageInQueue, Bounds { min: 0, max: 0 })
    ));
    for offset in [-1, 1, i64::MIN] {
        assert!(matches!(world.look(&pull(0, offset, "*")), Looked::Above(Status::NoMessageInQueueAt, _)), "{offset}");
    }
    world.send(&["", ""], b"x");
    let bounds = Bounds { min: 0, max: 2 };
    assert!(matches!(world.look(&pull(0, 1, "*")), Looked::Units(read, b) if read.len() == 1 && b == bounds));
    assert!(matches!(world.look(&pull(0, 2, "*")), Looked::Nothing(Status::OffsetOverflowOne, b) if b == bounds));
    assert!(matches!(world.look(&pull(0, 3, "*")), Looked::Above(Status::OffsetOverflowBadly, b) if b == bounds));
    assert!(matches!(world.look(&pull(0, -1, "*")), Looked::Below(b) if b == bounds));
    assert!(matches!(world.look(&pull(1, 0, "*")), Looked::Nothing(Status::NoMessageInQueue, _)), "another queue");
}

#[test]
fn offsets_that_were_purged_are_below_the_min() {
    let mut world = World::new();
    world.send(&[""; 3], b"old");
    world.log.resize(SEGMENT as usize, 0);
    world.send(&[""], b"new");
    world.command(MachineCommand::PurgeTo { segment: SEGMENT });
    let bounds = Bounds { min: 3, max: 4 };
    assert!(matches!(world.look(&pull(0, 2, "*")), Looked::Below(b) if b == bounds));
    let (fetched, _) = world.fetch(&pull(0, 3, "*"));
    assert_eq!(fetched.next, 4);
}

#[test]
fn what_may_not_be_pulled_is_refused_with_rocketmqs_code() {
    let mut world = World::new();
    let refused = |world: &World, asked: (&str, &str, i32), options: &BrokerOptions| {
        look::check(&world.machine, asked, options).expect_err("refused")
    };
    let on = options();
    let off = BrokerOptions { auto_create_group: false, ..options() };
    assert_eq!(refused(&world, ("g", "nothing", 0), &on).code, response::TOPIC_NOT_EXIST);
    let illegal = refused(&world, ("g", TOPIC, 2), &on);
    assert_eq!(illegal.code, response::SYSTEM_ERROR);
    assert_eq!(illegal.remark, "queueId[2] is illegal, topic:[orders] topicConfig.readQueueNums:[2] consumer:[g]");
    assert_eq!(refused(&world, ("g", TOPIC, -1), &on).code, response::SYSTEM_ERROR);
    assert_eq!(refused(&world, ("g", TOPIC, 0), &off).code, response::SUBSCRIPTION_GROUP_NOT_EXIST);
    assert!(look::check(&world.machine, ("TOOLS_CONSUMER", TOPIC, 0), &off).is_ok());
    let config = SubscriptionGroupConfig { consume_enable: false, ..SubscriptionGroupConfig::new("g") };
    world.command(MachineCommand::UpdateGroup { config, if_absent: false });
    assert_eq!(refused(&world, ("g", TOPIC, 0), &on).code, response::NO_PERMISSION);
    world.command(topic(2, perm::WRITE));
    assert_eq!(refused(&world, ("h", TOPIC, 0), &on).code, response::NO_PERMISSION);
    assert!(matches!(world.look(&pull(0, 0, "*")), Looked::Refused(_)), "a held pull is checked again");
}

#[test]
fn only_wanted_tags_are_taken_and_the_next_offset_passes_over_the_others() {
    let mut world = World::new();
    world.send(&["a", "b", "", "a", "b"], b"x");
    let (fetched, _) = world.fetch(&pull(0, 0, "a"));
    let mut out = BytesMut::new();
    fetched.copy_into(&mut out);
    assert_eq!(bodies_and_offsets(&out), [("x".to_owned(), 0), ("x".to_owned(), 3)]);
    assert_eq!(fetched.next, 5);
    let (none, reads) = world.fetch(&pull(0, 1, "c || d"));
    assert!(none.is_empty());
    assert_eq!((none.next, reads), (5, 0));
    let (both, _) = world.fetch(&pull(0, 0, "a||b"));
    assert_eq!(both.next, 5);
}

#[test]
fn an_answer_keeps_to_the_asked_number_of_messages_and_bytes_but_holds_one_at_least() {
    let mut world = World::new();
    world.send(&["a", "b", "a", "b", "a"], &[b'x'; 1000]);
    let taken = |header: PullMessageRequest<'_>, expression: &str| {
        let (fetched, _) = world.fetch(&pull_of(&header, expression).0);
        (bodies_and_offsets(&copied(&fetched)).len(), fetched.next)
    };
    let at_0 = header(0, 0);
    assert_eq!(taken(PullMessageRequest { max_msg_nums: 2, ..at_0 }, "*"), (2, 2));
    // Full, but what the filter takes out behind it need not be looked at again.
    assert_eq!(taken(PullMessageRequest { max_msg_nums: 2, ..at_0 }, "a"), (2, 4));
    for useless in [0, -5] {
        assert_eq!(taken(PullMessageRequest { max_msg_nums: useless, ..at_0 }, "*"), (1, 1));
    }
    assert_eq!(taken(PullMessageRequest { max_msg_bytes: Some(2500), ..at_0 }, "*"), (2, 2));
    assert_eq!(taken(PullMessageRequest { max_msg_bytes: Some(1), ..at_0 }, "*"), (1, 1));
    assert_eq!(taken(PullMessageRequest { max_msg_bytes: Some(-1), ..at_0 }, "*"), (5, 5));
    assert_eq!(taken(PullMessageRequest { max_msg_nums: i32::MAX, ..at_0 }, "*"), (5, 5));
    let mut large = World::new();
    (0..4).for_each(|_| large.send(&[""], &[b'x'; 100 * 1024]));
    let (fetched, _) = large.fetch(&pull(0, 0, "*"));
    assert_eq!(fetched.next, 2, "256 KiB an answer");
}

fn copied(fetched: &Fetched) -> BytesMut {
    let mut out = BytesMut::new();
    fetched.copy_into(&mut out);
    assert_eq!(out.len(), fetched.len());
    out
}

#[test]
fn records_side_by_side_are_read_at_once_and_get_their_offsets_in_the_answer_only() {
    let mut world = World::new();
    world.send(&["a", "a"], b"first");
    world.send(&["a", "b", "a"], b"second");
    let (all, reads) = world.fetch(&pull(0, 0, "*"));
    assert_eq!((all.next, reads), (5, 2), "one read an entry");
    let (some, reads) = world.fetch(&pull(0, 0, "a"));
    assert_eq!((some.next, reads), (5, 3));
    let log = world.log.clone();
    let out = copied(&some);
    for (_, record) in records(&out) {
        let record = record.unwrap();
        let at = record.physical_offset().0 as usize;
        let stored = Record::parse(&log[at..]).unwrap();
        assert_eq!(stored.body(), record.body());
        assert_eq!((stored.queue_offset().0, stored.physical_offset().0), (0, 0));
    }
    let offsets: Vec<_> = bodies_and_offsets(&out).into_iter().map(|(_, offset)| offset).collect();
    assert_eq!(offsets, [0, 1, 2, 4]);
}

#[test]
fn a_unit_that_points_at_no_record_is_an_error_not_a_message() {
    let mut world = World::new();
    world.send(&["a", "a"], b"x");
    let Looked::Units(read, _) = world.look(&pull(0, 0, "*")) else { panic!("no units") };
    for (at, len) in [(0, 4), (4, 4), (0, 0)] {
        let chosen = fetch::choose(&read, &pull(0, 0, "*")).unwrap();
        let log = &world.log;
        let damaged = |position: PhysicalOffset, size: u32| {
            let start = position.0 as usize;
            let mut bytes = BytesMut::from(&log[start..start + size as usize]);
            bytes[at..at + len].fill(0xFF);
            if len == 0 {
                bytes.truncate(50);
            }
            Ok(bytes.freeze())
        };
        assert!(matches!(chosen.fetch(damaged), Err(StoreError::Corrupt { .. })), "{at} {len}");
    }
}

#[test]
fn a_record_with_a_flipped_bit_in_its_body_is_named_and_not_handed_out() {
    let mut world = World::new();
    world.send(&["a", "b"], b"sound");
    let second = world.log.windows(5).rposition(|bytes| bytes == b"sound").unwrap();
    world.log[second + 2] ^= 1;
    let wanted = pull(0, 0, "*");
    let Looked::Units(read, _) = world.look(&wanted) else { panic!("no units") };
    let bytes = |at: PhysicalOffset, len: u32| Ok(Bytes::copy_from_slice(&world.log[at.0 as usize..][..len as usize]));
    let fetched = fetch::choose(&read, &wanted).unwrap().fetch(bytes);
    let Err(StoreError::Corrupt { offset, .. }) = fetched else { panic!("handed out") };
    assert_eq!(offset, second as u64 - 88, "where its record starts");
}

#[test]
fn an_answer_has_rocketmqs_fields_and_remark() {
    let mut world = World::new();
    world.send(&["", ""], b"x");
    let (found, answers) = pull_of(&header(0, 0), "*");
    let (fetched, _) = world.fetch(&found);
    found.found(&fetched, Bounds { min: 0, max: 2 });
    let answered = answer(answers);
    assert_eq!((answered.code, answered.opaque, answered.remark.as_deref()), (0, 77, Some("FOUND")));
    let fields: Vec<_> = answered.ext.iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    let expected = [("suggestWhichBrokerId", "0"), ("nextBeginOffset", "2"), ("minOffset", "0"), ("maxOffset", "2")];
    assert_eq!(fields, expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
    assert_eq!(bodies_and_offsets(&answered.body).len(), 2);

    let (none, answers) = pull_of(&header(0, 2), "*");
    none.answer(Status::OffsetOverflowOne, 2, Bounds { min: 0, max: 2 });
    let answered = answer(answers);
    assert_eq!((answered.code, answered.remark.as_deref()), (19, Some("OFFSET_OVERFLOW_ONE")));
    assert_eq!(answered.ext.len(), 4);
    assert!(answered.body.is_empty());
}

#[test]
fn a_large_answer_arrives_whole() {
    let mut world = World::new();
    (0..3).for_each(|i| world.send(&[""], &[b'a' + i; 60 * 1024]));
    let (found, answers) = pull_of(&header(0, 0), "*");
    let (fetched, _) = world.fetch(&found);
    found.found(&fetched, Bounds { min: 0, max: 3 });
    let answered = answer(answers);
    let offsets: Vec<_> = bodies_and_offsets(&answered.body).into_iter().map(|(_, offset)| offset).collect();
    assert_eq!(offsets, [0, 1, 2]);
}

#[test]
fn statuses_have_the_codes_of_rocketmq() {
    let codes = [
        (Status::Found, 0, "FOUND"),
        (Status::NoMatchedMessage, 20, "NO_MATCHED_MESSAGE"),
        (Status::OffsetTooSmall, 21, "OFFSET_TOO_SMALL"),
        (Status::OffsetOverflowOne, 19, "OFFSET_OVERFLOW_ONE"),
        (Status::OffsetOverflowBadly, 21, "OFFSET_OVERFLOW_BADLY"),
        (Status::NoMessageInQueue, 19, "NO_MESSAGE_IN_QUEUE"),
        (Status::NoMessageInQueueAt, 21, "NO_MESSAGE_IN_QUEUE"),
    ];
    for (status, code, name) in codes {
        assert_eq!((status.code(), status.name()), (code, name));
    }
}

#[test]
fn a_hold_is_as_long_as_the_client_asks_up_to_a_minute() {
    assert_eq!(request::hold_time(15_000), Some(Duration::from_secs(15)));
    assert_eq!(request::hold_time(i64::MAX), Some(Duration::from_secs(60)));
    assert_eq!((request::hold_time(0), request::hold_time(-1)), (None, None));
}

/// A pull to be held in tests of the holds: of `topic`, queue and offset, over `reply_to`.
pub(in crate::broker) fn held(topic: &str, queue_id: i32, reply_to: ReplyTo, until: u64) -> BoxedPull<u64> {
    let (mut pull, _) = pull_of(&header(queue_id, 0), "*");
    pull.topic = Arc::from(topic);
    pull.reply_to = reply_to;
    pull.until = Some(until);
    Box::new(pull)
}
