//! The frames a stock Java client, NameServer and brokers exchanged (Apache RocketMQ 4.9.8, both header encodings).
#![cfg(test)]

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use quorumq::protocol::body::cluster::ClusterInfo;
use quorumq::protocol::body::consumer::{ConsumerOffsetTable, GetConsumerListByGroupResponseBody};
use quorumq::protocol::body::heartbeat::HeartbeatData;
use quorumq::protocol::body::registration::RegisterBrokerBody;
use quorumq::protocol::body::route::TopicRouteData;
use quorumq::protocol::body::subscription::SubscriptionGroupWrapper;
use quorumq::protocol::body::table::KvTable;
use quorumq::protocol::body::topic::TopicConfigSerializeWrapper;
use quorumq::protocol::command::{Command, Encoding};
use quorumq::protocol::ext::ExtFields;
use quorumq::protocol::header::consumer::{
    ConsumerGroupRequest, GetAllSubscriptionGroupRequest, UnregisterClientRequest,
};
use quorumq::protocol::header::offset::{OffsetResponse, QueryConsumerOffsetRequest, UpdateConsumerOffsetRequest};
use quorumq::protocol::header::pull::{PullMessageRequest, PullMessageResponse};
use quorumq::protocol::header::registration::{RegisterBrokerRequest, RegisterBrokerResponse};
use quorumq::protocol::header::send::{
    ConsumerSendMsgBackRequest, EndTransactionRequest, SendMessageRequest, SendMessageResponse,
};
use quorumq::protocol::header::topic::{CreateTopicRequest, GetAllTopicConfigRequest, GetRouteInfoRequest};
use quorumq::protocol::{batch, body, code::request, frame, properties};
use serde_json::Value;

const GOLDEN: &str = include_str!("fixtures/golden-frames.jsonl");

/// One captured frame.
struct Golden {
    line: usize,
    bytes: Vec<u8>,
    /// For a response: the code of the request it answers.
    responds_to: Option<i32>,
    complete: bool,
}

fn golden() -> Vec<Golden> {
    let mut frames = Vec::new();
    for (index, text) in GOLDEN.lines().enumerate() {
        let captured: Value = serde_json::from_str(text).expect("the fixture is JSON lines");
        // The capture ends a frame it has cut with two dots.
        let hex = captured["hex"].as_str().expect("every frame has its bytes").trim_end_matches('.');
        let bytes: Vec<u8> =
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex digits")).collect();
        let length = u32::from_be_bytes(*bytes.first_chunk().expect("a length field")) as usize;
        frames.push(Golden {
            line: index + 1,
            complete: bytes.len() == 4 + length,
            responds_to: captured["respTo"].as_i64().map(|code| code as i32),
            bytes,
        });
    }
    frames
}

fn decode(golden: &Golden) -> Command {
    let mut buf = BytesMut::from(&golden.bytes[..]);
    let command = frame::decode(&mut buf)
        .unwrap_or_else(|error| panic!("line {}: {error}", golden.line))
        .unwrap_or_else(|| panic!("line {}: not a whole frame", golden.line));
    assert!(buf.is_empty(), "line {}: {} bytes left over", golden.line, buf.len());
    command
}

fn header(frame: &[u8]) -> &[u8] {
    let mark = u32::from_be_bytes(*frame[4..].first_chunk().expect("a header length"));
    &frame[8..8 + (mark & 0xFF_FFFF) as usize]
}

/// A JSON header as a value. Apache leaves `extFields` out or writes `{}`; we always write it, so both mean the same.
fn header_value(frame: &[u8]) -> Value {
    let mut value: Value = serde_json::from_slice(header(frame)).expect("a JSON header");
    let fields = value.as_object_mut().expect("a header object");
    fields.entry("extFields").or_insert_with(|| Value::Object(serde_json::Map::new()));
    value
}

#[test]
fn every_complete_frame_decodes_and_every_binary_header_encodes_to_the_same_bytes() {
    let (mut json, mut binary, mut cut) = (0, 0, 0);
    for golden in golden() {
        if !golden.complete {
            // The capture kept 512 bytes of the three longest answers to GET_BROKER_CONFIG (26).
            assert_eq!(golden.responds_to, Some(26), "line {}", golden.line);
            let mut buf = BytesMut::from(&golden.bytes[..]);
            assert_eq!(frame::decode(&mut buf), Ok(None));
            cut += 1;
            continue;
        }
        let command = decode(&golden);
        let mut again = BytesMut::new();
        frame::encode(&command, &mut again);
        match command.encoding {
            Encoding::Binary => {
                assert_eq!(&again[..], &golden.bytes[..], "line {}", golden.line);
                binary += 1;
            }
            Encoding::Json => {
                assert_eq!(header_value(&again), header_value(&golden.bytes), "line {}", golden.line);
                assert!(golden.bytes.ends_with(&command.body), "line {}", golden.line);
                json += 1;
            }
        }
    }
    assert_eq!((json, binary, cut), (743, 130, 3));
}

