//! What a broker is started with.

use std::net::{SocketAddr, SocketAddrV4};
use std::time::Duration;

/// A broker's settings that the handlers read.
#[derive(Clone, Debug)]
pub struct BrokerOptions {
    /// RocketMQ's `brokerClusterName`.
    pub cluster: String,
    /// RocketMQ's `brokerName`: the group.
    pub name: String,
    /// Where to listen for clients.
    pub listen: SocketAddr,
    /// Whether to listen on the port 2 below, RocketMQ's VIP channel.
    pub vip: bool,
    /// The address clients are told: `brokerIP1:listenPort`. Stored as every record's storeHost, hence IPv4.
    pub advertised: SocketAddrV4,
    /// NameServers to register with.
    pub namesrv: Vec<SocketAddr>,
    /// Pause between registrations (RocketMQ's registerNameServerPeriod, 30 s).
    pub register_period: Duration,
    /// Create a topic at the first send to it (RocketMQ's autoCreateTopicEnable).
    pub auto_create_topic: bool,
    /// Create a subscription group at its first heartbeat (RocketMQ's autoCreateSubscriptionGroup).
    pub auto_create_group: bool,
    /// Queues of TBW102: upper bound for topics created by a send (RocketMQ's defaultTopicQueueNums, 8).
    pub default_topic_queues: u32,
    /// Largest message body in bytes (RocketMQ's maxMessageSize, 4 MiB).
    pub max_message_size: usize,
    /// Bytes of messages that may be queued, unsynced or unapplied at once.
    pub max_pending_bytes: u64,
    /// A client without a heartbeat for this long is forgotten (RocketMQ's channelExpiredTimeout, 120 s).
    pub client_expiry: Duration,
    /// How far this node's clock may run ahead of the majority's before it stops leading (maxClockSkewMs, 5 s).
    pub max_clock_skew: Duration,
    /// When which segments of the log go.
    pub retention: super::retention::RetentionOptions,
    /// How fast and how often the files derived from the log are read, to find damage.
    pub scrub: quorumq_raft::repair::scrub::Scrub,
    /// Sizes of index files that are begun from now on (RocketMQ's maxHashSlotNum and maxIndexNum).
    pub index: quorumq_store::index_file::IndexSizes,
    /// Limits of client connections.
    pub limits: crate::server::Limits,
}

impl BrokerOptions {
    /// The addresses to listen on: the main port and, if wanted, the VIP port 2 below it.
    pub fn listen_addrs(&self) -> Vec<SocketAddr> {
        let mut addrs = vec![self.listen];
        if self.vip && self.listen.port() > 2 {
            addrs.push(SocketAddr::new(self.listen.ip(), self.listen.port() - 2));
        }
        addrs
    }
}
