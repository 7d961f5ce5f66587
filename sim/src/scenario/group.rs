//! The whole product: three brokers form a group, a client creates a topic, sends, and reads everything back.

use std::fmt;
use std::time::Duration;

use futures_util::future::{join, join_all};
use quorumq::client::{Producer, ProducerBuilder};
use quorumq_raft::runtime::Runtime;
use rand::RngExt;

use super::address;
use super::blow::Blow;
use super::brokers::Brokers;
use super::client::{create_topic, read_all, send_lane};
use super::history::{Ended, History, Sent};
use super::weather;
use crate::runtime::SimRuntime;
use crate::world::{Death, Node as Host, World};

const TOPIC: &str = "orders";
const QUEUES: u32 = 4;
/// The client's number among the world's addresses.
const CLIENT: u8 = 20;

/// What a run showed, for those who count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Sends stored for certain, refused, and of unknown outcome.
    pub outcomes: (usize, usize, usize),
    /// Messages read.
    pub read: usize,
    /// Bytes of CommitLog that were equal on all members.
    pub compared: u64,
    /// The term at the end.
    pub term: u64,
    /// From a leader's death to the next acknowledged send: the longest.
    pub longest_gap: Duration,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { outcomes: (stored, refused, unknown), read, compared, term, longest_gap } = self;
        write!(
            f,
            "{stored} stored, {refused} refused, {unknown} unknown, {read} read, {compared} bytes of CommitLog equal, \
             term {term}, longest gap {longest_gap:?}"
        )
    }
}

/// One group, one client.
struct Run {
    brokers: Brokers,
    client: Host,
    producer: Producer<SimRuntime>,
}

impl Run {
    async fn begin(world: &World) -> Result<Self, String> {
        let client = world.add_node(address(CLIENT));
        let brokers = Brokers::form(world, 3).await?;
        let options = brokers.client_options(client.ip());
        client.spawn(create_topic::<SimRuntime>(options.clone(), TOPIC, QUEUES)).await.map_err(|e| e.to_string())??;
        let builder = ProducerBuilder::with_client("senders", options);
        let producer = client.spawn(async move { builder.start::<SimRuntime>() }).await;
        let producer = producer.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
        Ok(Self { brokers, client, producer })
    }

    /// Sends `count` messages on each of `lanes`, a drawn time up to `pause` before each.
    fn send(&self, lanes: u32, count: u32, pause: Duration) -> impl Future<Output = Result<Vec<Sent>, String>> + use<> {
        let lane = |n| send_lane(self.producer.clone(), TOPIC.to_owned(), format!("lane{n}"), count, pause);
        let sending: Vec<_> = (0..lanes).map(|n| self.client.spawn(lane(n))).collect();
        async {
            let sends = join_all(sending).await.into_iter().collect::<Result<Vec<_>, _>>();
            Ok(sends.map_err(|e| e.to_string())?.into_iter().flatten().collect())
        }
    }

    /// Reads everything back and checks it against what was sent; the members have to agree.
    async fn end(self, sent: Vec<Sent>) -> Result<Report, String> {
        let options = self.brokers.client_options(self.client.ip());
        let reading = self.client.spawn(read_all::<SimRuntime>(options, "readers", TOPIC));
        let read = reading.await.map_err(|e| e.to_string())??;
        let history = History { sent, read };
        for sent in &history.sent {
            tracing::debug!(key = sent.key, ended_ms = sent.ended_ms, "{:?}", sent.ended);
        }
        for read in &history.read {
            tracing::debug!(key = read.key, physical = read.physical, "read at {:?}", read.slot);
        }
        history.check()?;
        let compared = self.brokers.nodes.agree().await?;
        let term = self.brokers.nodes.alive().map(|(_, member)| member.leadership().0).max().unwrap_or_default();
        let producer = self.producer.clone();
        self.client.spawn(async move { producer.close().await }).await.map_err(|e| e.to_string())?;
        Ok(Report { outcomes: history.outcomes(), read: history.read.len(), compared, term, ..Report::default() })
    }
}

/// 100 messages sent and 100 read, without a fault.
///
/// # Errors
/// What does not hold.
pub async fn calm(world: World) -> Result<Report, String> {
    let run = Run::begin(&world).await?;
    let sent = run.send(1, 100, Duration::ZERO).await?;
    let report = run.end(sent).await?;
    match report {
        Report { outcomes: (100, 0, 0), read: 100, .. } => Ok(report),
        _ => Err(format!("100 messages were to be sent and read: {report:?}")),
    }
}

/// Sends on several lanes; meanwhile the leader's process is killed and started again, three times. Everything
/// acknowledged has to be read back from where it was acknowledged.
///
/// # Errors
/// What does not hold.
pub async fn deaths(world: World) -> Result<Report, String> {
    let mut run = Run::begin(&world).await?;
    let sending = run.send(4, 60, Duration::from_millis(40));
    let striking = async {
        let mut struck_ms = Vec::new();
        for _ in 0..3 {
            let rng = &mut run.brokers.nodes.rng;
            let (before, down) = (rng.random_range(10..300), rng.random_range(0..600));
            madsim::time::sleep(Duration::from_millis(before)).await;
            run.brokers.nodes.elected(&[]).await?;
            struck_ms.push(SimRuntime::wall_clock_ms());
            let struck = Blow::KillLeader(Death::Crash).strike(&mut run.brokers).await?;
            madsim::time::sleep(Duration::from_millis(down)).await;
            struck.make_good(&mut run.brokers).await?;
        }
        Ok::<_, String>(struck_ms)
    };
    let (sent, struck_ms) = join(sending, striking).await;
    let (sent, struck_ms) = (sent?, struck_ms?);
    let longest_gap = longest_gap(&sent, &struck_ms);
    Ok(Report { longest_gap, ..run.end(sent).await? })
}

/// The longest time from one of `struck_ms` to the next acknowledged send.
fn longest_gap(sent: &[Sent], struck_ms: &[i64]) -> Duration {
    let acked = || sent.iter().filter(|sent| matches!(sent.ended, Ended::Stored { .. })).map(|sent| sent.ended_ms);
    let gaps = struck_ms.iter().filter_map(|at| Some(acked().filter(|ms| ms >= at).min()? - at));
    Duration::from_millis(gaps.max().unwrap_or_default().unsigned_abs())
}

/// Sends on several lanes under faults drawn from the seed.
///
/// # Errors
/// What does not hold.
pub async fn storm(world: World) -> Result<Report, String> {
    weather::draw(&world);
    let mut run = Run::begin(&world).await?;
    let sending = run.send(4, 80, Duration::from_millis(200));
    let striking = async {
        for _ in 0..4 {
            let rng = &mut run.brokers.nodes.rng;
            madsim::time::sleep(Duration::from_millis(rng.random_range(10..500))).await;
            let (blow, time) = (Blow::draw(rng), Duration::from_millis(rng.random_range(0..4000)));
            let struck = blow.strike(&mut run.brokers).await?;
            madsim::time::sleep(time).await;
            struck.make_good(&mut run.brokers).await?;
        }
        Ok::<_, String>(())
    };
    let (sent, struck) = join(sending, striking).await;
    struck?;
    run.end(sent?).await
}
