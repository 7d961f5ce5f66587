//! One remoting command: a request, a response or a one-way message.

use bytes::Bytes;

use super::ext::ExtFields;
use super::language;

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
/// The version every command of ours carries: V4_9_8's ordinal in MQVersion.java.
pub const VERSION: i16 = 409;
/// V4_9_4: from this version on a client gets routes with quoted map keys (MQVersion.java).
pub const VERSION_STANDARD_JSON: i16 = 401;
/// V3_4_9: from this version on a client's maxReconsumeTimes is honoured (MQVersion.java).
pub const VERSION_MAX_RECONSUME_TIMES: i16 = 121;

/// V5_3_1: clients above it know the response code GO_AWAY (MQVersion.java; NettyRemotingAbstract.java of 5.3.3).
const VERSION_BEFORE_GO_AWAY: i16 = 475;

/// A decoded frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    pub encoding: Encoding,
    /// Request or response code. Binary headers carry 16 bits of it.
    pub code: i32,
    /// Language byte (JAVA 0 … RUST 12), see [`language`].
    pub language: u8,
    /// MQVersion.java's ordinal.
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
    /// A request of ours. `opaque` is 0: whoever owns the connection numbers it.
    pub fn request(encoding: Encoding, code: i32, ext: ExtFields, body: Bytes) -> Self {
        Self { encoding, code, language: language::RUST, version: VERSION, opaque: 0, flag: 0, remark: None, ext, body }
    }

    /// A request of ours that wants no response.
    pub fn oneway(encoding: Encoding, code: i32, ext: ExtFields, body: Bytes) -> Self {
        Self { flag: FLAG_ONEWAY, ..Self::request(encoding, code, ext, body) }
    }

    /// A response to `self`: same encoding and opaque.
    pub fn reply(&self, code: i32, remark: Option<String>) -> Self {
        Self {
            encoding: self.encoding,
            code,
            language: language::JAVA,
            version: VERSION,
            opaque: self.opaque,
            flag: FLAG_RESPONSE,
            remark,
            ext: ExtFields::default(),
            body: Bytes::new(),
        }
    }

    /// The same command with these ext fields.
    #[must_use]
    pub fn with_ext(self, ext: ExtFields) -> Self {
        Self { ext, ..self }
    }

    /// The same command with this body.
    #[must_use]
    pub fn with_body(self, body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..self }
    }

    /// Whether it is a response.
    pub fn is_response(&self) -> bool {
        self.flag & FLAG_RESPONSE != 0
    }

    /// Whether it wants no response.
    pub fn is_oneway(&self) -> bool {
        self.flag & FLAG_ONEWAY != 0
    }

    /// Whether whoever sent it leaves for another broker when it is answered GO_AWAY. Others take that for an error.
    pub fn knows_go_away(&self) -> bool {
        self.version > VERSION_BEFORE_GO_AWAY
    }

    /// Moves header and body to memory of their own. A decoded command keeps its connection's read buffer alive;
    /// detach what is kept for long, such as a held pull.
    pub fn detach(&mut self) {
        self.ext.detach();
        self.body = Bytes::copy_from_slice(&self.body);
    }
}
