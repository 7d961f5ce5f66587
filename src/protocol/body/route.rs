//! Routes: 105.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::lenient::or_default;
use crate::protocol::command::VERSION_STANDARD_JSON;

/// The id under which a group's leader is registered: clients send only there.
pub const MASTER_ID: i64 = 0;

/// The body of 105's answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicRouteData {
    #[serde(deserialize_with = "or_default")]
    pub broker_datas: Vec<BrokerData>,
    /// Always written, always empty here (clients.md 3.3).
    #[serde(deserialize_with = "or_default")]
    pub filter_server_table: BTreeMap<String, Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_topic_conf: Option<String>,
    #[serde(deserialize_with = "or_default")]
    pub queue_datas: Vec<QueueData>,
}

impl TopicRouteData {
    /// The body for a client: quoted map keys for those that say so or are recent enough, fastjson's bare ones for the
    /// others (clients.md 3.3, the rule of Apache's NameServer).
    pub fn encode_for(&self, client_version: i16, accept_standard_json_only: bool) -> Bytes {
        if accept_standard_json_only || client_version >= VERSION_STANDARD_JSON {
            super::encode(self)
        } else {
            super::encode_fastjson(self)
        }
    }
}

/// One group: its members' addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerData {
    /// `ip:port` by broker id; [`MASTER_ID`] is the leader.
    #[serde(deserialize_with = "or_default")]
    pub broker_addrs: BTreeMap<i64, String>,
    pub broker_name: String,
    pub cluster: String,
    pub enable_acting_master: bool,
}

/// One group's share of a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueData {
    pub broker_name: String,
    pub perm: i32,
    pub read_queue_nums: i32,
    pub topic_sys_flag: i32,
    pub write_queue_nums: i32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::body;

    const QUOTED: &str = r#"{"brokerDatas":[{"brokerAddrs":{"0":"127.0.0.1:10911"},"brokerName":"g","cluster":"c","enableActingMaster":false}],"filterServerTable":{},"queueDatas":[{"brokerName":"g","perm":6,"readQueueNums":8,"topicSysFlag":0,"writeQueueNums":8}]}"#;

    #[test]
    fn old_clients_get_bare_keys_and_new_ones_quoted_keys() {
        let route: TopicRouteData = body::decode(QUOTED.as_bytes()).expect("a route");
        let bare = QUOTED.replace(r#""0":"#, "0:");
        assert_eq!(body::decode::<TopicRouteData>(bare.as_bytes()).as_ref(), Ok(&route));
        // Versions seen: ali-ons 121, C++ 63, rocketmq-nodejs 333, V4_9_3 399, V4_9_4 401, mxsm 474.
        for old in [63, 121, 333, 399] {
            assert_eq!(&route.encode_for(old, false)[..], bare.as_bytes());
            assert_eq!(&route.encode_for(old, true)[..], QUOTED.as_bytes());
        }
        for new in [401, 409, 474] {
            assert_eq!(&route.encode_for(new, false)[..], QUOTED.as_bytes());
        }
    }
}
