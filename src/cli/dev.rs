//! `quorumq dev`: a NameServer and a three-node group in one process, on this machine only.

use std::future::{Future, poll_fn};
use std::path::PathBuf;
use std::process::ExitCode;
use std::task::Poll;

use clap::Args;
use futures_util::future::try_join_all;
use openraft_rt::{AsyncRuntime, Select2};
use quorumq_raft::runtime::tokio::Tokio;
use tokio_util::sync::CancellationToken;

use super::backend::{self, BrokerHandle, Found, NameServerHandle, Topics};
use super::error::CliError;
use super::process::{self, Patience};
use super::{NameServers, output};
use crate::config::{BrokerConfig, FlushDiskType, Input, NameServerConfig};

/// Members of the group.
const NODES: u16 = 3;
/// From one node's listenPort to the next's: room for VIP and Raft port.
const PORT_STEP: u16 = 10;
/// The group's name, RocketMQ's habit.
const GROUP: &str = "broker-a";
/// What to change when something is in the way.
const PORTS_AND_DATA: &str = "For dev, --namesrv-port and --broker-port set the ports, --data the directory.";
/// Small enough for a first start of a second or two on any disk.
const SEGMENT_BYTES: &str = "67108864";

#[derive(Debug, Args)]
pub(super) struct DevArgs {
    /// Directory of the data; continued if it is there.
    #[arg(long, default_value = "quorumq-data/dev", value_name = "DIR")]
    data: PathBuf,
    /// Port of the NameServer.
    #[arg(long, default_value_t = 9876, value_name = "PORT")]
    namesrv_port: u16,
    /// listenPort of the first node; the others are 10 and 20 above, VIP ports 2 below, Raft ports 1 above each.
    #[arg(long, default_value_t = 10911, value_name = "PORT", value_parser = clap::value_parser!(u16).range(3..=65000))]
    broker_port: u16,
    /// When a message counts as held.
    #[arg(long, default_value = "SYNC_FLUSH", value_name = "SYNC_FLUSH|ASYNC_FLUSH", value_parser = ["SYNC_FLUSH", "ASYNC_FLUSH"])]
    flush_disk_type: String,
}

impl DevArgs {
    pub(super) fn start(self) -> Result<ExitCode, CliError> {
        process::run(Patience::Graceful, |stop| self.run(stop))
    }

    async fn run(self, stop: CancellationToken) -> Result<(), CliError> {
        let (name_server, brokers) = match Tokio::select2(stop.cancelled(), self.start_all()).await {
            Select2::First(()) => return Ok(()),
            Select2::Second(started) => started?,
        };
        let ended = match Tokio::select2(stop.cancelled(), self.serve(&name_server, &brokers)).await {
            Select2::First(()) => Ok(()),
            Select2::Second(error) => Err(error),
        };
        let stopped = stop_all(name_server, brokers).await;
        ended.and(stopped)
    }

    /// Starts the nodes side by side: a group is formed only once every member answers.
    async fn start_all(&self) -> Result<(NameServerHandle, Vec<BrokerHandle>), CliError> {
        let started = async {
            let name_server = backend::start_name_server(self.name_server()?).await?;
            let configs: Vec<_> = (0..NODES).map(|node| self.broker(node)).collect::<Result<_, _>>()?;
            let brokers = try_join_all(configs.into_iter().map(backend::start_broker)).await?;
            Ok((name_server, brokers))
        };
        started.await.map_err(|error| match error {
            // The settings that it names are ours to choose here.
            CliError::Failed { what, .. } => CliError::failed(what, PORTS_AND_DATA),
            other => other,
        })
    }

    /// Tells what runs once the group has a leader; ends only with a failure.
    async fn serve(&self, name_server: &NameServerHandle, brokers: &[BrokerHandle]) -> CliError {
        let told = async {
            let namesrv = NameServers { list: format!("127.0.0.1:{}", self.namesrv_port) };
            let (leader, term) = backend::group_ready(&namesrv, GROUP).await;
            let topics = Topics::open(&namesrv)?;
            let found = topics.found().await?;
            topics.close().await;
            output::line(self.banner(leader, term, found))
        };
        let mut failures: Vec<_> = brokers.iter().map(|broker| Box::pin(broker.failed())).collect();
        let mut name_server = Box::pin(name_server.failed());
        let failed = poll_fn(|context| {
            let first = failures.iter_mut().map(|failure| failure.as_mut().poll(context)).find(Poll::is_ready);
            first.unwrap_or_else(|| name_server.as_mut().poll(context))
        });
        let mut failed = std::pin::pin!(failed);
        match Tokio::select2(&mut failed, told).await {
            Select2::First(error) | Select2::Second(Err(error)) => error,
            Select2::Second(Ok(())) => failed.await,
        }
    }

    fn name_server(&self) -> Result<NameServerConfig, CliError> {
        let data = self.data.join("namesrv").join("kvConfig.json");
        let flags = vec![
            ("listenPort", self.namesrv_port.to_string()),
            ("bindAddress", "127.0.0.1".to_owned()),
            ("kvConfigPath", data.display().to_string()),
        ];
        Ok(NameServerConfig::resolve(&Input { flags, ..Input::default() })?.config)
    }

