//! Our answer held against Apache's.

use std::collections::BTreeMap;

use quorumq::protocol::body::subscription::SubscriptionGroupWrapper;
use quorumq::protocol::body::table::KvTable;
use quorumq::protocol::body::topic::TopicConfigSerializeWrapper;
use quorumq::protocol::code::request;
use quorumq::protocol::command::{Command, VERSION};
use quorumq::protocol::message_id::OffsetMsgId;
use quorumq::protocol::{body, properties};
use quorumq_store::record::{Record, records};

use crate::capture::Frame;

/// Apache's topics of features that this version does not have.
const NO_SUCH_TOPICS: [&str; 2] = ["SCHEDULE_TOPIC_XXXX", "RMQ_SYS_TRANS_HALF_TOPIC"];
/// Apache's groups of features that this version does not have.
const NO_SUCH_GROUPS: [&str; 1] = ["CID_RMQ_SYS_TRANS"];

/// Panics where our answer to `asked` says something else than the captured one.
pub fn same(asked: &Frame, ours: &Command, captured: &Frame) {
    let line = captured.line;
    let theirs = &captured.command;
    assert_eq!((ours.code, &ours.remark), (theirs.code, &theirs.remark), "line {line}: {ours:?}");
    assert_eq!((ours.flag, ours.version), (theirs.flag, VERSION), "line {line}");
    // Apache answers a binary pull that it has held in JSON; ours answers in the encoding it was asked in.
    assert_eq!(ours.encoding, asked.command.encoding, "line {line}");
    assert_eq!(fields(ours), fields(theirs), "line {line}");
    match asked.command.code {
        request::PULL_MESSAGE => same_messages(line, ours, theirs),
        request::GET_ALL_TOPIC_CONFIG => same_topics(line, ours, theirs),
        request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG => same_groups(line, ours, theirs),
        request::GET_BROKER_RUNTIME_INFO => {
            let ours: KvTable = body::decode(&ours.body).expect("a table");
            assert!(!ours.table.is_empty(), "line {line}");
        }
        _ => assert_eq!(ours.body, theirs.body, "line {line}"),
    }
}

/// Ext fields with their values, but for the msgId's, which holds the broker's address: it is checked, and counted.
fn fields(command: &Command) -> BTreeMap<String, String> {
    let field = |(key, value): (&str, &str)| match key {
        "msgId" => {
            let ids: Vec<_> = value.split(',').collect();
            assert!(ids.iter().all(|id| OffsetMsgId::parse(id).is_some()), "{value} is a list of offsetMsgIds");
            (key.to_owned(), format!("{} ids", ids.len()))
        }
        _ => (key.to_owned(), value.to_owned()),
    };
    command.ext.iter().map(field).collect()
}

/// The messages of a pull's answer.
pub fn messages(answer: &Command) -> Vec<Record<'_>> {
    records(&answer.body).map(|(_, record)| record.expect("a record")).collect()
}

/// Apache stored it in a way of its own: delayed, as a retry, or at the end of a transaction.
pub fn is_of_another_way(record: &Record<'_>) -> bool {
    record.property("REAL_TOPIC").is_some()
}

fn same_messages(line: usize, ours: &Command, theirs: &Command) {
    let (ours, theirs) = (messages(ours), messages(theirs));
    assert_eq!(ours.len(), theirs.len(), "line {line}");
    for (ours, theirs) in ours.iter().zip(&theirs) {
        let place = |record: &Record<'_>| (record.topic().to_owned(), record.queue_id(), record.queue_offset());
        assert_eq!(place(ours), place(theirs), "line {line}");
        assert_eq!(ours.body(), theirs.body(), "line {line}");
        assert!(ours.body_crc_matches(), "line {line}");
        if is_of_another_way(theirs) {
            continue;
        }
        let seen = |record: &Record<'_>| {
            let numbers = (record.flag(), record.sys_flag(), record.reconsume_times(), record.body_crc(), record.len());
            // Apache puts the CLUSTER it adds where Java's hash map has it, ours at the end.
            let text = std::str::from_utf8(record.properties()).expect("UTF-8");
            let properties: BTreeMap<_, _> =
                properties::iter(text).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            (numbers, record.prepared_transaction_offset(), record.born_timestamp_ms(), properties)
        };
        assert_eq!(seen(ours), seen(theirs), "line {line}");
    }
}

fn same_topics(line: usize, ours: &Command, theirs: &Command) {
    let table = |command: &Command| {
        body::decode::<TopicConfigSerializeWrapper>(&command.body).expect("topics").topic_config_table
    };
    let (ours, mut theirs) = (table(ours), table(theirs));
    theirs.retain(|topic, _| !NO_SUCH_TOPICS.contains(&topic.as_str()));
    assert_eq!(ours, theirs, "line {line}");
}

fn same_groups(line: usize, ours: &Command, theirs: &Command) {
    let table = |command: &Command| {
        body::decode::<SubscriptionGroupWrapper>(&command.body).expect("groups").subscription_group_table
    };
    let (ours, mut theirs) = (table(ours), table(theirs));
    theirs.retain(|group, _| !NO_SUCH_GROUPS.contains(&group.as_str()));
    assert_eq!(ours, theirs, "line {line}");
}

/// Properties as a client that sends the message plainly would set them.
pub fn plain_properties(record: &Record<'_>) -> String {
    const STORED: [&str; 7] = ["DELAY", "REAL_TOPIC", "REAL_QID", "TRAN_MSG", "PGROUP", "CLUSTER", "WAIT"];
    let all = std::str::from_utf8(record.properties()).expect("UTF-8");
    properties::join(properties::iter(all).filter(|(name, _)| !STORED.contains(name)))
}
