//! How one ext field is read and written.

use crate::protocol::value::Value;

/// The type of an ext field.
pub(crate) trait Field<'a>: Sized {
    /// Reads the text of a field; on failure, what it should have been.
    fn parse(text: &'a [u8]) -> Result<Self, &'static str>;

    /// What stands for a missing field; `None` if it is required.
    fn absent() -> Option<Self> {
        None
    }

    /// What to write; `None` for nothing.
    fn value(&self) -> Option<Value<'_>>;
}

impl<'a> Field<'a> for &'a str {
    fn parse(text: &'a [u8]) -> Result<Self, &'static str> {
        std::str::from_utf8(text).map_err(|_| "UTF-8")
    }

    fn value(&self) -> Option<Value<'_>> {
        Some(Value::Text(self))
    }
}

impl Field<'_> for i32 {
    fn parse(text: &[u8]) -> Result<Self, &'static str> {
        parse_int(text).and_then(|value| Self::try_from(value).ok()).ok_or("a 32-bit integer")
    }

    fn value(&self) -> Option<Value<'_>> {
        Some(Value::Int(i64::from(*self)))
    }
}

impl Field<'_> for i64 {
    fn parse(text: &[u8]) -> Result<Self, &'static str> {
        parse_int(text).ok_or("a 64-bit integer")
    }

    fn value(&self) -> Option<Value<'_>> {
        Some(Value::Int(*self))
    }
}

/// `true`, `false`, `0`, `1` (clients.md 3.1), letters in either case.
impl Field<'_> for bool {
    fn parse(text: &[u8]) -> Result<Self, &'static str> {
        match text {
            b"true" | b"1" => Ok(true),
            b"false" | b"0" => Ok(false),
            _ if text.eq_ignore_ascii_case(b"true") => Ok(true),
            _ if text.eq_ignore_ascii_case(b"false") => Ok(false),
            _ => Err("true or false"),
        }
    }

    fn value(&self) -> Option<Value<'_>> {
        Some(Value::Bool(*self))
    }
}

/// An optional number that is sent as empty text counts as missing; optional text may be empty.
impl<'a, T: Field<'a>> Field<'a> for Option<T> {
    fn parse(text: &'a [u8]) -> Result<Self, &'static str> {
        match T::parse(text) {
            Ok(value) => Ok(Some(value)),
            Err(_) if text.is_empty() => Ok(None),
            Err(expected) => Err(expected),
        }
    }

    fn absent() -> Option<Self> {
        Some(None)
    }

    fn value(&self) -> Option<Value<'_>> {
        self.as_ref().and_then(Field::value)
    }
}

/// A decimal number with an optional sign, as Java's `Long.parseLong` reads it. Works on bytes: `str::parse` would want
/// them checked to be UTF-8 first.
fn parse_int(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] | digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    // Counted downwards, because i64 has one more negative number than positive ones.
    let mut value = 0i64;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_sub(i64::from(digit))?;
    }
    if negative { Some(value) } else { value.checked_neg() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_read_over_their_whole_range_and_nothing_else_is() {
        for value in [0, 7, -1, 1_795_147_487_720, i64::MAX, i64::MIN] {
            assert_eq!(parse_int(value.to_string().as_bytes()), Some(value));
        }
        assert_eq!(parse_int(b"+5"), Some(5));
        for text in ["", "-", "+", "1.0", " 1", "1 ", "0x10", "--1", "9223372036854775808", "-9223372036854775809", "١"]
        {
            assert_eq!(parse_int(text.as_bytes()), None, "{text}");
        }
        assert_eq!(i32::parse(b"2147483648"), Err("a 32-bit integer"));
        assert_eq!(i32::parse(b"-2147483648"), Ok(i32::MIN));
    }

    #[test]
    fn booleans_of_java_javascript_and_c_clients_are_read() {
        for text in ["true", "TRUE", "True", "1"] {
            assert_eq!(bool::parse(text.as_bytes()), Ok(true), "{text}");
        }
        for text in ["false", "False", "0"] {
            assert_eq!(bool::parse(text.as_bytes()), Ok(false), "{text}");
        }
        assert_eq!(bool::parse(b"yes"), Err("true or false"));
    }

    #[test]
    fn an_empty_optional_number_counts_as_missing() {
        assert_eq!(<Option<i32>>::parse(b""), Ok(None));
        assert_eq!(<Option<&str>>::parse(b""), Ok(Some("")));
        assert_eq!(<Option<i32>>::parse(b"x"), Err("a 32-bit integer"));
        assert_eq!(i32::parse(b""), Err("a 32-bit integer"));
    }
}
