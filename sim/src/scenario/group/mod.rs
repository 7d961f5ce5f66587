//! The whole product: three brokers form a group, a client creates a topic, sends, and reads everything back.

use std::fmt;
use std::sync::PoisonError;
use std::time::Duration;

use futures_util::future::join_all;
use openraft_rt::AsyncRuntime;
use quorumq::client::producer::ProducerBuilder;
use quorumq::client::{ClientError, ClientOptions};
use quorumq_store::log_store::FlushMode;

use super::address;
use super::brokers::Brokers;
use super::client::{Content, Followed, Lane, create_topic, read_all, send_lane};
use super::history::{Ended, History, Ledger};
use crate::runtime::SimRuntime;
use crate::world::{Node as Host, World};

pub mod deaths;
pub mod steady;
pub mod storm;

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
    /// Messages read while the topic grew.
    pub followed: usize,
    /// Bytes of CommitLog that were equal on all members.
    pub compared: u64,
    /// The term at the end.
    pub term: u64,
    /// From a leader's death to the next acknowledged send: the longest.
    pub longest_gap: Duration,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { outcomes: (stored, refused, unknown), read, followed, compared, term, longest_gap } = self;
        write!(
            f,
            "{stored} stored, {refused} refused, {unknown} unknown, {read} read, {followed} followed, {compared} bytes of CommitLog equal, \
             term {term}, longest gap {longest_gap:?}"
        )
    }
}

/// One group and what its clients do.
struct Run {
    brokers: Brokers,
    client: Host,
    ledger: Ledger,
    followed: Followed,
}

impl Run {
    async fn begin(world: &World, flush: FlushMode) -> Result<Self, String> {
        let client = world.add_node(address(CLIENT));
        let brokers = Brokers::form(world, 3, flush).await?;
        let run = Self { brokers, client, ledger: Ledger::default(), followed: Followed::default() };
        let options = run.options(&run.client);
        run.client.spawn(create_topic::<SimRuntime>(options, TOPIC, QUEUES)).await.map_err(|e| e.to_string())??;
        Ok(run)
    }

    fn options(&self, host: &Host) -> ClientOptions {
        self.brokers.client_options(host.ip())
    }

    /// Sends `count` messages on each of `lanes` from `host`, all through one producer; a drawn time up to `pause`
    /// before each. Done when all have ended, or the host has.
    fn send(
        &self,
        host: &Host,
        name: &str,
        lanes: u32,
        count: u32,
        pause: Duration,
    ) -> impl Future<Output = ()> + use<> {
        let builder = ProducerBuilder::with_client("senders", self.options(host));
        let lane =
            |n| Lane { topic: TOPIC.to_owned(), name: format!("{name}{n}"), count, pause, ledger: self.ledger.clone() };
        let lanes: Vec<_> = (0..lanes).map(lane).collect();
        let sending = host.spawn(async move {
            let producer = builder.start::<SimRuntime>()?;
            join_all(lanes.into_iter().map(|lane| SimRuntime::spawn(send_lane(producer.clone(), lane)))).await;
            producer.close().await;
            Ok::<_, ClientError>(())
        });
        async {
            // An error is the death of the host.
            let _ = sending.await;
        }
    }

    /// Reads everything back and checks it against what was sent; the members have to agree.
    async fn end(self) -> Result<Report, String> {
        let reading = self.client.spawn(read_all::<SimRuntime>(self.options(&self.client), "readers", TOPIC));
        let Content { read, begins } = reading.await.map_err(|e| e.to_string())??;
        let followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let history = History { sent: self.ledger.sent(), read, begins, followed };
        for sent in &history.sent {
            tracing::debug!(key = sent.key, ended_ms = sent.ended_ms, "{:?}", sent.ended);
        }
        for read in &history.read {
            tracing::debug!(key = read.key, physical = read.physical, "read at {:?}", read.slot);
        }
        history.check()?;
        let compared = self.brokers.nodes.agree().await?;
        self.brokers.at_rest()?;
        let term = self.brokers.nodes.alive().map(|(_, member)| member.leadership().0).max().unwrap_or_default();
        let (outcomes, read, followed) = (history.outcomes(), history.read.len(), history.followed.len());
        Ok(Report { outcomes, read, followed, compared, term, longest_gap: self.longest_gap(&[]) })
    }

    /// The longest time from one of `struck_ms` to the next acknowledged send.
    fn longest_gap(&self, struck_ms: &[i64]) -> Duration {
        let sent = self.ledger.sent();
        let acked = || sent.iter().filter(|sent| matches!(sent.ended, Ended::Stored { .. })).map(|sent| sent.ended_ms);
        let gaps = struck_ms.iter().filter_map(|at| Some(acked().filter(|ms| ms >= at).min()? - at));
        Duration::from_millis(gaps.max().unwrap_or_default().unsigned_abs())
    }
}

/// 100 messages sent and 100 read, without a fault.
///
/// # Errors
/// What does not hold.
pub async fn calm(world: World) -> Result<Report, String> {
    let run = Run::begin(&world, FlushMode::Sync).await?;
    run.send(&run.client, "lane", 1, 100, Duration::ZERO).await;
    let report = run.end().await?;
    match report {
        Report { outcomes: (100, 0, 0), read: 100, .. } => Ok(report),
        _ => Err(format!("100 messages were to be sent and read: {report:?}")),
    }
}
