//! Registration with every NameServer: 103, 104.

use std::sync::Arc;

use quorumq_raft::runtime::Runtime;

use super::{Broker, BrokerOptions};

/// Registers this node with every NameServer, every 30 s and at once on change.
#[derive(Debug)]
pub struct Registrar {}

impl Registrar {
    pub fn new(options: &BrokerOptions) -> Self {
        let _ = options;
        todo!()
    }
    /// Topics or the leader changed: register at once.
    pub fn changed(&self) {
        todo!()
    }
    /// Unregisters from every NameServer.
    pub async fn leave<R: Runtime>(&self, broker: &Arc<Broker<R>>) {
        let _ = broker;
        todo!()
    }
}

/// Registers until the broker stops.
pub async fn run<R: Runtime>(broker: Arc<Broker<R>>) {
    let _ = broker;
    todo!()
}
