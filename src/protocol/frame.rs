//! The frame around a command: `length i32 | (type << 24 | header length) i32 | header | body`.

mod binary;
mod json;
mod scan;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::command::{Command, Encoding, FLAG_ONEWAY, FLAG_RESPONSE, VERSION};
use super::ext::ExtFields;
use super::language;
use super::value::Value;

/// Largest frame accepted (length field), in bytes: RocketMQ's NettyDecoder limit, 16 MiB.
pub const MAX_FRAME: usize = 16 * 1024 * 1024;

/// Largest header, in bytes: its length field has 24 bits.
pub const MAX_HEADER: usize = (1 << 24) - 1;

/// Bytes before the header: the two length fields.
const PREFIX: usize = 8;

/// Why bytes are no frame. The connection is closed after it: where the next frame starts is no longer known, or
/// the sender is not one of ours.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FrameError {
    /// A negative length reads as a huge one.
    #[error("frame of {len} bytes is over the limit of {limit}")]
    TooLarge { len: u64, limit: usize },
    #[error("frame length {0} is too short for a header")]
    TooShort(i32),
    #[error("header of {header} bytes does not fit a frame of {frame}")]
    HeaderOverflow { header: usize, frame: usize },
    #[error("unknown serialize type {0}")]
    UnknownSerializeType(u8),
    #[error("bad header: {0}")]
    BadHeader(String),
}

/// What a decoded header says.
struct Decoded {
    code: i32,
    language: u8,
    version: i16,
    opaque: i32,
    flag: i32,
    remark: Option<String>,
    ext: ExtFields,
}

/// Takes one whole frame off the front of `buf`; `None` if more bytes are needed. Zero-copy: the command's
/// strings and body are slices of `buf`'s memory.
///
/// # Errors
/// As soon as the first 8 bytes show that no frame of ours follows, or when the header does not parse.
pub fn decode(buf: &mut BytesMut) -> Result<Option<Command>, FrameError> {
    decode_limited(buf, MAX_FRAME)
}

/// [`decode`] with another limit on the length field, in bytes.
///
/// # Errors
/// As [`decode`].
pub fn decode_limited(buf: &mut BytesMut, limit: usize) -> Result<Option<Command>, FrameError> {
    let Some(len) = read_u32(buf, 0) else { return Ok(None) };
    let frame = len as usize;
    if frame > limit {
        return Err(FrameError::TooLarge { len: u64::from(len), limit });
    }
    if frame < 4 {
        return Err(FrameError::TooShort(len.cast_signed()));
    }
    let Some(mark) = read_u32(buf, 4) else { return Ok(None) };
    let header = mark as usize & MAX_HEADER;
    let encoding = match (mark >> 24) as u8 {
        0 => Encoding::Json,
        1 => Encoding::Binary,
        other => return Err(FrameError::UnknownSerializeType(other)),
    };
    if header > frame - 4 {
        return Err(FrameError::HeaderOverflow { header, frame });
    }
    if buf.len() < 4 + frame {
        return Ok(None);
    }
    buf.advance(PREFIX);
    let header_bytes = buf.split_to(header).freeze();
    let body_len = frame - 4 - header;
    let body = if body_len == 0 { Bytes::new() } else { buf.split_to(body_len).freeze() };
    let head = match encoding {
        Encoding::Json => json::decode(header_bytes)?,
        Encoding::Binary => binary::decode(header_bytes)?,
    };
    Ok(Some(Command {
        encoding,
        code: head.code,
        language: head.language,
        version: head.version,
        opaque: head.opaque,
        flag: head.flag,
        remark: head.remark,
        ext: head.ext,
        body,
    }))
}

