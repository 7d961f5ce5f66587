//! The whole product: three brokers form a group, clients create topics, send, and read everything back.

use std::fmt;
use std::time::Duration;

use rand::RngExt;

use super::blow::Blow;
use super::brokers::Brokers;
use super::cast::{Cast, Left, on_host};
use crate::history::{Action, Ended, History};
use crate::workload::{Kind, synchronous};
use crate::world::{Death, World};

/// What a run showed, for those who count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Sends stored for certain, refused, and of unknown outcome.
    pub outcomes: [u64; 3],
    /// Messages read.
    pub read: usize,
    /// Bytes of CommitLog that were equal on all members.
    pub compared: u64,
    /// From a leader's death to the next acknowledged send: the longest.
    pub longest_gap: Duration,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { outcomes: [stored, refused, unknown], read, compared, longest_gap } = self;
        write!(
            f,
            "{stored} stored, {refused} refused, {unknown} unknown, {read} read, {compared} bytes of CommitLog equal, \
             longest gap {longest_gap:?}"
        )
    }
}

impl Report {
    /// Of a run in which leaders died at these times.
    fn of(left: &Left, struck: &[Duration]) -> Self {
        let Left { history, compared } = left;
        let outcomes = history.outcomes().get("send").copied().unwrap_or_default();
        let read = history.scanned().values().map(|messages| messages.len()).sum();
        Self { outcomes, read, compared: *compared, longest_gap: longest_gap(history, struck) }
    }
}

/// The longest time from one of `struck` to the next acknowledged send.
fn longest_gap(history: &History, struck: &[Duration]) -> Duration {
    let sends = history.ops.iter().filter(|op| matches!(op.action, Action::Send { .. }));
    let acked: Vec<_> = sends
        .filter(|op| matches!(op.ended, Ended::Stored { .. }))
        .map(|op| Duration::from_nanos(op.ended_ns))
        .collect();
    let gap = |at: &Duration| Some(*acked.iter().filter(|acked| *acked >= at).min()? - *at);
    struck.iter().filter_map(gap).max().unwrap_or_default()
}

/// 100 messages sent and 100 read, without a fault.
///
/// # Errors
/// What does not hold.
pub async fn calm(world: World) -> Result<Report, String> {
    let mut cast = Cast::begin(world).await?;
    let client = cast.client("producer", Duration::ZERO);
    on_host(&client, synchronous::send(client.clone(), 100)).await?;
    let report = Report::of(&cast.end(&client).await?, &[]);
    match report {
        Report { outcomes: [100, 0, 0], read: 100, .. } => Ok(report),
        _ => Err(format!("100 messages were to be sent and read: {report:?}")),
    }
}

/// Four producers are at work; meanwhile the leader's process is killed and started again, three times. Everything
/// acknowledged has to be read back from where it was acknowledged.
///
/// # Errors
/// What does not hold.
pub async fn deaths(world: World) -> Result<Report, String> {
    let mut kinds = vec![(Kind::Producer, Duration::from_millis(40)); 4];
    kinds.push((Kind::PushConsumer, Kind::PushConsumer.usual_pause()));
    let (left, struck) = Cast::begin(world).await?.play(&kinds, Duration::from_secs(5), kill_leaders).await?;
    Ok(Report::of(&left, &struck))
}

/// When leaders were killed.
async fn kill_leaders(brokers: &mut Brokers) -> Result<Vec<Duration>, String> {
    let mut struck_at = Vec::new();
    for _ in 0..3 {
        let rng = &mut brokers.nodes.rng;
        let (before, down) = (rng.random_range(10..300), rng.random_range(0..600));
        madsim::time::sleep(Duration::from_millis(before)).await;
        brokers.nodes.elected(&[]).await?;
        struck_at.push(brokers.nodes.world.elapsed());
        let struck = Blow::KillLeader(Death::Crash).strike(brokers).await?;
        madsim::time::sleep(Duration::from_millis(down)).await;
        struck.make_good(brokers).await?;
    }
    Ok(struck_at)
}
