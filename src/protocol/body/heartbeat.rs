//! HEART_BEAT (34): who a client is and what its groups subscribe to, in all the forms real clients send it
//! (clients.md 3.6).

use serde::{Deserialize, Serialize};

use super::lenient::{java_enum, number, or_default};

java_enum! {
    /// Whether the client is pushed to or pulls.
    pub enum ConsumeType {
        Actively = "CONSUME_ACTIVELY",
        #[default]
        Passively = "CONSUME_PASSIVELY",
        /// 5.x.
        Pop = "CONSUME_POP",
    }
}

java_enum! {
    /// Whether a group's members share the messages or each gets all.
    pub enum MessageModel {
        Broadcasting = "BROADCASTING",
        #[default]
        Clustering = "CLUSTERING",
    }
}

java_enum! {
    /// Where a group without an offset begins.
    pub enum ConsumeFromWhere {
        #[default]
        LastOffset = "CONSUME_FROM_LAST_OFFSET",
        LastOffsetAndFromMinWhenBootFirst = "CONSUME_FROM_LAST_OFFSET_AND_FROM_MIN_WHEN_BOOT_FIRST",
        MinOffset = "CONSUME_FROM_MIN_OFFSET",
        MaxOffset = "CONSUME_FROM_MAX_OFFSET",
        FirstOffset = "CONSUME_FROM_FIRST_OFFSET",
        Timestamp = "CONSUME_FROM_TIMESTAMP",
    }
}

/// The body of a heartbeat.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HeartbeatData {
    /// An opaque string (clients.md 3.15).
    #[serde(rename = "clientID", deserialize_with = "or_default")]
    pub client_id: String,
    #[serde(deserialize_with = "or_default")]
    pub consumer_data_set: Vec<ConsumerData>,
    #[serde(deserialize_with = "or_default")]
    pub producer_data_set: Vec<ProducerData>,
}

/// A producer group of a client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProducerData {
    #[serde(deserialize_with = "or_default")]
    pub group_name: String,
}

/// A consumer group of a client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerData {
    pub consume_from_where: ConsumeFromWhere,
    pub consume_type: ConsumeType,
    #[serde(deserialize_with = "or_default")]
    pub group_name: String,
    pub message_model: MessageModel,
    #[serde(deserialize_with = "or_default")]
    pub subscription_data_set: Vec<SubscriptionData>,
    #[serde(deserialize_with = "or_default")]
    pub unit_mode: bool,
}

/// The expression type of a subscription by tags; the default.
pub const EXPRESSION_TAG: &str = "TAG";
/// A subscription to everything.
pub const SUBSCRIBE_ALL: &str = "*";

/// What a group wants of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionData {
    #[serde(deserialize_with = "or_default")]
    pub class_filter_mode: bool,
    /// Java's hash of each tag; may be empty although there are tags.
    #[serde(deserialize_with = "or_default")]
    pub code_set: Vec<i32>,
    #[serde(deserialize_with = "expression_type")]
    pub expression_type: String,
    /// The expression: "*", or tags joined by "||".
    #[serde(deserialize_with = "or_default")]
    pub sub_string: String,
    /// Milliseconds since 1970 when the client subscribed.
    #[serde(deserialize_with = "number")]
    pub sub_version: i64,
    #[serde(deserialize_with = "or_default")]
    pub tags_set: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub topic: String,
}

impl Default for SubscriptionData {
    fn default() -> Self {
        Self {
            class_filter_mode: false,
            code_set: Vec::new(),
            expression_type: EXPRESSION_TAG.to_owned(),
            sub_string: String::new(),
            sub_version: 0,
            tags_set: Vec::new(),
            topic: String::new(),
        }
    }
}

