//! Registration with every NameServer: 103, 104, 322.
//!
//! A NameServer forgets a broker when its connection closes, so each has a long-lived one and a task of its own: one
//! that is down delays no other.

use std::net::{SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quorumq_raft::runtime::Runtime;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::leadership::Leader;
use super::{Broker, BrokerOptions};
use crate::protocol::body::topic::TopicConfigSerializeWrapper;

mod announcement;
mod keeper;
mod link;
#[cfg(test)]
mod tests;

use announcement::{Announcer, Identity, Standing};

/// Longest a broker that stops takes to unregister.
const LEAVE_WAIT: Duration = Duration::from_millis(300);

/// Registers this node with every NameServer, every 30 s and at once on change.
#[derive(Debug)]
pub struct Registrar {
    desks: Vec<Arc<Desk>>,
    period: Duration,
    leaving: CancellationToken,
    /// Tasks that run, and who waits for them to end.
    running: Arc<Running>,
}

/// One NameServer, as the rest of the broker sees it.
#[derive(Debug)]
struct Desk {
    addr: SocketAddr,
    /// Something to register has changed.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Running {
    tasks: Mutex<usize>,
    ended: Notify,
}

impl Registrar {
    /// A registrar for the NameServers of `options`.
    pub fn new(options: &BrokerOptions) -> Self {
        Self::with(&options.namesrv, options.register_period)
    }

    fn with(namesrv: &[SocketAddr], period: Duration) -> Self {
        let desk = |addr: &SocketAddr| Arc::new(Desk { addr: *addr, changed: Notify::new() });
        Self {
            desks: namesrv.iter().map(desk).collect(),
            period,
            leaving: CancellationToken::new(),
            running: Arc::default(),
        }
    }

    /// Topics or the leader changed: register at once. Never blocks.
    pub fn changed(&self) {
        self.desks.iter().for_each(|desk| desk.changed.notify_one());
    }

    /// Unregisters from every NameServer and registers no more.
    pub async fn leave<R: Runtime>(&self, _broker: &Arc<Broker<R>>) {
        self.stop::<R>().await;
    }

    async fn stop<R: Runtime>(&self) {
        self.leaving.cancel();
        if R::timeout(LEAVE_WAIT, self.running.wait()).await.is_err() {
            tracing::info!("a NameServer did not answer in time; it forgets this broker when the connection closes");
        }
    }

    /// The tasks that keep `announcer` registered, one a NameServer.
    fn tasks<R: Runtime, A: Announcer>(&self, announcer: &Arc<A>) -> Vec<impl Future<Output = ()> + Send + use<R, A>> {
        let task = |desk: &Arc<Desk>| {
            let counted = Counted::new(&self.running);
            let (desk, announcer, leaving) = (Arc::clone(desk), Arc::clone(announcer), self.leaving.clone());
            let period = self.period;
            async move {
                keeper::keep::<R, A>(&desk, &*announcer, period, &leaving).await;
                drop(counted);
            }
        };
        self.desks.iter().map(task).collect()
    }
}

impl Running {
    fn lock(&self) -> MutexGuard<'_, usize> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn wait(&self) {
        loop {
            let ended = self.ended.notified();
            let mut ended = std::pin::pin!(ended);
            ended.as_mut().enable();
            if *self.lock() == 0 {
                return;
            }
            ended.await;
        }
    }
}

/// A task that runs, however it ends.
struct Counted(Arc<Running>);

impl Counted {
    fn new(running: &Arc<Running>) -> Self {
        *running.lock() += 1;
        Self(Arc::clone(running))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        *self.0.lock() -= 1;
        self.0.ended.notify_waiters();
    }
}

impl<R: Runtime> Announcer for Broker<R> {
    fn identity(&self) -> Identity {
        let addr = self.options.advertised;
        Identity {
            cluster: self.options.cluster.clone(),
            group: self.options.name.clone(),
            addr,
            // As RocketMQ's brokers do; nothing listens there.
            ha_addr: SocketAddrV4::new(*addr.ip(), addr.port().wrapping_add(1)),
            group_uuid: self.node.identity().group_uuid,
        }
    }

    fn standing(&self) -> Standing {
        let id = self.node.id();
        let (term, leads) = loop {
            let term = self.leadership.term();
            let leads = self.leadership.now(id) == Leader::Here;
            // A leader of the past must not claim the term of the present one.
            if self.leadership.term() == term {
                break (term, leads);
            }
        };
        Standing {
            broker_id: if leads { 0 } else { id.cast_signed() },
            term,
            topics: super::topic::to_wire_version(self.node.machine().topic_version()),
        }
    }

    fn topics(&self) -> TopicConfigSerializeWrapper {
        self.topic_table()
    }
}

/// Registers until the broker stops.
pub async fn run<R: Runtime>(broker: Arc<Broker<R>>) {
    let registrar = &broker.registrar;
    if registrar.desks.is_empty() {
        tracing::warn!(
            "no NameServer is configured (namesrvAddr): clients that ask one do not find this broker, only those that \
             are given its address"
        );
    }
    for task in registrar.tasks::<R, _>(&broker) {
        broker.spawn(task);
    }
}
