//! Topic settings: 21, and part of a registration (103).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::lenient::or_default;
use super::table::DataVersion;

/// A queue may be read.
pub const PERM_READ: i32 = 4;
/// A queue may be written.
pub const PERM_WRITE: i32 = 2;
/// Topics created on the fly may take these settings over.
pub const PERM_INHERIT: i32 = 1;

/// One topic's settings on a broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicConfig {
    /// 5.x: `message.type` and the like.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "or_default")]
    pub attributes: BTreeMap<String, String>,
    pub order: bool,
    /// See [`PERM_READ`], [`PERM_WRITE`], [`PERM_INHERIT`].
    pub perm: i32,
    pub read_queue_nums: i32,
    /// "SINGLE_TAG" or "MULTI_TAG".
    pub topic_filter_type: String,
    pub topic_name: String,
    pub topic_sys_flag: i32,
    pub write_queue_nums: i32,
}

impl Default for TopicConfig {
    /// TopicConfig.java's defaults.
    fn default() -> Self {
        Self {
            attributes: BTreeMap::new(),
            order: false,
            perm: PERM_READ | PERM_WRITE,
            read_queue_nums: 16,
            topic_filter_type: "SINGLE_TAG".to_owned(),
            topic_name: String::new(),
            topic_sys_flag: 0,
            write_queue_nums: 16,
        }
    }
}

/// The body of 21's answer: all topics of a broker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicConfigSerializeWrapper {
    pub data_version: DataVersion,
    /// By name.
    #[serde(deserialize_with = "or_default")]
    pub topic_config_table: BTreeMap<String, TopicConfig>,
}
