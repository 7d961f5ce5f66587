//! RocketMQ's stored-message layout, version 1 with IPv4 hosts: encode, read fields, patch.
//!
//! ```text
//!  0 totalSize i32        36 sysFlag i32             76 preparedTransactionOffset i64
//!  4 magic i32            40 bornTimestamp i64       84 bodyLen i32
//!  8 bodyCRC i32          48 bornHost 4 + i32        88 body
//! 12 queueId i32          56 storeTimestamp i64         topicLen i8 + topic
//! 16 flag i32             64 storeHost 4 + i32          propertiesLen i16 + properties
//! 20 queueOffset i64      72 reconsumeTimes i32
//! 28 physicalOffset i64
//! ```

use std::net::{Ipv4Addr, SocketAddrV4};

use bytes::BytesMut;

use crate::{PhysicalOffset, QueueOffset};

pub mod batch;
mod properties;
mod stamp;
#[cfg(test)]
mod tests;

pub use properties::{java_hash, java_hash_of, property, tags_code};
pub use stamp::set_store_timestamp;

/// Bytes of a record without body, topic and properties (IPv4 hosts).
pub const FIXED_LEN: usize = 91;
/// Largest properties string in bytes: its length is an i16.
pub const MAX_PROPERTIES: usize = 32_767;
/// Longest topic name in bytes: its length is an i8.
pub const MAX_TOPIC: usize = 127;
/// Magic of layout version 1 (RocketMQ's `MESSAGE_MAGIC_CODE`).
pub const MAGIC: u32 = 0xDAA3_20A7;

/// `sysFlag` bits that say a host takes 16 + 4 bytes (bornHost 0x10, storeHost 0x20): not stored here.
pub const SYS_FLAG_V6_HOSTS: i32 = 0x30;

const QUEUE_ID: usize = 12;
const FLAG: usize = 16;
const QUEUE_OFFSET: usize = 20;
const PHYSICAL_OFFSET: usize = 28;
const SYS_FLAG: usize = 36;
const BORN_TIMESTAMP: usize = 40;
const BORN_HOST: usize = 48;
const STORE_TIMESTAMP: usize = 56;
const STORE_HOST: usize = 64;
const RECONSUME_TIMES: usize = 72;
const PREPARED_TRANSACTION_OFFSET: usize = 76;
const BODY_LEN: usize = 84;
const BODY: usize = 88;

/// Everything of a record that its producer's broker decides. queueOffset and physicalOffset are written as 0:
/// `apply` assigns the first, the position is the second, and the read path patches both.
#[derive(Clone, Copy, Debug)]
pub struct Draft<'a> {
    /// The queue of its topic.
    pub queue_id: u32,
    /// The application's own flag.
    pub flag: i32,
    /// RocketMQ's sysFlag.
    pub sys_flag: i32,
    /// When it was made, by its producer's clock, milliseconds since 1970.
    pub born_timestamp_ms: i64,
    /// Where its producer connected from.
    pub born_host: SocketAddrV4,
    /// When it is stored, milliseconds since 1970.
    pub store_timestamp_ms: i64,
    /// The broker that stores it, as clients reach it.
    pub store_host: SocketAddrV4,
    /// How often it was consumed in vain before.
    pub reconsume_times: i32,
    /// Of the half message this one ends; 0 for others.
    pub prepared_transaction_offset: i64,
    /// The body, as it was proposed.
    pub body: &'a [u8],
    /// At most [`MAX_TOPIC`] bytes.
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
    ///
    /// # Panics
    /// If the topic is longer than [`MAX_TOPIC`], the properties than [`MAX_PROPERTIES`], the queue id or the whole
    /// does not fit an i32, or `sys_flag` claims IPv6 hosts: the broker refuses such a send before it drafts.
    pub fn encode(&self, out: &mut BytesMut) {
        assert!(self.topic.len() <= MAX_TOPIC, "topic of {} bytes", self.topic.len());
        assert!(self.properties.len() <= MAX_PROPERTIES, "properties of {} bytes", self.properties.len());
        assert!(self.queue_id <= i32::MAX as u32, "queue id {}", self.queue_id);
        assert!(self.sys_flag & SYS_FLAG_V6_HOSTS == 0, "IPv6 bits in sysFlag {:#x}", self.sys_flag);
        let len = self.encoded_len();
        assert!(i32::try_from(len).is_ok(), "record of {len} bytes");

        let mut head = [0; BODY];
        put_u32(&mut head, 0, len as u32);
        put_u32(&mut head, 4, MAGIC);
        put_u32(&mut head, 8, body_crc(self.body));
        put_u32(&mut head, QUEUE_ID, self.queue_id);
        put_u32(&mut head, FLAG, self.flag.cast_unsigned());
        put_u32(&mut head, SYS_FLAG, self.sys_flag.cast_unsigned());
        put_i64(&mut head, BORN_TIMESTAMP, self.born_timestamp_ms);
        put_host(&mut head, BORN_HOST, self.born_host);
        put_i64(&mut head, STORE_TIMESTAMP, self.store_timestamp_ms);
        put_host(&mut head, STORE_HOST, self.store_host);
        put_u32(&mut head, RECONSUME_TIMES, self.reconsume_times.cast_unsigned());
        put_i64(&mut head, PREPARED_TRANSACTION_OFFSET, self.prepared_transaction_offset);
        put_u32(&mut head, BODY_LEN, self.body.len() as u32);

        out.reserve(len);
        out.extend_from_slice(&head);
        out.extend_from_slice(self.body);
        out.extend_from_slice(&[self.topic.len() as u8]);
        out.extend_from_slice(self.topic.as_bytes());
        out.extend_from_slice(&(self.properties.len() as u16).to_be_bytes());
        out.extend_from_slice(self.properties);
    }
}

