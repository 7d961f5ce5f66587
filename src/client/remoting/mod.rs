//! One multiplexed connection per address: requests go out pipelined, answers come back by their opaque.
//!
//! A connection is one task that runs the pump of [`crate::server`] over the whole stream: requests of any number
//! of callers are gathered into one write, and every answer of one read is handed over under one lock. There is no
//! timer, task or channel per request: deadlines are swept once per [tick](TICK).
//!
//! A request that gets no answer ends in one of two ways that must never be confused: [`CallError::NotSent`] (its
//! frame never left this process whole, so it cannot have been carried out), or lost and timed out (it may have been).

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quorumq_raft::runtime::Runtime;
use tokio::sync::{Notify, oneshot};

use super::time::now;
use crate::protocol::command::Command;
use crate::server::{CloseReason, Conn, Limits};

mod calls;
mod completions;
mod counted;
mod error;
mod pool;
mod request;
mod task;

use calls::{Calls, Waiter};
pub use completions::{Completion, Completions};
pub use error::{CallError, CallResult, NotSent};
pub use pool::Connections;
pub use request::Request;

/// How exact a request's deadline is: expired requests are collected this often.
pub const TICK: Duration = Duration::from_millis(10);

/// What one connection may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallLimits {
    /// Time to connect (RocketMQ's `connectTimeoutMillis`: 3000 ms). A request whose own deadline is earlier ends the
    /// attempt.
    pub connect_timeout: Duration,
    /// Requests without an answer. RocketMQ's semaphores for async and one-way requests hold 65,535.
    pub in_flight: usize,
    /// Bytes of requests not yet taken by the host.
    pub queued_bytes: u64,
    /// Time without traffic after which the connection is closed (RocketMQ's `clientChannelMaxIdleTimeSeconds`: 120 s).
    pub idle: Duration,
}

impl Default for CallLimits {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(3),
            in_flight: 65_535,
            // A few of the largest messages (4 MiB); what a connection that stands still may hold.
            queued_bytes: 64 * 1024 * 1024,
            idle: Duration::from_secs(120),
        }
    }
}

/// Takes the requests a server sends to us (39, 40, …), with the server's address; what it returns answers them.
/// Runs on the connection's task: it must not block.
pub type OnPush = Arc<dyn Fn(SocketAddr, &Command) -> Option<Command> + Send + Sync>;

/// A connection to one address. Cheap to clone; it closes when the last clone is dropped.
///
/// It is dialled when it is made and never again: once closed, ask [`Connections`] for another.
pub struct Connection<R: Runtime> {
    handle: Arc<Handle<R>>,
}

impl<R: Runtime> Clone for Connection<R> {
    fn clone(&self) -> Self {
        Self { handle: Arc::clone(&self.handle) }
    }
}

/// Closes the connection with its last user.
struct Handle<R: Runtime> {
    link: Arc<Link<R>>,
}

impl<R: Runtime> Drop for Handle<R> {
    fn drop(&mut self) {
        self.link.close("its last user is gone");
    }
}

/// What the users of a connection and its task share.
struct Link<R: Runtime> {
    addr: SocketAddr,
    limits: CallLimits,
    conn: Conn,
    /// Bytes the host took, over the connection's life.
    written: Arc<AtomicU64>,
    calls: Mutex<Calls<R>>,
    /// The task must look at the earliest deadline again.
    sweep: Notify,
    on_push: OnPush,
}

impl<R: Runtime> Link<R> {
    fn lock(&self) -> MutexGuard<'_, Calls<R>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self, why: &'static str) {
        self.conn.close(CloseReason::Asked(why));
        self.sweep.notify_one();
    }
}

impl<R: Runtime> Connection<R> {
    /// Starts to connect to `addr`. Requests may be made at once; they fail as not sent if it does not come up.
    pub fn open(addr: SocketAddr, limits: CallLimits, on_push: OnPush) -> Self {
        let local = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let link = Link {
            addr,
            limits,
            conn: Conn::new(0, addr, local, &pump_limits(&limits)),
            written: Arc::default(),
            calls: Mutex::new(Calls::new(now::<R>())),
            sweep: Notify::new(),
            on_push,
        };
        let link = Arc::new(link);
        // The task ends when the connection does, at the latest with its last handle.
        drop(R::spawn(task::run(Arc::clone(&link))));
        Self { handle: Arc::new(Handle { link }) }
    }

