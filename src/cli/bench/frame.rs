//! The bytes of a send and of its answer: encoded once per queue, then patched; an answer is read no further than its
//! code and opaque.

use bytes::BytesMut;

use crate::protocol::code::request;
use crate::protocol::command::Encoding;
use crate::protocol::frame::{self, Head};
use crate::protocol::header::send::SendMessageRequest;
use crate::protocol::value::Value;

/// Frame length and header mark stand before the header.
const PREFIX: usize = 8;
/// Places in a binary header, counted from the frame's start.
const CODE_AT: usize = PREFIX;
const OPAQUE_AT: usize = PREFIX + 5;
/// Bytes of a frame up to the end of `opaque`: what has to be there before an answer can be read.
const HEADER_START: usize = OPAQUE_AT + 4;
/// Bit 24 of the header mark: the binary header.
const BINARY: u8 = 1;

/// Digits of a time in milliseconds, until the year 2286.
const BORN_LEN: usize = 13;
const BORN: [u8; BORN_LEN] = *b"1888888888888";
/// A UNIQ_KEY is 32 hex digits: 16 of the run, 16 of the message.
const KEY_LEN: usize = 16;
const KEY: [u8; KEY_LEN] = *b"FEDCBA9876543210";

/// What every send of a run has in common.
#[derive(Clone, Debug)]
pub(super) struct Message<'a> {
    pub topic: &'a str,
    pub producer_group: &'a str,
    pub body: &'a [u8],
    /// First half of each UNIQ_KEY.
    pub run: u64,
}

/// One send to one queue, but for opaque, time and key.
#[derive(Debug)]
pub(super) struct Template {
    bytes: Vec<u8>,
    born_at: usize,
    key_at: usize,
}

impl Template {
    pub(super) fn new(message: &Message<'_>, queue: u32) -> Self {
        let key = String::from_utf8_lossy(&KEY);
        let properties = format!("UNIQ_KEY\u{1}{:016X}{key}", message.run);
        let born = String::from_utf8_lossy(&BORN).parse().unwrap_or_default();
        let header = SendMessageRequest {
            producer_group: message.producer_group,
            topic: message.topic,
            default_topic: "TBW102",
            default_topic_queue_nums: 4,
            queue_id: i32::try_from(queue).unwrap_or(i32::MAX),
            born_timestamp: born,
            properties: Some(&properties),
            reconsume_times: Some(0),
            unit_mode: Some(false),
            batch: Some(false),
            ..SendMessageRequest::default()
        };
        let code = request::SEND_MESSAGE_V2;
        let head = Head::request(Encoding::Binary, 0, code);
        let mut bytes = BytesMut::new();
        let fields = header.fields(code).map(|(name, value)| -> (&str, Value<'_>) { (name, value) });
        frame::encode_parts(&head, fields, message.body, &mut bytes);
        let header_len = bytes.len() - message.body.len();
        let find = |part: &[u8]| bytes[..header_len].windows(part.len()).position(|window| window == part);
        let (Some(born_at), Some(key_at)) = (find(&BORN), find(&KEY)) else {
            unreachable!("both stand in the header just encoded")
        };
        Self { bytes: bytes.to_vec(), born_at, key_at }
    }

    /// Appends the send with this opaque, born time and number.
    pub(super) fn append(&self, out: &mut Vec<u8>, opaque: u32, born: &Born, number: u64) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        let frame = &mut out[start..];
        frame[OPAQUE_AT..OPAQUE_AT + 4].copy_from_slice(&opaque.to_be_bytes());
        frame[self.born_at..self.born_at + BORN_LEN].copy_from_slice(&born.0);
        frame[self.key_at..self.key_at + KEY_LEN].copy_from_slice(&hex(number));
    }
}

fn hex(number: u64) -> [u8; KEY_LEN] {
    const DIGITS: [u8; 16] = *b"0123456789ABCDEF";
    std::array::from_fn(|at| DIGITS[(number >> (60 - 4 * at)) as usize & 15])
}

/// A time in milliseconds as text, made once for all sends of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Born([u8; BORN_LEN]);

impl Born {
    pub(super) fn at(ms: i64) -> Self {
        let mut rest = ms.clamp(0, 9_999_999_999_999) as u64;
        let mut digits = [b'0'; BORN_LEN];
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        Self(digits)
    }
}

/// An answer, read no further than needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub code: i32,
    pub opaque: u32,
    /// Bytes of the whole frame.
    pub len: usize,
}

/// Reads the answer at the front of `buf`; `None` if not all of it is there.
///
/// # Errors
/// What stands there is no answer to a binary request.
pub(super) fn reply(buf: &[u8]) -> Result<Option<Reply>, String> {
    let Some(length) = buf.first_chunk::<4>() else {
        return Ok(None);
    };
    let len = 4 + u32::from_be_bytes(*length) as usize;
    if !(HEADER_START..=4 + frame::MAX_FRAME).contains(&len) {
        return Err(format!("an answer of {len} bytes"));
    }
    if buf.len() < len {
        return Ok(None);
    }
    if buf[4] != BINARY {
        return Err("an answer without a binary header".to_owned());
    }
    let code = i16::from_be_bytes([buf[CODE_AT], buf[CODE_AT + 1]]);
    let opaque = u32::from_be_bytes([buf[OPAQUE_AT], buf[OPAQUE_AT + 1], buf[OPAQUE_AT + 2], buf[OPAQUE_AT + 3]]);
    Ok(Some(Reply { code: i32::from(code), opaque, len }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(body: &[u8]) -> Message<'_> {
        Message { topic: "bench", producer_group: "g", body, run: 0xAB }
    }

    #[test]
    fn a_patched_template_is_the_send_it_claims_to_be() {
        let template = Template::new(&message(b"body"), 5);
        let mut out = Vec::new();
        template.append(&mut out, 0x0102_0304, &Born::at(1_763_600_000_123), 0xF00D);
        template.append(&mut out, 9, &Born::at(0), 0);
        let mut out = BytesMut::from(out.as_slice());
        let command = frame::decode(&mut out).unwrap().unwrap();
        assert_eq!((command.code, command.opaque, command.flag), (request::SEND_MESSAGE_V2, 0x0102_0304, 0));
        assert_eq!(command.body.as_ref(), b"body");
        let header = SendMessageRequest::decode(&command).unwrap();
        assert_eq!((header.topic, header.producer_group, header.queue_id), ("bench", "g", 5));
        assert_eq!(header.born_timestamp, 1_763_600_000_123);
        assert_eq!(header.properties, Some("UNIQ_KEY\u{1}00000000000000AB000000000000F00D"));
        let second = frame::decode(&mut out).unwrap().unwrap();
        assert_eq!((second.opaque, out.len()), (9, 0));
    }

    #[test]
    fn an_answer_is_read_once_it_is_whole() {
        let mut out = BytesMut::new();
        frame::encode_parts(&Head::reply(Encoding::Binary, 77, 14), [("msgId", "x".into())], b"", &mut out);
        for short in 0..out.len() {
            assert_eq!(reply(&out[..short]), Ok(None), "{short}");
        }
        assert_eq!(reply(&out), Ok(Some(Reply { code: 14, opaque: 77, len: out.len() })));
        assert!(reply(b"\x7f\xff\xff\xffHTTP").is_err());
    }

    #[test]
    fn a_json_answer_is_told_apart() {
        let mut out = BytesMut::new();
        frame::encode_parts(&Head::reply(Encoding::Json, 77, 0), [], b"", &mut out);
        assert_eq!(reply(&out), Err("an answer without a binary header".to_owned()));
    }
}
