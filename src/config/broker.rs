//! broker.conf.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use quorumq_raft::node::Timing;
use quorumq_raft::repair::scrub::Scrub;

use super::address::HostPort;
use super::error::{ConfigError, Place, Problems};
use super::file::Input;
use super::flush::FlushDiskType;
use super::known_keys;
use super::peer::{Peer, PeerId};
use super::rule::{Addresses, AlwaysTrue, Bind, Flush, Hours, Location, Name, Peers, Reachable, SelfId, Switch, whole};
use super::settings::settings;
use super::source::{Foreign, Loaded, Source};
use crate::broker::retention::policy::{Force, Policy};

/// An entry may fill at most this part of a segment, so that no segment is mostly filler.
const SEGMENT_PER_ENTRY: u64 = 4;
/// RocketMQ's `maxMessageSize`.
const MAX_MESSAGE_SIZE: u64 = 4 * 1024 * 1024;
/// A follower must miss several heartbeats before it stands for election: at least, and by default.
const HEARTBEATS_PER_ELECTION: u64 = 3;
const DEFAULT_HEARTBEATS_PER_ELECTION: u64 = 4;
const ELECTION_TIMEOUT_MS: u64 = 500;

settings! {
    /// A broker's settings: one member of one group. Field names are RocketMQ's keys; units are RocketMQ's.
    pub struct BrokerConfig {
        /// Cluster that the broker registers under.
        pub broker_cluster_name: String = "brokerClusterName", "broker-cluster-name", "DefaultCluster", Name;
        /// Name of the group, the same on all its members. Equal to dLegerGroup; one given sets both.
        pub broker_name: String = "brokerName", "broker-name", "", Name;
        /// IPv4 address that clients are told. Default: this machine's first that is not loopback.
        pub broker_ip1: Ipv4Addr = "brokerIP1", "broker-ip1", "", Reachable;
        /// Port for clients; the VIP port is 2 below it.
        pub listen_port: u16 = "listenPort", "listen-port", "10911", whole(3, 65534);
        /// Address to listen on.
        pub bind_address: IpAddr = "bindAddress", "bind-address", "0.0.0.0", Bind;
        /// Whether to listen on the VIP port, listenPort - 2, too.
        pub vip_channel_enabled: bool = "vipChannelEnabled", "vip-channel-enabled", "true", Switch;
        /// NameServers to register with, joined by ';'. Default: the environment's NAMESRV_ADDR.
        pub namesrv_addr: Vec<HostPort> = "namesrvAddr", "namesrv-addr", "", Addresses;
        /// Directory of the store. Default: store in the home directory.
        pub store_path_root_dir: PathBuf = "storePathRootDir", "store-path-root-dir", "", Location;
        /// Name of the Raft group. Equal to brokerName; one given sets both.
        pub d_leger_group: String = "dLegerGroup", "dleger-group", "", Name;
        /// Members of the group and their Raft addresses, e.g. n0-10.0.0.1:40911;n1-10.0.0.2:40911.
        /// Default: this node alone, on listenPort + 1.
        pub d_leger_peers: Vec<Peer> = "dLegerPeers", "dleger-peers", "", Peers;
        /// Which of dLegerPeers this node is, e.g. n0. When the group is formed, node ids 1, 2, … go by these numbers.
        pub d_leger_self_id: PeerId = "dLegerSelfId", "dleger-self-id", "", SelfId;
        /// RocketMQ's switch for the Raft CommitLog; here there is no other.
        pub enable_d_leger_commit_log: () = "enableDLegerCommitLog", "enable-dleger-commit-log", "true",
            AlwaysTrue("QuoruMQ replicates the CommitLog by Raft and has no other mode; remove the line");
        /// Form the group from dLegerPeers. Done only if the store of every member is empty; no effect later.
        pub bootstrap: bool = "bootstrap", "bootstrap", "false", Switch;
        /// Wait, with an empty store, to be added to a running group by `quorumq group add`.
        pub join: bool = "join", "join", "false", Switch;
        /// SYNC_FLUSH: acknowledged means synced to disk on a majority. ASYNC_FLUSH: written on a majority.
        pub flush_disk_type: FlushDiskType = "flushDiskType", "flush-disk-type", "SYNC_FLUSH", Flush;
        /// Milliseconds between syncs with ASYNC_FLUSH.
        pub flush_interval_commit_log: u64 = "flushIntervalCommitLog", "flush-interval-commit-log", "500", whole(10, 60_000);
        /// Bytes of a CommitLog file. Fixed when the group is formed; the same on all its members.
        pub mapped_file_size_commit_log: u64 = "mappedFileSizeCommitLog" | "mapedFileSizeCommitLog",
            "mapped-file-size-commit-log", "1073741824", whole(4096, 2_147_479_552).multiple_of(4096);
        /// Largest message body in bytes, at most a quarter of a CommitLog file.
        pub max_message_size: u32 = "maxMessageSize", "max-message-size", "", whole(1, 15 * 1024 * 1024);
        /// Bytes kept free on the store's volume: with less, sends are refused and reads go on.
        pub disk_space_reserve_bytes: u64 = "diskSpaceReserveBytes", "disk-space-reserve-bytes", "268435456",
            whole(0, 1 << 50);
        /// Hash slots of an index file.
        pub max_hash_slot_num: u32 = "maxHashSlotNum", "max-hash-slot-num", "5000000", whole(1, 500_000_000);
        /// Keys of an index file.
        pub max_index_num: u32 = "maxIndexNum", "max-index-num", "20000000", whole(1, 100_000_000);
        /// Hours that messages are kept, consumed or not; a topic's attribute reserve.time can ask for more.
        pub file_reserved_time: u32 = "fileReservedTime", "file-reserved-time", "72", whole(1, 87_600);
        /// Hours of the day at which expired CommitLog files go, joined by ';'.
        pub delete_when: Vec<u8> = "deleteWhen", "delete-when", "04", Hours;
        /// Milliseconds between looks at what is to be deleted.
        pub clean_resource_interval: u64 =
            "cleanResourceInterval", "clean-resource-interval", "10000", whole(100, 3_600_000);
        /// Percentage of the volume in use from which on expired CommitLog files go at any hour.
        pub disk_max_used_space_ratio: u8 =
            "diskMaxUsedSpaceRatio", "disk-max-used-space-ratio", "75", whole(10, 95);
        /// Whether the oldest CommitLog file goes before its time when the volume of a member is nearly full, as with
        /// RocketMQ, where it is on. Without it sends are refused then: what was acknowledged is not deleted early.
        pub clean_file_forcibly_enable: bool =
            "cleanFileForciblyEnable", "clean-file-forcibly-enable", "false", Switch;
        /// Percentage of the volume in use from which on the oldest CommitLog file goes whatever its age; so it does
        /// while less than twice diskSpaceReserveBytes is free.
        pub disk_space_clean_forcibly_ratio: u8 =
            "diskSpaceCleanForciblyRatio", "disk-space-clean-forcibly-ratio", "85", whole(10, 100);
        /// Create a topic at the first send to it. Turn it off in production.
        pub auto_create_topic_enable: bool = "autoCreateTopicEnable", "auto-create-topic-enable", "true", Switch;
        /// Create a subscription group at its first heartbeat.
        pub auto_create_subscription_group: bool =
            "autoCreateSubscriptionGroup", "auto-create-subscription-group", "true", Switch;
        /// Queues of TBW102: an upper bound for topics created by a send.
        pub default_topic_queue_nums: u32 = "defaultTopicQueueNums", "default-topic-queue-nums", "8", whole(1, 1024);
        /// Milliseconds between registrations with the NameServers; a change registers at once.
        pub register_name_server_period: u64 =
            "registerNameServerPeriod", "register-name-server-period", "30000", whole(1000, 60_000);
        /// Milliseconds without a heartbeat after which a client is forgotten.
        pub channel_expired_timeout: u64 =
            "channelExpiredTimeout", "channel-expired-timeout", "120000", whole(1000, 3_600_000);
        /// Seconds without a byte after which a client's connection is closed.
        pub server_channel_max_idle_time_seconds: u32 =
            "serverChannelMaxIdleTimeSeconds", "server-channel-max-idle-time-seconds", "120", whole(1, 86_400);
        /// Client connections taken at once; more are refused.
        pub server_max_connections: u32 = "serverMaxConnections", "server-max-connections", "20000", whole(1, 1_000_000);
        /// Bytes of messages that may be queued, unsynced or unapplied at once; with more, sends get SYSTEM_BUSY.
        pub max_pending_bytes: u64 = "maxPendingBytes", "max-pending-bytes", "268435456", whole(1 << 20, 1 << 36);
        /// Milliseconds between the leader's heartbeats to its followers. Default: a quarter of electionTimeoutMs.
        pub heart_beat_time_interval_ms: u64 =
            "heartBeatTimeIntervalMs", "heart-beat-time-interval-ms", "", whole(10, 60_000);
        /// Milliseconds without a leader before an election; each node draws from once to twice of it. A leader whose
        /// process ends is noticed sooner, by its lost connection.
        pub election_timeout_ms: u64 = "electionTimeoutMs", "election-timeout-ms", "500", whole(100, 600_000);
        /// Milliseconds that a sync of the log may take before this node hands leadership over; it does not lead again
        /// until the disk has recovered.
        pub sync_stall_ms: u64 = "syncStallMs", "sync-stall-ms", "3000", whole(100, 600_000);
        /// Bytes a second, over all members that are far behind, at which the leader sends them what is no longer in its
        /// memory; 0 for no limit. Not applied while the group commits nothing. `quorumq group catch-up` changes it.
        pub catch_up_bytes_per_second: u64 = "catchUpBytesPerSecond", "catch-up-bytes-per-second", "33554432",
            whole(0, 1 << 40).multiple_of(1 << 20);
        /// Bytes of the CommitLog that are read in a second to find damage while another member has a sound copy; 0 for
        /// none.
        pub scrub_bytes_per_second: u64 =
            "scrubBytesPerSecond", "scrub-bytes-per-second", "16777216", whole(0, 1 << 36);
        /// Milliseconds between such passes over the whole CommitLog.
        pub scrub_interval: u64 = "scrubInterval", "scrub-interval", "86400000", whole(1000, 2_678_400_000);
        /// Milliseconds that this node's clock may run ahead of the majority's before it stops leading.
        pub max_clock_skew_ms: u64 = "maxClockSkewMs", "max-clock-skew-ms", "5000", whole(10, 3_600_000);
    }
}

