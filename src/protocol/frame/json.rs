//! The JSON header. Read with the leniency real clients need (clients.md 3.1): every key but `code` may be missing,
//! unknown ones are skipped, ext values may be numbers or booleans. Written with every key and with text values.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use super::{Decoded, FrameError, Head};
use crate::protocol::ext::{ExtFields, MAX_EXT_FIELDS, Text};
use crate::protocol::language;
use crate::protocol::value::{Value, write_int};

/// Decodes a whole header.
pub(super) fn decode(header: Bytes) -> Result<Decoded, FrameError> {
    let mut parser = serde_json::Deserializer::from_slice(&header);
    let head = HeadVisitor { header: &header };
    let head = parser
        .deserialize_map(head)
        .and_then(|head| parser.end().map(|()| head));
    head.map_err(|error| FrameError::BadHeader(error.to_string()))
}

struct HeadVisitor<'h> {
    header: &'h Bytes,
}

impl<'de> Visitor<'de> for HeadVisitor<'_> {
    type Value = Decoded;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a header object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Decoded, A::Error> {
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
        while let Some(key) = map.next_key_seed(ScalarSeed)? {
            match key.as_str() {
                "code" => code = Some(int(&map.next_value_seed(ScalarSeed)?)?),
                "flag" => head.flag = int(&map.next_value_seed(ScalarSeed)?)?,
                "opaque" => head.opaque = int(&map.next_value_seed(ScalarSeed)?)?,
                "version" => {
                    let version = int(&map.next_value_seed(ScalarSeed)?)?;
                    head.version = i16::try_from(version).unwrap_or(i16::MAX);
                }
                "language" => head.language = language_of(&map.next_value_seed(ScalarSeed)?),
                "remark" => head.remark = map.next_value_seed(ScalarSeed)?.into_string(),
                "extFields" => head.ext = map.next_value_seed(ExtSeed { header: self.header })?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        head.code = code.ok_or_else(|| A::Error::custom("no code"))?;
        Ok(head)
    }
}

/// A JSON string, number, boolean or null.
enum Scalar<'de> {
    Borrowed(&'de str),
    Owned(String),
    Int(i64),
    Null,
}

impl Scalar<'_> {
    fn as_str(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Owned(text) => text,
            Self::Int(_) | Self::Null => "",
        }
    }

    fn into_string(self) -> Option<String> {
        match self {
            Self::Borrowed(text) => Some(text.to_owned()),
            Self::Owned(text) => Some(text),
            Self::Int(value) => Some(value.to_string()),
            Self::Null => None,
        }
    }
}

/// A number, also one in quotes; null is 0, as Java reads it.
fn int<E: serde::de::Error>(value: &Scalar<'_>) -> Result<i32, E> {
    let parsed = match value {
        Scalar::Int(value) => i32::try_from(*value).ok(),
        Scalar::Null => Some(0),
        text => text.as_str().parse().ok(),
    };
    parsed.ok_or_else(|| E::custom("a number of the header does not fit 32 bits"))
}

fn language_of(value: &Scalar<'_>) -> u8 {
    match value {
        Scalar::Int(ordinal) => u8::try_from(*ordinal).unwrap_or(language::OTHER),
        name => language::from_name(name.as_str()),
    }
}

struct ScalarSeed;

impl<'de> DeserializeSeed<'de> for ScalarSeed {
    type Value = Scalar<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ScalarSeed {
    type Value = Scalar<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, a number, a boolean or null")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Scalar::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Scalar::Owned(text.to_owned()))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Scalar::Borrowed(if value { "true" } else { "false" }))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Scalar::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(i64::try_from(value).map_or_else(|_| Scalar::Owned(value.to_string()), Scalar::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Scalar::Owned(value.to_string()))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Scalar::Null)
    }
}

struct ExtSeed<'h> {
    header: &'h Bytes,
}

impl ExtSeed<'_> {
    /// A range of the header where the text stands there as it is, a copy where it was escaped or no string.
    fn text(&self, ext: &mut ExtFields, value: &Scalar<'_>) -> Text {
        match value {
            Scalar::Borrowed(text) => {
                let start = (text.as_ptr() as usize).wrapping_sub(self.header.as_ptr() as usize);
                // `true` and `false` are borrowed from the program, not from the header.
                match self.header.get(start..start.wrapping_add(text.len())) {
                    Some(_) => Text::of_wire(start, text.len()),
                    None => ext.own_text(text),
                }
            }
            Scalar::Int(value) => ext.own_text(value),
            text => ext.own_text(text.as_str()),
        }
    }
}

impl<'de> DeserializeSeed<'de> for ExtSeed<'_> {
    type Value = ExtFields;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ExtSeed<'_> {
    type Value = ExtFields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of ext fields or null")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(ExtFields::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut ext = ExtFields::over(self.header.clone());
        while let Some(key) = map.next_key_seed(ScalarSeed)? {
            if ext.len() == MAX_EXT_FIELDS {
                return Err(A::Error::custom(format_args!("more than {MAX_EXT_FIELDS} ext fields")));
            }
            let value = map.next_value_seed(ScalarSeed)?;
            if matches!(value, Scalar::Null) {
                continue;
            }
            let key = self.text(&mut ext, &key);
            let value = self.text(&mut ext, &value);
            ext.push_texts(key, value);
        }
        Ok(ext)
    }
}

/// Appends a header.
pub(super) fn encode<'f>(head: &Head<'_>, fields: impl Iterator<Item = (&'f str, Value<'f>)>, out: &mut BytesMut) {
    out.put_slice(b"{\"code\":");
    write_int(i64::from(head.code), out);
    // Written even when empty, as Apache does for some answers: no client then meets a missing object.
    out.put_slice(b",\"extFields\":{");
    for (index, (key, value)) in fields.enumerate() {
        if index > 0 {
            out.put_u8(b',');
        }
        write_text(key, out);
        out.put_u8(b':');
        match value {
            Value::Text(text) => write_text(text, out),
            plain => {
                out.put_u8(b'"');
                plain.write(out);
                out.put_u8(b'"');
            }
        }
    }
    out.put_u8(b'}');
    out.put_slice(b",\"flag\":");
    write_int(i64::from(head.flag), out);
    out.put_slice(b",\"language\":\"");
    out.put_slice(language::name(head.language).as_bytes());
    out.put_slice(b"\",\"opaque\":");
    write_int(i64::from(head.opaque), out);
    if let Some(remark) = head.remark {
        out.put_slice(b",\"remark\":");
        write_text(remark, out);
    }
    out.put_slice(b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":");
    write_int(i64::from(head.version), out);
    out.put_u8(b'}');
}

/// Appends a quoted string; only what JSON demands is escaped.
fn write_text(text: &str, out: &mut BytesMut) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.put_u8(b'"');
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
                out.put_slice(b"\\u00");
                out.put_slice(&[HEX[usize::from(control >> 4)], HEX[usize::from(control & 15)]]);
            }
        }
    }
    out.put_slice(&bytes[done..]);
    out.put_u8(b'"');
}
