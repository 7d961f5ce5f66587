//! Frames written out by hand.
//!
//! Notation of the binary frames: hex digits, and text in single quotes in which `^` is the byte 1. They read
//! `length | type 1, header length | code | language | version 409 | opaque 7 | flag | remark length, remark |
//! ext length`, then per ext field `key length, key, value length, value`, then the body.

use bytes::BytesMut;
use quorumq::protocol::command::{Command, Encoding};
use quorumq::protocol::frame;

/// Reads the notation.
pub fn bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (index, part) in text.split('\'').enumerate() {
        if index % 2 == 1 {
            bytes.extend(part.bytes().map(|byte| if byte == b'^' { 1 } else { byte }));
            continue;
        }
        let digits: Vec<u8> = part.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        for pair in digits.chunks(2) {
            let pair = std::str::from_utf8(pair).expect("ASCII");
            bytes.push(u8::from_str_radix(pair, 16).expect("two hex digits"));
        }
    }
    bytes
}

/// A JSON frame from its header and body.
pub fn json_frame(header: &str, body: &[u8]) -> Vec<u8> {
    let length = 4 + header.len() + body.len();
    [&(length as u32).to_be_bytes()[..], &(header.len() as u32).to_be_bytes(), header.as_bytes(), body].concat()
}

/// Decodes the only frame of `bytes` and checks that encoding gives `bytes` again.
pub fn round_trip(bytes: &[u8]) -> Command {
    let mut buf = BytesMut::from(bytes);
    let command = frame::decode(&mut buf).expect("a frame").expect("a whole frame");
    assert!(buf.is_empty());
    let mut again = BytesMut::new();
    frame::encode(&command, &mut again);
    assert_eq!(again.escape_ascii().to_string(), bytes.escape_ascii().to_string());
    command
}

/// Decodes a request in both encodings; all but the encoding is the same.
pub fn both(code: i32, binary: &str, json_ext: &str) -> [Command; 2] {
    let binary = round_trip(&bytes(binary));
    let json_ext = json_ext.replace('^', "\\u0001");
    let header = format!(
        r#"{{"code":{code},"extFields":{json_ext},"flag":{},"language":"RUST","opaque":7,"serializeTypeCurrentRPC":"JSON","version":409}}"#,
        binary.flag
    );
    let json = round_trip(&json_frame(&header, &binary.body));
    assert_eq!(binary.encoding, Encoding::Binary);
    assert_eq!(Command { encoding: Encoding::Binary, ..json.clone() }, binary);
    let ours = Command {
        opaque: 7,
        flag: binary.flag,
        ..Command::request(Encoding::Binary, code, binary.ext.clone(), binary.body.clone())
    };
    assert_eq!(binary, ours);
    [binary, json]
}