    /// The configuration of the node with this number.
    fn broker(&self, node: u16) -> Result<BrokerConfig, CliError> {
        let peer = |node: u16| format!("n{node}-127.0.0.1:{}", self.listen_port(node) + 1);
        let peers: Vec<_> = (0..NODES).map(peer).collect();
        let dir = self.data.join(format!("n{node}"));
        let flags = vec![
            ("brokerClusterName", "DefaultCluster".to_owned()),
            ("brokerName", GROUP.to_owned()),
            ("brokerIP1", "127.0.0.1".to_owned()),
            ("bindAddress", "127.0.0.1".to_owned()),
            ("listenPort", self.listen_port(node).to_string()),
            ("namesrvAddr", format!("127.0.0.1:{}", self.namesrv_port)),
            ("storePathRootDir", dir.display().to_string()),
            ("dLegerPeers", peers.join(";")),
            ("dLegerSelfId", format!("n{node}")),
            ("bootstrap", "true".to_owned()),
            ("mappedFileSizeCommitLog", SEGMENT_BYTES.to_owned()),
            ("flushDiskType", self.flush_disk_type.clone()),
        ];
        Ok(BrokerConfig::resolve(&Input { flags, ..Input::default() })?.config)
    }

    fn listen_port(&self, node: u16) -> u16 {
        self.broker_port + node * PORT_STEP
    }

    /// What runs where, what was found, what to type next.
    fn banner(&self, leader: u64, term: u64, found: Found) -> String {
        let namesrv = format!("127.0.0.1:{}", self.namesrv_port);
        let ports: Vec<_> = (0..NODES).map(|node| self.listen_port(node).to_string()).collect();
        let data = match found {
            Found { topics: 0, messages: 0 } => format!("new, in {}", self.data.display()),
            Found { topics, messages } => {
                format!("{topics} topics with {messages} messages, in {}", self.data.display())
            }
        };
        let flush = if self.flush_disk_type == FlushDiskType::SyncFlush.to_string() {
            "SYNC_FLUSH: acknowledged means synced to disk by two of three nodes"
        } else {
            "ASYNC_FLUSH: acknowledged means in the page cache of two of three nodes"
        };
        let n = if self.namesrv_port == 9876 { String::new() } else { format!(" -n {namesrv}") };
        format!(
            "QuoruMQ is up.\n\
             \n\
             \x20 NameServer  {namesrv}\n\
             \x20 group       {GROUP}, nodes on ports {}; node {leader} leads in term {term}\n\
             \x20 data        {data}\n\
             \x20 durability  {flush}\n\
             \n\
             In another terminal:\n\
             \n\
             \x20 quorumq topic create orders{n}\n\
             \x20 quorumq send orders 'hello, quorum' --tag first{n}\n\
             \x20 quorumq consume orders --group readers{n}\n\
             \x20 quorumq group status{n}\n\
             \n\
             Any RocketMQ client works too: its NameServer address is {namesrv}. Ctrl-C stops everything.",
            ports.join(", ")
        )
    }
}

/// Stops the brokers side by side, so that the last one can still hand over or find itself alone; then the NameServer.
async fn stop_all(name_server: NameServerHandle, brokers: Vec<BrokerHandle>) -> Result<(), CliError> {
    let stops: Vec<_> = brokers.into_iter().map(|broker| Tokio::spawn(broker.stop())).collect();
    let mut outcome = Ok(());
    for stop in stops {
        let stopped = stop.await.map_err(|e| CliError::failed(format!("a node's stop was cut off: {e}"), ""));
        outcome = outcome.and(stopped.and_then(|stopped| stopped));
    }
    outcome.and(name_server.stop().await)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> DevArgs {
        DevArgs {
            data: PathBuf::from("quorumq-data/dev"),
            namesrv_port: 9876,
            broker_port: 10911,
            flush_disk_type: "SYNC_FLUSH".to_owned(),
        }
    }

    #[test]
    fn three_nodes_stay_on_loopback_with_ports_of_their_own() {
        let configs: Vec<_> = (0..NODES).map(|node| args().broker(node).unwrap()).collect();
        let ports: Vec<_> =
            configs.iter().map(|c| (c.listen_port, c.vip_port(), c.peer_address().unwrap().port)).collect();
        assert_eq!(ports, [(10911, Some(10909), 10912), (10921, Some(10919), 10922), (10931, Some(10929), 10932)]);
        assert!(configs.iter().all(|c| c.bind_address.is_loopback() && c.bootstrap && c.d_leger_peers.len() == 3));
        assert_eq!(configs[2].store_path_root_dir, PathBuf::from("quorumq-data/dev/n2"));
        assert!(args().name_server().unwrap().bind_address.is_loopback());
    }

    #[test]
    fn the_banner_says_what_runs_what_was_found_and_what_to_type() {
        let banner = args().banner(1, 3, Found { topics: 2, messages: 40 });
        for part in [
            "127.0.0.1:9876",
            "10911, 10921, 10931; node 1 leads in term 3",
            "2 topics with 40 messages, in quorumq-data/dev",
            "quorumq topic create orders\n",
        ] {
            assert!(banner.contains(part), "{part}: {banner}");
        }
        let elsewhere = DevArgs { namesrv_port: 19876, ..args() }.banner(1, 3, Found::default());
        assert!(elsewhere.contains("quorumq topic create orders -n 127.0.0.1:19876\n"), "{elsewhere}");
        assert!(elsewhere.contains("new, in quorumq-data/dev"), "{elsewhere}");
    }
}
