//! The follower's side of a log connection: appends into openraft's pipelined stream, answers out in order.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::{Sink, Stream, stream};
use openraft::Raft;
use openraft::raft::{AppendEntriesRequest, StreamAppendResult};
use quorumq_store::log_store::Promise;
use tokio::sync::mpsc;
use tokio_util::codec::Framed;
use tokio_util::sync::PollSender;

use super::append::from_wire;
use super::codec::{Outgoing, PeerCodec};
use crate::machine::Machine;
use crate::runtime::Runtime;
use crate::state_machine::Shell;
use crate::types::Types;
use crate::wire::{WireAppend, WireAppended};

/// Appends decoded ahead of the Raft core.
const AHEAD: usize = 64;

/// Serves appends until the connection ends. `room` promises room for a request's bodies (given in bytes) or tells why
/// there is none: asked before openraft sees them, as an error inside its storage calls is fatal.
///
/// # Errors
/// The connection was lost, or bytes that are no append.
pub async fn serve_log<R: Runtime, M: Machine>(
    stream: R::Stream,
    raft: &Raft<Types<R, M>, Shell<R, M>>,
    room: impl Fn(u64) -> Result<Promise, String>,
) -> io::Result<()> {
    let framed = Framed::with_capacity(stream, PeerCodec::default(), 256 * 1024);
    let (tx, rx) = mpsc::channel(AHEAD);
    let input = stream::unfold(rx, |mut rx| async move { rx.recv().await.map(|request| (request, rx)) });
    let answers = Box::pin(raft.stream_append(Box::pin(input)));
    let sender = Some(PollSender::new(tx));
    let mut serving = Serving { framed, sender, answers, promised: VecDeque::new(), no_room: None, ended: false };
    poll_fn(|cx| serving.poll(cx, &room)).await
}

struct Serving<S, Q, F> {
    framed: Framed<S, PeerCodec<WireAppended, WireAppend>>,
    /// `None` once no more appends are taken.
    sender: Option<PollSender<Q>>,
    answers: Pin<Box<F>>,
    /// Room for each request that openraft has not answered, oldest first; `None` for one without entries.
    promised: VecDeque<Option<Promise>>,
    /// Why a request found no room. It is told behind the answers to those before it, which may be in a majority by now.
    no_room: Option<String>,
    /// openraft ended the stream (conflict, higher vote): flush the answer, then close.
    ended: bool,
}

impl<S, R, M, F, E> Serving<S, AppendEntriesRequest<Types<R, M>>, F>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    R: Runtime,
    M: Machine,
    F: Stream<Item = Result<StreamAppendResult<Types<R, M>>, E>>,
    E: std::fmt::Display,
{
    fn poll(&mut self, cx: &mut Context<'_>, room: &impl Fn(u64) -> Result<Promise, String>) -> Poll<io::Result<()>> {
        loop {
            let mut moved = self.poll_answers(cx)?;
            if !self.framed.write_buffer().is_empty() {
                let flush = Sink::<Outgoing<'_, WireAppended>>::poll_flush(Pin::new(&mut self.framed), cx)?;
                moved |= flush.is_ready();
            }
            if self.ended && self.framed.write_buffer().is_empty() {
                return Poll::Ready(Ok(()));
            }
            match self.poll_read(cx, room)? {
                Poll::Ready(true) => moved = true,
                Poll::Ready(false) => return Poll::Ready(Ok(())),
                Poll::Pending => {}
            }
            if !moved {
                return Poll::Pending;
            }
        }
    }

    fn poll_answers(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let mut moved = false;
        while !self.ended {
            let answer = match self.answers.as_mut().poll_next(cx) {
                Poll::Pending => break,
                Poll::Ready(None) => {
                    if let Some(why) = self.no_room.take() {
                        self.send(&WireAppended::NoSpace(why))?;
                        moved = true;
                    }
                    self.ended = true;
                    break;
                }
                Poll::Ready(Some(Err(e))) => return Err(io::Error::other(format!("the node has stopped: {e}"))),
                Poll::Ready(Some(Ok(answer))) => answer,
            };
            self.promised.pop_front();
            self.send(&WireAppended::from_stream(&answer))?;
            moved = true;
        }
        Ok(moved)
    }

    fn send(&mut self, answer: &WireAppended) -> io::Result<()> {
        Sink::start_send(Pin::new(&mut self.framed), Outgoing { header: answer, raw: &[] })
    }

    /// Takes one append. Ready(false) when the leader closed the connection.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        room: &impl Fn(u64) -> Result<Promise, String>,
    ) -> io::Result<Poll<bool>> {
        let Some(sender) = self.sender.as_mut().filter(|_| !self.ended) else {
            return Ok(Poll::Pending);
        };
        match sender.poll_reserve(cx) {
            Poll::Pending => return Ok(Poll::Pending),
            Poll::Ready(Err(_)) => {
                self.sender = None;
                return Ok(Poll::Pending);
            }
            Poll::Ready(Ok(())) => {}
        }
        let frame = match Pin::new(&mut self.framed).poll_next(cx)? {
            Poll::Pending => return Ok(Poll::Pending),
            Poll::Ready(None) => return Ok(Poll::Ready(false)),
            Poll::Ready(Some(frame)) => frame,
        };
        let bytes = frame.raw.len() as u64;
        let promise = match (bytes > 0).then(|| room(bytes)).transpose() {
            Ok(promise) => promise,
            Err(why) => {
                self.no_room = Some(why);
                // The end of its input: openraft answers what it has, then ends the stream.
                self.sender = None;
                return Ok(Poll::Ready(true));
            }
        };
        let request = from_wire(frame)?;
        match sender.send_item(request) {
            Ok(()) => self.promised.push_back(promise),
            Err(_) => self.sender = None,
        }
        Ok(Poll::Ready(true))
    }
}
