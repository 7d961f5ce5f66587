//! Held pulls: long polling.

use std::sync::Arc;

use quorumq_raft::runtime::Runtime;

use super::Broker;
use crate::machine::Arrival;

/// Pulls that wait for messages.
#[derive(Debug, Default)]
pub struct Holds {}

impl Holds {
    /// Wakes pulls of queues that got messages. Called by apply: short.
    pub fn arrived(&self, arrivals: &[Arrival]) {
        let _ = arrivals;
        todo!()
    }
    /// Wakes pulls of topics that changed or went.
    pub fn topics_changed(&self, topics: &[Arc<str>]) {
        let _ = topics;
        todo!()
    }
}

/// Answers held pulls whose time is over.
pub async fn run<R: Runtime>(broker: Arc<Broker<R>>) {
    let _ = broker;
    todo!()
}
