//! Clients and their groups: 34, 35, 38, 40.
//!
//! Each node keeps its own clients ([`local`]) and reports them to the leader, which keeps the union over all nodes
//! ([`union`]), answers who is in a group, and tells all nodes which groups changed; each of them then tells its own
//! members. What is decided is decided in plain values; the tasks of [`reporter`] and [`lead`] carry it over the network.

use std::fmt;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use openraft_rt::Instant;
use quorumq_raft::runtime::Runtime;
use rand::RngExt;
use tokio::sync::Notify;

use super::Broker;
use super::subscription::Subscription;

mod groups;
mod handlers;
mod lead;
mod limits;
mod local;
mod notifier;
mod reporter;
mod reporting;
#[cfg(test)]
mod tests;
mod union;

use local::Local;
use notifier::Notifier;
use union::Union;

/// This node's clients and, on the leader, the group's.
pub struct Sessions {
    /// Time since the broker started.
    clock: Box<dyn Fn() -> Duration + Send + Sync>,
    local: Mutex<Local>,
    union: Mutex<Union>,
    notifier: Notifier,
    /// There is something to report, or somebody else to report to.
    report: Notify,
    /// The leader has taken a report.
    told: Notify,
    /// Something happened that a leader looks after.
    lead: Notify,
    /// The union is settled, or this node no longer leads.
    settled: Notify,
    /// Numbers what is pushed to clients, as requests are.
    opaque: AtomicI32,
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").field("local", &self.local).field("union", &self.union).finish_non_exhaustive()
    }
}

impl Sessions {
    /// No client yet.
    pub fn new<R: Runtime>() -> Self {
        let started = R::Instant::now();
        Self {
            clock: Box::new(move || started.elapsed()),
            local: Mutex::new(Local::new(R::thread_rng().random())),
            union: Mutex::default(),
            notifier: Notifier::default(),
            report: Notify::new(),
            told: Notify::new(),
            lead: Notify::new(),
            settled: Notify::new(),
            opaque: AtomicI32::new(0),
        }
    }

    /// The leader changed: report everything to the new one.
    pub fn leader_changed(&self) {
        self.report.notify_one();
        self.lead.notify_one();
        // Whoever waits for the union of a term that is over looks again.
        self.settled.notify_waiters();
    }

    /// The newest subscription to a topic that a group's members have told of: those connected here and, on the leader,
    /// those of all nodes. `None` if no such member subscribes to the topic.
    pub fn subscription(&self, group: &str, topic: &str) -> Option<Subscription> {
        let here = self.local().subscription(group, topic);
        let anywhere = self.union().subscription(group, topic);
        [here, anywhere].into_iter().flatten().max_by_key(|subscription| subscription.version)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from((self.clock)().as_millis()).unwrap_or(u64::MAX)
    }

    fn next_opaque(&self) -> i32 {
        self.opaque.fetch_add(1, Ordering::Relaxed)
    }

    fn local(&self) -> MutexGuard<'_, Local> {
        self.local.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn union(&self) -> MutexGuard<'_, Union> {
        self.union.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reports clients to the leader, notifies members, forgets clients without heartbeats.
pub async fn run<R: Runtime>(broker: Arc<Broker<R>>) {
    let reporting = reporter::run(&broker);
    let leading = lead::run(&broker);
    let expiring = expire(&broker);
    futures_util::future::join3(reporting, leading, expiring).await;
}

/// Forgets clients without heartbeats.
async fn expire<R: Runtime>(broker: &Broker<R>) {
    let expiry = broker.options.client_expiry;
    // Apache looks every 10 s for what has been silent for 120 s.
    let every = (expiry / 12).clamp(Duration::from_millis(10), Duration::from_secs(10));
    let expiry_ms = u64::try_from(expiry.as_millis()).unwrap_or(u64::MAX);
    loop {
        R::sleep(every).await;
        let sessions = &broker.sessions;
        let expired = sessions.local().expire(sessions.now_ms(), expiry_ms);
        if expired {
            sessions.report.notify_one();
        }
    }
}
