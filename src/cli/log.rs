//! Logging: to stderr, one line an event.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use super::error::CliError;

/// What servers log: elections, refusals, starts and stops. openraft warns at every attempt to reach a member that is
/// down, many times a second; that it is down is told by our own lines, once.
pub(super) const SERVER: &str = "warn,openraft=error,quorumq=info,quorumq_raft=info,quorumq_store=info";
/// What dev logs: elections, and what goes wrong; one process holds both ends of every connection.
pub(super) const DEV: &str = "warn,openraft=error,quorumq_raft=info";
/// What client commands log.
pub(super) const CLIENT: &str = "warn,quorumq=warn";

/// Starts logging with `filter`, else with `default`.
///
/// # Errors
/// The filter is none.
pub(super) fn init(filter: Option<&str>, default: &str) -> Result<(), CliError> {
    let text = filter.filter(|text| !text.trim().is_empty()).unwrap_or(default);
    let filter = EnvFilter::try_new(text).map_err(|e| {
        let what = format!("--log {text}: {e}");
        CliError::usage(what, "Give a level (error, warn, info, debug, trace) or target=level, joined by commas.")
    })?;
    let stderr = std::io::stderr;
    tracing_subscriber::fmt()
        .compact()
        .with_env_filter(filter)
        .with_ansi(stderr().is_terminal())
        .with_writer(stderr)
        .init();
    Ok(())
}
