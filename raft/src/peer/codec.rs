//! Peer frames: `length u32 | header CRC u32 | header length u32 | header | raw`, big-endian.
//!
//! The header is bincode ([`crate::codec`]); `raw` carries entry bodies, snapshots and forwarded requests
//! untouched. The CRC covers the header; raw bytes carry their own CRCs (entries) or are checked by their
//! reader (snapshots).

use std::io;
use std::marker::PhantomData;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::codec::{Decoder, Encoder};

use crate::codec;

/// Largest frame, in bytes: a forwarded request of 16 MiB or a run of entries, and their headers.
pub const MAX_FRAME: usize = 64 * 1024 * 1024;
/// Largest header inside a frame.
pub const MAX_HEADER: usize = 4 * 1024 * 1024;
/// Bytes before the header: length, CRC, header length.
const FIXED: usize = 12;

/// A frame: its header and the raw bytes behind it.
#[derive(Debug)]
pub struct Frame<H> {
    /// The header.
    pub header: H,
    /// What follows it.
    pub raw: Bytes,
}

/// A frame to send: the raw part may come in pieces.
#[derive(Debug)]
pub struct Outgoing<'a, H> {
    /// The header.
    pub header: &'a H,
    /// What follows it.
    pub raw: &'a [Bytes],
}

/// Encodes headers of type `T` and decodes headers of type `H`.
#[derive(Debug)]
pub struct PeerCodec<T, H>(PhantomData<fn() -> (T, H)>);

impl<T, H> Default for PeerCodec<T, H> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

fn bad(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

/// Appends one frame to `out`.
///
/// # Errors
/// A frame over [`MAX_FRAME`], or a header that does not encode.
pub fn encode_frame<H: Serialize>(header: &H, raw: &[Bytes], out: &mut BytesMut) -> io::Result<()> {
    let header = codec::encode(header).map_err(io::Error::other)?;
    let raw_len: usize = raw.iter().map(Bytes::len).sum();
    let total = FIXED - 4 + header.len() + raw_len;
    if total > MAX_FRAME || header.len() > MAX_HEADER {
        return Err(bad(format!("peer frame of {total} bytes is over the limit of {MAX_FRAME}")));
    }
    out.reserve(total + 4);
    out.put_u32(len_u32(total));
    out.put_u32(crc32fast::hash(&header));
    out.put_u32(len_u32(header.len()));
    out.put_slice(&header);
    for part in raw {
        out.put_slice(part);
    }
    Ok(())
}

fn len_u32(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

impl<T: Serialize, H> Encoder<Outgoing<'_, T>> for PeerCodec<T, H> {
    type Error = io::Error;

    fn encode(&mut self, item: Outgoing<'_, T>, dst: &mut BytesMut) -> io::Result<()> {
        encode_frame(item.header, item.raw, dst)
    }
}

impl<T, H: DeserializeOwned> Decoder for PeerCodec<T, H> {
    type Item = Frame<H>;
    type Error = io::Error;

    fn decode(&mut self, src: &mut BytesMut) -> io::Result<Option<Frame<H>>> {
        let Some(length) = src.first_chunk::<4>() else {
            return Ok(None);
        };
        let total = u32::from_be_bytes(*length) as usize;
        if !(FIXED - 4..=MAX_FRAME).contains(&total) {
            return Err(bad(format!(
                "peer frame length {total} is outside [8, {MAX_FRAME}]; is this a QuoruMQ peer port?"
            )));
        }
        if src.len() < total + 4 {
            src.reserve(total + 4 - src.len());
            return Ok(None);
        }
        let mut frame = src.split_to(total + 4).freeze();
        frame.advance(4);
        let crc = frame.get_u32();
        let header_len = frame.get_u32() as usize;
        if header_len > MAX_HEADER || header_len > frame.len() {
            return Err(bad(format!("peer frame header of {header_len} bytes does not fit its frame")));
        }
        let header = frame.split_to(header_len);
        if crc32fast::hash(&header) != crc {
            return Err(bad("peer frame header CRC does not match"));
        }
        let header = codec::decode(&header).map_err(|e| bad(format!("peer frame header: {e}")))?;
        Ok(Some(Frame { header, raw: frame }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Both = PeerCodec<(u64, String), (u64, String)>;

    #[test]
    fn a_frame_survives_any_split_of_its_bytes() {
        let mut bytes = BytesMut::new();
        let header = (7u64, "hello".to_owned());
        encode_frame(&header, &[Bytes::from_static(b"ab"), Bytes::from_static(b"c")], &mut bytes).unwrap();
        for cut in 0..bytes.len() {
            let mut buf = BytesMut::from(&bytes[..cut]);
            let mut codec = Both::default();
            assert!(codec.decode(&mut buf).unwrap().is_none());
            buf.extend_from_slice(&bytes[cut..]);
            let frame = codec.decode(&mut buf).unwrap().unwrap();
            assert_eq!((frame.header, &frame.raw[..]), (header.clone(), &b"abc"[..]));
        }
    }

    #[test]
    fn garbage_lengths_and_flipped_header_bits_are_refused() {
        let mut codec = Both::default();
        assert!(codec.decode(&mut BytesMut::from(&b"GET / HTTP/1.1\r\n"[..])).is_err());
        let mut bytes = BytesMut::new();
        encode_frame(&(7u64, "hello".to_owned()), &[], &mut bytes).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        assert!(codec.decode(&mut bytes).unwrap_err().to_string().contains("CRC"));
    }
}
