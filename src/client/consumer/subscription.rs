//! What a consumer wants of a topic.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::client::error::ClientError;
use crate::protocol::body::heartbeat::{SUBSCRIBE_ALL, SubscriptionData, tags};
use crate::protocol::names;

/// A subscription by tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// The topic.
    pub topic: Arc<str>,
    /// "*", or tags joined by "||".
    pub expression: String,
    /// When it was made, milliseconds since 1970: brokers go by the latest they have heard of.
    pub version: i64,
    /// None means every message.
    tags: BTreeSet<String>,
}

impl Subscription {
    /// A subscription to messages of `topic` with one of the tags of `expression`: "*" or "" for all, or tags joined by
    /// "||".
    ///
    /// # Errors
    /// [`ClientError::Invalid`]: the topic's name is not allowed.
    pub fn new(topic: &str, expression: &str, version: i64) -> Result<Self, ClientError> {
        names::check_topic(topic).map_err(|error| ClientError::invalid("topic", error.to_string()))?;
        let tags: BTreeSet<String> = tags(expression).map(str::to_owned).collect();
        let expression = if tags.is_empty() { SUBSCRIBE_ALL.to_owned() } else { expression.to_owned() };
        Ok(Self { topic: topic.into(), expression, version, tags })
    }

    /// Whether a message with `tag` is wanted. Brokers filter by a hash of the tag, so some that are not get through.
    pub fn wants(&self, tag: Option<&str>) -> bool {
        self.tags.is_empty() || tag.is_some_and(|tag| self.tags.contains(tag))
    }

    /// As heartbeats tell it.
    pub fn data(&self) -> SubscriptionData {
        SubscriptionData::of_tags(&self.topic, &self.expression, self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_compared_as_text() {
        // "Aa" and "BB" have one Java hash: the broker lets both through.
        let subscription = Subscription::new("T", "Aa || C", 1).expect("valid");
        assert!(subscription.wants(Some("Aa")) && subscription.wants(Some("C")));
        assert!(!subscription.wants(Some("BB")) && !subscription.wants(Some("aa")) && !subscription.wants(None));
        for all in ["*", "", " * "] {
            let subscription = Subscription::new("T", all, 1).expect("valid");
            assert!(subscription.wants(None) && subscription.wants(Some("x")));
            assert_eq!(subscription.data().sub_string, "*");
        }
        assert!(Subscription::new("a b", "*", 1).is_err());
    }
}
