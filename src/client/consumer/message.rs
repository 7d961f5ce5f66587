//! A message as a consumer gets it.

use std::net::SocketAddrV4;
use std::sync::Arc;

use bytes::Bytes;
use quorumq_store::record::Record;
use quorumq_store::{PhysicalOffset, QueueOffset};

use crate::client::compression::inflate;
use crate::client::queue::MessageQueue;
use crate::protocol::message_id::OffsetMsgId;
use crate::protocol::properties::{self, name};

/// A stored message. Its body is a slice of the answer it came in, unless it was compressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageExt {
    /// The topic it was sent to. Of a message from a retry topic, the one it first came from.
    pub topic: Arc<str>,
    /// The queue it was pulled from.
    pub queue: MessageQueue,
    /// Its place in that queue.
    pub queue_offset: QueueOffset,
    /// Its place in the CommitLog.
    pub physical_offset: PhysicalOffset,
    /// As it was sent. Still compressed, and `sys_flag` says so, if it cannot be inflated.
    pub body: Bytes,
    /// The application's own flag.
    pub flag: i32,
    /// RocketMQ's sysFlag, without the compression bits if the body was inflated.
    pub sys_flag: i32,
    /// When it was made, milliseconds since 1970 by its producer's clock.
    pub born_timestamp_ms: i64,
    /// Where it was sent from.
    pub born_host: SocketAddrV4,
    /// When it was taken, milliseconds since 1970 by the leader's clock.
    pub store_timestamp_ms: i64,
    /// The leader that took it.
    pub store_host: SocketAddrV4,
    /// How often it was consumed before without success.
    pub reconsume_times: i32,
    /// Bytes it takes in the CommitLog.
    pub stored_len: usize,
    properties: Bytes,
}

/// Codec bits and the compressed bit of sysFlag.
const COMPRESSION_BITS: i32 = 0x701;

impl MessageExt {
    /// The same message, to be consumed once more.
    pub(super) fn again(self) -> Self {
        Self { reconsume_times: self.reconsume_times.saturating_add(1), ..self }
    }

    /// The value of property `key`.
    pub fn property(&self, key: &str) -> Option<&str> {
        quorumq_store::record::property(&self.properties, key).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// All properties, in the order they are stored. Empty if they are not UTF-8.
    pub fn properties(&self) -> impl Iterator<Item = (&str, &str)> {
        properties::iter(std::str::from_utf8(&self.properties).unwrap_or_default())
    }

    /// Its tag.
    pub fn tag(&self) -> Option<&str> {
        self.property(name::TAGS)
    }

    /// Its keys.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.property(name::KEYS).unwrap_or_default().split_ascii_whitespace()
    }

    /// The id its producer gave it, else where it is stored.
    pub fn msg_id(&self) -> String {
        self.property(name::UNIQ_KEY).map_or_else(|| self.offset_msg_id(), str::to_owned)
    }

    /// Where it is stored, in RocketMQ's form.
    pub fn offset_msg_id(&self) -> String {
        let id = OffsetMsgId { store_host: self.store_host, offset: self.physical_offset };
        id.to_hex().to_string()
    }
}

/// Reads the messages in the body of a pull's answer.
///
/// # Errors
/// What is wrong with the bytes.
pub(in crate::client) fn decode(body: &Bytes, queue: &MessageQueue) -> Result<Vec<MessageExt>, String> {
    decode_of(body, |_| queue.clone())
}

/// Reads the messages in the body of a query's answer: each record says which queue it is in.
///
/// # Errors
/// What is wrong with the bytes.
pub(in crate::client) fn decode_found(body: &Bytes, topic: &str, broker: &str) -> Result<Vec<MessageExt>, String> {
    decode_of(body, |record| MessageQueue::new(topic, broker, record.queue_id()))
}

