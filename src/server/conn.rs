//! One connection as everyone but its task sees it: who it is, what may be sent on it, how it is closed.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use futures_util::task::AtomicWaker;

use super::limits::Limits;
use super::outgoing::Outgoing;
use crate::protocol::command::Command;
use crate::protocol::frame::{self, FrameError};

/// Why a connection ended, or can take nothing more.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CloseReason {
    /// The peer closed it.
    #[error("the peer closed the connection")]
    PeerClosed,
    /// The socket failed.
    #[error("the connection failed: {detail}")]
    Io {
        /// What kind of failure.
        kind: io::ErrorKind,
        /// The host's words.
        detail: String,
    },
    /// The peer sent something that is no frame.
    #[error("the peer sent no valid frame: {0}")]
    BadFrame(Arc<FrameError>),
    /// The peer does not read what is sent to it.
    #[error("the peer does not read: {waiting} bytes wait for it, the limit is {limit}")]
    OutboundLimit {
        /// Bytes queued, the refused ones included.
        waiting: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// Nothing was read or written for the idle time.
    #[error("no traffic for {} s", .0.as_secs())]
    Idle(Duration),
    /// This process is stopping.
    #[error("this server is shutting down")]
    Shutdown,
    /// Whoever uses the connection asked for it.
    #[error("closed: {0}")]
    Asked(&'static str),
    /// Its task was dropped or panicked.
    #[error("the connection's task has ended")]
    TaskEnded,
}

impl From<io::Error> for CloseReason {
    fn from(error: io::Error) -> Self {
        Self::Io { kind: error.kind(), detail: error.to_string() }
    }
}

impl From<FrameError> for CloseReason {
    fn from(error: FrameError) -> Self {
        Self::BadFrame(Arc::new(error))
    }
}

/// A handle to one connection. Cheap to clone; all clones mean the same connection, which does not end when
/// they are dropped.
#[derive(Clone)]
pub struct Conn {
    shared: Arc<Shared>,
}

struct Shared {
    id: u64,
    peer: SocketAddr,
    local: SocketAddr,
    outbound_limit: usize,
    state: Mutex<State>,
    /// The task that pumps the connection.
    pump: AtomicWaker,
}

#[derive(Default)]
struct State {
    queued: Outgoing,
    /// Bytes the pump has taken and not yet written.
    taken: usize,
    /// The first reason given; nothing is queued any more.
    closed: Option<CloseReason>,
    reads_paused: bool,
}

/// What the pump learns in one look at the shared state.
pub(super) struct Look {
    pub closed: Option<CloseReason>,
    pub reads_paused: bool,
    /// Bytes left in the queue.
    pub queued: usize,
}

impl Conn {
    /// A connection called `id` between `local` and `peer`; [`pump`](super::pump::pump) brings it to life.
    pub fn new(id: u64, peer: SocketAddr, local: SocketAddr, limits: &Limits) -> Self {
        let shared = Shared {
            id,
            peer,
            local,
            outbound_limit: limits.outbound_limit,
            state: Mutex::default(),
            pump: AtomicWaker::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Its number, unique within the server or client that opened it.
    pub fn id(&self) -> u64 {
        self.shared.id
    }

    /// The peer's address.
    pub fn peer(&self) -> SocketAddr {
        self.shared.peer
    }

    /// Our own end: for an accepted connection, the address that was listening.
    pub fn local(&self) -> SocketAddr {
        self.shared.local
    }

    /// The port on our end, which tells the VIP port from the main one.
    pub fn local_port(&self) -> u16 {
        self.shared.local.port()
    }

    /// Queues one frame. Never blocks.
    ///
    /// # Errors
    /// The connection is closed, or the frame went over its outbound limit and closed it.
    pub fn send(&self, frame: Bytes) -> Result<(), CloseReason> {
        self.send_with(|out| out.push(frame))
    }

    /// Queues several frames under one lock and with one wake-up.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn send_many(&self, frames: impl IntoIterator<Item = Bytes>) -> Result<(), CloseReason> {
        self.send_with(|out| frames.into_iter().for_each(|frame| out.push(frame)))
    }

    /// Encodes one command straight into the outbound buffer.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn send_command(&self, command: &Command) -> Result<(), CloseReason> {
        self.send_with(|out| frame::encode(command, out.buffer()))
    }

    /// Lets `fill` append to the outbound queue: the way to answer a whole batch with one lock, one wake-up and
    /// no allocation. `fill` runs under the lock: it encodes and nothing else.
    ///
    /// # Errors
    /// As [`Self::send`]; `fill` is not called on a closed connection.
    pub fn send_with(&self, fill: impl FnOnce(&mut Outgoing)) -> Result<(), CloseReason> {
        let mut state = self.lock();
        if let Some(reason) = &state.closed {
            return Err(reason.clone());
        }
        // If something is queued already, its sender has woken the pump, which takes all there is.
        let wake = state.queued.is_empty();
        fill(&mut state.queued);
        let waiting = state.queued.len() + state.taken;
        let limit = self.shared.outbound_limit;
        let mut outcome = Ok(());
        if waiting > limit {
            let reason = CloseReason::OutboundLimit { waiting, limit };
            state.queued.release();
            state.closed = Some(reason.clone());
            outcome = Err(reason);
        }
        drop(state);
        if wake || outcome.is_err() {
            self.shared.pump.wake();
        }
        outcome
    }

    /// Bytes that wait for the peer.
    pub fn waiting(&self) -> usize {
        let state = self.lock();
        state.queued.len() + state.taken
    }

    /// Stops (or resumes) reading from the peer, whose sends then back up in its own socket.
    pub fn pause_reads(&self, paused: bool) {
        self.lock().reads_paused = paused;
        self.shared.pump.wake();
    }

    /// Ends the connection: nothing more is read or queued, what is queued is still written within the
    /// [linger time](Limits::linger). The first reason given stays.
    pub fn close(&self, reason: CloseReason) {
        self.lock().closed.get_or_insert(reason);
        self.shared.pump.wake();
    }

    /// Whether it is closed or closing.
    pub fn is_closed(&self) -> bool {
        self.lock().closed.is_some()
    }

    /// Why it is closed, if it is.
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.lock().closed.clone()
    }

    pub(super) fn register(&self, waker: &Waker) {
        self.shared.pump.register(waker);
    }

    /// Moves what is queued into `writing` if that is empty, and reports the rest of the state.
    pub(super) fn look(&self, writing: &mut Outgoing) -> Look {
        let mut state = self.lock();
        writing.refill(&mut state.queued);
        state.taken = writing.len();
        Look { closed: state.closed.clone(), reads_paused: state.reads_paused, queued: state.queued.len() }
    }

    /// The pump has ended: nothing will be written any more. The first reason given stays.
    pub(super) fn ended(&self, reason: CloseReason) -> CloseReason {
        let mut state = self.lock();
        state.queued.release();
        state.taken = 0;
        state.closed.get_or_insert(reason).clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Conn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Conn({} {} -> {})", self.shared.id, self.shared.peer, self.shared.local)
    }
}
