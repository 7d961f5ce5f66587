//! What `broker` and `nameserver` share: load the configuration, print it or tell its warnings, then run.

use std::future::Future;
use std::process::ExitCode;

use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::error::CliError;
use super::output;
use super::process::{self, Patience};
use super::settings::{ConfigArgs, Configuration};
use crate::config::print::print;

/// Runs a server until it fails or is told to stop.
pub(super) fn start<C, F, Fut>(args: &ConfigArgs<C>, body: F) -> Result<ExitCode, CliError>
where
    C: Configuration,
    F: FnOnce(C, CancellationToken) -> Fut,
    Fut: Future<Output = Result<(), CliError>> + Send + 'static,
{
    let loaded = args.load()?;
    for warning in &loaded.warnings {
        warn!("{warning}");
    }
    if args.print {
        output::line(print(&loaded.config.entries(), &loaded.places))?;
        return Ok(ExitCode::SUCCESS);
    }
    process::run(Patience::Graceful, |stop| body(loaded.config, stop))
}
