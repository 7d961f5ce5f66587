//! A message made ready to send: checked, compressed, with its id. Every attempt sends the same bytes.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use quorumq_raft::runtime::Runtime;

use crate::client::compression::{SYS_FLAG_ZLIB, compress};
use crate::client::error::ClientError;
use crate::client::message::Message;
use crate::client::queue::MessageQueue;
use crate::client::remoting::Request;
use crate::client::uniq_key::UniqKeys;
use crate::protocol::batch::{self, BatchMessage};
use crate::protocol::code::request;
use crate::protocol::frame::{self, Head};
use crate::protocol::header::send::SendMessageRequest;
use crate::protocol::properties::{NAME_VALUE_SEPARATOR, PROPERTY_SEPARATOR, Writer, name};
use crate::protocol::{Encoding, limits, names};
use crate::server::Outgoing;

/// Queues such a topic gets at most (`defaultTopicQueueNums`).
pub const DEFAULT_TOPIC_QUEUES: u32 = 4;

/// Messages of one batch: each takes at least its 32-digit id, and brokers answer with an id of 32 digits for each.
pub const MAX_BATCH: usize = 4096;

/// What a message may be and when it is compressed.
#[derive(Clone, Copy, Debug)]
pub struct MessageLimits {
    /// Largest body in bytes, before compression (`maxMessageSize`: 4 MiB).
    pub max_body: usize,
    /// Bodies over this many bytes are compressed (`compressMsgBodyOverHowmuch`: 4096).
    pub compress_over: usize,
}

impl Default for MessageLimits {
    fn default() -> Self {
        Self { max_body: limits::MAX_BODY, compress_over: 4096 }
    }
}

/// A message, or a batch of them, made ready to send.
#[derive(Clone, Debug)]
pub struct Prepared {
    pub(super) topic: Arc<str>,
    /// UNIQ_KEY; of a batch, all joined by commas.
    pub(super) msg_id: String,
    code: i32,
    body: Bytes,
    properties: String,
    flag: i32,
    sys_flag: i32,
    born_timestamp_ms: i64,
}

impl Prepared {
    /// Checks `message`, gives it an id and compresses it if it is large.
    ///
    /// # Errors
    /// [`ClientError::Invalid`].
    pub fn new<R: Runtime>(message: &Message, keys: &UniqKeys, limits: &MessageLimits) -> Result<Self, ClientError> {
        check_topic(&message.topic)?;
        let (msg_id, properties) = properties::<R>(message, keys)?;
        check_size(message.body.len(), properties.len(), limits)?;
        let compressed = (message.body.len() > limits.compress_over).then(|| compress(&message.body)).flatten();
        let sys_flag = if compressed.is_some() { SYS_FLAG_ZLIB } else { 0 };
        Ok(Self {
            topic: Arc::clone(&message.topic),
            msg_id,
            code: request::SEND_MESSAGE_V2,
            body: compressed.unwrap_or_else(|| message.body.clone()),
            properties,
            flag: message.flag,
            sys_flag,
            born_timestamp_ms: R::wall_clock_ms(),
        })
    }

    /// Several messages of one topic, stored in one entry: all or none. They are not compressed, as in RocketMQ.
    ///
    /// # Errors
    /// [`ClientError::Invalid`]: there is none, they are too many or too large together, or of different topics.
    pub fn batch<R: Runtime>(
        messages: &[Message],
        keys: &UniqKeys,
        limits: &MessageLimits,
    ) -> Result<Self, ClientError> {
        let first = messages.first().ok_or_else(|| ClientError::invalid("batch", "it is empty"))?;
        check_topic(&first.topic)?;
        if messages.len() > MAX_BATCH {
            let why = format!("{} messages, the limit is {MAX_BATCH}", messages.len());
            return Err(ClientError::invalid("batch", why));
        }
        let mut ids = Vec::with_capacity(messages.len());
        let mut body = BytesMut::new();
        for message in messages {
            if message.topic != first.topic {
                let why = format!("it holds messages of {} and of {}", first.topic, message.topic);
                return Err(ClientError::invalid("batch", why));
            }
            let (id, properties) = properties::<R>(message, keys)?;
            check_size(message.body.len(), properties.len(), limits)?;
            batch::append(
                &BatchMessage { flag: message.flag, body: &message.body, properties: &properties },
                &mut body,
            );
            check_size(body.len(), 0, limits)?;
            ids.push(id);
        }
        Ok(Self {
            topic: Arc::clone(&first.topic),
            msg_id: ids.join(","),
            code: request::SEND_BATCH_MESSAGE,
            body: body.freeze(),
            properties: String::new(),
            flag: 0,
            sys_flag: 0,
            born_timestamp_ms: R::wall_clock_ms(),
        })
    }