fn read_u32(buf: &BytesMut, at: usize) -> Option<u32> {
    buf.get(at..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

/// Appends a command as one frame to `out`.
pub fn encode(command: &Command, out: &mut BytesMut) {
    encode_head(command, command.body.len(), out);
    out.put_slice(&command.body);
}

/// Appends the frame of `command` up to its body. The caller appends, or sends, exactly `body_len` bytes after it;
/// `command.body` is not looked at.
pub fn encode_head(command: &Command, body_len: usize, out: &mut BytesMut) {
    let head = Head {
        encoding: command.encoding,
        code: command.code,
        language: command.language,
        version: command.version,
        opaque: command.opaque,
        flag: command.flag,
        remark: command.remark.as_deref(),
    };
    head.write(command.ext.iter().map(|(key, value)| (key, Value::Text(value))), body_len, out);
}

/// Appends a frame straight from its parts, without building a [`Command`]: what the send path uses on both sides.
///
/// ```
/// # use bytes::BytesMut;
/// # use quorumq::protocol::{command::Encoding, frame::{self, Head}};
/// # let mut out = BytesMut::new();
/// let head = Head::reply(Encoding::Binary, 7, 0);
/// frame::encode_parts(&head, [("msgId", "7F00…".into()), ("queueId", 3.into())], b"", &mut out);
/// ```
pub fn encode_parts<'k, 'f>(
    head: &Head<'_>,
    fields: impl IntoIterator<Item = (&'k str, Value<'f>)>,
    body: &[u8],
    out: &mut BytesMut,
) {
    encode_parts_head(head, fields, body.len(), out);
    out.put_slice(body);
}

/// Appends a frame up to its body. The caller appends, or sends, exactly `body_len` bytes after it: what the pull path
/// uses to pass records on without gathering them first.
pub fn encode_parts_head<'k, 'f>(
    head: &Head<'_>,
    fields: impl IntoIterator<Item = (&'k str, Value<'f>)>,
    body_len: usize,
    out: &mut BytesMut,
) {
    head.write(fields.into_iter(), body_len, out);
}

/// A header without its ext fields, to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head<'a> {
    pub encoding: Encoding,
    /// Request or response code.
    pub code: i32,
    pub language: u8,
    pub version: i16,
    pub opaque: i32,
    pub flag: i32,
    pub remark: Option<&'a str>,
}

impl<'a> Head<'a> {
    /// The response to a request that came with this encoding and opaque. The same bytes as [`Command::reply`].
    pub fn reply(encoding: Encoding, opaque: i32, code: i32) -> Self {
        Self { encoding, code, language: language::JAVA, version: VERSION, opaque, flag: FLAG_RESPONSE, remark: None }
    }

    /// A request of ours. The same bytes as [`Command::request`].
    pub fn request(encoding: Encoding, opaque: i32, code: i32) -> Self {
        Self { encoding, code, language: language::RUST, version: VERSION, opaque, flag: 0, remark: None }
    }

    /// A request of ours that wants no response.
    pub fn oneway(encoding: Encoding, opaque: i32, code: i32) -> Self {
        Self { flag: FLAG_ONEWAY, ..Self::request(encoding, opaque, code) }
    }

    /// The same head with a remark.
    #[must_use]
    pub fn with_remark(self, remark: &'a str) -> Self {
        Self { remark: Some(remark), ..self }
    }

    /// Appends prefix and header.
    fn write<'k, 'f>(&self, fields: impl Iterator<Item = (&'k str, Value<'f>)>, body_len: usize, out: &mut BytesMut) {
        let start = out.len();
        out.put_u64(0);
        let serialize_type = match self.encoding {
            Encoding::Json => {
                json::encode(self, fields, out);
                0
            }
            Encoding::Binary => {
                binary::encode(self, fields, out);
                1
            }
        };
        let header = out.len() - start - PREFIX;
        assert!(header <= MAX_HEADER, "header of {header} bytes: ours are short, and decoded ones were bounded");
        let Ok(frame) = u32::try_from(4 + header + body_len) else {
            unreachable!("body of {body_len} bytes: bodies are bounded far below 4 GiB")
        };
        let mark = serialize_type << 24 | header as u32;
        out[start..start + 4].copy_from_slice(&frame.to_be_bytes());
        out[start + 4..start + PREFIX].copy_from_slice(&mark.to_be_bytes());
    }
}
