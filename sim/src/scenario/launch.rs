//! What a broker's process is started with.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use quorumq::broker::BrokerOptions;
use quorumq::broker::retention::RetentionOptions;
use quorumq::server::Limits;
use quorumq_raft::form::Start;
use quorumq_raft::node::{Settings, Timing};
use quorumq_raft::repair::scrub::Scrub;
use quorumq_store::identity::GroupConstants;
use quorumq_store::index_file::IndexSizes;
use quorumq_store::log_store::FlushMode;

/// Sizes of index files. As with RocketMQ's own, no power of two divides the number of slots: a flipped bit of a hash leads
/// to another slot.
pub const INDEX_SIZES: IndexSizes = IndexSizes { slots: 61, units: 256 };
/// RocketMQ's brokerClusterName of every group.
const CLUSTER: &str = "sim";
/// Where brokers listen for clients.
pub const BROKER_PORT: u16 = 10911;
/// Where they listen for each other.
pub const PEER_PORT: u16 = BROKER_PORT + 1;
/// Where NameServers listen.
pub const NAMESRV_PORT: u16 = 9876;
/// Small segments, so that rolls, checkpoints and purges are frequent.
pub const CONSTANTS: GroupConstants =
    GroupConstants { segment_size: 64 * 1024, max_entry: 16 * 1024, frame_version: 1, feature_level: 1 };
/// Largest body: an entry has to hold its record.
const MAX_BODY: usize = 12 * 1024;

/// See the module.
#[derive(Clone, Debug)]
pub struct Launch {
    /// Of its consensus node.
    pub settings: Settings,
    /// Of its broker.
    pub options: BrokerOptions,
}

impl Launch {
    /// On the host `ip`, for a store that is there, a new group or a group that exists. `group` is RocketMQ's brokerName.
    #[must_use]
    pub fn new(ip: IpAddr, group: &str, flush: FlushMode, start: Start, namesrv: Vec<SocketAddr>) -> Self {
        let listen = SocketAddr::new(ip, BROKER_PORT);
        // So often that what nobody reads is found within a short run.
        let scrub = Scrub { bytes_per_second: 4 << 20, interval: Duration::from_secs(10) };
        let settings = Settings {
            cluster: CLUSTER.to_owned(),
            group: group.to_owned(),
            listen: SocketAddr::new(ip, PEER_PORT),
            client_addr: listen.to_string(),
            constants: CONSTANTS,
            flush,
            scrub,
            timing: Timing::default(),
            start,
        };
        let options = BrokerOptions {
            cluster: CLUSTER.to_owned(),
            name: group.to_owned(),
            listen,
            vip: true,
            advertised: match listen {
                SocketAddr::V4(addr) => addr,
                SocketAddr::V6(_) => SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, BROKER_PORT),
            },
            namesrv,
            register_period: Duration::from_secs(30),
            auto_create_topic: false,
            auto_create_group: true,
            default_topic_queues: 8,
            max_message_size: MAX_BODY,
            max_pending_bytes: 16 << 20,
            client_expiry: Duration::from_secs(120),
            max_clock_skew: Duration::from_secs(5),
            retention: RetentionOptions::default(),
            scrub,
            index: INDEX_SIZES,
            limits: Limits::SERVER,
        };
        Self { settings, options }
    }
}
