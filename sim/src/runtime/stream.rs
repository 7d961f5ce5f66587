//! One end of a connection, as the product sees it.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::{Side, Step};
use super::net::Net;
use super::time::SimSleep;

/// A simulated byte stream: bounded, half-closable, slow, and mortal.
#[derive(Debug)]
pub struct SimStream {
    net: Arc<Net>,
    connection: u64,
    side: Side,
    host: Option<IpAddr>,
    read_timer: Option<SimSleep>,
    write_timer: Option<SimSleep>,
}

impl SimStream {
    pub(super) fn new(net: Arc<Net>, connection: u64, side: Side) -> Self {
        let host = net.with(|state, _| state.connections.get(&connection).map(|c| c.host(side)));
        Self { net, connection, side, host, read_timer: None, write_timer: None }
    }

    /// The number of the connection in the trace.
    pub(super) fn connection(&self) -> u64 {
        self.connection
    }

    fn record(&self, what: &str, bytes: &[u8]) {
        if let Some(host) = self.host {
            self.net.record(host, what, self.connection, bytes);
        }
    }
}

/// Sees to it that the task is polled again at `due`.
fn arm(timer: &mut Option<SimSleep>, net: &Net, due: Instant, cx: &mut Context<'_>) {
    if timer.as_ref().is_none_or(|timer| timer.deadline() != due) {
        *timer = Some(SimSleep::exactly_until(&net.time, due));
    }
    if let Some(timer) = timer
        && Pin::new(timer).poll(cx).is_ready()
    {
        cx.waker().wake_by_ref();
    }
}

impl AsyncRead for SimStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let this = &mut *self;
        let before = buf.filled().len();
        let step = this.net.with(|state, wakes| match state.connections.get_mut(&this.connection) {
            Some(connection) => connection.read(this.side, buf, cx.waker(), &mut state.links, wakes),
            None => Step::Wait,
        });
        match step {
            Step::Done(result) => {
                // Which bytes is in the trace since they were written.
                let read = buf.filled().len() - before;
                let what = if result.is_ok() { "read" } else { "lost" };
                this.record(what, &read.to_le_bytes());
                Poll::Ready(result)
            }
            Step::Wait => Poll::Pending,
            Step::Until(due) => {
                arm(&mut this.read_timer, &this.net, due, cx);
                Poll::Pending
            }
        }
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let step = this.net.with(|state, wakes| match state.connections.get_mut(&this.connection) {
            Some(connection) => connection.write(this.side, bytes, cx.waker(), &mut state.links, wakes),
            None => Step::Wait,
        });
        match step {
            Step::Done(result) => Poll::Ready(result),
            Step::Wait => Poll::Pending,
            Step::Until(due) => {
                arm(&mut this.write_timer, &this.net, due, cx);
                Poll::Pending
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.net.with(|state, _| {
            if let Some(connection) = state.connections.get_mut(&self.connection) {
                connection.shutdown(self.side, &mut state.links);
            }
        });
        Poll::Ready(Ok(()))
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        self.record("close", &[]);
        self.net.release(self.connection, self.side);
    }
}
