//! Three brokers, a NameServer and clients of the kinds that [`workload`](crate::workload) has, and what these did.

use std::sync::Arc;
use std::time::Duration;

use quorumq::broker::retention::RetentionOptions;
use quorumq_store::log_store::FlushMode;
use tokio_util::sync::CancellationToken;

use super::address;
use super::brokers::Brokers;
use crate::checker::judge;
use crate::history::{History, Ledger};
use crate::workload::fresh::fresh;
use crate::workload::scan::scan;
use crate::workload::settle::settle;
use crate::workload::{Client, Kind, Topic, topics};
use crate::world::World;

/// The first client's number among the world's addresses.
const FIRST_CLIENT: u8 = 20;
/// How long consumers may take to catch up once nothing goes wrong.
const PATIENCE: Duration = Duration::from_secs(240);

/// See the module.
#[derive(Debug)]
pub struct Cast {
    /// Where all of them are.
    pub world: World,
    /// The NameServer and the brokers.
    pub brokers: Brokers,
    /// What clients did so far.
    pub ledger: Ledger,
    topics: Arc<[Topic]>,
    clients: u8,
}

/// What is left of a cast. Every rule holds of it.
#[derive(Debug)]
pub struct Left {
    /// What clients did.
    pub history: History,
    /// Bytes of CommitLog that were equal on all members.
    pub compared: u64,
}

impl Cast {
    /// Starts the NameServer and the brokers, and creates the topics.
    ///
    /// # Errors
    /// One of them did not come to be.
    pub async fn begin(world: World) -> Result<Self, String> {
        Self::begin_with(world, RetentionOptions::default()).await
    }

    /// The same with other settings of retention.
    ///
    /// # Errors
    /// One of them did not come to be.
    pub async fn begin_with(world: World, retention: RetentionOptions) -> Result<Self, String> {
        let brokers = Brokers::form_with(&world, 3, FlushMode::Sync, retention).await?;
        let topic = |name: &str, queues| Topic { name: name.into(), queues };
        let topics = Arc::new([topic("orders", 4), topic("payments", 2)]);
        let mut cast = Self { world, brokers, ledger: Ledger::default(), topics, clients: 0 };
        let operator = cast.client("operator", Duration::ZERO);
        on_host(&operator, topics::create(operator.clone(), 1)).await?;
        Ok(cast)
    }

    /// A client on a host of its own.
    pub fn client(&mut self, name: &str, pause: Duration) -> Client {
        let host = self.world.add_node(address(FIRST_CLIENT + self.clients));
        self.clients += 1;
        Client {
            options: self.brokers.client_options(host.ip()),
            world: self.world.clone(),
            name: format!("{name}-{}", self.clients).into(),
            ledger: self.ledger.clone(),
            topics: Arc::clone(&self.topics),
            stop: CancellationToken::new(),
            host,
            pause,
        }
    }

    /// Clients of `kinds` work for `time`, while `meanwhile` happens; then all takes its end in good order. A push
    /// consumer has to be among them.
    ///
    /// # Errors
    /// What does not hold.
    pub async fn play<T>(
        mut self,
        kinds: &[(Kind, Duration)],
        time: Duration,
        meanwhile: impl AsyncFnOnce(&mut Brokers) -> Result<T, String>,
    ) -> Result<(Left, T), String> {
        let began = self.world.elapsed();
        let mut working = Vec::new();
        for &(kind, pause) in kinds {
            let client = self.client(kind.name(), pause);
            working.push((kind, client.stop.clone(), kind.start(client)));
        }
        let happened = meanwhile(&mut self.brokers).await?;
        madsim::time::sleep(time.saturating_sub(self.world.elapsed() - began)).await;
        let (consuming, working): (Vec<_>, Vec<_>) =
            working.into_iter().partition(|(kind, ..)| *kind == Kind::PushConsumer);
        for (_, stop, ended) in working {
            stop.cancel();
            ended.await.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
        }
        let last = self.client("last", Duration::ZERO);
        on_host(&last, fresh(last.clone(), 3, Duration::from_secs(20))).await?;
        on_host(&last, settle(last.clone(), PATIENCE)).await?;
        for (_, stop, ended) in consuming {
            stop.cancel();
            ended.await.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
        }
        Ok((self.end(&last).await?, happened))
    }

    /// `last` reads everything back; every rule has to hold, and the members have to agree.
    ///
    /// # Errors
    /// What does not hold.
    pub async fn end(self, last: &Client) -> Result<Left, String> {
        on_host(last, scan(last.clone())).await?;
        let history = self.ledger.take();
        judge(&history).map_err(|(rule, what)| format!("{rule}: {what}"))?;
        let compared = self.brokers.nodes.agree().await?;
        self.brokers.at_rest()?;
        Ok(Left { history, compared })
    }
}

/// Does a client's work on its host.
///
/// # Errors
/// The host died, or the work came to this.
pub async fn on_host<T, E>(
    client: &Client,
    work: impl Future<Output = Result<T, E>> + Send + 'static,
) -> Result<T, String>
where
    T: Send + 'static,
    E: ToString + Send + 'static,
{
    client.host.spawn(work).await.map_err(|e| e.to_string())?.map_err(|e| e.to_string())
}
