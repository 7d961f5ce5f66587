//! Consumer groups: members (38) and offsets (43).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::lenient::or_default;

/// The body of 38's answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GetConsumerListByGroupResponseBody {
    #[serde(deserialize_with = "or_default")]
    pub consumer_id_list: Vec<String>,
}

/// The body of 43's answer and of `config/consumerOffset.json`; Apache writes its queue ids bare.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerOffsetTable {
    /// `topic@group` → queue id → next offset to consume.
    #[serde(deserialize_with = "or_default")]
    pub offset_table: BTreeMap<String, BTreeMap<i32, i64>>,
}

impl ConsumerOffsetTable {
    /// The key of a topic and a group.
    pub fn key(topic: &str, group: &str) -> String {
        format!("{topic}@{group}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::body;

    #[test]
    fn an_offset_table_is_read_and_written_as_apache_does() {
        let captured = br#"{"offsetTable":{"GoldenTopicJSON@g_consumerJSON":{0:1}}}"#;
        let table: ConsumerOffsetTable = body::decode(captured).expect("fastjson");
        assert_eq!(table.offset_table[&ConsumerOffsetTable::key("GoldenTopicJSON", "g_consumerJSON")][&0], 1);
        assert_eq!(&body::encode_fastjson(&table)[..], captured);
    }
}
