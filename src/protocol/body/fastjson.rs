//! The dialect of Apache's servers: fastjson writes integer map keys without quotes (`{0:"127.0.0.1:10911"}`), which is
//! no JSON. Old clients expect it of 105, all of 106, and followers' tables come in it (formats.md section 5).
//! Objects as keys (remoting-codes.md, trap 2) are not handled here.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

/// Deepest nesting read; serde_json's own limit.
const MAX_DEPTH: usize = 128;

/// Writes a value with bare integer keys.
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut out, BareKeys::default());
    match value.serialize(&mut serializer) {
        Ok(()) => out,
        Err(error) => unreachable!("typed bodies have only text and number keys: {error}"),
    }
}

/// Where the formatter stands. serde_json writes a key as `begin_string`, then a number or text, then `end_string`.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Key {
    /// Outside a key.
    #[default]
    None,
    /// In a key whose opening quote is held back.
    Undecided,
    /// In a key that turned out to be text.
    Text,
    /// In a key that turned out to be a number.
    Number,
}

/// A compact formatter that leaves the quotes of number keys out.
#[derive(Default)]
struct BareKeys {
    key: Key,
}

impl BareKeys {
    fn number<W: ?Sized + Write>(&mut self, writer: &mut W, value: impl std::fmt::Display) -> io::Result<()> {
        if self.key == Key::Undecided {
            self.key = Key::Number;
        }
        write!(writer, "{value}")
    }

    fn text<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        if self.key == Key::Undecided {
            self.key = Key::Text;
            writer.write_all(b"\"")?;
        }
        Ok(())
    }
}

impl Formatter for BareKeys {
    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.key = Key::Undecided;
        if first { Ok(()) } else { writer.write_all(b",") }
    }

    fn end_object_key<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.key = Key::None;
        Ok(())
    }

    fn begin_string<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        if self.key == Key::Undecided { Ok(()) } else { writer.write_all(b"\"") }
    }

    fn end_string<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        match self.key {
            Key::Number => Ok(()),
            Key::Undecided => writer.write_all(b"\"\""),
            Key::None | Key::Text => writer.write_all(b"\""),
        }
    }

    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        self.text(writer)?;
        writer.write_all(fragment.as_bytes())
    }

    fn write_char_escape<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        escape: serde_json::ser::CharEscape,
    ) -> io::Result<()> {
        self.text(writer)?;
        serde_json::ser::CompactFormatter.write_char_escape(writer, escape)
    }

    fn write_i32<W: ?Sized + Write>(&mut self, writer: &mut W, value: i32) -> io::Result<()> {
        self.number(writer, value)
    }

    fn write_i64<W: ?Sized + Write>(&mut self, writer: &mut W, value: i64) -> io::Result<()> {
        self.number(writer, value)
    }

    fn write_u32<W: ?Sized + Write>(&mut self, writer: &mut W, value: u32) -> io::Result<()> {
        self.number(writer, value)
    }

    fn write_u64<W: ?Sized + Write>(&mut self, writer: &mut W, value: u64) -> io::Result<()> {
        self.number(writer, value)
    }
}

/// The same text with every bare key in quotes; `None` if there is no bare key, or the nesting is too deep, and the
/// text is best judged as it is. Only what stands between `{` or `,` and `:` is touched; the parser checks the rest.
pub fn quote_keys(json: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(json.len() + 32);
    // Whether each open bracket is an object's.
    let mut open: Vec<bool> = Vec::new();
    let mut key_expected = false;
    let mut quoted = false;
    let mut at = 0;
    while let Some(&byte) = json.get(at) {
        let end = match byte {
            b'"' => end_of_string(json, at),
            b'{' | b'[' => {
                if open.len() == MAX_DEPTH {
                    return None;
                }
                open.push(byte == b'{');
                at + 1
            }
            b'}' | b']' => {
                open.pop();
                at + 1
            }
            _ if key_expected && is_bare(byte) => {
                let end = json[at..].iter().position(|b| !is_bare(*b)).map_or(json.len(), |len| at + len);
                out.push(b'"');
                out.extend_from_slice(&json[at..end]);
                out.push(b'"');
                quoted = true;
                at = end;
                key_expected = false;
                continue;
            }
            _ => at + 1,
        };
        out.extend_from_slice(&json[at..end]);
        at = end;
        if !byte.is_ascii_whitespace() {
            key_expected = matches!(byte, b'{' | b',') && open.last() == Some(&true);
        }
    }
    quoted.then_some(out)
}

/// Bytes of a bare key: fastjson leaves numbers bare, and reads bare names.
fn is_bare(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'$' | b'.')
}

/// Position after the string that begins at `start`; the end of the text if it is not closed.
fn end_of_string(json: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(&byte) = json.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    json.len()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn integer_keys_are_written_bare_and_text_keys_quoted() {
        let numbers = BTreeMap::from([(0i64, "127.0.0.1:10911"), (-2, "\"")]);
        assert_eq!(to_vec(&numbers), br#"{-2:"\"",0:"127.0.0.1:10911"}"#);
        let texts = BTreeMap::from([("", 1), ("0", 2), ("\n", 3), ("a\"b", 4)]);
        assert_eq!(to_vec(&texts), br#"{"":1,"\n":3,"0":2,"a\"b":4}"#);
        let nested = BTreeMap::from([("t@g", BTreeMap::from([(3u32, vec![1i32, 2])]))]);
        assert_eq!(to_vec(&nested), br#"{"t@g":{3:[1,2]}}"#);
    }

    fn quoted(json: &str) -> Option<String> {
        quote_keys(json.as_bytes()).map(|bytes| String::from_utf8(bytes).expect("quotes are ASCII"))
    }

    #[test]
    fn bare_keys_get_quotes_and_everything_else_stays() {
        assert_eq!(
            quoted(r#"{0:"a:1,2:b",-1 : {x_1:[1,2]}}"#).as_deref(),
            Some(r#"{"0":"a:1,2:b","-1" : {"x_1":[1,2]}}"#)
        );
        assert_eq!(quoted("{ \n1:2}").as_deref(), Some("{ \n\"1\":2}"));
        assert_eq!(quoted(r#"[{0:1},{"\"":{1:2}}]"#).as_deref(), Some(r#"[{"0":1},{"\"":{"1":2}}]"#));
    }

    #[test]
    fn text_without_bare_keys_is_left_alone() {
        for json in [r#"{"0":[1,true,{"a":null}]}"#, "", "{", "\"", "\"\\", r#"{{"a":1}:2}"#, "]]}{"] {
            assert_eq!(quoted(json), None, "{json}");
        }
        assert_eq!(quoted(&"{0:".repeat(MAX_DEPTH + 1)), None);
    }
}
