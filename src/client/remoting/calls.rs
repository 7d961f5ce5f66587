//! The requests in flight on one connection.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use openraft_rt::Instant;
use quorumq_raft::runtime::Runtime;
use tokio::sync::oneshot;

use super::CallLimits;
use super::completions::{Completion, Completions};
use super::error::{CallError, CallResult, NotSent};

/// Who waits for an answer.
pub(super) enum Waiter {
    One(oneshot::Sender<CallResult>),
    Many { done: Arc<Completions>, token: u64 },
}

/// A request in flight.
pub(super) struct Pending<R: Runtime> {
    /// Where its frame ends in the connection's output.
    pub end: u64,
    pub begun: R::Instant,
    pub deadline: R::Instant,
    pub waiter: Waiter,
}

/// Answers on their way to whoever waits for them.
pub(super) type Ready = Vec<(Waiter, CallResult)>;

/// The requests in flight on one connection.
pub(super) struct Calls<R: Runtime> {
    last_opaque: i32,
    /// Bytes ever queued.
    pub queued: u64,
    pub pending: BTreeMap<i32, Pending<R>>,
    /// No deadline of `pending` is earlier. Not raised when requests end: it costs a sweep at most.
    pub earliest: Option<R::Instant>,
    /// When the peer was last heard.
    pub heard: R::Instant,
}

/// What a sweep found.
pub(super) struct Swept {
    pub expired: Ready,
    /// A request expired, and the peer said nothing at all since it was made.
    pub silent: bool,
}

impl<R: Runtime> Calls<R> {
    pub(super) fn new(now: R::Instant) -> Self {
        Self { last_opaque: 0, queued: 0, pending: BTreeMap::new(), earliest: None, heard: now }
    }

    /// Whether no further request fits.
    pub(super) fn full(&self, limits: &CallLimits, written: &AtomicU64) -> Option<NotSent> {
        if self.pending.len() >= limits.in_flight {
            let (waiting, limit) = (self.pending.len() as u64, limits.in_flight as u64);
            return Some(NotSent::Full { what: "requests", waiting, limit });
        }
        let waiting = self.queued.saturating_sub(written.load(Ordering::Relaxed));
        if waiting > limits.queued_bytes {
            return Some(NotSent::Full { what: "bytes", waiting, limit: limits.queued_bytes });
        }
        None
    }

    /// A number no request in flight has.
    pub(super) fn next_opaque(&mut self) -> i32 {
        loop {
            self.last_opaque = if self.last_opaque == i32::MAX { 1 } else { self.last_opaque + 1 };
            // After a turn of 2^31 a long poll could still hold its number.
            if !self.pending.contains_key(&self.last_opaque) {
                return self.last_opaque;
            }
        }
    }

    /// Adds a request whose frame of `len` bytes was just queued. Whether the next sweep must come earlier.
    pub(super) fn insert(&mut self, opaque: i32, len: usize, times: (R::Instant, R::Instant), waiter: Waiter) -> bool {
        self.queued += len as u64;
        let (begun, deadline) = times;
        self.pending.insert(opaque, Pending { end: self.queued, begun, deadline, waiter });
        let earlier = self.earliest.is_none_or(|earliest| deadline < earliest);
        if earlier {
            self.earliest = Some(deadline);
        }
        earlier
    }

    /// Takes out every request whose deadline has passed.
    pub(super) fn sweep(&mut self, addr: SocketAddr, now: R::Instant) -> Swept {
        let mut swept = Swept { expired: Ready::new(), silent: false };
        self.earliest = None;
        let heard = self.heard;
        let expired = self.pending.extract_if(.., |_, call| {
            let over = call.deadline <= now;
            if !over && self.earliest.is_none_or(|earliest| call.deadline < earliest) {
                self.earliest = Some(call.deadline);
            }
            over
        });
        for (_, call) in expired {
            swept.silent |= call.begun > heard;
            let timeout = call.deadline.saturating_duration_since(call.begun);
            let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
            swept.expired.push((call.waiter, Err(CallError::TimedOut { addr, timeout_ms })));
        }
        swept
    }

    /// Takes out every request, as the connection has ended with `written` bytes in the host's hands.
    pub(super) fn fail_all(&mut self, addr: SocketAddr, written: u64, why: &Ended) -> Ready {
        let calls = std::mem::take(&mut self.pending).into_values();
        let failed = calls.map(|call| {
            let error = match why {
                Ended::NeverOpened(reason) => CallError::NotSent { addr, reason: reason.clone() },
                // A frame that is not whole at the peer is not carried out.
                Ended::Closed(reason) if call.end > written => {
                    CallError::NotSent { addr, reason: NotSent::Closed(reason.clone()) }
                }
                Ended::Closed(reason) => CallError::Lost { addr, reason: reason.clone() },
            };
            (call.waiter, Err(error))
        });
        failed.collect()
    }
}

/// How a connection ended.
pub(super) enum Ended {
    NeverOpened(NotSent),
    Closed(crate::server::CloseReason),
}

/// Hands answers to those who wait, runs for the same [`Completions`] at once.
pub(super) fn deliver(ready: &mut Ready) {
    let mut run: Vec<Completion> = Vec::new();
    let mut to: Option<Arc<Completions>> = None;
    for (waiter, result) in ready.drain(..) {
        match waiter {
            Waiter::One(answer) => {
                // Its caller may have gone.
                drop(answer.send(result));
            }
            Waiter::Many { done, token } => {
                if let Some(last) = to.as_ref().filter(|last| !Arc::ptr_eq(last, &done)) {
                    last.add(run.drain(..));
                }
                run.push(Completion { token, result });
                to = Some(done);
            }
        }
    }
    if let Some(last) = to {
        last.add(run.drain(..));
    }
}