/// A checked view of one record's bytes.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    bytes: &'a [u8],
    body_len: usize,
    topic: &'a str,
}

/// Why bytes are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no record: {0}")]
pub struct BadRecord(pub &'static str);

impl<'a> Record<'a> {
    /// Reads the record at the front of `bytes`; its length is [`Record::len`]. Checks magic, lengths and UTF-8 of
    /// the topic, not the body's CRC.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BadRecord> {
        if bytes.len() < FIXED_LEN {
            return Err(BadRecord("shorter than a record without body, topic and properties"));
        }
        if get_u32(bytes, 4) != MAGIC {
            return Err(BadRecord("wrong magic"));
        }
        let len = get_u32(bytes, 0) as usize;
        if !(FIXED_LEN..=bytes.len()).contains(&len) {
            return Err(BadRecord("total size is outside the bytes at hand"));
        }
        let bytes = &bytes[..len];
        if get_u32(bytes, SYS_FLAG).cast_signed() & SYS_FLAG_V6_HOSTS != 0 {
            return Err(BadRecord("IPv6 hosts"));
        }
        if get_u32(bytes, QUEUE_ID) > i32::MAX as u32 {
            return Err(BadRecord("negative queue id"));
        }
        let body_len = get_u32(bytes, BODY_LEN) as usize;
        let variable = len - FIXED_LEN;
        if body_len > variable {
            return Err(BadRecord("body is longer than the record"));
        }
        let topic_len = usize::from(bytes[BODY + body_len]);
        if topic_len > MAX_TOPIC || body_len + topic_len > variable {
            return Err(BadRecord("topic is longer than the record"));
        }
        let topic_at = BODY + body_len + 1;
        let properties_len = usize::from(get_u16(bytes, topic_at + topic_len));
        if body_len + topic_len + properties_len != variable {
            return Err(BadRecord("lengths do not add up to the total size"));
        }
        let topic =
            std::str::from_utf8(&bytes[topic_at..topic_at + topic_len]).map_err(|_| BadRecord("topic is not UTF-8"))?;
        Ok(Self { bytes, body_len, topic })
    }

    /// Length of the record in bytes.
    #[expect(clippy::len_without_is_empty, reason = "a record is never empty")]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The whole record, as stored.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// CRC-32 of the body without its highest bit, as the record says.
    pub fn body_crc(&self) -> u32 {
        get_u32(self.bytes, 8)
    }

    /// The queue it was sent to.
    pub fn queue_id(&self) -> u32 {
        get_u32(self.bytes, QUEUE_ID)
    }

    /// The producer's flag.
    pub fn flag(&self) -> i32 {
        get_u32(self.bytes, FLAG).cast_signed()
    }

    /// queueOffset as stored: 0 in the log, set in a patched copy.
    pub fn queue_offset(&self) -> QueueOffset {
        QueueOffset(get_i64(self.bytes, QUEUE_OFFSET).cast_unsigned())
    }

    /// physicalOffset as stored: 0 in the log, set in a patched copy.
    pub fn physical_offset(&self) -> PhysicalOffset {
        PhysicalOffset(get_i64(self.bytes, PHYSICAL_OFFSET).cast_unsigned())
    }

    /// RocketMQ's sysFlag: compression, transaction and codec bits.
    pub fn sys_flag(&self) -> i32 {
        get_u32(self.bytes, SYS_FLAG).cast_signed()
    }

    /// When its producer made it, in milliseconds since the epoch.
    pub fn born_timestamp_ms(&self) -> i64 {
        get_i64(self.bytes, BORN_TIMESTAMP)
    }

    /// Where its producer sent it from.
    pub fn born_host(&self) -> SocketAddrV4 {
        get_host(self.bytes, BORN_HOST)
    }

    /// When its leader took it, in milliseconds since the epoch.
    pub fn store_timestamp_ms(&self) -> i64 {
        get_i64(self.bytes, STORE_TIMESTAMP)
    }

    /// The address of the leader that took it.
    pub fn store_host(&self) -> SocketAddrV4 {
        get_host(self.bytes, STORE_HOST)
    }

    /// How often a consumer sent it back.
    pub fn reconsume_times(&self) -> i32 {
        get_u32(self.bytes, RECONSUME_TIMES).cast_signed()
    }

    /// Of a committed half message: where its half is.
    pub fn prepared_transaction_offset(&self) -> i64 {
        get_i64(self.bytes, PREPARED_TRANSACTION_OFFSET)
    }

    /// The body, as sent (compressed if its producer did).
    pub fn body(&self) -> &'a [u8] {
        &self.bytes[BODY..BODY + self.body_len]
    }

    /// The topic.
    pub fn topic(&self) -> &'a str {
        self.topic
    }

    /// The properties string: `key \x01 value` joined by `\x02`.
    pub fn properties(&self) -> &'a [u8] {
        &self.bytes[BODY + self.body_len + 1 + self.topic.len() + 2..]
    }

    /// The value of property `key`; `None` if it is missing, empty or not UTF-8.
    pub fn property(&self, key: &str) -> Option<&'a str> {
        property(self.properties(), key).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// What the record is found by: its UNIQ_KEY, then each word of its KEYS.
    pub fn keys(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let properties = self.properties();
        let words = property(properties, "KEYS").into_iter().flat_map(|keys| keys.split(|byte| *byte == b' '));
        property(properties, "UNIQ_KEY").into_iter().chain(words).filter(|key| !key.is_empty())
    }

    /// The ConsumeQueue's `tagsCode` of this record.
    pub fn tags_code(&self) -> i64 {
        tags_code(self.properties())
    }

    /// Whether the body's CRC is the one the record carries.
    pub fn body_crc_matches(&self) -> bool {
        body_crc(self.body()) == self.body_crc()
    }
}

