//! A value of an ext field on its way out, written without an intermediate string.

use std::fmt;

use bytes::{BufMut, BytesMut};

/// What an ext field may hold. On the wire all of them are text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    Text(&'a str),
    Int(i64),
    Bool(bool),
}

impl Value<'_> {
    /// Appends the text, as it stands in a binary header.
    pub(super) fn write(self, out: &mut BytesMut) {
        match self {
            Self::Text(text) => out.put_slice(text.as_bytes()),
            Self::Int(value) => write_int(value, out),
            Self::Bool(true) => out.put_slice(b"true"),
            Self::Bool(false) => out.put_slice(b"false"),
        }
    }
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Int(value) => value.fmt(f),
            Self::Bool(value) => value.fmt(f),
        }
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(text: &'a String) -> Self {
        Self::Text(text)
    }
}

impl From<i32> for Value<'_> {
    fn from(value: i32) -> Self {
        Self::Int(i64::from(value))
    }
}

impl From<i64> for Value<'_> {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

/// Appends a decimal number. The standard formatter costs several times as much per field of a send's response.
pub(super) fn write_int(value: i64, out: &mut BytesMut) {
    // 19 digits and a sign.
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut rest = value.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        at -= 1;
        digits[at] = b'-';
    }
    out.put_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_the_standard_formatter_writes_them() {
        for value in [0, 1, -1, 9, 10, 409, -1_795_147_487_720, i64::MAX, i64::MIN] {
            let mut out = BytesMut::new();
            write_int(value, &mut out);
            assert_eq!(&out[..], value.to_string().as_bytes());
        }
    }
}
