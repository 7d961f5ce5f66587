//! The leader's side of a log connection: appends pipelined, answers in order.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{Sink, Stream};
use openraft::errors::{NetworkError, RPCError, Unreachable};
use openraft::raft::{AppendEntriesRequest, StreamAppendError, StreamAppendResult};
use tokio_util::codec::Framed;

use super::append::to_wire;
use super::codec::{Outgoing, PeerCodec};
use super::full::FullMembers;
use crate::machine::Machine;
use crate::runtime::Runtime;
use crate::types::{NodeId, Types};
use crate::wire::{WireAppend, WireAppended};

/// Appends in flight on one log connection.
const MAX_IN_FLIGHT: usize = 64;
/// Bytes written ahead of the socket before no more appends are taken.
const WRITE_AHEAD: usize = 1024 * 1024;

/// A log connection of the leader.
pub type LogStream<S> = Framed<S, PeerCodec<WireAppend, WireAppended>>;

/// Wraps a stream that has shaken hands.
pub fn log_stream<S: tokio::io::AsyncRead + tokio::io::AsyncWrite>(stream: S) -> LogStream<S> {
    let mut framed = Framed::with_capacity(stream, PeerCodec::default(), 64 * 1024);
    framed.set_backpressure_boundary(WRITE_AHEAD);
    framed
}

/// Whether entries reach a peer: told once when they no longer do, and once when they do again.
#[derive(Debug)]
pub struct Reach {
    target: NodeId,
    lost: bool,
    full: Arc<FullMembers>,
}

impl Reach {
    /// As long as nothing else is known, entries reach `target`.
    pub fn new(target: NodeId, full: Arc<FullMembers>) -> Self {
        Self { target, lost: false, full }
    }

    /// Entries do not reach the peer.
    pub fn lost(&mut self, why: &dyn std::fmt::Display) {
        if !std::mem::replace(&mut self.lost, true) {
            tracing::warn!(node = self.target, "entries do not reach this member: {why}");
        }
    }

    /// The peer has taken entries.
    pub fn gained(&mut self) {
        self.full.took(self.target);
        if std::mem::take(&mut self.lost) {
            tracing::info!(node = self.target, "entries reach this member again");
        }
    }
}

/// One run of appends over a log connection, as a stream of answers.
pub struct LogSession<'s, R: Runtime, M, S> {
    conn: &'s mut Option<LogStream<R::Stream>>,
    reach: &'s mut Reach,
    input: Option<S>,
    in_flight: usize,
    /// The session ends when for this long no answer came and the peer took no byte.
    patience: Duration,
    timer: Option<Pin<Box<R::Sleep>>>,
    failed: bool,
    _machine: std::marker::PhantomData<fn() -> M>,
}

impl<'s, R: Runtime, M, S> LogSession<'s, R, M, S> {
    pub fn new(
        (conn, reach): (&'s mut Option<LogStream<R::Stream>>, &'s mut Reach),
        input: S,
        patience: Duration,
    ) -> Self {
        let _machine = std::marker::PhantomData;
        Self { conn, reach, input: Some(input), in_flight: 0, patience, timer: None, failed: false, _machine }
    }
}

type Answer<R, M> = Result<StreamAppendResult<Types<R, M>>, RPCError<Types<R, M>>>;

