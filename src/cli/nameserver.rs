//! `quorumq nameserver`.

use std::process::ExitCode;

use clap::Args;
use openraft_rt::{AsyncRuntime, Select2};
use quorumq_raft::runtime::tokio::Tokio;
use tokio_util::sync::CancellationToken;

use super::error::CliError;
use super::settings::ConfigArgs;
use super::{backend, output, server};
use crate::config::NameServerConfig;

#[derive(Debug, Args)]
pub(super) struct NameServerArgs {
    #[command(flatten)]
    config: ConfigArgs<NameServerConfig>,
}

impl NameServerArgs {
    pub(super) fn start(self) -> Result<ExitCode, CliError> {
        server::start(&self.config, run)
    }
}

async fn run(config: NameServerConfig, stop: CancellationToken) -> Result<(), CliError> {
    let handle = backend::start_name_server(config).await?;
    output::line(format!("NameServer listening on {}", handle.address()))?;
    match Tokio::select2(stop.cancelled(), handle.failed()).await {
        Select2::First(()) => handle.stop().await,
        Select2::Second(error) => Err(error),
    }
}
