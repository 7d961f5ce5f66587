//! The client's connections, one per address.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use quorumq_raft::runtime::Runtime;

use super::{CallLimits, Connection, OnPush};

/// One connection per address, made on first use and again after it was lost.
pub struct Connections<R: Runtime> {
    limits: CallLimits,
    on_push: OnPush,
    open: Mutex<BTreeMap<SocketAddr, Connection<R>>>,
}

impl<R: Runtime> Connections<R> {
    /// No connection yet.
    pub fn new(limits: CallLimits, on_push: OnPush) -> Self {
        Self { limits, on_push, open: Mutex::default() }
    }

    /// The connection to `addr`; a new one if there is none or it is closed.
    pub fn get(&self, addr: SocketAddr) -> Connection<R> {
        let mut open = self.lock();
        if let Some(connection) = open.get(&addr).filter(|connection| !connection.is_closed()) {
            return connection.clone();
        }
        // Addresses come and go with routes: forget those that are gone.
        open.retain(|_, connection| !connection.is_closed());
        let connection = Connection::open(addr, self.limits, self.on_push.clone());
        open.insert(addr, connection.clone());
        connection
    }

    /// Closes all connections. A later [`Self::get`] opens new ones.
    pub fn close(&self) {
        for connection in std::mem::take(&mut *self.lock()).into_values() {
            connection.close();
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, Connection<R>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
