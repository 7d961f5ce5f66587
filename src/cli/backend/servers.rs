//! Starting and stopping servers.

use std::net::SocketAddr;
use std::time::Duration;

use quorumq_raft::runtime::tokio::Tokio;
use quorumq_store::disk::real::RealDisk;

use crate::cli::error::CliError;
use crate::config::NameServerConfig;
use crate::nameserver::kv::KvFile;
use crate::nameserver::{NameServer, NameServerOptions};
use crate::server::Limits;

/// A running NameServer.
pub(crate) struct NameServerHandle {
    server: NameServer,
}

impl NameServerHandle {
    /// The address that brokers and clients connect to.
    pub(crate) fn address(&self) -> SocketAddr {
        self.server.local_addr()
    }

    /// Ends when the server can no longer go on, with the reason. A NameServer keeps no state that could fail it.
    pub(crate) async fn failed(&self) -> CliError {
        std::future::pending().await
    }

    /// Answers what is under way, then closes.
    pub(crate) async fn stop(self) -> Result<(), CliError> {
        self.server.shutdown::<Tokio>().await;
        Ok(())
    }
}

pub(crate) async fn start_name_server(config: NameServerConfig) -> Result<NameServerHandle, CliError> {
    let options = NameServerOptions {
        listen: SocketAddr::new(config.bind_address, config.listen_port),
        expiry: Duration::from_millis(config.broker_channel_expired_time),
        scan: Duration::from_millis(config.scan_not_active_broker_interval),
        kv: Some(KvFile::new(RealDisk::new(), config.kv_config_path)),
        limits: Limits {
            max_connections: config.server_max_connections as usize,
            idle: Duration::from_secs(config.server_channel_max_idle_time_seconds.into()),
            ..Limits::SERVER
        },
    };
    let server = NameServer::start::<Tokio>(options).await.map_err(|e| CliError::failed(e.to_string(), ""))?;
    Ok(NameServerHandle { server })
}
