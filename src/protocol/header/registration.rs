//! Brokers at the NameServer: 103, 104, 322.

use super::header;

header! {
    /// REGISTER_BROKER (103); its body is a `body::registration::RegisterBrokerBody`.
    pub struct RegisterBrokerRequest<'a> {
        broker_name: &'a str = "brokerName",
        broker_addr: &'a str = "brokerAddr",
        cluster_name: &'a str = "clusterName",
        /// "" where there is none.
        ha_server_addr: &'a str = "haServerAddr",
        /// 0 is the leader.
        broker_id: i64 = "brokerId",
        /// How long without a registration until the broker counts as gone.
        heartbeat_timeout_millis: Option<i64> = "heartbeatTimeoutMillis",
        enable_acting_master: Option<bool> = "enableActingMaster",
        /// The body is zlib-compressed.
        compressed: Option<bool> = "compressed",
        /// CRC-32 of the body as it is sent, top bit cleared; 0 or missing: not checked.
        body_crc32: Option<i32> = "bodyCrc32",
        /// Ours: the Raft term in which the sender has this role. Apache's NameServers ignore it.
        raft_term: Option<i64> = "raftTerm",
    }
}

header! {
    /// The answer to 103.
    pub struct RegisterBrokerResponse<'a> {
        ha_server_addr: Option<&'a str> = "haServerAddr",
        master_addr: Option<&'a str> = "masterAddr",
    }
}

header! {
    /// UNREGISTER_BROKER (104) and, with a DataVersion as its body, QUERY_DATA_VERSION (322).
    pub struct BrokerIdentityRequest<'a> {
        broker_name: &'a str = "brokerName",
        broker_addr: &'a str = "brokerAddr",
        cluster_name: &'a str = "clusterName",
        broker_id: i64 = "brokerId",
        /// Ours, as in [`RegisterBrokerRequest`].
        raft_term: Option<i64> = "raftTerm",
    }
}

header! {
    /// The answer to 322; its body is the NameServer's DataVersion, if it knows the broker.
    pub struct QueryDataVersionResponse {
        /// Whether the broker should register again.
        changed: bool = "changed",
    }
}