    /// Its UNIQ_KEY; of a batch, all joined by commas.
    pub fn msg_id(&self) -> &str {
        &self.msg_id
    }

    /// Its topic.
    pub fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    /// The request that sends it to `queue`.
    pub fn request<'a>(&'a self, encoding: Encoding, group: &'a str, queue: &'a MessageQueue) -> SendRequest<'a> {
        SendRequest { prepared: self, encoding, group, queue }
    }
}

/// One attempt to send a [`Prepared`] message: written straight into the connection's buffer.
#[derive(Clone, Copy, Debug)]
pub struct SendRequest<'a> {
    prepared: &'a Prepared,
    encoding: Encoding,
    group: &'a str,
    queue: &'a MessageQueue,
}

impl Request for SendRequest<'_> {
    fn write(&self, opaque: i32, oneway: bool, out: &mut Outgoing) {
        let prepared = self.prepared;
        let batch = prepared.code == request::SEND_BATCH_MESSAGE;
        let header = SendMessageRequest {
            producer_group: self.group,
            topic: &prepared.topic,
            default_topic: names::AUTO_CREATE_TOPIC,
            default_topic_queue_nums: DEFAULT_TOPIC_QUEUES.cast_signed(),
            queue_id: self.queue.queue_id.cast_signed(),
            sys_flag: prepared.sys_flag,
            born_timestamp: prepared.born_timestamp_ms,
            flag: prepared.flag,
            properties: Some(&prepared.properties),
            reconsume_times: Some(0),
            unit_mode: Some(false),
            max_reconsume_times: None,
            batch: Some(batch),
            broker_name: Some(&self.queue.broker_name),
        };
        let head = if oneway { Head::oneway } else { Head::request }(self.encoding, opaque, prepared.code);
        let fields = header.fields(prepared.code);
        frame::encode_parts_head(&head, fields, prepared.body.len(), out.buffer());
        out.push(prepared.body.clone());
    }
}

fn check_topic(topic: &str) -> Result<(), ClientError> {
    names::check_topic(topic).map_err(|error| ClientError::invalid("topic", error.to_string()))
}

/// Sizes are those before compression.
fn check_size(body: usize, properties: usize, limits: &MessageLimits) -> Result<(), ClientError> {
    if body == 0 {
        return Err(ClientError::invalid("message", "its body is empty"));
    }
    limits::check_size(body, properties, limits.max_body)
        .map_err(|error| ClientError::invalid("message", error.to_string()))
}