    /// Where it leads.
    pub fn addr(&self) -> SocketAddr {
        self.handle.link.addr
    }

    /// Whether it takes no more requests.
    pub fn is_closed(&self) -> bool {
        self.handle.link.conn.is_closed()
    }

    /// Ends the connection; requests in flight fail.
    pub fn close(&self) {
        self.handle.link.close("the client asked for it");
    }

    /// Requests without an answer.
    pub fn in_flight(&self) -> usize {
        self.handle.link.lock().pending.len()
    }

    /// Sends one request. It is queued when this returns; the future is its answer, of whatever response code.
    /// Dropping the future does not take the request back.
    ///
    /// # Errors
    /// [`CallError`]: not sent, lost or timed out.
    pub fn call<Q: Request>(
        &self,
        request: &Q,
        timeout: Duration,
    ) -> impl Future<Output = CallResult> + Send + use<R, Q> {
        let addr = self.addr();
        let (answer, answered) = oneshot::channel();
        self.start(std::iter::once((Waiter::One(answer), request)), timeout);
        async move {
            let ended = || CallError::Lost { addr, reason: CloseReason::TaskEnded };
            answered.await.unwrap_or_else(|_| Err(ended()))
        }
    }

    /// Sends many requests with one lock and one wake-up. Each ends exactly once in `done`, under its token.
    pub fn call_many<Q: Request>(
        &self,
        requests: impl IntoIterator<Item = (u64, Q)>,
        timeout: Duration,
        done: &Arc<Completions>,
    ) {
        let many = |(token, request)| (Waiter::Many { done: Arc::clone(done), token }, request);
        self.start(requests.into_iter().map(many), timeout);
    }

    /// Sends a request that wants no answer. Queued is all that is known of it.
    ///
    /// # Errors
    /// The connection is closed or full.
    pub fn oneway<Q: Request>(&self, request: &Q) -> Result<(), CallError> {
        let link = &self.handle.link;
        let not_sent = |reason| CallError::NotSent { addr: link.addr, reason };
        if let Some(full) = link.lock().full(&link.limits, &link.written) {
            return Err(not_sent(full));
        }
        let queued = link.conn.send_with(|out| {
            let before = out.len();
            // 0 is no request's opaque: an answer to it finds nobody.
            request.write(0, true, out);
            link.lock().queued += (out.len() - before) as u64;
        });
        queued.map_err(|reason| not_sent(NotSent::Closed(reason)))
    }

    fn start<Q: Request>(&self, mut calls: impl Iterator<Item = (Waiter, Q)>, timeout: Duration) {
        let link = &self.handle.link;
        let begun = now::<R>();
        let deadline = begun + timeout;
        let mut refused = Vec::new();
        let mut earlier = false;
        let queued = link.conn.send_with(|out| {
            let mut table = link.lock();
            for (waiter, request) in calls.by_ref() {
                if let Some(full) = table.full(&link.limits, &link.written) {
                    refused.push((waiter, Err(CallError::NotSent { addr: link.addr, reason: full })));
                    continue;
                }
                let opaque = table.next_opaque();
                let before = out.len();
                request.write(opaque, false, out);
                earlier |= table.insert(opaque, out.len() - before, (begun, deadline), waiter);
            }
        });
        if let Err(reason) = queued {
            // Closed: nothing was encoded. Over the connection's own limit: all was, and its task fails them.
            for (waiter, _) in calls {
                let reason = NotSent::Closed(reason.clone());
                refused.push((waiter, Err(CallError::NotSent { addr: link.addr, reason })));
            }
        }
        if earlier {
            link.sweep.notify_one();
        }
        calls::deliver(&mut refused);
    }
}

fn pump_limits(limits: &CallLimits) -> Limits {
    Limits {
        // Ours are checked before a frame is queued; this one would close the connection.
        outbound_limit: usize::MAX,
        idle: limits.idle,
        ..Limits::CLIENT
    }
}
