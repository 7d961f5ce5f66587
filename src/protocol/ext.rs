//! Ext fields: an ordered list of string pairs. Small, so a list beats a map.

use bytes::Bytes;

/// Ext fields in their order on the wire. Keys and values are slices of the received frame where possible
/// (`Bytes` of valid UTF-8), so decoding a send allocates once, for the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtFields(pub Vec<(Bytes, Bytes)>);

impl ExtFields {
    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        let _ = key;
        todo!()
    }
    /// Adds a pair at the end.
    pub fn push(&mut self, key: &'static str, value: impl ToString) {
        let _ = (key, value.to_string());
        todo!()
    }
}