/// The answers and requests of DLedger's own ports: VOTE 51001, HEART_BEAT 51002, PUSH 51004. They are its peer
/// protocol, which this broker replaces by its own; only their frames are ours to read.
const DLEDGER: std::ops::RangeInclusive<i32> = 51_001..=51_006;

/// Requests without ext fields, and those of codes that belong to later work: 26 and 28 read a broker's settings, 43 and
/// 45 copy tables to followers.
const NO_EXT_FIELDS: [i32; 6] = [
    request::HEART_BEAT,
    request::GET_BROKER_CLUSTER_INFO,
    request::GET_BROKER_CONFIG,
    request::GET_BROKER_RUNTIME_INFO,
    request::GET_ALL_CONSUMER_OFFSET,
    request::GET_ALL_DELAY_OFFSET,
];

/// What a typed header makes of a request.
fn typed_request(command: &Command) -> ExtFields {
    macro_rules! fields {
        ($header:ident) => {
            $header::decode(command).map(|header| header.encode())
        };
    }
    let typed = match command.code {
        request::SEND_MESSAGE_V2 | request::SEND_BATCH_MESSAGE => {
            SendMessageRequest::decode(command).map(|send| send.encode(command.code))
        }
        request::PULL_MESSAGE => fields!(PullMessageRequest),
        request::QUERY_CONSUMER_OFFSET => fields!(QueryConsumerOffsetRequest),
        request::UPDATE_CONSUMER_OFFSET => fields!(UpdateConsumerOffsetRequest),
        request::UPDATE_AND_CREATE_TOPIC => fields!(CreateTopicRequest),
        request::GET_ALL_TOPIC_CONFIG => fields!(GetAllTopicConfigRequest),
        request::UNREGISTER_CLIENT => fields!(UnregisterClientRequest),
        request::CONSUMER_SEND_MSG_BACK => fields!(ConsumerSendMsgBackRequest),
        request::END_TRANSACTION => fields!(EndTransactionRequest),
        request::GET_CONSUMER_LIST_BY_GROUP | request::NOTIFY_CONSUMER_IDS_CHANGED => fields!(ConsumerGroupRequest),
        request::REGISTER_BROKER => fields!(RegisterBrokerRequest),
        request::GET_ROUTEINFO_BY_TOPIC => fields!(GetRouteInfoRequest),
        request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG => fields!(GetAllSubscriptionGroupRequest),
        code if NO_EXT_FIELDS.contains(&code) => Ok(ExtFields::default()),
        code => panic!("no typed header for code {code}"),
    };
    typed.unwrap_or_else(|error| panic!("{error}: {command:?}"))
}

/// What a typed header makes of an answer.
fn typed_response(command: &Command, responds_to: i32) -> ExtFields {
    let typed = match responds_to {
        request::SEND_MESSAGE_V2 | request::SEND_BATCH_MESSAGE => {
            SendMessageResponse::decode(command).map(|header| header.encode())
        }
        request::PULL_MESSAGE if !command.ext.is_empty() => {
            PullMessageResponse::decode(command).map(|header| header.encode())
        }
        request::QUERY_CONSUMER_OFFSET => OffsetResponse::decode(command).map(|header| header.encode()),
        request::REGISTER_BROKER => RegisterBrokerResponse::decode(command).map(|header| header.encode()),
        _ => Ok(ExtFields::default()),
    };
    typed.unwrap_or_else(|error| panic!("{error}: {command:?}"))
}

