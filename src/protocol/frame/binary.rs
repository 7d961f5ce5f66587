//! The binary header (RocketMQSerializable): `code i16 | language i8 | version i16 | opaque i32 | flag i32 |
//! remark length i32 + remark | ext length i32 + {key length i16, key, value length i32, value}*`.

use bytes::{BufMut, Bytes, BytesMut};

use super::{Decoded, FrameError, Head};
use crate::protocol::ext::{ExtFields, MAX_EXT_FIELDS, Text};
use crate::protocol::value::Value;

/// Walks a header; every step says what it wanted when the bytes run out.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], FrameError> {
        let bytes = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk()).ok_or_else(|| ends_in(what))?;
        self.at += N;
        Ok(*bytes)
    }

    fn length(&mut self, what: &'static str) -> Result<usize, FrameError> {
        let length = i32::from_be_bytes(self.array(what)?);
        usize::try_from(length).map_err(|_| FrameError::BadHeader(format!("negative {what} {length}")))
    }

    fn text(&mut self, len: usize, what: &'static str) -> Result<&'a str, FrameError> {
        let end = self.at.checked_add(len).ok_or_else(|| ends_in(what))?;
        let bytes = self.bytes.get(self.at..end).ok_or_else(|| ends_in(what))?;
        self.at = end;
        std::str::from_utf8(bytes).map_err(|_| FrameError::BadHeader(format!("{what} is not UTF-8")))
    }
}

fn ends_in(what: &'static str) -> FrameError {
    FrameError::BadHeader(format!("header ends within {what}"))
}

/// Decodes a whole header.
pub(super) fn decode(header: Bytes) -> Result<Decoded, FrameError> {
    let mut reader = Reader { bytes: &header, at: 0 };
    let code = i16::from_be_bytes(reader.array("code")?);
    let [language] = reader.array("language")?;
    let version = i16::from_be_bytes(reader.array("version")?);
    let opaque = i32::from_be_bytes(reader.array("opaque")?);
    let flag = i32::from_be_bytes(reader.array("flag")?);
    let remark_len = reader.length("remark length")?;
    let remark = reader.text(remark_len, "remark")?;
    let remark = if remark.is_empty() { None } else { Some(remark.to_owned()) };
    let ext_len = reader.length("ext length")?;
    let ext_end =
        reader.at.checked_add(ext_len).filter(|end| *end <= header.len()).ok_or_else(|| ends_in("ext fields"))?;
    // Bytes after the ext fields belong to no field; Java skips them as well.
    let ext = decode_ext(&header, reader.at, ext_end)?;
    Ok(Decoded { code: i32::from(code), language, version, opaque, flag, remark, ext })
}

fn decode_ext(header: &Bytes, start: usize, end: usize) -> Result<ExtFields, FrameError> {
    if start == end {
        return Ok(ExtFields::default());
    }
    let mut ext = ExtFields::over(header.clone());
    let mut reader = Reader { bytes: &header[..end], at: start };
    while reader.at < end {
        if ext.len() == MAX_EXT_FIELDS {
            return Err(FrameError::BadHeader(format!("more than {MAX_EXT_FIELDS} ext fields")));
        }
        let key_len = i16::from_be_bytes(reader.array("key length")?);
        let key_len =
            usize::try_from(key_len).map_err(|_| FrameError::BadHeader(format!("negative key length {key_len}")))?;
        let key = Text::of_wire(reader.at, key_len);
        reader.text(key_len, "ext key")?;
        let value_len = reader.length("value length")?;
        let value = Text::of_wire(reader.at, value_len);
        reader.text(value_len, "ext value")?;
        ext.push_texts(key, value);
    }
    Ok(ext)
}

/// Appends a header.
pub(super) fn encode<'k, 'f>(head: &Head<'_>, fields: impl Iterator<Item = (&'k str, Value<'f>)>, out: &mut BytesMut) {
    // The wire has 16 bits for the code: POP's codes arrive truncated at Java too (remoting-codes.md, trap 1).
    out.put_i16(head.code as i16);
    out.put_u8(head.language);
    out.put_i16(head.version);
    out.put_i32(head.opaque);
    out.put_i32(head.flag);
    let remark = head.remark.unwrap_or_default();
    out.put_u32(remark.len() as u32);
    out.put_slice(remark.as_bytes());
    let ext_at = out.len();
    out.put_u32(0);
    for (key, value) in fields {
        let Ok(key_len) = i16::try_from(key.len()) else {
            unreachable!("ext key of {} bytes: ours are short names, decoded ones had 15 bits", key.len())
        };
        out.put_i16(key_len);
        out.put_slice(key.as_bytes());
        let value_at = out.len();
        out.put_u32(0);
        value.write(out);
        patch_length(value_at, out);
    }
    patch_length(ext_at, out);
}

/// Writes into the length field at `at` how many bytes follow it.
fn patch_length(at: usize, out: &mut BytesMut) {
    let len = (out.len() - at - 4) as u32;
    out[at..at + 4].copy_from_slice(&len.to_be_bytes());
}