/// RocketMQ's `bodyCRC`: CRC-32 (the one of zlib) with the highest bit cleared.
pub fn body_crc(body: &[u8]) -> u32 {
    crc32fast::hash(body) & 0x7FFF_FFFF
}

/// Writes queueOffset and physicalOffset into a copy of a record (fixed positions 20 and 28).
///
/// # Panics
/// If `record` is shorter than [`FIXED_LEN`].
pub fn patch(record: &mut [u8], queue_offset: QueueOffset, position: PhysicalOffset) {
    assert!(record.len() >= FIXED_LEN, "{} bytes are no record", record.len());
    put_i64(record, QUEUE_OFFSET, queue_offset.to_i64());
    put_i64(record, PHYSICAL_OFFSET, position.to_i64());
}

/// The records of an entry's body, each with its offset in the body. Ends after the first that is none.
pub fn records(body: &[u8]) -> Records<'_> {
    Records { body, at: 0 }
}

/// Iterator over the records of an entry's body; see [`records`].
#[derive(Clone, Debug)]
pub struct Records<'a> {
    body: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Records<'a> {
    type Item = (usize, Result<Record<'a>, BadRecord>);

    fn next(&mut self) -> Option<Self::Item> {
        let rest = &self.body[self.at..];
        if rest.is_empty() {
            return None;
        }
        let at = self.at;
        let record = Record::parse(rest);
        self.at += record.as_ref().map_or(rest.len(), |record| record.len());
        Some((at, record))
    }
}

impl std::iter::FusedIterator for Records<'_> {}

fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

fn put_i64(bytes: &mut [u8], at: usize, value: i64) {
    bytes[at..at + 8].copy_from_slice(&value.to_be_bytes());
}

fn put_host(bytes: &mut [u8], at: usize, host: SocketAddrV4) {
    bytes[at..at + 4].copy_from_slice(&host.ip().octets());
    put_u32(bytes, at + 4, u32::from(host.port()));
}

fn get_u16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn get_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn get_i64(bytes: &[u8], at: usize) -> i64 {
    let mut value = [0; 8];
    value.copy_from_slice(&bytes[at..at + 8]);
    i64::from_be_bytes(value)
}

fn get_host(bytes: &[u8], at: usize) -> SocketAddrV4 {
    let ip = Ipv4Addr::from(get_u32(bytes, at));
    // RocketMQ writes the port as an i32; only its low 16 bits can be set.
    SocketAddrV4::new(ip, get_u16(bytes, at + 6))
}
