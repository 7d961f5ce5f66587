//! The duplex pump: one task moves the bytes of one connection, both ways.
//!
//! The stream is not split. Each round writes everything queued with as few calls as possible (one, unless a
//! piece is large), then reads once and hands over all that arrived. Server and client both run it.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use quorumq_raft::runtime::Runtime;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

use super::conn::{CloseReason, Conn};
use super::limits::Limits;
use super::outgoing::Outgoing;

/// Size of the first reads: most connections only ever carry heartbeats.
const READ_MIN: usize = 8 * 1024;

/// Largest read of a busy connection: about what loopback or a LAN delivers between two polls.
const READ_MAX: usize = 256 * 1024;

/// Most room made at once for a frame that announces its length: a peer pays with bytes, not with a promise.
const RESERVE_MAX: usize = 1024 * 1024;

/// Rounds of one poll, after which other tasks get their turn.
const ROUNDS: usize = 16;

/// The idle time is checked so many times over its span, which is how exact it is.
const IDLE_TICKS: u32 = 4;

/// What a handler made of the bytes it was shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Bytes still missing from the frame at the front, 0 if unknown: a hint for the next read.
    pub missing: usize,
}

/// The receiving side of a connection.
pub trait Inbound {
    /// Called once per read. Takes every whole frame off the front of `buf`, in order; leaves the rest.
    /// Must not block; sends through `conn`.
    ///
    /// # Errors
    /// Bytes that are no frame; the connection is closed after what is queued has been written.
    fn received(&mut self, conn: &Conn, buf: &mut BytesMut) -> Result<Received, CloseReason>;
}

/// Runs the connection `conn` over `stream` until it ends, and says why it did. After it, `conn` is closed.
pub async fn pump<R, S, H>(stream: S, conn: &Conn, inbound: &mut H, limits: &Limits) -> CloseReason
where
    R: Runtime,
    S: AsyncRead + AsyncWrite + Unpin,
    H: Inbound,
{
    let _guard = CloseOnDrop(conn);
    let timer = Box::pin(R::sleep(limits.idle / IDLE_TICKS));
    let mut pump: Pump<'_, R, S, H> = Pump {
        stream,
        conn,
        inbound,
        limits,
        input: BytesMut::new(),
        read_size: READ_MIN,
        missing: 0,
        writing: Outgoing::default(),
        unflushed: false,
        active: false,
        quiet_ticks: 0,
        closing: None,
        timer,
    };
    let reason = poll_fn(|cx| pump.poll(cx)).await;
    conn.ended(reason)
}

/// Ends the connection also if the pump's future is dropped or its handler panics.
struct CloseOnDrop<'a>(&'a Conn);

impl Drop for CloseOnDrop<'_> {
    fn drop(&mut self) {
        self.0.ended(CloseReason::TaskEnded);
    }
}

struct Pump<'a, R: Runtime, S, H> {
    stream: S,
    conn: &'a Conn,
    inbound: &'a mut H,
    limits: &'a Limits,
    /// Bytes read and not yet taken by the handler.
    input: BytesMut,
    read_size: usize,
    missing: usize,
    /// Bytes taken off the queue.
    writing: Outgoing,
    unflushed: bool,
    /// Whether a byte moved since the last idle tick.
    active: bool,
    quiet_ticks: u32,
    /// Set once the connection is closing; the timer then counts the linger time.
    closing: Option<CloseReason>,
    timer: Pin<Box<R::Sleep>>,
}

