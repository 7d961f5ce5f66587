//! What a consumer group wants of a topic, as the broker filters by it.

use std::sync::Arc;

use quorumq_store::record::java_hash;

use crate::protocol::body::heartbeat::{EXPRESSION_TAG, SUBSCRIBE_ALL, SubscriptionData, tags};

/// Most tags of one subscription. RocketMQ has no limit; a held pull keeps them in memory.
pub const MAX_TAGS: usize = 1024;

/// A subscription. Cheap to clone: a pull takes its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// The expression: "*", or tags joined by "||".
    pub sub_string: Arc<str>,
    /// Java's hash of each tag, ascending, each once. Empty for everything.
    pub codes: Arc<[i32]>,
    /// Milliseconds since 1970 when the client subscribed.
    pub version: i64,
    /// "TAG", or what this broker cannot filter by.
    pub expression_type: Arc<str>,
}

/// Why an expression is no subscription. Code 23 on the wire.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the subscription has {count} tags, more than {MAX_TAGS}")]
pub struct TooManyTags {
    count: usize,
}

impl Subscription {
    /// The subscription of a heartbeat.
    ///
    /// # Errors
    /// It has more than [`MAX_TAGS`] tags.
    pub fn of(data: &SubscriptionData) -> Result<Self, TooManyTags> {
        let everything = data.class_filter_mode || tags(&data.sub_string).next().is_none();
        let codes = match data.code_set.as_slice() {
            _ if everything || data.expression_type != EXPRESSION_TAG => Vec::new(),
            // Some clients send no hashes (clients.md 3.6).
            [] => hashes(&data.sub_string),
            codes => codes.to_vec(),
        };
        Self::new(&data.sub_string, codes, data.sub_version, &data.expression_type)
    }

    /// The subscription of a tag expression: "*" or nothing for everything, or tags joined by "||".
    ///
    /// # Errors
    /// It has more than [`MAX_TAGS`] tags.
    pub fn parse(expression: &str, version: i64) -> Result<Self, TooManyTags> {
        Self::new(expression, hashes(expression), version, EXPRESSION_TAG)
    }

    fn new(expression: &str, mut codes: Vec<i32>, version: i64, expression_type: &str) -> Result<Self, TooManyTags> {
        codes.sort_unstable();
        codes.dedup();
        if codes.len() > MAX_TAGS {
            return Err(TooManyTags { count: codes.len() });
        }
        let sub_string = if expression.trim().is_empty() { SUBSCRIBE_ALL } else { expression };
        Ok(Self {
            sub_string: sub_string.into(),
            codes: codes.into(),
            version,
            expression_type: expression_type.into(),
        })
    }

    /// Whether the group wants every message of the topic.
    pub fn is_everything(&self) -> bool {
        self.codes.is_empty()
    }

    /// Whether it selects by tags, the one way this broker can filter.
    pub fn is_by_tags(&self) -> bool {
        &*self.expression_type == EXPRESSION_TAG
    }

    /// Whether a message with this `tagsCode` of its ConsumeQueue unit is wanted. Clients filter once more, by the tag's
    /// text: two tags can have one hash.
    pub fn wants(&self, tags_code: i64) -> bool {
        self.is_everything() || i32::try_from(tags_code).is_ok_and(|code| self.codes.binary_search(&code).is_ok())
    }
}

fn hashes(expression: &str) -> Vec<i32> {
    tags(expression).map(java_hash).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `"TagA".hashCode()` and so on, as Java computes them.
    const TAG_A: i32 = 2_598_919;
    const TAG_B: i32 = 2_598_920;

    #[test]
    fn tags_become_javas_hashes_and_everything_is_wanted_without_tags() {
        let some = Subscription::parse(" TagB || TagA||TagB", 7).unwrap();
        assert_eq!((&*some.codes, some.version), (&[TAG_A, TAG_B][..], 7));
        assert!(some.is_by_tags() && !some.is_everything());
        assert!(some.wants(i64::from(TAG_A)) && some.wants(i64::from(TAG_B)));
        assert!(!some.wants(0), "a message without a tag");
        assert!(!some.wants(i64::from(TAG_A) + (1 << 32)));
        for expression in ["*", "", " * "] {
            let all = Subscription::parse(expression, 0).unwrap();
            assert!(all.is_everything() && all.wants(0) && all.wants(-1), "{expression:?}");
        }
        let negative = Subscription::parse("polygenelubricants", 0).unwrap();
        assert!(negative.wants(i64::from(i32::MIN)), "hashes are sign-extended");
    }

    #[test]
    fn hashes_of_a_heartbeat_count_and_are_computed_where_they_are_missing() {
        let mut data = SubscriptionData::of_tags("t", "TagA", 3);
        assert_eq!(&*Subscription::of(&data).unwrap().codes, [TAG_A]);
        data.code_set = vec![];
        assert_eq!(&*Subscription::of(&data).unwrap().codes, [TAG_A]);
        data.code_set = vec![5, 4, 5];
        assert_eq!(&*Subscription::of(&data).unwrap().codes, [4, 5]);
        data.sub_string = "*".to_owned();
        assert!(Subscription::of(&data).unwrap().is_everything());
        data.sub_string = "a > 5".to_owned();
        data.expression_type = "SQL92".to_owned();
        assert!(!Subscription::of(&data).unwrap().is_by_tags());
    }

    #[test]
    fn a_subscription_to_more_tags_than_can_be_kept_is_refused() {
        let expression = |n: usize| (0..n).map(|i| format!("t{i}")).collect::<Vec<_>>().join("||");
        assert!(Subscription::parse(&expression(MAX_TAGS), 0).is_ok());
        assert_eq!(Subscription::parse(&expression(MAX_TAGS + 1), 0), Err(TooManyTags { count: MAX_TAGS + 1 }));
    }
}
