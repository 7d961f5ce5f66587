//! A run: lanes over the groups, warm-up, measuring, draining.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use openraft_rt::{Instant, Select2};
use quorumq_raft::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::frame::{Message, Template};
use super::host;
use super::lane::{Lane, Part, Phase, Shared, Stats};
use crate::cli::error::CliError;

/// Between two looks at the counters.
const TICK: Duration = Duration::from_millis(200);
/// How long answers may take at the end.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);
/// Least time between two lookups of the leaders.
const LOOKUP_EVERY: Duration = Duration::from_millis(20);

/// What to run.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub topic: String,
    pub producer_group: String,
    /// Bytes of a message body.
    pub size: usize,
    /// Sends in flight over all connections.
    pub in_flight: usize,
    pub connections: usize,
    pub warm_up: Duration,
    pub duration: Duration,
    pub print_acks: bool,
    /// Server processes whose CPU time is taken beside ours.
    pub server_pids: Vec<u32>,
}

/// A group's queues for the topic.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub group: String,
    pub queues: u32,
}

/// What came of a run.
#[derive(Debug)]
pub(super) struct Outcome {
    pub stats: Stats,
    /// How long was measured.
    pub elapsed: Duration,
    /// CPU time while measuring: ours, and the servers' if asked for.
    pub own_cpu: Duration,
    pub server_cpu: Option<Duration>,
    /// Load averages before and after.
    pub load: (f64, f64),
    /// Acknowledged while measuring, by group.
    pub by_group: BTreeMap<String, u64>,
}

/// Runs the plan. `leaders` looks up who leads each group; `tick` is told phase and acknowledgements so far.
///
/// # Errors
/// The leaders cannot be looked up at the start.
pub(super) async fn run<R, L, F>(
    plan: &Plan,
    targets: &[Target],
    leaders: L,
    mut tick: impl FnMut(Phase, u64),
    stop: CancellationToken,
) -> Result<Outcome, CliError>
where
    R: Runtime,
    L: Fn() -> F + Send + Sync + 'static,
    F: Future<Output = Result<BTreeMap<String, SocketAddr>, CliError>> + Send + 'static,
{
    let shared = Arc::new(Shared::default());
    shared.set_leaders(leaders().await?);
    let lookups = R::spawn(follow_leaders::<R, L, F>(Arc::clone(&shared), leaders));
    let load_before = host::load();
    let lanes = start::<R>(plan, targets, &shared);

    watch::<R>(plan.warm_up, Phase::WarmUp, &shared, &mut tick, &stop).await;
    shared.set_phase(Phase::Measure);
    let (began, own_before) = (R::Instant::now(), host::own_cpu());
    let servers_before = host::cpu_of(&plan.server_pids);
    watch::<R>(plan.duration, Phase::Measure, &shared, &mut tick, &stop).await;
    shared.set_phase(Phase::Drain);
    let (elapsed, own_after) = (began.elapsed(), host::own_cpu());
    let servers_after = host::cpu_of(&plan.server_pids);

    let (stats, by_group) = gather::<R>(lanes, &shared).await?;
    shared.cut.cancel();
    // Ended by `cut`; its result says nothing.
    let _ = lookups.await;
    let server_cpu = servers_after.zip(servers_before).map(|(after, before)| after.saturating_sub(before));
    Ok(Outcome {
        stats,
        elapsed,
        own_cpu: own_after.saturating_sub(own_before),
        server_cpu: server_cpu.filter(|_| !plan.server_pids.is_empty()),
        load: (load_before, host::load()),
        by_group,
    })
}

type Running<R> = Vec<(String, <R as openraft_rt::AsyncRuntime>::JoinHandle<Stats>)>;

/// Starts the lanes: groups in turn, the window shared out.
fn start<R: Runtime>(plan: &Plan, targets: &[Target], shared: &Arc<Shared>) -> Running<R> {
    let mut body = vec![0u8; plan.size];
    rand::Rng::fill_bytes(&mut R::thread_rng(), &mut body);
    let run = rand::Rng::next_u64(&mut R::thread_rng());
    let message = Message { topic: &plan.topic, producer_group: &plan.producer_group, body: &body, run };
    let sends = |target: &Target| Arc::new((0..target.queues).map(|queue| Template::new(&message, queue)).collect());
    let templates: Vec<Arc<Vec<Template>>> = targets.iter().map(sends).collect();
    let connections = plan.connections.min(plan.in_flight);
    let lane = |at: usize| {
        let target = at % targets.len();
        let window = plan.in_flight / connections + usize::from(at < plan.in_flight % connections);
        let group = targets[target].group.clone();
        let part = Part {
            group: group.clone(),
            templates: Arc::clone(&templates[target]),
            window,
            print_acks: plan.print_acks,
        };
        (group, R::spawn(Lane::<R>::new(part, Arc::clone(shared), at).run()))
    };
    (0..connections).map(lane).collect()
}

/// Lets `time` pass, or less if told to stop.
async fn watch<R: Runtime>(
    time: Duration,
    phase: Phase,
    shared: &Shared,
    tick: &mut impl FnMut(Phase, u64),
    stop: &CancellationToken,
) {
    let end = R::Instant::now() + time;
    loop {
        let now = R::Instant::now();
        tick(phase, shared.acked.load(Ordering::Relaxed));
        if now >= end || stop.is_cancelled() {
            return;
        }
        let next = end.min(now + TICK);
        match R::select2(stop.cancelled(), R::sleep_until(next)).await {
            Select2::First(()) | Select2::Second(()) => {}
        }
    }
}

/// Waits for the lanes, cutting those that get no answers.
async fn gather<R: Runtime>(lanes: Running<R>, shared: &Shared) -> Result<(Stats, BTreeMap<String, u64>), CliError> {
    let deadline = R::Instant::now() + DRAIN_LIMIT;
    let mut sum = Stats::new();
    let mut by_group = BTreeMap::new();
    for (group, mut lane) in lanes {
        let drained = match R::timeout_at(deadline, &mut lane).await {
            Ok(drained) => drained,
            Err(_) => {
                shared.cut.cancel();
                lane.await
            }
        };
        let stats = drained.map_err(|e| CliError::failed(format!("a lane was cut off: {e}"), "Run it again."))?;
        *by_group.entry(group).or_insert(0) += stats.measured;
        add(&mut sum, stats);
    }
    Ok((sum, by_group))
}

fn add(sum: &mut Stats, lane: Stats) {
    // Equal bounds everywhere, so that adding cannot fail.
    let _ = sum.latency.add(&lane.latency);
    sum.measured += lane.measured;
    sum.acked += lane.acked;
    sum.unknown += lane.unknown;
    sum.reconnects += lane.reconnects;
    sum.longest_gap = sum.longest_gap.max(lane.longest_gap);
    for (code, count) in lane.refused {
        *sum.refused.entry(code).or_insert(0) += count;
    }
    sum.remark = sum.remark.take().or(lane.remark);
}

/// Looks the leaders up again whenever a lane lost its own.
async fn follow_leaders<R, L, F>(shared: Arc<Shared>, leaders: L)
where
    R: Runtime,
    L: Fn() -> F + Send,
    F: Future<Output = Result<BTreeMap<String, SocketAddr>, CliError>> + Send,
{
    while let Select2::Second(()) = R::select2(shared.cut.cancelled(), shared.lost_leader.notified()).await {
        match leaders().await {
            Ok(found) => shared.set_leaders(found),
            Err(error) => tracing::debug!("leaders not found: {error}"),
        }
        R::sleep(LOOKUP_EVERY).await;
    }
}
