//! namesrv.conf.

use std::net::IpAddr;
use std::path::PathBuf;

use super::error::{Place, Problems};
use super::file::Input;
use super::known_keys;
use super::rule::{Bind, Location, whole};
use super::settings::settings;
use super::source::{Foreign, Loaded, Source};

settings! {
    /// A NameServer's settings. Field names are RocketMQ's keys; units are RocketMQ's.
    pub struct NameServerConfig {
        /// Port for brokers and clients; 0 lets the system pick one.
        pub listen_port: u16 = "listenPort", "listen-port", "9876", whole(0, 65535);
        /// Address to listen on.
        pub bind_address: IpAddr = "bindAddress", "bind-address", "0.0.0.0", Bind;
        /// Milliseconds between looks for brokers that went silent.
        pub scan_not_active_broker_interval: u64 =
            "scanNotActiveBrokerInterval", "scan-not-active-broker-interval", "10000", whole(100, 3_600_000);
        /// Milliseconds without a registration after which a broker is dropped.
        pub broker_channel_expired_time: u64 =
            "brokerChannelExpiredTime", "broker-channel-expired-time", "120000", whole(1000, 3_600_000);
        /// File of the key-value settings. Default: namesrv/kvConfig.json in the home directory.
        pub kv_config_path: PathBuf = "kvConfigPath", "kv-config-path", "", Location;
        /// Seconds without a byte after which a connection is closed.
        pub server_channel_max_idle_time_seconds: u32 =
            "serverChannelMaxIdleTimeSeconds", "server-channel-max-idle-time-seconds", "120", whole(1, 86_400);
        /// Connections taken at once; more are refused.
        pub server_max_connections: u32 = "serverMaxConnections", "server-max-connections", "20000", whole(1, 1_000_000);
    }
}

const REASONS: &[(&str, &str)] =
    &[("enableControllerInNamesrv", "no controller is needed: each broker group elects its own leader")];

const FOREIGN: Foreign = Foreign { known: || Box::new(known_keys::name_server()), reasons: REASONS };

impl NameServerConfig {
    /// Resolves file, flags and environment.
    ///
    /// # Errors
    /// Every setting that is unknown or not allowed.
    pub fn resolve(input: &Input) -> Result<Loaded<Self>, Problems> {
        let mut source = Source::new(Self::KEYS, &FOREIGN, input);
        let home = input.home.as_deref().unwrap_or(".");
        source.derive("kvConfigPath", format!("{home}/namesrv/kvConfig.json"), Place::Derived);
        let config = Self::read(&mut source);
        if let Some(config) = &config
            && config.broker_channel_expired_time < config.scan_not_active_broker_interval
        {
            let scan = config.scan_not_active_broker_interval;
            let reason = format!("less than scanNotActiveBrokerInterval = {scan}; brokers would be dropped late");
            source.conflict("brokerChannelExpiredTime", reason);
        }
        source.finish(config)
    }
}