impl<R: Runtime, M: Machine, S> LogSession<'_, R, M, S>
where
    S: Stream<Item = AppendEntriesRequest<Types<R, M>>> + Unpin,
{
    /// Takes appends from openraft while there is room, encodes them. Whether any was taken.
    fn poll_input(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let Some(conn) = self.conn.as_mut() else {
            return Ok(false);
        };
        let mut taken = false;
        while self.in_flight < MAX_IN_FLIGHT && conn.write_buffer().len() < WRITE_AHEAD {
            let Some(input) = self.input.as_mut() else { break };
            match Pin::new(input).poll_next(cx) {
                Poll::Ready(Some(request)) => {
                    let (header, raw) = to_wire(&request)?;
                    Sink::start_send(Pin::new(&mut *conn), Outgoing { header: &header, raw: &raw })?;
                    self.in_flight += 1;
                    taken = true;
                }
                Poll::Ready(None) => self.input = None,
                Poll::Pending => break,
            }
        }
        Ok(taken)
    }

    /// Arms the timer while answers are due, anew after any progress; an error once it fires.
    fn poll_timer(&mut self, cx: &mut Context<'_>, progress: bool) -> io::Result<()> {
        if self.in_flight == 0 {
            self.timer = None;
            return Ok(());
        }
        if progress || self.timer.is_none() {
            self.timer = Some(Box::pin(R::sleep(self.patience)));
        }
        match self.timer.as_mut().map(|timer| timer.as_mut().poll(cx)) {
            Some(Poll::Ready(())) => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer to an append")),
            _ => Ok(()),
        }
    }

    fn poll_session(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<WireAppended>>> {
        let mut progress = false;
        loop {
            let taken = self.poll_input(cx)?;
            progress |= taken;
            if self.in_flight == 0 && self.input.is_none() {
                return Poll::Ready(Ok(None));
            }
            let Some(conn) = self.conn.as_mut() else {
                return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
            };
            let mut flushed = false;
            let unwritten = conn.write_buffer().len();
            if unwritten > 0 {
                flushed = Sink::<Outgoing<'_, WireAppend>>::poll_flush(Pin::new(&mut *conn), cx)?.is_ready();
                // An append may take longer than the patience to get through a slow network.
                progress |= conn.write_buffer().len() < unwritten;
            }
            match Pin::new(conn).poll_next(cx)? {
                Poll::Ready(Some(frame)) => {
                    self.in_flight = self.in_flight.saturating_sub(1);
                    self.timer = None;
                    return Poll::Ready(Ok(Some(frame.header)));
                }
                Poll::Ready(None) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                Poll::Pending => {}
            }
            if !taken && !flushed {
                self.poll_timer(cx, progress)?;
                return Poll::Pending;
            }
        }
    }
}

impl<R: Runtime, M: Machine, S> Stream for LogSession<'_, R, M, S>
where
    S: Stream<Item = AppendEntriesRequest<Types<R, M>>> + Unpin,
{
    type Item = Answer<R, M>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Answer<R, M>>> {
        let this = self.get_mut();
        if this.failed {
            return Poll::Ready(None);
        }
        match this.poll_session(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(None)) => Poll::Ready(None),
            Poll::Ready(Ok(Some(answer))) => {
                if let WireAppended::NoSpace(why) = &answer {
                    this.reach.full.refused(this.reach.target, why);
                }
                let answer = into_raft(answer);
                match &answer {
                    Ok(Ok(_)) => this.reach.gained(),
                    Ok(Err(_)) => {}
                    Err(e) => this.reach.lost(e),
                }
                this.failed = !matches!(answer, Ok(Ok(_)));
                Poll::Ready(Some(answer))
            }
            Poll::Ready(Err(e)) => {
                this.failed = true;
                this.reach.lost(&e);
                Poll::Ready(Some(Err(RPCError::Unreachable(Unreachable::from_string(e)))))
            }
        }
    }
}

impl<R: Runtime, M, S> Drop for LogSession<'_, R, M, S> {
    fn drop(&mut self) {
        // Answers still due would be taken for those of the next session.
        if self.failed || self.in_flight > 0 {
            *self.conn = None;
        }
    }
}

impl<R: Runtime, M, S> Unpin for LogSession<'_, R, M, S> {}

fn into_raft<R: Runtime, M: Machine>(answer: WireAppended) -> Answer<R, M> {
    match answer {
        WireAppended::Matching(at) => Ok(Ok(at.map(Into::into))),
        WireAppended::Conflict(at) => Ok(Err(StreamAppendError::Conflict(at.into()))),
        WireAppended::HigherVote(vote) => Ok(Err(StreamAppendError::HigherVote(vote.into()))),
        WireAppended::NoSpace(why) => Err(RPCError::Network(NetworkError::from_string(format!("no space: {why}")))),
    }
}
