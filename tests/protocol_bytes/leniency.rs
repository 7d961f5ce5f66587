//! What real clients send that no specification promises (clients.md, section 3).

use std::collections::BTreeMap;

use bytes::BytesMut;
use quorumq::protocol::command::Command;
use quorumq::protocol::header::HeaderError;
use quorumq::protocol::header::pull::PullMessageRequest;
use quorumq::protocol::header::send::{ConsumerSendMsgBackRequest, SendMessageRequest};
use quorumq::protocol::header::topic::GetRouteInfoRequest;
use quorumq::protocol::{frame, language};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

use crate::hand::{bytes, json_frame};

fn decode(bytes: &[u8]) -> Command {
    frame::decode(&mut BytesMut::from(bytes)).expect("a frame").expect("a whole frame")
}

fn json(header: &str) -> Command {
    decode(&json_frame(header, b""))
}

#[test]
fn a_header_without_remark_serialize_type_and_ext_fields() {
    let command = json(r#"{"code":34,"language":"OTHER","version":121,"opaque":5,"flag":0}"#);
    assert_eq!((command.code, command.version, command.opaque, command.flag), (34, 121, 5, 0));
    assert_eq!((command.remark, command.ext.len()), (None, 0));
    let command = json("{\"code\":34} \n");
    assert_eq!((command.opaque, command.language), (0, language::OTHER));
}

#[test]
fn ext_values_that_are_numbers_and_booleans() {
    let command = json(
        r#"{"code":310,"opaque":1,"flag":0,"version":121,"language":"OTHER","extFields":
        {"a":"pg","b":"t","c":"TBW102","d":4,"e":0,"f":0,"g":1795147487720,"h":-7,"i":"TAGS\u0001null\u0002","j":0,"k":false,
        "unknown":1.5,"big":18446744073709551615}}"#,
    );
    let send = SendMessageRequest::decode(&command).expect("a send of ali-ons");
    assert_eq!((send.queue_id, send.born_timestamp, send.flag), (0, 1_795_147_487_720, -7));
    assert_eq!((send.unit_mode, send.batch), (Some(false), None));
    assert_eq!(send.properties, Some("TAGS\x01null\x02"));
    assert_eq!((command.ext.get("unknown"), command.ext.get("big")), (Some("1.5"), Some("18446744073709551615")));
}

