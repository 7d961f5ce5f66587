//! The frames a stock Java client, NameServer and brokers exchanged (Apache RocketMQ 4.9.8, both header encodings).

use bytes::BytesMut;
use quorumq::protocol::command::{Command, Encoding};
use quorumq::protocol::frame;
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
        let hex = captured["hex"]
            .as_str()
            .expect("every frame has its bytes")
            .trim_end_matches('.');
        let bytes: Vec<u8> = (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex digits"))
            .collect();
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
    fields
        .entry("extFields")
        .or_insert_with(|| Value::Object(serde_json::Map::new()));
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
                assert_eq!(
                    header_value(&again),
                    header_value(&golden.bytes),
                    "line {}",
                    golden.line
                );
                assert!(golden.bytes.ends_with(&command.body), "line {}", golden.line);
                json += 1;
            }
        }
    }
    assert_eq!((json, binary, cut), (743, 130, 3));
}