/// What RocketMQ has and a Raft group makes meaningless.
const REASONS: &[(&str, &str)] = &[
    ("brokerId", "the leader is broker 0 and Raft decides who leads; dLegerSelfId tells the members apart"),
    ("brokerRole", "Raft decides who leads; every group acknowledges by majority"),
    ("haListenPort", "members replicate over the addresses of dLegerPeers"),
    ("storePathCommitLog", "the CommitLog is always in commitlog/ below storePathRootDir"),
    ("storePathDLedgerCommitLog", "the CommitLog is always in commitlog/ below storePathRootDir"),
    ("preferredLeaderId", "a leader stays until it stops or loses its majority"),
    ("enableControllerMode", "no controller is needed: each group elects its own leader"),
    ("controllerAddr", "no controller is needed: each group elects its own leader"),
];

const FOREIGN: Foreign = Foreign { known: || Box::new(known_keys::broker()), reasons: REASONS };

impl BrokerConfig {
    /// Resolves file, flags and environment.
    ///
    /// # Errors
    /// Every setting that is unknown, not allowed, missing, or does not go with another.
    pub fn resolve(input: &Input) -> Result<Loaded<Self>, Problems> {
        let mut source = Source::new(Self::KEYS, &FOREIGN, input);
        derive_names(&mut source);
        derive_addresses(&mut source, input);
        derive_members(&mut source);
        derive_numbers(&mut source);
        let config = Self::read(&mut source);
        if let Some(config) = &config {
            config.check(&mut source);
        }
        source.finish(config)
    }

