//! `quorumq query`.

use std::time::Duration;

use clap::Args;
use quorumq_raft::runtime::Runtime;
use quorumq_raft::runtime::tokio::Tokio;

use super::backend::find;
use super::error::CliError;
use super::{NameServers, duration, output};
use crate::client::ByKey;

#[derive(Debug, Args)]
pub(super) struct QueryArgs {
    /// Topic to look in.
    topic: String,
    /// A key of the message, or with --id the id its producer gave it.
    key: String,
    /// KEY is the id that the producer gave the message (UNIQ_KEY).
    #[arg(long)]
    id: bool,
    /// Only messages stored within this time, e.g. 2h. Default: all.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    since: Option<Duration>,
    /// Most messages of each group.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=64))]
    max: u32,
    /// Print each message as a JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    namesrv: NameServers,
}

impl QueryArgs {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let begin = self.since.map_or(0, begin_ms);
        let Self { topic, key, .. } = &self;
        let wanted = ByKey { topic, key, is_unique: self.id, stored_ms: begin..=i64::MAX, max: self.max };
        let found = find(&self.namesrv, &wanted).await?;
        if found.is_empty() {
            let what = format!("no message of {topic} has {} {key}", if self.id { "id" } else { "key" });
            return Err(CliError::failed(what, "Only messages that are still kept and were stored in time are found."));
        }
        found.iter().try_for_each(|message| output::line(output::message(message, self.json)))
    }
}

/// So long ago, in milliseconds since 1970.
fn begin_ms(since: Duration) -> i64 {
    Tokio::wall_clock_ms().saturating_sub(i64::try_from(since.as_millis()).unwrap_or(i64::MAX)).max(0)
}
