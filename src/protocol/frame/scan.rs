//! Tokens of a JSON header. Strict about what is read, careless about the inside of values that are skipped.

use std::borrow::Cow;

/// A string, number or literal, as a range of the text. Strings stand without their quotes. Small, as [`Bad`] is:
/// results that fit two registers save a third of a header's time.
#[derive(Clone, Copy)]
pub(super) enum Token {
    /// Text that means itself: numbers, booleans, strings without escapes.
    Plain {
        start: u32,
        end: u32,
    },
    /// A string with escapes.
    Escaped {
        start: u32,
        end: u32,
    },
    Null,
}

/// What is wrong at the scanner's position.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(super) enum Bad {
    #[error("no object")]
    Object,
    #[error("neither a comma nor the end of the object")]
    Separator,
    #[error("no colon after a key")]
    Colon,
    #[error("characters after the object")]
    Trailing,
    #[error("no string")]
    String,
    #[error("a control character in a string")]
    Control,
    #[error("a string without an end")]
    Unclosed,
    #[error("no string, number, boolean or null")]
    Scalar,
    #[error("a bad escape in a string")]
    Escape,
    #[error("no 32-bit number")]
    Number,
    #[error("more ext fields than the limit")]
    Fields,
    #[error("a header without a code")]
    Code,
}

/// Walks a JSON text.
pub(super) struct Scanner<'t> {
    text: &'t str,
    at: usize,
    /// Whether the object last opened has had no key yet.
    first: bool,
}

/// Which bytes end the plain part of a string: quote, backslash, and control characters, which JSON forbids.
const STOPS: [bool; 256] = {
    let mut stops = [false; 256];
    let mut byte = 0;
    while byte < b' ' as usize {
        stops[byte] = true;
        byte += 1;
    }
    stops[b'"' as usize] = true;
    stops[b'\\' as usize] = true;
    stops
};