    /// Address of this node's Raft port, as its peers dial it.
    pub fn peer_address(&self) -> Option<&HostPort> {
        self.d_leger_peers.iter().find(|peer| peer.id == self.d_leger_self_id).map(|peer| &peer.address)
    }

    /// The VIP port, if it is on.
    pub fn vip_port(&self) -> Option<u16> {
        self.vip_channel_enabled.then(|| self.listen_port.saturating_sub(2))
    }

    /// Largest entry of the log in bytes.
    pub fn largest_entry(&self) -> u64 {
        self.mapped_file_size_commit_log / SEGMENT_PER_ENTRY
    }

    /// What of the log goes when.
    pub fn retention(&self) -> Policy {
        Policy {
            reserved: Duration::from_secs(u64::from(self.file_reserved_time) * 3600),
            delete_when: self.delete_when.clone(),
            max_used_percent: self.disk_max_used_space_ratio,
            force: self.clean_file_forcibly_enable.then_some(Force {
                used_percent: self.disk_space_clean_forcibly_ratio,
                reserve_bytes: self.disk_space_reserve_bytes,
            }),
        }
    }

    /// Raft's timing.
    pub fn timing(&self) -> Timing {
        Timing {
            heartbeat_ms: self.heart_beat_time_interval_ms,
            election_min_ms: self.election_timeout_ms,
            election_max_ms: self.election_timeout_ms * 2,
            flush_interval_ms: self.flush_interval_commit_log,
            sync_stall_ms: self.sync_stall_ms,
            catch_up_bytes_per_second: self.catch_up_bytes_per_second,
        }
    }

