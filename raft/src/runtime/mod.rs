//! The runtime seam: tasks, time, randomness, byte streams, the wall clock and disk offload.
//!
//! Everything above `store` is generic over one type parameter `R: Runtime`. tokio implements it in
//! [`tokio`], the simulator over madsim in its own crate. Nothing else in the project names a socket,
//! a timer, a spawn, a clock or a random source.

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use ::tokio::io::{AsyncRead, AsyncWrite};
use openraft_rt::AsyncRuntime;

#[doc(hidden)]
pub mod suite;
pub mod tokio;

/// One job for a disk thread.
pub type Job = Box<dyn FnOnce() + Send + 'static>;

/// What the product asks of the world, on top of openraft's [`AsyncRuntime`].
///
/// ### To ensure correctness:
///
/// - Jobs given to one [`Serial`] run one at a time, in the order they were given.
/// - A stream delivers bytes in order or not at all; end of file and an error are both a lost connection.
/// - [`Runtime::wall_clock_ms`] may jump; nothing may rely on it for order.
pub trait Runtime: AsyncRuntime + Send + Sync {
    /// A connected byte stream. Not to be split, no vectored writes; flush after each run of writes.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// A bound listening socket.
    type Listener: Listener<Stream = Self::Stream>;
    /// A FIFO disk thread.
    type Serial: Serial;

    /// Binds a listening socket. Port 0 picks a free port.
    ///
    /// # Errors
    /// `AddrInUse` when the port is taken, and whatever else the host answers.
    fn bind(addr: SocketAddr) -> impl Future<Output = io::Result<Self::Listener>> + Send;

    /// Opens a connection.
    ///
    /// # Errors
    /// `ConnectionRefused` means that the host is alive and nothing listens on the port; every other
    /// error leaves open whether the process is alive.
    fn connect(addr: SocketAddr) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// Milliseconds since the Unix epoch, by this node's wall clock.
    fn wall_clock_ms() -> i64;

    /// Starts a FIFO disk thread called `name`.
    fn serial(name: &str) -> Self::Serial;

    /// Runs a cold read off the runtime's threads.
    fn offload<T, F>(job: F) -> impl Future<Output = io::Result<T>> + Send
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static;

    /// This node has applied all entries up to this index, and its state machine's digest is this. Nothing depends on it:
    /// a simulator notes it.
    fn applied(_upto: u64, _digest: u64) {}
}

/// A bound listening socket of a [`Runtime`].
pub trait Listener: Send + 'static {
    /// The stream type of accepted connections.
    type Stream;

    /// Waits for the next connection. Cancel-safe.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;

    /// The address actually bound.
    ///
    /// # Errors
    /// When the host no longer knows the socket.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// A FIFO disk thread: jobs run one at a time, in order. Dropping it lets queued jobs finish.
pub trait Serial: Send + Sync + 'static {
    /// Queues `job`. Never blocks; callers bound what they queue.
    fn submit(&self, job: Job);
}
