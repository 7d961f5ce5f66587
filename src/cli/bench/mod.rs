//! `quorumq bench`: closed loop, one send and one answer a message, and a check that what was acknowledged is there.

mod frame;
mod host;
mod lane;
mod load;
mod report;
mod wire;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use quorumq_raft::runtime::tokio::Tokio;
use tokio_util::sync::CancellationToken;

use super::backend::{RouteGroup, Topics};
use super::error::CliError;
use super::{NameServers, duration, output};
use crate::client::admin::TopicSpec;
use crate::protocol::body::route::MASTER_ID;
use lane::Phase;
use load::{Plan, Target};
use report::{Report, Verdict};

#[derive(Debug, Args)]
pub(super) struct BenchArgs {
    /// Bytes of a message body.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=4_194_304))]
    size: u32,
    /// Messages in flight over all connections.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    in_flight: u32,
    /// Connections.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1024))]
    connections: u32,
    /// Queues of the topic in each group.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1024))]
    queues: u32,
    /// Topic; created if it is not there.
    #[arg(long, default_value = "quorumq-bench")]
    topic: String,
    /// How long to run before measuring.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration::parse)]
    warm_up: Duration,
    /// How long to measure.
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = duration::parse)]
    duration: Duration,
    /// Print the result as one JSON object, the last line of standard output.
    #[arg(long)]
    json: bool,
    /// Print a line `ack GROUP QUEUE OFFSET NUMBER` for each acknowledged message.
    #[arg(long)]
    print_acks: bool,
    /// Also take the CPU time of this process; may be given several times.
    #[arg(long = "server-pid", value_name = "PID")]
    server_pids: Vec<u32>,
    #[command(flatten)]
    namesrv: NameServers,
}

impl BenchArgs {
    pub(super) async fn run(self, stop: CancellationToken) -> Result<(), CliError> {
        let plan = self.plan()?;
        let topics = Arc::new(Topics::open(&self.namesrv)?);
        topics.create(&TopicSpec::new(&self.topic, self.queues), None).await?;
        let targets = targets(&topics, &self.topic).await?;
        let before = topics.max_offsets(&self.topic).await?;

        let progress = Progress::new(&plan);
        let (shared, topic) = (Arc::clone(&topics), self.topic.clone());
        let leaders = move || leaders(Arc::clone(&shared), topic.clone());
        let tick = |phase, acked| progress.tell(phase, acked);
        let outcome = load::run::<Tokio, _, _>(&plan, &targets, leaders, tick, stop).await;
        progress.finish();
        let outcome = outcome?;

        let after = topics.max_offsets(&self.topic).await?;
        topics.close().await;
        let queues = targets.iter().map(|target| target.queues).sum();
        let rise = report::rise(&before, &after);
        let report = Report { plan: &plan, queues, outcome: &outcome, rise };
        output::line(if self.json { report.json().to_string() } else { report.text() })?;
        match report.verdict() {
            Verdict::Match => Ok(()),
            Verdict::Lost => {
                Err(CliError::failed(report.check(), "Keep the stores and run quorumq store verify on each."))
            }
            Verdict::Foreign => Err(CliError::failed(report.check(), "Use a topic of its own with --topic.")),
        }
    }

    fn plan(&self) -> Result<Plan, CliError> {
        let (in_flight, connections) = (self.in_flight as usize, self.connections as usize);
        if in_flight.div_ceil(connections) > lane::MAX_WINDOW {
            let what = format!("--in-flight {in_flight} over {connections} connections is more than 65536 on one");
            return Err(CliError::usage(what, "Take fewer messages in flight or more connections."));
        }
        Ok(Plan {
            topic: self.topic.clone(),
            producer_group: "quorumq-bench".to_owned(),
            size: self.size as usize,
            in_flight,
            connections: connections.min(in_flight),
            warm_up: self.warm_up,
            duration: self.duration,
            print_acks: self.print_acks,
            server_pids: self.server_pids.clone(),
        })
    }
}

/// The groups that hold the topic.
async fn targets(topics: &Topics, topic: &str) -> Result<Vec<Target>, CliError> {
    let target = |group: RouteGroup| Target { group: group.group, queues: group.write_queues };
    let route = topics.route(topic).await?;
    let targets: Vec<_> = route.into_iter().map(target).filter(|target| target.queues > 0).collect();
    if targets.is_empty() {
        let what = format!("topic {topic} has no queue to write to");
        return Err(CliError::failed(what, "Name another topic with --topic."));
    }
    Ok(targets)
}

async fn leaders(topics: Arc<Topics>, topic: String) -> Result<BTreeMap<String, SocketAddr>, CliError> {
    let leader = |group: RouteGroup| Some((group.group, group.brokers.get(&MASTER_ID)?.parse().ok()?));
    Ok(topics.route(&topic).await?.into_iter().filter_map(leader).collect())
}

/// One line on stderr while the bench runs; nothing if stderr is no terminal.
struct Progress {
    bar: ProgressBar,
    warm_up: Duration,
    duration: Duration,
}

impl Progress {
    fn new(plan: &Plan) -> Self {
        let total = plan.warm_up + plan.duration;
        let bar = ProgressBar::new(u64::try_from(total.as_millis()).unwrap_or(u64::MAX));
        if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {wide_msg}") {
            bar.set_style(style);
        }
        Self { bar, warm_up: plan.warm_up, duration: plan.duration }
    }

    fn tell(&self, phase: Phase, acked: u64) {
        let spent = self.bar.elapsed();
        let rate = acked as f64 / spent.as_secs_f64().max(0.001);
        let of = match phase {
            Phase::WarmUp => format!("warming up for {} s", self.warm_up.as_secs()),
            Phase::Measure | Phase::Drain => format!("measuring for {} s", self.duration.as_secs()),
        };
        self.bar.set_message(format!("{of}: {acked} acknowledged, {rate:.0}/s so far"));
        self.bar.tick();
    }

    fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
