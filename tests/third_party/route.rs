//! A NameServer that tells clients a follower's address as the leader's.

use std::net::SocketAddr;

use quorumq::nameserver::{NameServer, NameServerOptions};
use quorumq::protocol::code::request;
use quorumq_raft::runtime::tokio::Tokio;
use serde_json::{Map, Value, json};

use crate::harness::cluster::CLUSTER;
use crate::harness::wire::Wire;

/// Stands as long as it lives.
pub struct FalseRoute {
    server: NameServer,
    // The registration ends with its connection.
    _registered: Wire,
}

impl FalseRoute {
    /// Says that `addr` leads `group`, which has these topics and as many queues of each.
    pub async fn to(addr: SocketAddr, group: &str, topics: &[(&str, u32)]) -> Self {
        let server = NameServer::start::<Tokio>(NameServerOptions::new(SocketAddr::from(([127, 0, 0, 1], 0)))).await;
        let server = server.expect("a port is free");
        let mut wire = Wire::connect(server.local_addr()).await;
        let ext = [
            ("brokerName", group),
            ("brokerAddr", &addr.to_string()),
            ("clusterName", CLUSTER),
            ("haServerAddr", ""),
            ("brokerId", "0"),
        ];
        let answer = wire.call(request::REGISTER_BROKER, &ext, registration(topics)).await;
        assert_eq!(answer.code, 0, "{:?}", answer.remark);
        Self { server, _registered: wire }
    }

    /// Where clients ask it.
    pub fn namesrv(&self) -> String {
        self.server.local_addr().to_string()
    }
}

fn registration(topics: &[(&str, u32)]) -> String {
    let config = |(topic, queues): &(&str, u32)| {
        let config = json!({"topicName": topic, "readQueueNums": queues, "writeQueueNums": queues, "perm": 6,
            "topicFilterType": "SINGLE_TAG", "topicSysFlag": 0, "order": false});
        ((*topic).to_owned(), config)
    };
    let table: Map<String, Value> = topics.iter().map(config).collect();
    let version = json!({"counter": 1, "timestamp": 1_795_147_439_899_i64});
    json!({"filterServerList": [], "topicConfigSerializeWrapper": {"dataVersion": version, "topicConfigTable": table}})
        .to_string()
}