fn decode_of(body: &Bytes, queue: impl Fn(&Record<'_>) -> MessageQueue) -> Result<Vec<MessageExt>, String> {
    let mut messages = Vec::new();
    let mut at = 0;
    while at < body.len() {
        let record = Record::parse(&body[at..]).map_err(|error| format!("message at byte {at}: {error}"))?;
        at += record.len();
        messages.push(read(&record, body, queue(&record)));
    }
    Ok(messages)
}

fn read(record: &Record<'_>, body: &Bytes, queue: MessageQueue) -> MessageExt {
    let mut sys_flag = record.sys_flag();
    let stored = body.slice_ref(record.body());
    let inflated = match inflate(stored.clone(), sys_flag) {
        Ok(inflated) => {
            sys_flag &= !COMPRESSION_BITS;
            inflated
        }
        Err(error) => {
            tracing::warn!(%queue, offset = %record.queue_offset(), %error, "a message's body stays compressed");
            stored
        }
    };
    let topic = match record.property(name::RETRY_TOPIC) {
        Some(origin) => origin.into(),
        None if *queue.topic == *record.topic() => Arc::clone(&queue.topic),
        None => record.topic().into(),
    };
    MessageExt {
        topic,
        queue,
        queue_offset: record.queue_offset(),
        physical_offset: record.physical_offset(),
        body: inflated,
        flag: record.flag(),
        sys_flag,
        born_timestamp_ms: record.born_timestamp_ms(),
        born_host: record.born_host(),
        store_timestamp_ms: record.store_timestamp_ms(),
        store_host: record.store_host(),
        reconsume_times: record.reconsume_times(),
        stored_len: record.len(),
        properties: body.slice_ref(record.properties()),
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use quorumq_store::record::{Draft, patch};

    use super::*;
    use crate::client::compression::{SYS_FLAG_ZLIB, compress};

    fn stored(body: &[u8], sys_flag: i32, properties: &str, offset: u64) -> BytesMut {
        let host = SocketAddrV4::new([127, 0, 0, 1].into(), 10_911);
        let draft = Draft {
            queue_id: 1,
            flag: 5,
            sys_flag,
            born_timestamp_ms: 10,
            born_host: host,
            store_timestamp_ms: 20,
            store_host: host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body,
            topic: "T",
            properties: properties.as_bytes(),
        };
        let mut bytes = BytesMut::new();
        draft.encode(&mut bytes);
        patch(&mut bytes, QueueOffset(offset), PhysicalOffset(0x30));
        bytes
    }

    #[test]
    fn messages_of_a_pull_are_read_one_after_the_other() {
        let mut body = stored(b"one", 0, "TAGS\u{1}a\u{2}KEYS\u{1}k1 k2\u{2}UNIQ_KEY\u{1}ID\u{2}u\u{1}v\u{2}", 7);
        let large = "x".repeat(9000);
        let compressed = compress(large.as_bytes()).expect("compressible");
        body.extend(stored(&compressed, SYS_FLAG_ZLIB | 2, "", 8));
        let queue = MessageQueue::new("T", "g", 1);
        let messages = decode(&body.freeze(), &queue).expect("readable");
        let [first, second] = &messages[..] else { panic!("two messages") };
        assert_eq!((&first.body[..], first.queue_offset, first.flag), (&b"one"[..], QueueOffset(7), 5));
        assert_eq!((first.tag(), first.property("u"), first.msg_id()), (Some("a"), Some("v"), "ID".to_owned()));
        assert!(first.keys().eq(["k1", "k2"]));
        assert_eq!(first.properties().count(), 4);
        assert_eq!((&second.body[..], second.sys_flag), (large.as_bytes(), 2));
        assert_eq!(second.msg_id(), "7F00000100002A9F0000000000000030");
    }

    #[test]
    fn a_retried_message_tells_its_first_topic() {
        let body = stored(b"b", 0, "RETRY_TOPIC\u{1}orders", 0).freeze();
        let messages = decode(&body, &MessageQueue::new("%RETRY%g", "g", 0)).expect("readable");
        assert_eq!(&*messages[0].topic, "orders");
        assert_eq!(&*messages[0].queue.topic, "%RETRY%g");
    }

    #[test]
    fn a_body_that_cannot_be_inflated_is_handed_over_as_it_is() {
        let body = stored(b"not zlib", SYS_FLAG_ZLIB, "", 0).freeze();
        let messages = decode(&body, &MessageQueue::new("T", "g", 0)).expect("readable");
        assert_eq!((&messages[0].body[..], messages[0].sys_flag), (&b"not zlib"[..], SYS_FLAG_ZLIB));
    }

    #[test]
    fn half_a_message_is_an_error() {
        let body = stored(b"one", 0, "", 0).freeze();
        let error = decode(&body.slice(..50), &MessageQueue::new("T", "g", 0)).expect_err("cut short");
        assert!(error.starts_with("message at byte 0"), "{error}");
    }
}