impl<R: Runtime, S: AsyncRead + AsyncWrite + Unpin, H: Inbound> Pump<'_, R, S, H> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        // Before looking at the queue, or a send in between would wake nobody.
        self.conn.register(cx.waker());
        for _ in 0..ROUNDS {
            match self.round(cx) {
                Ok(Round::Moved) => {}
                Ok(Round::Waiting) => return self.poll_timer(cx),
                Ok(Round::Done(reason)) => return Poll::Ready(reason),
                Err(reason) => return Poll::Ready(reason),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Writes, then reads once. Errors end the connection at once.
    fn round(&mut self, cx: &mut Context<'_>) -> Result<Round, CloseReason> {
        let look = self.conn.look(&mut self.writing);
        if let Some(reason) = look.closed {
            return self.close_round(cx, reason);
        }
        let wrote = self.poll_write(cx)?;
        if look.reads_paused || self.backed_up(look.queued) {
            // More may have been queued while we wrote; whoever drains the rest or resumes reading wakes us.
            return Ok(if wrote { Round::Moved } else { Round::Waiting });
        }
        match self.poll_read(cx) {
            Poll::Ready(Ok(())) => Ok(Round::Moved),
            Poll::Ready(Err(reason)) => {
                self.conn.close(reason);
                Ok(Round::Moved)
            }
            Poll::Pending => Ok(if wrote { Round::Moved } else { Round::Waiting }),
        }
    }

    /// A round of a closing connection: what is queued goes out, then the stream is shut down.
    fn close_round(&mut self, cx: &mut Context<'_>, reason: CloseReason) -> Result<Round, CloseReason> {
        let hopeless =
            matches!(reason, CloseReason::Io { .. } | CloseReason::OutboundLimit { .. } | CloseReason::TaskEnded);
        if hopeless {
            return Ok(Round::Done(reason));
        }
        if self.closing.is_none() {
            self.closing = Some(reason.clone());
            self.timer = Box::pin(R::sleep(self.limits.linger));
        }
        // A peer that is gone fails the write; the first reason is the one worth telling.
        match self.poll_write(cx) {
            Err(_) => return Ok(Round::Done(reason)),
            Ok(true) => return Ok(Round::Moved),
            Ok(false) if !self.writing.is_empty() || self.unflushed => return Ok(Round::Waiting),
            Ok(false) => {}
        }
        match Pin::new(&mut self.stream).poll_shutdown(cx) {
            Poll::Ready(_) => Ok(Round::Done(reason)),
            Poll::Pending => Ok(Round::Waiting),
        }
    }

    /// Writes what is taken and flushes behind the last byte. True if a byte was written.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Result<bool, CloseReason> {
        let mut wrote = false;
        while !self.writing.is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, self.writing.front()) {
                Poll::Ready(Ok(0)) => return Err(std::io::Error::from(std::io::ErrorKind::WriteZero).into()),
                Poll::Ready(Ok(n)) => {
                    self.writing.advance(n);
                    self.unflushed = true;
                    self.active = true;
                    wrote = true;
                }
                Poll::Ready(Err(error)) => return Err(error.into()),
                Poll::Pending => return Ok(wrote),
            }
        }
        if self.unflushed
            && let Poll::Ready(flushed) = Pin::new(&mut self.stream).poll_flush(cx)
        {
            flushed?;
            self.unflushed = false;
        }
        Ok(wrote)
    }

    fn backed_up(&self, queued: usize) -> bool {
        self.limits.pause_reads_above.is_some_and(|limit| queued + self.writing.len() > limit)
    }

    /// Reads once and lets the handler take what arrived.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CloseReason>> {
        self.make_room();
        let n = {
            let read = pin!(self.stream.read_buf(&mut self.input));
            ready!(read.poll(cx))?
        };
        if n == 0 {
            return Poll::Ready(Err(CloseReason::PeerClosed));
        }
        self.active = true;
        // A read that fills a whole buffer says that more is waiting.
        if n >= self.read_size {
            self.read_size = (self.read_size * 2).min(READ_MAX);
        }
        let received = self.inbound.received(self.conn, &mut self.input)?;
        self.missing = received.missing;
        Poll::Ready(Ok(()))
    }

    /// Room for a worthwhile read. Frames handed out share the buffer's memory, so it is replaced, not reused,
    /// as long as one of them lives.
    fn make_room(&mut self) {
        let room = self.input.capacity() - self.input.len();
        let wanted = self.missing.min(RESERVE_MAX).max(self.read_size);
        if room < self.missing.min(RESERVE_MAX) || room < self.read_size / 4 {
            self.input.reserve(wanted);
        }
    }

    /// Idle and linger time. Ready when either has run out.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        while self.timer.as_mut().poll(cx).is_ready() {
            if let Some(reason) = self.closing.take() {
                return Poll::Ready(reason);
            }
            self.timer = Box::pin(R::sleep(self.tick()));
            self.quiet_ticks = if self.active { 0 } else { self.quiet_ticks + 1 };
            self.active = false;
            if self.quiet_ticks >= IDLE_TICKS {
                return Poll::Ready(CloseReason::Idle(self.limits.idle));
            }
            self.release_memory();
        }
        Poll::Pending
    }

    fn tick(&self) -> Duration {
        self.limits.idle / IDLE_TICKS
    }

    /// A quiet connection holds no buffers.
    fn release_memory(&mut self) {
        if self.quiet_ticks == 0 {
            return;
        }
        if self.input.is_empty() {
            self.input = BytesMut::new();
            self.read_size = READ_MIN;
        }
        if self.writing.is_empty() {
            self.writing.release();
        }
    }
}

/// What one round of the pump came to.
enum Round {
    /// Bytes moved; there may be more.
    Moved,
    /// Nothing more to do before the stream, the queue or the timer wakes us.
    Waiting,
    /// The connection is done.
    Done(CloseReason),
}
