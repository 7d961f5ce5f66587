//! The frame around a command: `length i32 | (type << 24 | header length) i32 | header | body`.

use bytes::BytesMut;

use super::command::Command;

/// Largest frame accepted (length field), in bytes: RocketMQ's NettyDecoder limit, 16 MiB.
pub const MAX_FRAME: usize = 16 * 1024 * 1024;

/// Why bytes are no frame. The connection is closed after it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FrameError {
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

/// Takes one whole frame off the front of `buf`; `None` if more bytes are needed. Zero-copy: the command's
/// strings and body are slices of `buf`'s memory.
pub fn decode(buf: &mut BytesMut) -> Result<Option<Command>, FrameError> {
    let _ = buf;
    todo!()
}

/// Appends a command as one frame to `out`.
pub fn encode(command: &Command, out: &mut BytesMut) {
    let _ = (command, out);
    todo!()
}
