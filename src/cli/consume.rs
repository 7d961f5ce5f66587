//! `quorumq consume`.

use std::time::Duration;

use clap::{Args, ValueEnum};
use openraft_rt::{AsyncRuntime, Select2};
use quorumq_raft::runtime::tokio::Tokio;
use tokio_util::sync::CancellationToken;

use super::backend::{Receiver, Subscription};
use super::error::CliError;
use super::{NameServers, duration, output};

#[derive(Debug, Args)]
pub(super) struct ConsumeArgs {
    /// Topic to receive from.
    topic: String,
    /// Consumer group: its members share the queues, and its offsets are kept.
    #[arg(short, long, default_value = "quorumq-cli")]
    group: String,
    /// Tags to receive, joined by '||', or * for all.
    #[arg(short, long, default_value = "*", visible_alias = "tag")]
    filter: String,
    /// Where a new group starts.
    #[arg(long, value_enum, default_value_t = From::First)]
    from: From,
    /// End after this many messages.
    #[arg(short, long)]
    count: Option<u64>,
    /// End when no message has come for this long, e.g. 5s. Default: wait for ever.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    idle: Option<Duration>,
    /// Print each message as a JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    namesrv: NameServers,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum From {
    /// With the oldest message.
    First,
    /// With messages sent after its start.
    Last,
}

impl ConsumeArgs {
    pub(super) async fn run(self, stop: CancellationToken) -> Result<(), CliError> {
        let subscription = Subscription {
            topic: self.topic.clone(),
            group: self.group.clone(),
            expression: self.filter.clone(),
            from_first: self.from == From::First,
        };
        let mut receiver = Receiver::start(&self.namesrv, subscription).await?;
        let received = self.receive(&mut receiver, &stop).await;
        if received.is_err() {
            receiver.give_back();
        }
        receiver.close().await;
        received
    }

    async fn receive(&self, receiver: &mut Receiver, stop: &CancellationToken) -> Result<(), CliError> {
        let idle = self.idle.unwrap_or(Duration::MAX);
        for _ in 0..self.count.unwrap_or(u64::MAX) {
            let next = Tokio::select2(stop.cancelled(), Tokio::timeout(idle, receiver.next()));
            match next.await {
                Select2::First(()) | Select2::Second(Err(_)) => break,
                Select2::Second(Ok(message)) => output::line(output::message(&message?, self.json))?,
            }
        }
        Ok(())
    }
}