#[test]
fn booleans_that_are_digits() {
    let command =
        json(r#"{"code":36,"opaque":1,"extFields":{"offset":"48","group":"g","delayLevel":"3","unitMode":"0"}}"#);
    let send_back = ConsumerSendMsgBackRequest::decode(&command).expect("a send-back of the C++ client");
    assert_eq!((send_back.offset, send_back.delay_level, send_back.unit_mode), (48, 3, Some(false)));
    assert_eq!(send_back.max_reconsume_times, None);
}

#[test]
fn nulls_count_as_missing_and_unknown_keys_are_skipped() {
    let command = json(
        r#"{"code":105,"remark":null,"language":null,"trace":{"deep":[1,{"x":null}]},"extFields":
        {"topic":"t","acceptStandardJsonOnly":null,"AccessKey":"","Signature":"x","OnsChannel":"ALIYUN"}}"#,
    );
    assert_eq!(command.remark, None);
    let route = GetRouteInfoRequest { topic: "t", accept_standard_json_only: None };
    assert_eq!(GetRouteInfoRequest::decode(&command), Ok(route));
    assert_eq!(json(r#"{"code":106,"extFields":null}"#).ext.len(), 0);
}

#[test]
fn languages_by_name_by_ordinal_and_unknown() {
    for (text, expected) in [
        (r#""JAVA""#, language::JAVA),
        (r#""RUST""#, language::RUST),
        (r#""NODE_JS""#, 13),
        (r#""KLINGON""#, language::OTHER),
        ("9", 9),
        ("900", language::OTHER),
    ] {
        assert_eq!(json(&format!(r#"{{"code":1,"language":{text}}}"#)).language, expected, "{text}");
    }
}

#[test]
fn escaped_text_in_keys_and_values() {
    let command =
        json(r#"{"code":105,"rem\u0061rk":"\ud83d\ude00","extFields":{"t\u006fpic":"a\/b\"\\\n","plain":"ä😀"}}"#);
    assert_eq!(command.remark.as_deref(), Some("😀"));
    assert_eq!(command.ext.get("topic"), Some("a/b\"\\\n"));
    assert_eq!(command.ext.get("plain"), Some("ä😀"));
    let halves = json(r#"{"code":105,"remark":"\ud83d \ude00\ud83dx\ud83d\n"}"#);
    assert_eq!(halves.remark.as_deref(), Some("\u{fffd} \u{fffd}\u{fffd}x\u{fffd}\n"));
}

#[test]
fn the_last_of_two_equal_keys_counts_as_in_a_java_map() {
    let command = json(r#"{"code":105,"extFields":{"topic":"first","topic":"last"}}"#);
    assert_eq!(command.ext.get("topic"), Some("last"));
    assert_eq!(GetRouteInfoRequest::decode(&command).map(|route| route.topic), Ok("last"));
}

#[test]
fn a_binary_header_with_bytes_after_its_ext_fields() {
    let command = decode(&bytes(
        "00000028 01000024 0069 0c 003f 00000007 00000000 00000000 0000000c 0005 'topic' 00000001 't' ffffff",
    ));
    assert_eq!(GetRouteInfoRequest::decode(&command).map(|route| route.topic), Ok("t"));
}

#[test]
fn a_missing_required_field_is_named_with_its_code() {
    let command = json(r#"{"code":310,"extFields":{"a":"pg","c":"TBW102","topic":"a long name in a V2 header"}}"#);
    let error = SendMessageRequest::decode(&command).expect_err("no topic");
    assert_eq!(error, HeaderError::Missing { code: 310, field: "topic" });
    assert_eq!(error.to_string(), "code 310 lacks the field topic");
    let error = PullMessageRequest::decode(&command).expect_err("no pull");
    assert_eq!(error, HeaderError::Missing { code: 310, field: "consumerGroup" });
}

#[test]
fn a_value_of_the_wrong_type_is_named_with_its_field() {
    let command = json(
        r#"{"code":10,"extFields":{"producerGroup":"pg","topic":"t","defaultTopic":"d","defaultTopicQueueNums":"4",
        "queueId":"one","sysFlag":"0","bornTimestamp":"1","flag":"0"}}"#,
    );
    let error = SendMessageRequest::decode(&command).expect_err("no number");
    assert_eq!(error.to_string(), r#"field queueId of code 10 is "one", which is not a 32-bit integer"#);
    let long = json(&format!(r#"{{"code":33,"extFields":{{"offset":"{}"}}}}"#, "9".repeat(1000)));
    let error = quorumq::protocol::header::offset::ViewMessageRequest::decode(&long).expect_err("too long");
    assert!(error.to_string().len() < 150, "{error}");
}

/// A string of everything that is escaped, or easily taken apart wrongly.
fn random_text(random: &mut SmallRng) -> String {
    const PIECES: [&str; 16] = [
        "", "a", "topic", "\"", "\\", "/", "\n", "\x01", "\x02", "\u{7f}", "ä", "€", "😀", "{,:}", "\u{2028}",
        "\\u0041",
    ];
    (0..random.random_range(0..6)).map(|_| PIECES[random.random_range(0..PIECES.len())]).collect()
}

#[test]
fn headers_written_by_another_json_library_say_the_same() {
    let mut random = SmallRng::seed_from_u64(20_261_120);
    for _ in 0..2_000 {
        let mut ext = serde_json::Map::new();
        let mut expected = BTreeMap::new();
        for _ in 0..random.random_range(0..8) {
            let key = random_text(&mut random);
            let value = match random.random_range(0..5) {
                0 => Value::from(random.random::<i64>()),
                1 => Value::from(random.random::<bool>()),
                2 => Value::Null,
                _ => Value::from(random_text(&mut random)),
            };
            let text = match &value {
                Value::Null => None,
                Value::String(text) => Some(text.clone()),
                plain => Some(plain.to_string()),
            };
            expected.insert(key.clone(), text);
            ext.insert(key, value);
        }
        let remark = random_text(&mut random);
        let header = serde_json::json!({
            random_text(&mut random): { "a": [1.5e-3, {}, []], "b": "]" },
            "code": random.random_range(0..1000), "extFields": ext, "remark": remark, "opaque": random.random::<i32>(),
        });
        let text = if random.random() { header.to_string() } else { format!("{header:#}") };
        let command = json(&text);
        assert_eq!(header["code"], command.code);
        assert_eq!(header["opaque"], command.opaque);
        assert_eq!(command.remark.as_ref(), Some(&remark));
        expected.retain(|_, value| value.is_some());
        let read: BTreeMap<String, Option<String>> =
            command.ext.iter().map(|(key, value)| (key.to_owned(), Some(value.to_owned()))).collect();
        assert_eq!(read, expected, "{text}");
    }
}