    /// How the CommitLog is looked through for damage.
    pub fn scrub(&self) -> Scrub {
        let interval = Duration::from_millis(self.scrub_interval);
        Scrub { bytes_per_second: self.scrub_bytes_per_second, interval }
    }

    fn check(&self, source: &mut Source) {
        self.check_members(source);
        self.check_ports(source);
        if u64::from(self.max_message_size) > self.largest_entry() {
            let (quarter, segment) = (self.largest_entry(), self.mapped_file_size_commit_log);
            let reason = format!("more than {quarter}, a quarter of mappedFileSizeCommitLog = {segment}");
            source.conflict("maxMessageSize", reason);
        }
        let longest = self.election_timeout_ms / HEARTBEATS_PER_ELECTION;
        if self.heart_beat_time_interval_ms > longest {
            let timeout = self.election_timeout_ms;
            let reason = format!("more than {longest}, a third of electionTimeoutMs = {timeout}");
            source.conflict("heartBeatTimeIntervalMs", reason);
        }
        if self.bootstrap && self.join {
            source.conflict(
                "join",
                "a node either forms a group (bootstrap) or joins one; set one of the two".to_owned(),
            );
        }
        if self.disk_space_clean_forcibly_ratio < self.disk_max_used_space_ratio {
            let used = self.disk_max_used_space_ratio;
            source.conflict("diskSpaceCleanForciblyRatio", format!("less than diskMaxUsedSpaceRatio = {used}"));
        }
        if self.namesrv_addr.is_empty() {
            source.warn("namesrvAddr is not set: clients will not find this broker; set it, e.g. to 127.0.0.1:9876");
        }
    }

    fn check_members(&self, source: &mut Source) {
        let peers = &self.d_leger_peers;
        for (at, peer) in peers.iter().enumerate() {
            if let Some(twin) = peers.iter().take(at).find(|twin| twin.id.number == peer.id.number) {
                let reason = format!("{} and {} have the same number; give each member its own", twin.id, peer.id);
                source.conflict("dLegerPeers", reason);
            }
            if let Some(twin) = peers.iter().take(at).find(|twin| twin.address == peer.address) {
                let reason = format!("{} and {} have the same address {}", twin.id, peer.id, peer.address);
                source.conflict("dLegerPeers", reason);
            }
        }
        if self.peer_address().is_none() {
            let ids: Vec<_> = peers.iter().map(|peer| peer.id.to_string()).collect();
            let reason =
                format!("not among dLegerPeers, which has {}; add it there, or name one of them", ids.join(", "));
            source.conflict("dLegerSelfId", reason);
        }
        if let [_] = peers.as_slice() {
            source.warn("dLegerPeers names one member: a group of one has no second copy of its messages");
        } else if peers.len().is_multiple_of(2) {
            let text = format!("dLegerPeers names {} members: an odd number survives as many failures", peers.len());
            source.warn(text);
        }
    }

