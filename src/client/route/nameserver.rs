//! One NameServer at a time: a random one to begin with, the next after each failure.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use quorumq_raft::runtime::Runtime;
use rand::RngExt;

use crate::client::error::ClientError;
use crate::client::remoting::{CallError, CallLimits, Connection, OnPush};
use crate::protocol::Command;

/// Least time one NameServer gets before the next is asked.
const LEAST_TIMEOUT: Duration = Duration::from_millis(500);

/// The NameServers a client was given. It talks to one of them, over one connection.
pub struct NameServers<R: Runtime> {
    addrs: Vec<SocketAddr>,
    limits: CallLimits,
    current: Mutex<Current<R>>,
}

struct Current<R: Runtime> {
    /// Index into `addrs`.
    at: usize,
    connection: Option<Connection<R>>,
}

impl<R: Runtime> NameServers<R> {
    /// Begins with a random one of `addrs`.
    ///
    /// # Errors
    /// `addrs` is empty.
    pub fn new(addrs: Vec<SocketAddr>, limits: CallLimits) -> Result<Self, ClientError> {
        if addrs.is_empty() {
            return Err(ClientError::invalid("NameServer address", "the list is empty"));
        }
        let at = R::thread_rng().random_range(0..addrs.len());
        Ok(Self { addrs, limits, current: Mutex::new(Current { at, connection: None }) })
    }

    /// All NameServers.
    pub fn addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// Asks the current NameServer, and after a failure each other once, all within `timeout`.
    ///
    /// # Errors
    /// None of them answered: the last failure.
    pub async fn call(&self, request: &Command, timeout: Duration) -> Result<Command, CallError> {
        let share = (timeout / u32::try_from(self.addrs.len()).unwrap_or(u32::MAX)).max(LEAST_TIMEOUT);
        let mut tries = 0;
        loop {
            let (at, connection) = self.current();
            match connection.call(request, share.min(timeout)).await {
                Ok(answer) => return Ok(answer),
                Err(error) => {
                    tries += 1;
                    self.leave(at);
                    if tries >= self.addrs.len() {
                        return Err(error);
                    }
                    tracing::debug!(%error, "a NameServer failed, the next one is asked");
                }
            }
        }
    }

    /// Asks one NameServer, the current one or not, over a connection of its own.
    ///
    /// # Errors
    /// It did not answer.
    pub async fn call_at(&self, addr: SocketAddr, request: &Command, timeout: Duration) -> Result<Command, CallError> {
        Connection::<R>::open(addr, self.limits, no_push()).call(request, timeout).await
    }

    /// Closes the connection. The next call opens one again.
    pub fn close(&self) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connection) = current.connection.take() {
            connection.close();
        }
    }

    fn current(&self) -> (usize, Connection<R>) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let at = current.at;
        if let Some(connection) = current.connection.as_ref().filter(|connection| !connection.is_closed()) {
            return (at, connection.clone());
        }
        let connection = Connection::open(self.addrs[at], self.limits, no_push());
        current.connection = Some(connection.clone());
        (at, connection)
    }

    /// Moves on from `at`, unless another caller has done so.
    fn leave(&self, at: usize) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.at == at {
            current.at = (at + 1) % self.addrs.len();
            current.connection = None;
        }
    }
}

/// A NameServer never sends requests.
fn no_push() -> OnPush {
    std::sync::Arc::new(|_, _| None)
}
