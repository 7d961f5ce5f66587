//! REGISTER_BROKER (103): a broker's topics, as JSON or, with `compressed=true`, as a deflated list.

use std::io::{Read, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use serde::{Deserialize, Serialize};

use super::lenient::or_default;
use super::topic::{TopicConfig, TopicConfigSerializeWrapper};
use super::{BodyError, name_of};

/// Most bytes a compressed body may inflate to: a quarter of a million topics.
pub const MAX_INFLATED: usize = 32 * 1024 * 1024;

/// The body of 103.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RegisterBrokerBody {
    #[serde(deserialize_with = "or_default")]
    pub filter_server_list: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub topic_config_serialize_wrapper: TopicConfigSerializeWrapper,
}

/// The header's `bodyCrc32`: CRC-32 without its top bit (UtilAll.java).
pub fn body_crc32(body: &[u8]) -> i32 {
    (crc32fast::hash(body) & 0x7FFF_FFFF).cast_signed()
}

impl RegisterBrokerBody {
    /// Reads a body, checked against the header's `bodyCrc32` unless that is 0 or missing. An empty body is a broker
    /// without topics, as at Apache.
    ///
    /// # Errors
    /// When the CRC differs, or the body does not parse or inflates to more than [`MAX_INFLATED`].
    pub fn decode(body: &[u8], compressed: bool, crc32: Option<i32>) -> Result<Self, BodyError> {
        if let Some(expected) = crc32.filter(|crc| *crc != 0) {
            let actual = body_crc32(body);
            if actual != expected {
                return Err(BodyError::WrongCrc { actual, expected });
            }
        }
        if body.is_empty() {
            return Ok(Self::default());
        }
        if !compressed {
            return super::decode(body);
        }
        let inflated = inflate(body)?;
        // Apache deflates a list of its own, others may deflate the JSON.
        match inflated.first() {
            Some(b'{') => super::decode(&inflated),
            _ => decode_list(&inflated),
        }
    }

    /// The body as JSON.
    pub fn encode(&self) -> Bytes {
        super::encode(self)
    }

    /// The body as Apache compresses it (RegisterBrokerBody.java): `{length i32, text}` of the DataVersion, the number of
    /// topics, `{length i32, "name read write perm filter"}` of each, the list of filter servers, and 0 static-topic
    /// mappings, all deflated. Topics lose order and topicSysFlag in it.
    pub fn encode_compressed(&self) -> Bytes {
        let mut list = Vec::new();
        let wrapper = &self.topic_config_serialize_wrapper;
        put(&mut list, &super::encode(&wrapper.data_version));
        list.extend_from_slice(&(wrapper.topic_config_table.len() as u32).to_be_bytes());
        for topic in wrapper.topic_config_table.values() {
            put(&mut list, topic_line(topic).as_bytes());
        }
        put(&mut list, &super::encode(&self.filter_server_list));
        list.extend_from_slice(&0u32.to_be_bytes());
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        match encoder.write_all(&list).and_then(|()| encoder.finish()) {
            Ok(deflated) => deflated.into(),
            Err(error) => unreachable!("deflating into memory does not fail: {error}"),
        }
    }
}

fn malformed(reason: impl Into<String>) -> BodyError {
    BodyError::Malformed { what: name_of::<RegisterBrokerBody>(), reason: reason.into() }
}

fn inflate(body: &[u8]) -> Result<Vec<u8>, BodyError> {
    let mut inflated = Vec::new();
    let mut decoder = ZlibDecoder::new(body).take(MAX_INFLATED as u64 + 1);
    decoder.read_to_end(&mut inflated).map_err(|error| malformed(error.to_string()))?;
    if inflated.len() > MAX_INFLATED {
        return Err(BodyError::TooLarge { limit: MAX_INFLATED });
    }
    Ok(inflated)
}

fn put(list: &mut Vec<u8>, text: &[u8]) {
    list.extend_from_slice(&(text.len() as u32).to_be_bytes());
    list.extend_from_slice(text);
}

fn topic_line(topic: &TopicConfig) -> String {
    let TopicConfig { topic_name, read_queue_nums, write_queue_nums, perm, topic_filter_type, .. } = topic;
    format!("{topic_name} {read_queue_nums} {write_queue_nums} {perm} {topic_filter_type}")
}

fn decode_list(mut list: &[u8]) -> Result<RegisterBrokerBody, BodyError> {
    let mut body = RegisterBrokerBody::default();
    let wrapper = &mut body.topic_config_serialize_wrapper;
    wrapper.data_version = super::decode(take(&mut list, "data version")?)?;
    for _ in 0..take_length(&mut list, "number of topics")? {
        let topic = parse_topic_line(take(&mut list, "topic")?)?;
        wrapper.topic_config_table.insert(topic.topic_name.clone(), topic);
    }
    body.filter_server_list = super::decode(take(&mut list, "filter servers")?)?;
    // 5.x goes on with static-topic mappings, which have no meaning here.
    Ok(body)
}

fn take_length(list: &mut &[u8], what: &'static str) -> Result<usize, BodyError> {
    let (field, rest) = list.split_first_chunk().ok_or_else(|| malformed(format!("it ends before the {what}")))?;
    *list = rest;
    let length = i32::from_be_bytes(*field);
    usize::try_from(length).map_err(|_| malformed(format!("negative length {length} of the {what}")))
}

fn take<'l>(list: &mut &'l [u8], what: &'static str) -> Result<&'l [u8], BodyError> {
    let length = take_length(list, what)?;
    let (text, rest) = list.split_at_checked(length).ok_or_else(|| malformed(format!("it ends within the {what}")))?;
    *list = rest;
    Ok(text)
}

/// Reads `name read write perm filter`, in 5.x with the attributes' JSON after it.
fn parse_topic_line(line: &[u8]) -> Result<TopicConfig, BodyError> {
    let text = std::str::from_utf8(line).map_err(|_| malformed("a topic is not UTF-8"))?;
    let bad = || malformed(format!("a topic reads {text:?}"));
    let parts: Vec<&str> = text.splitn(6, ' ').collect();
    let [topic_name, read, write, perm, filter, attributes @ ..] = &parts[..] else {
        return Err(bad());
    };
    let number = |text: &str| text.parse::<i32>().map_err(|_| bad());
    Ok(TopicConfig {
        topic_name: (*topic_name).to_owned(),
        read_queue_nums: number(read)?,
        write_queue_nums: number(write)?,
        perm: number(perm)?,
        topic_filter_type: (*filter).to_owned(),
        attributes: match attributes.first() {
            Some(json) => super::decode(json.as_bytes())?,
            None => Default::default(),
        },
        ..TopicConfig::default()
    })
}
