//! Bytes that are no frame: each gets its typed error, as early as possible, and none a panic.

use bytes::{BufMut, BytesMut};
use quorumq::protocol::body;
use quorumq::protocol::body::heartbeat::HeartbeatData;
use quorumq::protocol::body::registration::{RegisterBrokerBody, body_crc32};
use quorumq::protocol::body::{BodyError, route::TopicRouteData};
use quorumq::protocol::command::Command;
use quorumq::protocol::ext::MAX_EXT_FIELDS;
use quorumq::protocol::frame::{self, FrameError, MAX_FRAME};
use quorumq::protocol::header::pull::PullMessageRequest;
use quorumq::protocol::header::send::SendMessageRequest;
use quorumq::protocol::{batch, message_id, properties};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::hand::{bytes, json_frame};

fn decode(bytes: &[u8]) -> Result<Option<Command>, FrameError> {
    frame::decode(&mut BytesMut::from(bytes))
}

fn bad_header(bytes: &[u8]) -> String {
    match decode(bytes) {
        Err(FrameError::BadHeader(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_frame_arrives_byte_by_byte_and_the_next_one_stays_in_the_buffer() {
    let whole =
        bytes("00000027 01000021 0069 0c 0199 00000007 00000000 00000000 0000000c 0005 'topic' 00000001 't' 'hi'");
    let mut buf = BytesMut::new();
    for byte in &whole[..whole.len() - 1] {
        buf.put_u8(*byte);
        assert_eq!(frame::decode(&mut buf), Ok(None));
    }
    buf.put_u8(b'i');
    buf.put_slice(&whole[..5]);
    let command = frame::decode(&mut buf).expect("a frame").expect("a whole frame");
    assert_eq!((&command.body[..], command.ext.get("topic")), (&b"hi"[..], Some("t")));
    assert_eq!(&buf[..], &whole[..5]);
}

#[test]
fn a_length_over_the_limit_is_refused_before_the_frame_arrives() {
    let too_large = |len: u64| Err(FrameError::TooLarge { len, limit: MAX_FRAME });
    assert_eq!(decode(&bytes("01000001")), too_large(16_777_217));
    assert_eq!(decode(&bytes("01000000")), Ok(None));
    assert_eq!(decode(&bytes("ffffffff")), too_large(4_294_967_295));
    assert_eq!(decode(&bytes("80000000")), too_large(2_147_483_648));
    assert_eq!(decode(b"GET / HTTP/1.1\r\n"), too_large(0x4745_5420));
    let mut buf = BytesMut::from(&bytes("00000401")[..]);
    assert_eq!(frame::decode_limited(&mut buf, 1024), Err(FrameError::TooLarge { len: 1025, limit: 1024 }));
}

#[test]
fn lengths_that_contradict_each_other_are_refused() {
    assert_eq!(decode(&bytes("00000000")), Err(FrameError::TooShort(0)));
    assert_eq!(decode(&bytes("00000003")), Err(FrameError::TooShort(3)));
    let overflow = Err(FrameError::HeaderOverflow { header: 6, frame: 9 });
    assert_eq!(decode(&bytes("00000009 01000006")), overflow);
    let overflow = Err(FrameError::HeaderOverflow { header: 16_777_215, frame: 4 });
    assert_eq!(decode(&bytes("00000004 00ffffff")), overflow);
}

#[test]
fn an_unknown_serialize_type_is_refused() {
    assert_eq!(decode(&bytes("00000004 02000000")), Err(FrameError::UnknownSerializeType(2)));
    assert_eq!(decode(&bytes("00000004 ff000000")), Err(FrameError::UnknownSerializeType(255)));
}

#[test]
fn a_broken_binary_header_says_what_is_wrong() {
    let head = "0069 0c 0199 00000007 00000000";
    for (text, reason) in [
        ("00000004 01000000".to_owned(), "header ends within code"),
        ("00000005 01000001 00".to_owned(), "header ends within code"),
        (format!("00000011 0100000d {head}"), "header ends within remark length"),
        (format!("00000015 01000011 {head} 00000001"), "header ends within remark"),
        (format!("00000015 01000011 {head} ffffffff"), "negative remark length -1"),
        (format!("00000015 01000011 {head} 00000000"), "header ends within ext length"),
        (format!("00000019 01000015 {head} 00000000 80000000"), "negative ext length -2147483648"),
        (format!("00000019 01000015 {head} 00000000 7fffffff"), "header ends within ext fields"),
        (format!("0000001a 01000016 {head} 00000000 00000001 00"), "header ends within key length"),
        (format!("0000001b 01000017 {head} 00000000 00000002 ffff"), "negative key length -1"),
        (format!("0000001b 01000017 {head} 00000000 00000002 0001"), "header ends within ext key"),
        (format!("0000001d 01000019 {head} 00000000 00000004 0001 'a' 00"), "header ends within value length"),
        (format!("00000020 0100001c {head} 00000000 00000007 0001 'a' ffffffff"), "negative value length -1"),
        (format!("00000020 0100001c {head} 00000000 00000007 0001 'a' 00000001"), "header ends within ext value"),
        (format!("0000001a 01000016 {head} 00000001 ff 00000000"), "remark is not UTF-8"),
        (format!("00000020 0100001c {head} 00000000 00000007 0001 ff 00000000"), "ext key is not UTF-8"),
        (format!("00000021 0100001d {head} 00000000 00000008 0001 'a' 00000001 c3"), "ext value is not UTF-8"),
    ] {
        assert_eq!(bad_header(&bytes(&text)), reason, "{text}");
    }
}

#[test]
fn a_value_may_not_reach_beyond_the_ext_fields() {
    // The value's length points into the header's rest after the ext fields.
    let text = "00000022 0100001e 0069 0c 0199 00000007 00000000 00000000 00000007 0001 'a' 00000002 'bc'";
    assert_eq!(bad_header(&bytes(text)), "header ends within ext value");
}

#[test]
fn a_broken_json_header_says_what_is_wrong() {
    for (header, reason) in [
        ("", "no object at byte 0"),
        ("[]", "no object at byte 0"),
        ("{", "no string at byte 1"),
        ("{}", "a header without a code at byte 2"),
        (r#"{"code"}"#, "no colon after a key at byte 7"),
        (r#"{"code":1"#, "neither a comma nor the end of the object at byte 9"),
        (r#"{"code":1,}"#, "no string at byte 10"),
        (r#"{,"code":1}"#, "no string at byte 1"),
        (r#"{"code":1 "flag":0}"#, "neither a comma nor the end of the object at byte 10"),
        (r#"{"code":"x"}"#, "no 32-bit number at byte 11"),
        (r#"{"code":2147483648}"#, "no 32-bit number at byte 18"),
        (r#"{"code":1.5}"#, "no 32-bit number at byte 11"),
        (r#"{"code":+1}"#, "no string, number, boolean or null at byte 8"),
        (r#"{"code":nul}"#, "no string, number, boolean or null at byte 8"),
        (r#"{"code":1}x"#, "characters after the object at byte 10"),
        (r#"{"code":1,"remark":"x}"#, "a string without an end at byte 22"),
        (r#"{"code":1,"remark":"x\"#, "a string without an end at byte 22"),
        ("{\"code\":1,\"remark\":\"x\ny\"}", "a control character in a string at byte 21"),
        (r#"{"code":1,"remark":"\x"}"#, "a bad escape in a string at byte 23"),
        (r#"{"code":1,"remark":"\u12"}"#, "a bad escape in a string at byte 25"),
        (r#"{"code":1,"remark":"\u+123"}"#, "a bad escape in a string at byte 27"),
        (r#"{"code":1,"extFields":{"a":{"b":1}}}"#, "no string, number, boolean or null at byte 27"),
        (r#"{"code":1,"extFields":[]}"#, "no object at byte 22"),
        (r#"{"code":1,"x":}"#, "no string, number, boolean or null at byte 14"),
    ] {
        assert_eq!(bad_header(&json_frame(header, b"")), reason, "{header}");
    }
    let mut not_utf8 = json_frame(r#"{"code":1,"remark":"x"}"#, b"");
    let at = not_utf8.len() - 3;
    not_utf8[at] = 0xFF;
    assert_eq!(bad_header(&not_utf8), "not UTF-8");
    let nested = format!(r#"{{"code":1,"x":{}"#, "[".repeat(100_000));
    assert!(bad_header(&json_frame(&nested, b"")).starts_with("no string, number"));
}

#[test]
fn values_of_unknown_keys_are_passed_over_however_deep() {
    let deep =
        format!(r#"{{"x":{}{},"y":{{"a":[1,"]",{{}}],"b":null}},"code":7}}"#, "[".repeat(50_000), "]".repeat(50_000));
    let command = decode(&json_frame(&deep, b"")).expect("a frame").expect("a whole frame");
    assert_eq!(command.code, 7);
}

#[test]
fn more_ext_fields_than_the_limit_are_refused() {
    for (count, fits) in [(MAX_EXT_FIELDS, true), (MAX_EXT_FIELDS + 1, false)] {
        let pairs: Vec<String> = (0..count).map(|index| format!(r#""k{index}":"""#)).collect();
        let json = json_frame(&format!(r#"{{"code":1,"extFields":{{{}}}}}"#, pairs.join(",")), b"");
        assert_eq!(decode(&json).is_ok(), fits);
        let head = "0069 0c 0199 00000007 00000000 00000000";
        let ext = "0000 00000000".repeat(count);
        let (frame, header, ext_len) = (25 + 6 * count, 21 + 6 * count, 6 * count);
        let binary = bytes(&format!("{frame:08x} 01{header:06x} {head} {ext_len:08x} {ext}"));
        assert_eq!(decode(&binary).is_ok(), fits);
    }
}

#[test]
fn broken_bodies_say_what_is_wrong() {
    let malformed = |result: Result<_, BodyError>| match result {
        Err(error @ BodyError::Malformed { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    };
    let error = malformed(body::decode::<HeartbeatData>(b"").map(drop));
    assert_eq!(error, "body is no HeartbeatData: EOF while parsing a value at line 1 column 0");
    malformed(body::decode::<TopicRouteData>(br#"{"brokerDatas":[{"brokerAddrs":{zero:"x"}}]}"#).map(drop));
    malformed(body::decode::<TopicRouteData>(b"{0:").map(drop));
    malformed(RegisterBrokerBody::decode(b"no zlib", true, None).map(drop));
    let body = b"{}";
    let wrong = RegisterBrokerBody::decode(body, false, Some(1));
    assert_eq!(wrong, Err(BodyError::WrongCrc { actual: body_crc32(body), expected: 1 }));
}

/// Everything that reads bytes of a stranger.
fn read_all(bytes: &[u8]) {
    let mut buf = BytesMut::from(bytes);
    while let Ok(Some(command)) = frame::decode(&mut buf) {
        let _ = (SendMessageRequest::decode(&command), PullMessageRequest::decode(&command));
        let _ = body::decode::<HeartbeatData>(&command.body);
        let mut out = BytesMut::new();
        frame::encode(&command, &mut out);
        let again = frame::decode(&mut out).expect("what we encode decodes").expect("as a whole");
        assert_eq!(again, command);
    }
    let _ = body::decode::<HeartbeatData>(bytes);
    let _ = body::decode::<TopicRouteData>(bytes);
    let _ = RegisterBrokerBody::decode(bytes, true, None);
    let _ = batch::messages(bytes).count();
    let text = String::from_utf8_lossy(bytes);
    let _ = (properties::iter(&text).count(), message_id::OffsetMsgId::parse(&text));
}

#[test]
fn random_and_damaged_bytes_never_panic() {
    let seeds = [
        bytes(
            "000000a9 010000a0 0136 0c 0199 00000007 00000000 00000000 0000008b 0001 'a' 00000002 'pg' 0001 'b' 00000001 't'
             0001 'c' 00000006 'TBW102' 0001 'd' 00000001 '4' 0001 'e' 00000001 '1' 0001 'f' 00000001 '0' 0001 'g' 0000000d
             '1795147487720' 0001 'h' 00000001 '0' 0001 'i' 00000009 'WAIT^true' 0001 'j' 00000001 '0' 0001 'k' 00000005
             'false' 0001 'm' 00000005 'false' 0001 'n' 00000002 'bn' 'hello'",
        ),
        json_frame(r#"{"code":105,"extFields":{"topic":"a\u0001","x":1},"flag":0,"opaque":7}"#, br#"{"clientID":"c"}"#),
        br#"{"brokerDatas":[{"brokerAddrs":{0:"127.0.0.1:1"}}]}"#.to_vec(),
        RegisterBrokerBody::default().encode_compressed().to_vec(),
        b"\0\0\0\x19\0\0\0\0\0\0\0\0\0\0\0\x07\0\0\0\x02hi\0\x01P".to_vec(),
    ];
    let mut random = SmallRng::seed_from_u64(20_261_120);
    for round in 0..40_000 {
        let mut bytes = seeds[round % seeds.len()].clone();
        for _ in 0..random.random_range(1..=3) {
            let at = random.random_range(0..bytes.len());
            match random.random_range(0..4) {
                0 => bytes[at] = random.random(),
                1 => bytes[at] ^= 1 << random.random_range(0..8),
                2 => bytes.truncate(at.max(1)),
                _ => bytes.insert(at, random.random()),
            }
        }
        read_all(&bytes);
        let noise: Vec<u8> = (0..random.random_range(0..64)).map(|_| random.random()).collect();
        read_all(&noise);
    }
}
