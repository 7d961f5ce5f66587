//! A message as an application makes it.

use std::sync::Arc;

use bytes::Bytes;

use crate::protocol::properties::name;

/// A message to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub(super) topic: Arc<str>,
    pub(super) body: Bytes,
    pub(super) flag: i32,
    /// In the order they were added.
    pub(super) properties: Vec<(String, String)>,
}

impl Message {
    /// A message without tag, keys and properties.
    pub fn new(topic: impl Into<Arc<str>>, body: impl Into<Bytes>) -> Self {
        Self { topic: topic.into(), body: body.into(), flag: 0, properties: Vec::new() }
    }

    /// The same message with this tag.
    #[must_use]
    pub fn with_tag(self, tag: impl Into<String>) -> Self {
        self.with_property(name::TAGS, tag)
    }

    /// The same message, to be found by these keys.
    #[must_use]
    pub fn with_keys<K: AsRef<str>>(self, keys: impl IntoIterator<Item = K>) -> Self {
        let keys: Vec<String> = keys.into_iter().map(|key| key.as_ref().to_owned()).collect();
        self.with_property(name::KEYS, keys.join(" "))
    }

    /// The same message with property `name` set.
    #[must_use]
    pub fn with_property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let (name, value) = (name.into(), value.into());
        match self.properties.iter_mut().find(|(known, _)| *known == name) {
            Some(property) => property.1 = value,
            None => self.properties.push((name, value)),
        }
        self
    }

    /// The same message with the application's own flag, which is stored as it is.
    #[must_use]
    pub fn with_flag(mut self, flag: i32) -> Self {
        self.flag = flag;
        self
    }

    /// Its topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Its body.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The value of property `name`.
    pub fn property(&self, name: &str) -> Option<&str> {
        self.properties.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}
