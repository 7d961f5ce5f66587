//! Small tables several answers share.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::lenient::or_default;

/// Which state of a broker's configuration a copy was made from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DataVersion {
    /// Counts the changes.
    pub counter: i64,
    /// 5.x, 0 in 4.x.
    #[serde(skip_serializing_if = "is_zero")]
    pub state_version: i64,
    /// When the counting began or the last change was made, milliseconds since 1970.
    pub timestamp: i64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(value: &i64) -> bool {
    *value == 0
}

/// Text by name: the body of 28 and of 103's answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KvTable {
    #[serde(deserialize_with = "or_default")]
    pub table: BTreeMap<String, String>,
}

/// The body of 206's answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicList {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broker_addr: Option<String>,
    #[serde(deserialize_with = "or_default")]
    pub topic_list: Vec<String>,
}