/// Draws the message's id and writes its properties, the id among them.
fn properties<R: Runtime>(message: &Message, keys: &UniqKeys) -> Result<(String, String), ClientError> {
    let mut text = Vec::with_capacity(64);
    let mut writer = Writer::new(&mut text);
    for (name, value) in &message.properties {
        let separators = [NAME_VALUE_SEPARATOR, PROPERTY_SEPARATOR];
        if name.is_empty() || name.contains(separators) || value.contains(separators) {
            let why = format!("{name:?}: names may not be empty, and neither part may contain \\x01 or \\x02");
            return Err(ClientError::invalid("property", why));
        }
        if name == name::UNIQ_KEY {
            return Err(ClientError::invalid("property", format!("{name} is set by the producer")));
        }
        writer.put(name, value);
    }
    let id = keys.next::<R>();
    writer.put(name::UNIQ_KEY, &id);
    match String::from_utf8(text) {
        Ok(text) => Ok((id, text)),
        Err(_) => unreachable!("strings and ASCII separators make UTF-8"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::properties::get;
    use quorumq_raft::runtime::tokio::Tokio;

    fn prepare(message: &Message) -> Result<Prepared, ClientError> {
        Prepared::new::<Tokio>(message, &UniqKeys::new::<Tokio>(), &MessageLimits::default())
    }

    fn decoded(prepared: &Prepared, oneway: bool) -> crate::protocol::Command {
        let queue = MessageQueue::new(&prepared.topic, "g0", 3);
        let mut out = Outgoing::default();
        prepared.request(Encoding::Binary, "producers", &queue).write(9, oneway, &mut out);
        frame::decode(out.buffer()).expect("a frame").expect("a whole frame")
    }

    #[test]
    fn a_send_carries_what_the_stock_client_sends() {
        let message = Message::new("T", "body").with_tag("TagA").with_keys(["k1", "k2"]).with_property("u", "v");
        let prepared = prepare(&message).expect("valid");
        let command = decoded(&prepared, false);
        assert_eq!((command.code, command.opaque, command.flag), (310, 9, 0));
        let header = SendMessageRequest::decode(&command).expect("a header");
        let properties = format!("TAGS\u{1}TagA\u{2}KEYS\u{1}k1 k2\u{2}u\u{1}v\u{2}UNIQ_KEY\u{1}{}", prepared.msg_id);
        assert_eq!(header.properties, Some(properties.as_str()));
        assert_eq!((header.producer_group, header.topic, header.queue_id), ("producers", "T", 3));
        assert_eq!((header.default_topic, header.default_topic_queue_nums), ("TBW102", 4));
        assert_eq!((header.batch, header.broker_name, header.sys_flag), (Some(false), Some("g0"), 0));
        assert_eq!(&command.body[..], b"body");
        assert_eq!(decoded(&prepared, true).flag, 2);
    }

    #[test]
    fn bodies_over_4096_bytes_are_compressed() {
        let prepared = prepare(&Message::new("T", vec![7; 4096])).expect("valid");
        assert_eq!((prepared.sys_flag, prepared.body.len()), (0, 4096));
        let prepared = prepare(&Message::new("T", vec![7; 4097])).expect("valid");
        assert_eq!(prepared.sys_flag, 0x301);
        let inflated = crate::client::compression::inflate(prepared.body, 0x301);
        assert_eq!(inflated, Ok(vec![7; 4097].into()));
    }

    #[test]
    fn a_batch_reads_as_brokers_read_it() {
        let messages = [Message::new("T", "one").with_tag("a").with_flag(5), Message::new("T", "two")];
        let keys = UniqKeys::new::<Tokio>();
        let prepared = Prepared::batch::<Tokio>(&messages, &keys, &MessageLimits::default()).expect("valid");
        let command = decoded(&prepared, false);
        assert_eq!(command.code, 320);
        assert_eq!(SendMessageRequest::decode(&command).expect("a header").batch, Some(true));
        let read: Vec<_> = batch::messages(&command.body).map(|sub| sub.expect("readable")).collect();
        assert_eq!(read.iter().map(|sub| (sub.flag, sub.body)).collect::<Vec<_>>(), [(5, &b"one"[..]), (0, b"two")]);
        let ids: Vec<_> = read.iter().map(|sub| get(sub.properties, "UNIQ_KEY").expect("an id")).collect();
        assert_eq!(ids.join(","), prepared.msg_id);
    }

    #[test]
    fn what_no_broker_takes_is_refused_before_it_is_sent() {
        for (message, what) in [
            (Message::new("", "b"), "topic"),
            (Message::new("a b", "b"), "topic"),
            (Message::new("t".repeat(128), "b"), "topic"),
            (Message::new("T", ""), "message"),
            (Message::new("T", vec![0; 4 * 1024 * 1024 + 1]), "message"),
            (Message::new("T", "b").with_property("a\u{1}", "v"), "property"),
            (Message::new("T", "b").with_property("", "v"), "property"),
            (Message::new("T", "b").with_property("UNIQ_KEY", "v"), "property"),
            (Message::new("T", "b").with_property("a", "v".repeat(33_000)), "message"),
        ] {
            match prepare(&message) {
                Err(ClientError::Invalid { what: found, .. }) => assert_eq!(found, what),
                other => panic!("{what}: {other:?}"),
            }
        }
        let limits = MessageLimits::default();
        let keys = UniqKeys::new::<Tokio>();
        let mixed = [Message::new("T", "1"), Message::new("U", "2")];
        assert!(Prepared::batch::<Tokio>(&mixed, &keys, &limits).is_err());
        assert!(Prepared::batch::<Tokio>(&[], &keys, &limits).is_err());
        let large = vec![Message::new("T", vec![0; 1024 * 1024]); 4];
        assert!(Prepared::batch::<Tokio>(&large, &keys, &limits).is_err(), "4 MiB and headers");
    }
}
