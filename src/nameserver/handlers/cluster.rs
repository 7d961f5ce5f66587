//! The cluster as a whole: 106.

use std::collections::BTreeMap;

use super::Answer;
use super::route::broker_data;
use crate::nameserver::registry::Registry;
use crate::protocol::body;
use crate::protocol::body::cluster::ClusterInfo;
use crate::protocol::code::response;
use crate::protocol::command::Command;

/// GET_BROKER_CLUSTER_INFO (106). Its id keys are bare for every client, as 4.9.8 writes them.
pub(super) fn info(registry: &Registry, request: &Command) -> Answer {
    let groups = registry.routes().groups();
    let mut cluster_addr_table: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for group in &groups {
        cluster_addr_table.entry(group.cluster.clone()).or_default().push(group.group.clone());
    }
    let broker_addr_table = groups.into_iter().map(|group| (group.group.clone(), broker_data(group))).collect();
    let info = ClusterInfo { broker_addr_table, cluster_addr_table };
    Ok(Some(request.reply(response::SUCCESS, None).with_body(body::encode_fastjson(&info))))
}
