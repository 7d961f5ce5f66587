//! The whole product: three brokers form a group, a client creates a topic, sends, and reads everything back.

use std::time::Duration;

use futures_util::future::join_all;
use quorumq::client::{Producer, ProducerBuilder};

use super::address;
use super::brokers::Brokers;
use super::client::{create_topic, read_all, send_lane};
use super::history::{History, Sent};
use crate::runtime::SimRuntime;
use crate::world::{Node as Host, World};

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
    async fn send(&self, lanes: u32, count: u32, pause: Duration) -> Result<Vec<Sent>, String> {
        let sending = (0..lanes).map(|lane| {
            let lane = format!("lane{lane}");
            self.client.spawn(send_lane(self.producer.clone(), TOPIC.to_owned(), lane, count, pause))
        });
        let sends = join_all(sending).await.into_iter().collect::<Result<Vec<_>, _>>();
        Ok(sends.map_err(|e| e.to_string())?.into_iter().flatten().collect())
    }

    /// Reads everything back and checks it against what was sent; the members have to agree.
    async fn end(self, sent: Vec<Sent>) -> Result<Report, String> {
        let options = self.brokers.client_options(self.client.ip());
        let reading = self.client.spawn(read_all::<SimRuntime>(options, "readers", TOPIC));
        let read = reading.await.map_err(|e| e.to_string())??;
        let history = History { sent, read };
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
