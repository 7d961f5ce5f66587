use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use bytes::BytesMut;

use super::*;

const GOLDEN: &str = include_str!("../../tests/fixtures/golden-records.txt");

fn draft<'a>(body: &'a [u8], properties: &'a [u8]) -> Draft<'a> {
    Draft {
        queue_id: 3,
        flag: -2,
        sys_flag: 0x301,
        born_timestamp_ms: 1_795_147_490_501,
        born_host: SocketAddrV4::new(Ipv4Addr::new(10, 1, 2, 3), 65_535),
        store_timestamp_ms: 1_795_147_490_502,
        store_host: SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 1), 10_911),
        reconsume_times: 16,
        prepared_transaction_offset: -1,
        body,
        topic: "%RETRY%orders",
        properties,
    }
}

fn encoded(draft: &Draft<'_>) -> BytesMut {
    let mut out = BytesMut::new();
    draft.encode(&mut out);
    out
}

fn golden_lines(kind: &str) -> impl Iterator<Item = &str> {
    GOLDEN.lines().filter_map(move |line| line.strip_prefix(kind)).map(str::trim)
}

fn unhex(hex: &str) -> Vec<u8> {
    let digit = |c: u8| (c as char).to_digit(16).unwrap() as u8;
    hex.as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

#[test]
fn what_was_encoded_is_read_back() {
    let draft = draft(b"hello", b"TAGS\x01TagA\x02KEYS\x01k");
    let bytes = encoded(&draft);
    assert_eq!(bytes.len(), draft.encoded_len());
    let record = Record::parse(&bytes).unwrap();
    assert_eq!(record.len(), bytes.len());
    assert_eq!(record.queue_id(), 3);
    assert_eq!(record.flag(), -2);
    assert_eq!((record.queue_offset(), record.physical_offset()), (QueueOffset(0), PhysicalOffset(0)));
    assert_eq!(record.sys_flag(), 0x301);
    assert_eq!(record.born_timestamp_ms(), 1_795_147_490_501);
    assert_eq!(record.born_host(), draft.born_host);
    assert_eq!(record.store_timestamp_ms(), 1_795_147_490_502);
    assert_eq!(record.store_host(), draft.store_host);
    assert_eq!(record.reconsume_times(), 16);
    assert_eq!(record.prepared_transaction_offset(), -1);
    assert_eq!(record.body(), b"hello");
    assert_eq!(record.topic(), "%RETRY%orders");
    assert_eq!(record.properties(), draft.properties);
    assert_eq!((record.property("TAGS"), record.property("TAG")), (Some("TagA"), None));
    assert_eq!(record.tags_code(), 2_598_919);
    assert!(record.body_crc_matches());
}

#[test]
fn a_flipped_body_byte_fails_the_body_crc_only() {
    let mut bytes = encoded(&draft(b"hello", b""));
    bytes[BODY] ^= 1;
    assert!(!Record::parse(&bytes).unwrap().body_crc_matches());
}

#[test]
fn the_layout_is_rocketmqs_byte_for_byte() {
    let mut draft = draft(b"\x00\xFF", b"k\x01v");
    draft.topic = "T";
    draft.sys_flag = 0;
    let expected = concat!(
        "00000061",
        "daa320a7",
        "6b5c2cb5",
        "00000003",
        "fffffffe", // totalSize magic bodyCRC queueId flag
        "0000000000000000",
        "0000000000000000",
        "00000000", // queueOffset physicalOffset sysFlag
        "000001a1f720e4c5",
        "0a010203",
        "0000ffff", // bornTimestamp bornHost
        "000001a1f720e4c6",
        "7f000001",
        "00002a9f", // storeTimestamp storeHost
        "00000010",
        "ffffffffffffffff", // reconsumeTimes preparedTransactionOffset
        "00000002",
        "00ff",
        "01",
        "54",
        "0003",
        "6b0176",
    );
    let bytes = encoded(&draft);
    // bodyCRC is checked against the polynomial itself, bit by bit, not against the crate that computed it.
    let mut crc = !0_u32;
    for byte in [0x00_u8, 0xFF] {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 };
        }
    }
    assert_eq!(get_u32(&bytes, 8), !crc & 0x7FFF_FFFF);
    let mut expected = unhex(expected);
    put_u32(&mut expected, 8, !crc & 0x7FFF_FFFF);
    assert_eq!(&bytes[..], &expected[..]);
}

#[test]
fn bytes_that_are_no_record_are_refused() {
    let good = encoded(&draft(b"hello", b"TAGS\x01TagA"));
    for cut in 0..good.len() {
        assert!(Record::parse(&good[..cut]).is_err(), "cut at {cut}");
    }
    let broken = |at: usize, value: u8| {
        let mut bytes = good.clone();
        assert_ne!(bytes[at], value);
        bytes[at] = value;
        Record::parse(&bytes).map(|_| ()).unwrap_err().0
    };
    assert_eq!(broken(4, 0), "wrong magic");
    assert_eq!(broken(7, 0xAB), "wrong magic"); // layout version 2
    assert_eq!(broken(0, 0xFF), "total size is outside the bytes at hand");
    assert_eq!(broken(3, 90), "total size is outside the bytes at hand");
    assert_eq!(broken(39, 0x11), "IPv6 hosts");
    assert_eq!(broken(12, 0x80), "negative queue id");
    assert_eq!(broken(84, 0x80), "body is longer than the record");
    assert_eq!(broken(BODY + 5, 0x80), "topic is longer than the record");
    assert_eq!(broken(BODY + 5, 0x0C), "lengths do not add up to the total size");
    assert_eq!(broken(BODY + 6, 0xFF), "topic is not UTF-8");
}

