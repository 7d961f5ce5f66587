//! One remoting command: a request, a response or a one-way message.

use bytes::Bytes;

use super::ext::ExtFields;

/// How a header is written. A response uses its request's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// serializeType 0.
    Json,
    /// serializeType 1, RocketMQ's own binary header.
    Binary,
}

/// Flag bit of a response.
pub const FLAG_RESPONSE: i32 = 1;
/// Flag bit of a message that wants no response.
pub const FLAG_ONEWAY: i32 = 2;
/// The version every answer carries: Apache 4.9.8's ordinal.
pub const VERSION: i16 = 409;

/// A decoded frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    pub encoding: Encoding,
    /// Request or response code. Binary headers carry 16 bits of it.
    pub code: i32,
    /// Language byte (JAVA 0 … RUST 12).
    pub language: u8,
    pub version: i16,
    /// Correlates a response with its request.
    pub opaque: i32,
    pub flag: i32,
    pub remark: Option<String>,
    /// Ext fields in their order on the wire.
    pub ext: ExtFields,
    pub body: Bytes,
}

impl Command {
    /// A request of ours.
    pub fn request(encoding: Encoding, code: i32, ext: ExtFields, body: Bytes) -> Self {
        let _ = (encoding, code, ext, body);
        todo!()
    }
    /// A response to `self`: same encoding and opaque.
    pub fn reply(&self, code: i32, remark: Option<String>) -> Self {
        let _ = (code, remark);
        todo!()
    }
    /// Whether it is a response.
    pub fn is_response(&self) -> bool {
        self.flag & FLAG_RESPONSE != 0
    }
    /// Whether it wants no response.
    pub fn is_oneway(&self) -> bool {
        self.flag & FLAG_ONEWAY != 0
    }
}
