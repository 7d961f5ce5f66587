//! RocketMQ's stored-message layout (magic 0xDAA320A7): encode, read fields, patch.

use std::net::SocketAddrV4;

use bytes::BytesMut;

use crate::{PhysicalOffset, QueueOffset};

/// Bytes of a record without body, topic and properties (IPv4 hosts).
pub const FIXED_LEN: usize = 91;
/// Largest properties string.
pub const MAX_PROPERTIES: usize = 32_767;
/// Longest topic name.
pub const MAX_TOPIC: usize = 127;

/// Everything of a record that its producer's broker decides. queueOffset and physicalOffset are written as 0:
/// `apply` assigns the first, the position is the second, and the read path patches both.
#[derive(Clone, Copy, Debug)]
pub struct Draft<'a> {
    pub queue_id: u32,
    pub flag: i32,
    pub sys_flag: i32,
    pub born_timestamp_ms: i64,
    pub born_host: SocketAddrV4,
    pub store_timestamp_ms: i64,
    pub store_host: SocketAddrV4,
    pub reconsume_times: i32,
    pub prepared_transaction_offset: i64,
    pub body: &'a [u8],
    pub topic: &'a str,
    /// `key \x01 value` joined by `\x02`.
    pub properties: &'a [u8],
}

impl Draft<'_> {
    /// Bytes the record will take.
    pub fn encoded_len(&self) -> usize {
        FIXED_LEN + self.body.len() + self.topic.len() + self.properties.len()
    }
    /// Appends the record to `out`.
    pub fn encode(&self, out: &mut BytesMut) {
        let _ = out;
        todo!()
    }
}

/// A checked view of one record's bytes.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    bytes: &'a [u8],
}

/// Why bytes are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no record: {0}")]
pub struct BadRecord(pub &'static str);

impl<'a> Record<'a> {
    /// Reads the record at the front of `bytes`; its length is [`Record::len`]. Checks magic, lengths and UTF-8 of
    /// the topic, not the body's CRC.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BadRecord> {
        let _ = bytes;
        todo!()
    }
    // Accessors: len, queue_id, flag, queue_offset, physical_offset, sys_flag, born_timestamp_ms, born_host,
    // store_timestamp_ms, store_host, reconsume_times, prepared_transaction_offset, body, topic (&str), properties (&[u8]),
    // property(key: &str) -> Option<&str>, body_crc_matches() -> bool
    /// Length of the record in bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }
}

/// Writes queueOffset and physicalOffset into a copy of a record (fixed positions 20 and 28).
pub fn patch(record: &mut [u8], queue_offset: QueueOffset, position: PhysicalOffset) {
    let _ = (record, queue_offset, position);
    todo!()
}

/// `tagsCode` of a properties string: Java's `String.hashCode` of the TAGS value, sign-extended; 0 without one.
pub fn tags_code(properties: &[u8]) -> i64 {
    let _ = properties;
    todo!()
}

/// Java's `String.hashCode`, over UTF-16 units.
pub fn java_hash(s: &str) -> i32 {
    let _ = s;
    todo!()
}