impl<'t> Scanner<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, at: 0, first: true }
    }

    /// Where the scanner stands, in bytes.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The next byte that is no white space; 0 at the end.
    #[inline]
    fn peek(&mut self) -> u8 {
        let bytes = self.text.as_bytes();
        while let Some(&byte) = bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return byte;
            }
            self.at += 1;
        }
        0
    }

    #[inline]
    fn take(&mut self, byte: u8, bad: Bad) -> Result<(), Bad> {
        if self.peek() != byte {
            return Err(bad);
        }
        self.at += 1;
        Ok(())
    }

    /// Enters an object.
    pub(super) fn open_object(&mut self) -> Result<(), Bad> {
        self.first = true;
        self.take(b'{', Bad::Object)
    }

    /// The next key of the object and its colon; `None` when the object ends. Objects are left in the order they were
    /// entered, and after one ends its parent has had a key: itself.
    #[inline]
    pub(super) fn next_key(&mut self) -> Result<Option<Token>, Bad> {
        let first = std::mem::replace(&mut self.first, false);
        match self.peek() {
            b'}' => {
                self.at += 1;
                return Ok(None);
            }
            b',' if !first => {
                self.at += 1;
                self.peek();
            }
            _ if !first => return Err(Bad::Separator),
            _ => {}
        }
        let key = self.string()?;
        self.take(b':', Bad::Colon)?;
        Ok(Some(key))
    }

    /// Only white space may follow.
    pub(super) fn end(&mut self) -> Result<(), Bad> {
        self.peek();
        if self.at == self.text.len() { Ok(()) } else { Err(Bad::Trailing) }
    }

    /// Takes a null, if one is next.
    pub(super) fn take_null(&mut self) -> Result<bool, Bad> {
        Ok(self.peek() == b'n' && matches!(self.scalar()?, Token::Null))
    }

    /// A string, number, boolean or null.
    #[inline]
    pub(super) fn scalar(&mut self) -> Result<Token, Bad> {
        if self.peek() == b'"' {
            return self.string();
        }
        let start = self.at;
        let bytes = self.text.as_bytes();
        while bytes.get(self.at).is_some_and(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte)) {
            self.at += 1;
        }
        match &bytes[start..self.at] {
            b"null" => Ok(Token::Null),
            b"true" | b"false" => Ok(token(start, self.at)),
            [b'0'..=b'9', ..] | [b'-', b'0'..=b'9', ..] => Ok(token(start, self.at)),
            _ => {
                self.at = start;
                Err(Bad::Scalar)
            }
        }
    }

    #[inline]
    fn string(&mut self) -> Result<Token, Bad> {
        let bytes = self.text.as_bytes();
        if bytes.get(self.at) != Some(&b'"') {
            return Err(Bad::String);
        }
        self.at += 1;
        let start = self.at;
        let mut escaped = false;
        loop {
            while bytes.get(self.at).is_some_and(|byte| !STOPS[usize::from(*byte)]) {
                self.at += 1;
            }
            match bytes.get(self.at) {
                Some(b'"') => {
                    let plain = token(start, self.at);
                    self.at += 1;
                    return Ok(match plain {
                        Token::Plain { start, end } if escaped => Token::Escaped { start, end },
                        plain => plain,
                    });
                }
                // The escaped byte is looked at when the string is unescaped; here it must not end the string.
                Some(b'\\') => {
                    escaped = true;
                    self.at = (self.at + 2).min(bytes.len());
                }
                Some(_) => return Err(Bad::Control),
                None => return Err(Bad::Unclosed),
            }
        }
    }

    /// Passes over a value of any kind.
    pub(super) fn skip_value(&mut self) -> Result<(), Bad> {
        let mut depth = 0usize;
        loop {
            match self.peek() {
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' if depth > 0 => {
                    depth -= 1;
                    self.at += 1;
                }
                b',' | b':' if depth > 0 => self.at += 1,
                _ => {
                    self.scalar()?;
                }
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }

    /// What a token says; null says nothing.
    pub(super) fn text(&self, token: Token) -> Result<Cow<'t, str>, Bad> {
        match token {
            Token::Plain { start, end } => Ok(Cow::Borrowed(&self.text[start as usize..end as usize])),
            token => {
                let mut out = String::new();
                self.unescape(token, &mut out)?;
                Ok(Cow::Owned(out))
            }
        }
    }

    /// Appends what a token says.
    pub(super) fn unescape(&self, token: Token, out: &mut String) -> Result<(), Bad> {
        let text = match token {
            Token::Plain { start, end } | Token::Escaped { start, end } => &self.text[start as usize..end as usize],
            Token::Null => return Ok(()),
        };
        out.reserve(text.len());
        let mut rest = text;
        while let Some(at) = rest.bytes().position(|byte| byte == b'\\') {
            out.push_str(&rest[..at]);
            let (character, after) = escape(&rest[at + 1..]).ok_or(Bad::Escape)?;
            out.push(character);
            rest = after;
        }
        out.push_str(rest);
        Ok(())
    }
}

fn token(start: usize, end: usize) -> Token {
    // Headers have 24-bit lengths.
    Token::Plain { start: start as u32, end: end as u32 }
}

/// The character of an escape, given what follows its backslash, and the text after it.
fn escape(text: &str) -> Option<(char, &str)> {
    let character = match text.bytes().next()? {
        b'u' => return unicode_escape(&text[1..]),
        b'n' => '\n',
        b't' => '\t',
        b'r' => '\r',
        b'b' => '\x08',
        b'f' => '\x0C',
        itself @ (b'"' | b'\\' | b'/') => char::from(itself),
        _ => return None,
    };
    Some((character, &text[1..]))
}

/// The character of a `\u` escape, given what follows the `u`, and the text after it. A half of a surrogate pair without
/// the other becomes the replacement character, for Java's strings may hold one.
fn unicode_escape(text: &str) -> Option<(char, &str)> {
    let (unit, rest) = code_unit(text)?;
    if !(0xD800..0xDC00).contains(&unit) {
        return Some((char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER), rest));
    }
    match rest.strip_prefix("\\u").and_then(code_unit) {
        Some((low @ 0xDC00..0xE000, after)) => {
            let scalar = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
            Some((char::from_u32(scalar).unwrap_or(char::REPLACEMENT_CHARACTER), after))
        }
        _ => Some((char::REPLACEMENT_CHARACTER, rest)),
    }
}

/// Four hex digits.
fn code_unit(text: &str) -> Option<(u32, &str)> {
    let (digits, rest) = text.split_at_checked(4)?;
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    u32::from_str_radix(digits, 16).ok().map(|unit| (unit, rest))
}
