//! The JSON header. Read with the leniency real clients need (clients.md 3.1): every key but `code` may be missing,
//! unknown ones are skipped, ext values may be numbers or booleans. Written with every key and with text values.

use std::borrow::Cow;

use bytes::{BufMut, Bytes, BytesMut};

use super::scan::{Bad, Scanner, Token};
use super::{Decoded, FrameError, Head};
use crate::protocol::ext::{ExtFields, MAX_EXT_FIELDS, Text};
use crate::protocol::language;
use crate::protocol::value::{Value, write_int};

/// Decodes a whole header.
///
/// serde_json's visitors took 1.7 times as long for a send (880 ns against 530): they check every string for UTF-8 by
/// itself and copy what is escaped twice. Most clients send JSON headers, so the scanner is worth its lines.
pub(super) fn decode(header: Bytes) -> Result<Decoded, FrameError> {
    let text = std::str::from_utf8(&header).map_err(|_| FrameError::BadHeader("not UTF-8".to_owned()))?;
    let mut scanner = Scanner::new(text);
    let bad = |bad: Bad, at: usize| FrameError::BadHeader(format!("{bad} at byte {at}"));
    read_head(&mut scanner, &header).map_err(|error| bad(error, scanner.at()))
}

fn read_head(scanner: &mut Scanner<'_>, header: &Bytes) -> Result<Decoded, Bad> {
    let mut code = None;
    let mut head = Decoded {
        code: 0,
        language: language::OTHER,
        version: 0,
        opaque: 0,
        flag: 0,
        remark: None,
        ext: ExtFields::default(),
    };
    scanner.open_object()?;
    while let Some(key) = scanner.next_key()? {
        match &*scanner.text(key)? {
            "code" => code = Some(int(scanner)?),
            "flag" => head.flag = int(scanner)?,
            "opaque" => head.opaque = int(scanner)?,
            "version" => head.version = i16::try_from(int(scanner)?).unwrap_or(i16::MAX),
            "language" => head.language = language_of(scanner)?,
            "remark" => head.remark = scalar(scanner)?.map(Cow::into_owned),
            "extFields" => head.ext = ext_fields(scanner, header)?,
            _ => scanner.skip_value()?,
        }
    }
    scanner.end()?;
    head.code = code.ok_or(Bad::Code)?;
    Ok(head)
}

/// The text of a string, number or boolean; `None` for null.
fn scalar<'t>(scanner: &mut Scanner<'t>) -> Result<Option<Cow<'t, str>>, Bad> {
    match scanner.scalar()? {
        Token::Null => Ok(None),
        token => scanner.text(token).map(Some),
    }
}

/// A number of 32 bits, also one in quotes; null is 0, as Java reads it.
fn int(scanner: &mut Scanner<'_>) -> Result<i32, Bad> {
    match scalar(scanner)? {
        None => Ok(0),
        Some(text) => text.parse().map_err(|_| Bad::Number),
    }
}

/// A language by name or by ordinal.
fn language_of(scanner: &mut Scanner<'_>) -> Result<u8, Bad> {
    let Some(text) = scalar(scanner)? else {
        return Ok(language::OTHER);
    };
    Ok(text.parse().unwrap_or_else(|_| language::from_name(&text)))
}

fn ext_fields(scanner: &mut Scanner<'_>, header: &Bytes) -> Result<ExtFields, Bad> {
    if scanner.take_null()? {
        return Ok(ExtFields::default());
    }
    scanner.open_object()?;
    let mut ext = ExtFields::over(header.clone());
    while let Some(key) = scanner.next_key()? {
        let value = scanner.scalar()?;
        // A null value is a field that is not there.
        if matches!(value, Token::Null) {
            continue;
        }
        if ext.len() == MAX_EXT_FIELDS {
            return Err(Bad::Fields);
        }
        let key = ext_text(scanner, key, &mut ext)?;
        let value = ext_text(scanner, value, &mut ext)?;
        ext.push_texts(key, value);
    }
    Ok(ext)
}

/// A range of the header where the text stands there as it is, a copy where it is escaped.
fn ext_text(scanner: &Scanner<'_>, token: Token, ext: &mut ExtFields) -> Result<Text, Bad> {
    match token {
        Token::Plain { start, end } => Ok(Text::of_wire(start as usize, (end - start) as usize)),
        token => ext.own_text_by(|own| scanner.unescape(token, own)),
    }
}

/// Appends a header.
pub(super) fn encode<'k, 'f>(head: &Head<'_>, fields: impl Iterator<Item = (&'k str, Value<'f>)>, out: &mut BytesMut) {
    out.put_slice(b"{\"code\":");
    write_int(i64::from(head.code), out);
    // Written even when empty, as Apache does for some answers: no client then meets a missing object.
    out.put_slice(b",\"extFields\":{");
    let mut separator: &[u8] = b"\"";
    for (key, value) in fields {
        out.put_slice(separator);
        separator = b"\",\"";
        write_escaped(key, out);
        out.put_slice(b"\":\"");
        match value {
            Value::Text(text) => write_escaped(text, out),
            plain => plain.write(out),
        }
    }
    let any_fields = separator.len() > 1;
    out.put_slice(if any_fields { b"\"}" } else { b"}" });
    out.put_slice(b",\"flag\":");
    write_int(i64::from(head.flag), out);
    out.put_slice(b",\"language\":\"");
    out.put_slice(language::name(head.language).as_bytes());
    out.put_slice(b"\",\"opaque\":");
    write_int(i64::from(head.opaque), out);
    if let Some(remark) = head.remark {
        out.put_slice(b",\"remark\":\"");
        write_escaped(remark, out);
        out.put_u8(b'"');
    }
    out.put_slice(b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":");
    write_int(i64::from(head.version), out);
    out.put_u8(b'}');
}

/// Appends the inside of a string; only what JSON demands is escaped.
fn write_escaped(text: &str, out: &mut BytesMut) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bytes = text.as_bytes();
    let mut done = 0;
    for (at, byte) in bytes.iter().copied().enumerate() {
        if byte >= b' ' && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.put_slice(&bytes[done..at]);
        done = at + 1;
        match byte {
            b'"' => out.put_slice(b"\\\""),
            b'\\' => out.put_slice(b"\\\\"),
            b'\n' => out.put_slice(b"\\n"),
            b'\r' => out.put_slice(b"\\r"),
            b'\t' => out.put_slice(b"\\t"),
            control => {
                let [high, low] = [control >> 4, control & 15].map(|half| HEX[usize::from(half)]);
                out.put_slice(&[b'\\', b'u', b'0', b'0', high, low]);
            }
        }
    }
    out.put_slice(&bytes[done..]);
}
