//! The cluster as a NameServer sees it: 106.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::lenient::or_default;
use super::route::BrokerData;

/// The body of 106's answer; written with [`super::encode_fastjson`] for every client (clients.md 3.3).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterInfo {
    /// By broker name.
    #[serde(deserialize_with = "or_default")]
    pub broker_addr_table: BTreeMap<String, BrokerData>,
    /// Broker names by cluster.
    #[serde(deserialize_with = "or_default")]
    pub cluster_addr_table: BTreeMap<String, Vec<String>>,
}