#[test]
fn patch_changes_two_fields_and_nothing_else() {
    let mut bytes = encoded(&draft(b"hello", b"TAGS\x01TagA"));
    let before = bytes.clone();
    patch(&mut bytes, QueueOffset(0x0102_0304_0506_0708), PhysicalOffset(0x1112_1314_1516_1718));
    let record = Record::parse(&bytes).unwrap();
    assert_eq!(record.queue_offset(), QueueOffset(0x0102_0304_0506_0708));
    assert_eq!(record.physical_offset(), PhysicalOffset(0x1112_1314_1516_1718));
    patch(&mut bytes, QueueOffset(0), PhysicalOffset(0));
    assert_eq!(bytes, before);
}

#[test]
fn records_of_a_body_are_read_in_order_and_end_at_the_first_bad_one() {
    let (a, b) = (encoded(&draft(b"a", b"")), encoded(&draft(b"bb", b"")));
    let mut body = a.to_vec();
    body.extend_from_slice(&b);
    let read: Vec<_> = records(&body).map(|(at, record)| (at, record.map(|r| r.body().to_vec()))).collect();
    assert_eq!(read, vec![(0, Ok(b"a".to_vec())), (a.len(), Ok(b"bb".to_vec()))]);
    body.push(0);
    let read: Vec<_> = records(&body).map(|(at, record)| (at, record.is_ok())).collect();
    assert_eq!(read, vec![(0, true), (a.len(), true), (a.len() + b.len(), false)]);
    assert_eq!(records(b"").count(), 0);
}

/// What the Java client printed of a message: `RECV tag q=1 off=2 phy=1705 sysFlag=0 size=220 len=7 props={a=b, …}`.
struct Printed<'a> {
    numbers: BTreeMap<&'a str, i64>,
    properties: BTreeMap<&'a str, &'a str>,
}

fn printed() -> Vec<Printed<'static>> {
    golden_lines("recv ")
        .map(|line| {
            let (head, properties) = line.split_once(" props={").unwrap();
            let numbers =
                head.split(' ').filter_map(|w| w.split_once('=')).map(|(k, v)| (k, v.parse().unwrap())).collect();
            let mut properties: BTreeMap<_, _> =
                properties.trim_end_matches('}').split(", ").map(|pair| pair.split_once('=').unwrap()).collect();
            // The client adds these to what it received.
            for added in ["MIN_OFFSET", "MAX_OFFSET", "CONSUME_START_TIME"] {
                properties.remove(added);
            }
            Printed { numbers, properties }
        })
        .collect()
}

#[test]
fn records_stored_by_rocketmq_are_read_as_its_client_read_them() {
    let mut printed: BTreeMap<i64, _> = printed().into_iter().map(|p| (p.numbers["phy"], p)).collect();
    assert_eq!(printed.len(), 18);
    for line in golden_lines("pull ") {
        let body = unhex(line);
        for (_, record) in records(&body) {
            let record = record.unwrap();
            let told = printed.remove(&record.physical_offset().to_i64()).expect("received once");
            assert_eq!(i64::from(record.queue_id()), told.numbers["q"]);
            assert_eq!(record.queue_offset().to_i64(), told.numbers["off"]);
            assert_eq!(i64::from(record.sys_flag()), told.numbers["sysFlag"]);
            assert_eq!(record.len() as i64, told.numbers["size"]);
            assert!(record.body_crc_matches());
            assert_eq!(*record.store_host().ip(), Ipv4Addr::LOCALHOST);
            assert_eq!(record.store_host().port(), 30_911);
            assert!((0..60_000).contains(&(record.store_timestamp_ms() - record.born_timestamp_ms())));
            for (key, value) in &told.properties {
                assert_eq!(record.property(key), Some(*value));
            }
            let pairs = record.properties().split(|&b| b == 2).count();
            assert_eq!(pairs, told.properties.len());
            assert_eq!(record.tags_code(), i64::from(java_hash(told.properties["TAGS"])));
        }
    }
    assert!(printed.is_empty(), "every message that was printed was in a pull response");
}

#[test]
fn records_stored_by_rocketmq_are_encoded_byte_for_byte() {
    let mut seen = 0;
    for line in golden_lines("pull ") {
        let body = unhex(line);
        for (_, record) in records(&body) {
            let record = record.unwrap();
            let again = Draft {
                queue_id: record.queue_id(),
                flag: record.flag(),
                sys_flag: record.sys_flag(),
                born_timestamp_ms: record.born_timestamp_ms(),
                born_host: record.born_host(),
                store_timestamp_ms: record.store_timestamp_ms(),
                store_host: record.store_host(),
                reconsume_times: record.reconsume_times(),
                prepared_transaction_offset: record.prepared_transaction_offset(),
                body: record.body(),
                topic: record.topic(),
                properties: record.properties(),
            };
            let mut bytes = encoded(&again);
            patch(&mut bytes, record.queue_offset(), record.physical_offset());
            assert_eq!(&bytes[..], record.as_bytes());
            seen += 1;
        }
    }
    assert_eq!(seen, 18);
}

#[test]
fn batches_sent_by_rocketmqs_client_are_read() {
    let mut seen = 0;
    for line in golden_lines("batch ") {
        let body = unhex(line);
        let messages: Vec<_> = batch::sub_messages(&body).collect::<Result<_, _>>().unwrap();
        assert_eq!(messages.iter().map(|m| m.body).collect::<Vec<_>>(), [b"batch-1", b"batch-2"]);
        assert!(messages.iter().all(|m| property(m.properties, "TAGS") == Some(b"TagB") && m.flag == 0));
        assert_eq!(messages.iter().filter_map(|m| property(m.properties, "KEYS")).collect::<Vec<_>>(), [b"k2", b"k3"]);
        seen += 1;
    }
    assert_eq!(seen, 2);
}