impl SubscriptionData {
    /// A subscription by tags, as a client announces it: `expression` is "*" or tags joined by "||".
    pub fn of_tags(topic: &str, expression: &str, sub_version: i64) -> Self {
        let tags: Vec<String> = tags(expression).map(str::to_owned).collect();
        Self {
            code_set: tags.iter().map(|tag| quorumq_store::record::java_hash(tag)).collect(),
            sub_string: if tags.is_empty() { SUBSCRIBE_ALL.to_owned() } else { expression.to_owned() },
            sub_version,
            tags_set: tags,
            topic: topic.to_owned(),
            ..Self::default()
        }
    }
}

/// The tags of an expression; none means every message.
pub fn tags(expression: &str) -> impl Iterator<Item = &str> {
    let expression = if expression.trim() == SUBSCRIBE_ALL { "" } else { expression };
    expression.split("||").map(str::trim).filter(|tag| !tag.is_empty())
}

/// A missing, empty or null expression type is "TAG".
fn expression_type<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let value: String = or_default(deserializer)?;
    Ok(if value.is_empty() { EXPRESSION_TAG.to_owned() } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::body;

    #[test]
    fn a_heartbeat_of_the_cpp_client_is_read() {
        let json = br#"{"clientID":"10.0.0.1@9","consumerDataSet":[{"consumeFromWhere":0,"consumeType":1,
            "groupName":"g","messageModel":1,"subscriptionDataSet":[{"subString":"A || B","subVersion":"1795147489155",
            "topic":"t"}]}]}
"#;
        let heartbeat: HeartbeatData = body::decode(json).expect("ordinals, text numbers and missing fields are fine");
        let group = &heartbeat.consumer_data_set[0];
        assert_eq!(group.consume_type, ConsumeType::Passively);
        assert_eq!(group.message_model, MessageModel::Clustering);
        assert_eq!(group.consume_from_where, ConsumeFromWhere::LastOffset);
        let subscription = &group.subscription_data_set[0];
        assert_eq!((subscription.sub_version, &*subscription.expression_type), (1_795_147_489_155, "TAG"));
        assert!(tags(&subscription.sub_string).eq(["A", "B"]));
        assert_eq!(heartbeat.producer_data_set, []);
    }

    #[test]
    fn nulls_unknown_fields_and_ordinals_as_text_are_read() {
        let json = br#"{"clientID":"c","heartbeatFingerprint":-5,"withoutSub":false,"producerDataSet":null,
            "consumerDataSet":[{"groupName":"g","consumeType":"0","messageModel":null,"consumeFromWhere":
            "CONSUME_FROM_FIRST_OFFSET","subscriptionDataSet":[{"topic":"t","subString":null,"subVersion":"",
            "expressionType":null,"filterClassSource":"","tagsSet":null}]}]}"#;
        let heartbeat: HeartbeatData = body::decode(json).expect("a lenient heartbeat");
        let group = &heartbeat.consumer_data_set[0];
        assert_eq!((group.consume_type, group.message_model), (ConsumeType::Actively, MessageModel::Clustering));
        assert_eq!(group.consume_from_where, ConsumeFromWhere::FirstOffset);
        let expected = SubscriptionData { topic: "t".to_owned(), ..SubscriptionData::default() };
        assert_eq!(group.subscription_data_set, [expected]);
    }

    #[test]
    fn a_value_java_does_not_know_is_an_error_that_names_it() {
        let json = br#"{"consumerDataSet":[{"messageModel":"SOLO"}]}"#;
        let error = body::decode::<HeartbeatData>(json).expect_err("no such model");
        assert!(
            error.to_string().starts_with("body is no HeartbeatData: MessageModel has no value \"SOLO\""),
            "{error}"
        );
        let json = br#"{"consumerDataSet":[{"messageModel":-1}]}"#;
        assert!(body::decode::<HeartbeatData>(json).is_err());
    }

    #[test]
    fn everything_is_subscribed_to_without_tags() {
        for expression in ["*", " * ", "", "||"] {
            assert_eq!(tags(expression).count(), 0, "{expression:?}");
        }
    }
}
