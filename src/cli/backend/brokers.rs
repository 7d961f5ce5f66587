//! A broker process: from its configuration to a running node, and to its end.

use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use chrono::{Local, TimeZone, Timelike};
use quorumq_raft::form::Start;
use quorumq_raft::node::Settings;
use quorumq_raft::runtime::tokio::Tokio;
use quorumq_raft::state_machine::{OnFatal, Place};
use quorumq_store::disk::real::RealDisk;
use quorumq_store::identity::GroupConstants;
use quorumq_store::index_file::IndexSizes;
use tokio::sync::oneshot;

use crate::broker::retention::{RetentionOptions, utc_hour};
use crate::broker::{BrokerOptions, Running};
use crate::cli::error::CliError;
use crate::config::{BrokerConfig, Peer};
use crate::server::Limits;

/// Version of the frame layout this build writes.
const FRAME_VERSION: u8 = 1;
/// Feature level of groups this build forms.
const FEATURE_LEVEL: u16 = 1;
/// Largest entry whatever the segment size, in bytes: replication and peers' frames are bounded by it.
const MAX_ENTRY: u64 = 16 * 1024 * 1024;

/// A running broker.
pub(crate) struct BrokerHandle {
    running: Running<Tokio>,
    fatal: Mutex<Option<oneshot::Receiver<String>>>,
}

impl BrokerHandle {
    /// The address that clients connect to.
    pub(crate) fn address(&self) -> SocketAddr {
        self.running.local_addr()
    }

    /// Ends when the node can no longer go on (a failed sync, a broken invariant), with the reason.
    pub(crate) async fn failed(&self) -> CliError {
        let fatal = self.fatal.lock().unwrap_or_else(PoisonError::into_inner).take();
        let reason = match fatal {
            Some(fatal) => fatal.await.unwrap_or_else(|_| "the node has gone".to_owned()),
            None => std::future::pending().await,
        };
        CliError::failed(
            format!("the node cannot go on: {reason}"),
            "Nothing acknowledged is lost. Look at the disk that the reason names before you start it again.",
        )
    }

    /// Hands over leadership, answers what is under way, flushes, removes `abort`.
    pub(crate) async fn stop(self) -> Result<(), CliError> {
        self.running.shutdown().await;
        Ok(())
    }
}

/// Starts a broker.
pub(crate) async fn start_broker(config: BrokerConfig) -> Result<BrokerHandle, CliError> {
    let options = options(&config)?;
    let settings = settings(&config)?;
    let place = Place {
        disk: RealDisk::new(),
        dir: config.store_path_root_dir.clone(),
        reserve_bytes: config.disk_space_reserve_bytes,
    };
    let (tx, rx) = oneshot::channel();
    let tx = Mutex::new(Some(tx));
    let on_fatal: OnFatal = Arc::new(move |reason| {
        // The first reason ends the process; the ones behind it are its consequences.
        if let Some(tx) = tx.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = tx.send(reason);
        }
    });
    let running =
        Running::<Tokio>::start(settings, options, place, on_fatal).await.map_err(|e| start_error(&e, &config))?;
    Ok(BrokerHandle { running, fatal: Mutex::new(Some(rx)) })
}

fn options(config: &BrokerConfig) -> Result<BrokerOptions, CliError> {
    let namesrv = config.namesrv_addr.iter().map(|addr| {
        addr.resolve().map_err(|e| {
            CliError::failed(format!("namesrvAddr {addr}: {e}"), "Check the name, or give its IP address.")
        })
    });
    Ok(BrokerOptions {
        cluster: config.broker_cluster_name.clone(),
        name: config.broker_name.clone(),
        listen: SocketAddr::new(config.bind_address, config.listen_port),
        vip: config.vip_channel_enabled,
        advertised: SocketAddrV4::new(config.broker_ip1, config.listen_port),
        namesrv: namesrv.collect::<Result<_, _>>()?,
        register_period: Duration::from_millis(config.register_name_server_period),
        auto_create_topic: config.auto_create_topic_enable,
        auto_create_group: config.auto_create_subscription_group,
        default_topic_queues: config.default_topic_queue_nums,
        max_message_size: config.max_message_size as usize,
        max_pending_bytes: config.max_pending_bytes,
        client_expiry: Duration::from_millis(config.channel_expired_timeout),
        max_clock_skew: Duration::from_millis(config.max_clock_skew_ms),
        retention: RetentionOptions {
            policy: config.retention(),
            interval: Duration::from_millis(config.clean_resource_interval),
            hour_of: local_hour,
        },
        scrub: config.scrub(),
        index: IndexSizes { slots: config.max_hash_slot_num, units: config.max_index_num },
        limits: Limits {
            max_connections: config.server_max_connections as usize,
            idle: Duration::from_secs(config.server_channel_max_idle_time_seconds.into()),
            ..Limits::SERVER
        },
    })
}

/// The hour of the day by this machine's time zone.
pub(crate) fn local_hour(ms: i64) -> u8 {
    let local = Local.timestamp_millis_opt(ms).single();
    local.and_then(|time| u8::try_from(time.hour()).ok()).unwrap_or_else(|| utc_hour(ms))
}

fn settings(config: &BrokerConfig) -> Result<Settings, CliError> {
    let mut peers: Vec<&Peer> = config.d_leger_peers.iter().collect();
    // Node ids follow DLedger's numbers: n0 is node 1.
    peers.sort_by_key(|peer| peer.id.number);
    let addrs = peers.iter().map(|peer| {
        peer.address.resolve().map_err(|e| {
            CliError::failed(format!("dLegerPeers {peer}: {e}"), "Check the name, or give its IP address.")
        })
    });
    let addrs: Vec<SocketAddr> = addrs.collect::<Result<_, _>>()?;
    let me = peers.iter().position(|peer| peer.id == config.d_leger_self_id);
    let Some((me, own)) = me.and_then(|me| Some((me, addrs.get(me)?))) else {
        unreachable!("the configuration was checked to list this node among dLegerPeers")
    };
    let segment_size = config.mapped_file_size_commit_log;
    let max_entry = u32::try_from(config.largest_entry().min(MAX_ENTRY)).unwrap_or(u32::MAX);
    let constants =
        GroupConstants { segment_size, max_entry, frame_version: FRAME_VERSION, feature_level: FEATURE_LEVEL };
    Ok(Settings {
        cluster: config.broker_cluster_name.clone(),
        group: config.broker_name.clone(),
        listen: SocketAddr::new(config.bind_address, own.port()),
        client_addr: format!("{}:{}", config.broker_ip1, config.listen_port),
        constants,
        flush: config.flush_disk_type.mode(),
        scrub: config.scrub(),
        timing: config.timing(),
        start: match (config.bootstrap, config.join) {
            (true, _) => Start::Bootstrap { peers: addrs, me },
            (_, true) => Start::Join,
            _ => Start::Existing,
        },
    })
}

fn start_error(e: &crate::broker::BrokerError, config: &BrokerConfig) -> CliError {
    let hint = format!("Store: {}.", config.store_path_root_dir.display());
    CliError::failed(e.to_string(), hint)
}