/// Ext fields without those of ACL, which every header skips.
fn fields(ext: &ExtFields) -> BTreeMap<String, String> {
    let own = ext.iter().filter(|(key, _)| !matches!(*key, "AccessKey" | "Signature"));
    own.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

#[test]
fn typed_headers_hold_every_ext_field_of_the_frames_and_add_none() {
    let mut checked = 0;
    for golden in golden().iter().filter(|golden| golden.complete) {
        let command = decode(golden);
        if DLEDGER.contains(&golden.responds_to.unwrap_or(command.code)) {
            continue;
        }
        let typed = match golden.responds_to {
            None => typed_request(&command),
            Some(code) => typed_response(&command, code),
        };
        assert_eq!(fields(&typed), fields(&command.ext), "line {}", golden.line);
        checked += 1;
    }
    assert_eq!(checked, 443);
}

/// A body as a value, whatever dialect it is in.
fn body_value(bytes: &[u8]) -> Value {
    body::decode(bytes).expect("a JSON body")
}

/// Whether `ours` holds all that `theirs` does.
fn covers(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            theirs.iter().all(|(key, value)| ours.get(key).is_some_and(|own| covers(own, value)))
        }
        (Value::Array(ours), Value::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(own, value)| covers(own, value))
        }
        _ => ours == theirs,
    }
}

/// What a typed body makes of a frame's, `None` where the body is no typed one.
fn typed_body(command: &Command, responds_to: Option<i32>) -> Option<Result<Bytes, body::BodyError>> {
    macro_rules! again {
        ($body:ty) => {
            Some(body::decode::<$body>(&command.body).map(|body| body::encode_fastjson(&body)))
        };
    }
    if command.body.is_empty() {
        return None;
    }
    match (responds_to, command.code) {
        (None, request::HEART_BEAT) => again!(HeartbeatData),
        (None, request::REGISTER_BROKER) => {
            let header = RegisterBrokerRequest::decode(command).expect("a registration's header");
            let compressed = header.compressed == Some(true);
            Some(RegisterBrokerBody::decode(&command.body, compressed, header.body_crc32).map(|body| body.encode()))
        }
        (Some(request::GET_ROUTEINFO_BY_TOPIC), _) => again!(TopicRouteData),
        (Some(request::GET_BROKER_CLUSTER_INFO), _) => again!(ClusterInfo),
        (Some(request::GET_CONSUMER_LIST_BY_GROUP), _) => again!(GetConsumerListByGroupResponseBody),
        (Some(request::GET_ALL_TOPIC_CONFIG), _) => again!(TopicConfigSerializeWrapper),
        (Some(request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG), _) => again!(SubscriptionGroupWrapper),
        (Some(request::GET_ALL_CONSUMER_OFFSET), _) => again!(ConsumerOffsetTable),
        (Some(request::GET_BROKER_RUNTIME_INFO), _) => again!(KvTable),
        _ => None,
    }
}

#[test]
fn typed_bodies_hold_everything_the_frames_say() {
    let mut checked = BTreeMap::new();
    for golden in golden().iter().filter(|golden| golden.complete) {
        let command = decode(golden);
        let Some(typed) = typed_body(&command, golden.responds_to) else {
            continue;
        };
        let typed = typed.unwrap_or_else(|error| panic!("line {}: {error}", golden.line));
        let (ours, theirs) = (body_value(&typed), body_value(&command.body));
        assert!(covers(&ours, &theirs), "line {}: {ours} lacks something of {theirs}", golden.line);
        *checked.entry(golden.responds_to.unwrap_or(command.code)).or_insert(0) += 1;
    }
    let expected = [(21, 14), (28, 3), (34, 25), (38, 8), (43, 14), (103, 23), (105, 21), (106, 1), (201, 14)];
    assert_eq!(checked, BTreeMap::from(expected));
}

#[test]
fn a_compressed_registration_says_the_same_about_queues() {
    let golden =
        golden().into_iter().find(|golden| golden.bytes.windows(18).any(|text| text == b"topicConfigTable\":"));
    let command = decode(&golden.expect("a registration"));
    let plain = RegisterBrokerBody::decode(&command.body, false, None).expect("a registration");
    let deflated = plain.encode_compressed();
    assert!(deflated.len() * 2 < command.body.len());
    assert_eq!(RegisterBrokerBody::decode(&deflated, true, None), Ok(plain));
}

#[test]
fn the_batches_of_the_stock_client_are_read_and_written_to_the_same_bytes() {
    let mut keys = Vec::new();
    for golden in golden().iter().filter(|golden| golden.complete) {
        let command = decode(golden);
        if golden.responds_to.is_some() || command.code != request::SEND_BATCH_MESSAGE {
            continue;
        }
        let mut again = Vec::new();
        for message in batch::messages(&command.body) {
            let message = message.expect("a message of the batch");
            keys.push(properties::get(message.properties, properties::name::KEYS).map(str::to_owned));
            batch::append(&message, &mut again);
        }
        assert_eq!(again, command.body);
    }
    assert_eq!(keys, ["k2", "k3", "k2", "k3"].map(|key| Some(key.to_owned())));
}
