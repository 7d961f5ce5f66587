//! `quorumq broker`.

use std::process::ExitCode;

use clap::Args;
use openraft_rt::{AsyncRuntime, Select2};
use quorumq_raft::runtime::tokio::Tokio;
use tokio_util::sync::CancellationToken;

use super::error::CliError;
use super::settings::ConfigArgs;
use super::{backend, output, server};
use crate::config::BrokerConfig;

#[derive(Debug, Args)]
pub(super) struct BrokerArgs {
    #[command(flatten)]
    config: ConfigArgs<BrokerConfig>,
}

impl BrokerArgs {
    pub(super) fn start(self) -> Result<ExitCode, CliError> {
        server::start(&self.config, run)
    }
}

async fn run(config: BrokerConfig, stop: CancellationToken) -> Result<(), CliError> {
    let who = format!("broker {} {}", config.broker_name, config.d_leger_self_id);
    let told = format!("{}:{}", config.broker_ip1, config.listen_port);
    let handle = match Tokio::select2(stop.cancelled(), backend::start_broker(config)).await {
        Select2::First(()) => return Ok(()),
        Select2::Second(started) => started?,
    };
    output::line(format!("{who} listening on {}; clients are told {told}", handle.address()))?;
    match Tokio::select2(stop.cancelled(), handle.failed()).await {
        Select2::First(()) => handle.stop().await,
        Select2::Second(error) => Err(error),
    }
}