    fn check_ports(&self, source: &mut Source) {
        let Some(raft) = self.peer_address().map(|address| address.port) else {
            return;
        };
        if raft == self.listen_port {
            source.conflict("dLegerPeers", format!("its Raft port {raft} is listenPort; it needs a port of its own"));
        } else if Some(raft) == self.vip_port() {
            let reason =
                format!("its Raft port {raft} is the VIP port, listenPort - 2; choose another, e.g. listenPort + 1");
            source.conflict("dLegerPeers", reason);
        }
    }
}

/// DLedger's group and RocketMQ's brokerName are one name.
fn derive_names(source: &mut Source) {
    let (broker, group) = (source.text("brokerName"), source.text("dLegerGroup"));
    match (broker.map(str::to_owned), group.map(str::to_owned)) {
        (Some(broker), Some(group)) if broker != group => {
            let reason = format!("differs from brokerName = {broker}; a group has one name, so give one of the two");
            source.conflict("dLegerGroup", reason);
        }
        (Some(_), Some(_)) => {}
        (Some(name), None) => source.derive("dLegerGroup", name, Place::Derived),
        (None, Some(name)) => source.derive("brokerName", name, Place::Derived),
        (None, None) if source.text("dLegerPeers").is_some_and(|peers| peers.contains(';')) => {
            let reason = "every member of a group needs the same name; set it in each broker.conf, e.g. broker-a";
            source.problem(ConfigError::Missing { key: "brokerName", reason: reason.to_owned() });
        }
        (None, None) => {
            source.derive("brokerName", "broker-a".to_owned(), Place::Derived);
            source.derive("dLegerGroup", "broker-a".to_owned(), Place::Derived);
        }
    }
}

fn derive_addresses(source: &mut Source, input: &Input) {
    if !source.is_set("brokerIP1") {
        let ip = input.first_ipv4.unwrap_or(Ipv4Addr::LOCALHOST);
        source.derive("brokerIP1", ip.to_string(), Place::Derived);
        if input.first_ipv4.is_none() {
            source.warn(
                "this machine has no IPv4 address but loopback: brokerIP1 = 127.0.0.1, only local clients can connect",
            );
        }
    }
    if let Some(addresses) = &input.namesrv_addr {
        source.derive("namesrvAddr", addresses.clone(), Place::Environment("NAMESRV_ADDR"));
    }
    let home = input.home.as_deref().unwrap_or(".");
    source.derive("storePathRootDir", format!("{home}/store"), Place::Derived);
}

/// Without dLegerPeers the node is a group of its own.
fn derive_members(source: &mut Source) {
    if !source.is_set("dLegerPeers") {
        source.derive("dLegerSelfId", "n0".to_owned(), Place::Derived);
        let id = source.text("dLegerSelfId").unwrap_or_default().to_owned();
        let ip = source.text("brokerIP1").unwrap_or_default().to_owned();
        // A listenPort that is no number is told when it is read itself.
        let port = source.text("listenPort").and_then(|port| port.parse::<u16>().ok()).unwrap_or(10911);
        if PeerId::parse(&id).is_some() && ip.parse::<Ipv4Addr>().is_ok() {
            source.derive("dLegerPeers", format!("{id}-{ip}:{}", port.saturating_add(1)), Place::Derived);
        }
    } else if !source.is_set("dLegerSelfId") {
        let reason = "it tells which of dLegerPeers this node is, e.g. n0".to_owned();
        source.problem(ConfigError::Missing { key: "dLegerSelfId", reason });
    }
}

/// Numbers whose default depends on another; one that is no number is told when it is read itself.
fn derive_numbers(source: &mut Source) {
    let number = |key: &str| source.text(key).and_then(|text| text.parse::<u64>().ok());
    let segment = number("mappedFileSizeCommitLog");
    let heartbeat = number("electionTimeoutMs").unwrap_or(ELECTION_TIMEOUT_MS) / DEFAULT_HEARTBEATS_PER_ELECTION;
    let largest = segment.map_or(MAX_MESSAGE_SIZE, |segment| MAX_MESSAGE_SIZE.min(segment / SEGMENT_PER_ENTRY));
    source.derive("maxMessageSize", largest.max(1).to_string(), Place::Derived);
    source.derive("heartBeatTimeIntervalMs", heartbeat.to_string(), Place::Derived);
}
