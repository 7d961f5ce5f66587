//! Ext fields: an ordered list of string pairs. Small, so a list beats a map.

use std::fmt::{self, Display, Write};

use bytes::Bytes;

/// Most ext fields a header may carry. The fullest stock header has about 30 (send, ACL and RPC fields together).
pub const MAX_EXT_FIELDS: usize = 256;

/// Ext fields in their order on the wire.
///
/// Decoded keys and values are ranges of the received header, so decoding allocates once, for the list; text that
/// had to be unescaped, or that was pushed, lies in one buffer of the list's own. All of it is valid UTF-8.
#[derive(Clone, Default)]
pub struct ExtFields {
    /// The header that `Text`s without the own mark point into.
    wire: Bytes,
    own: String,
    pairs: Vec<(Text, Text)>,
}

/// A range of `wire` or of `own`.
#[derive(Clone, Copy)]
pub(super) struct Text {
    start: u32,
    /// Length in bytes, and [`OWN`].
    len: u32,
}

/// Marks a range of `own`. Headers stay below 2^24 bytes, so the bit is free.
const OWN: u32 = 1 << 31;

impl Text {
    /// A range of the received header, whose bytes the caller has checked to be UTF-8.
    pub(super) fn of_wire(start: usize, len: usize) -> Self {
        Self { start: narrow(start), len: narrow(len) }
    }
}

fn narrow(value: usize) -> u32 {
    match u32::try_from(value) {
        Ok(value) if value < OWN => value,
        _ => unreachable!("ext fields over 2 GiB: a header's length field has 24 bits"),
    }
}

impl ExtFields {
    /// An empty list that decoded ranges of `wire` are added to.
    pub(super) fn over(wire: Bytes) -> Self {
        Self { wire, own: String::new(), pairs: Vec::with_capacity(16) }
    }

    /// Adds a decoded pair.
    pub(super) fn push_texts(&mut self, key: Text, value: Text) {
        self.pairs.push((key, value));
    }

    /// Adds text that is no plain range of the header, written by `write`.
    pub(super) fn own_text_by<E>(&mut self, write: impl FnOnce(&mut String) -> Result<(), E>) -> Result<Text, E> {
        let start = self.own.len();
        write(&mut self.own)?;
        Ok(Text { start: narrow(start), len: narrow(self.own.len() - start) | OWN })
    }

    fn own_text(&mut self, value: impl Display) -> Text {
        match self.own_text_by(|own| write!(own, "{value}")) {
            Ok(text) => text,
            Err(fmt::Error) => unreachable!("writing to a String does not fail"),
        }
    }

    /// The value of `key`; the last one if a sender repeats it, as in a Java map.
    pub fn get(&self, key: &str) -> Option<&str> {
        let found = self.pairs.iter().rev().find(|(name, _)| self.bytes(*name) == key.as_bytes())?;
        Some(self.text(found.1))
    }

    /// Adds a pair at the end.
    pub fn push(&mut self, key: &str, value: impl Display) {
        let key = self.own_text(key);
        let value = self.own_text(value);
        self.pairs.push((key, value));
    }

    /// Replaces the value of `key` in its place, or adds the pair at the end.
    pub fn set(&mut self, key: &str, value: impl Display) {
        let value = self.own_text(value);
        match self.pairs.iter().rposition(|(name, _)| self.bytes(*name) == key.as_bytes()) {
            Some(at) => self.pairs[at].1 = value,
            None => {
                let key = self.own_text(key);
                self.pairs.push((key, value));
            }
        }
    }

    /// Takes every pair with `key` out; whether there was one.
    pub fn remove(&mut self, key: &str) -> bool {
        let before = self.pairs.len();
        let mut pairs = std::mem::take(&mut self.pairs);
        pairs.retain(|(name, _)| self.bytes(*name) != key.as_bytes());
        self.pairs = pairs;
        self.pairs.len() != before
    }

    /// Pairs in their order on the wire.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(key, value)| (self.text(*key), self.text(*value)))
    }

    /// Pairs as bytes of UTF-8, which spares the check when only some are read.
    pub(super) fn iter_bytes(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> {
        self.pairs.iter().map(|(key, value)| (self.bytes(*key), self.bytes(*value)))
    }

    /// How many pairs.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there is no pair.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Moves all text to memory of its own, so that the list no longer keeps the connection's read buffer alive.
    pub fn detach(&mut self) {
        let mut detached = Self { wire: Bytes::new(), own: String::new(), pairs: Vec::with_capacity(self.pairs.len()) };
        for (key, value) in self.iter() {
            detached.push(key, value);
        }
        *self = detached;
    }

    fn bytes(&self, text: Text) -> &[u8] {
        let memory = if text.len & OWN == 0 { &self.wire[..] } else { self.own.as_bytes() };
        let start = text.start as usize;
        &memory[start..start + (text.len & !OWN) as usize]
    }

    fn text(&self, text: Text) -> &str {
        // Without `unsafe` the check is repeated; for the short texts of a header it costs a few nanoseconds.
        match std::str::from_utf8(self.bytes(text)) {
            Ok(text) => text,
            Err(_) => unreachable!("ext fields were checked to be UTF-8 when the header was decoded"),
        }
    }
}

impl<K: AsRef<str>, V: Display> FromIterator<(K, V)> for ExtFields {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let mut ext = Self::default();
        for (key, value) in pairs {
            ext.push(key.as_ref(), value);
        }
        ext
    }
}

impl PartialEq for ExtFields {
    fn eq(&self, other: &Self) -> bool {
        self.iter_bytes().eq(other.iter_bytes())
    }
}

impl Eq for ExtFields {}

impl fmt::Debug for ExtFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}
