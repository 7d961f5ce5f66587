//! A multiplexed client connection: many requests in flight, answers by id, one task per connection.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_util::task::AtomicWaker;
use futures_util::{Sink, Stream};
use tokio::sync::oneshot;
use tokio_util::codec::Framed;

use super::codec::{Frame, Outgoing, PeerCodec, encode_frame};
use super::message::{Answered, Asked, Request, Response};
use crate::runtime::Runtime;

/// Bytes a connection may hold unsent before calls are refused: a peer that does not read must not cost memory.
const MAX_UNSENT: usize = 64 * 1024 * 1024;

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The request never left this process: the peer has not seen it and never will.
    #[error("not sent: {0}")]
    NotSent(String),
    /// The request may have been handled: the connection was lost, or no answer came in time.
    #[error("outcome unknown: {0}")]
    Unknown(String),
}

/// Unanswered calls at which those whose caller gave up are forgotten.
const SWEEP_AT: usize = 1024;

/// What a call ends with.
type Ended = Result<(Response, Bytes), CallError>;
type Waiting = oneshot::Sender<Ended>;

#[derive(Debug, Default)]
struct State {
    next_id: u64,
    unsent: BytesMut,
    waiting: BTreeMap<u64, Waiting>,
    closed: Option<String>,
}

/// A connection to one peer.
#[derive(Debug)]
pub struct Mux {
    state: Mutex<State>,
    waker: AtomicWaker,
    lost: AtomicBool,
}

impl Mux {
    /// Starts the connection's task on a stream that has shaken hands. `on_lost` is called once when it ends.
    pub fn start<R: Runtime>(stream: R::Stream, on_lost: impl FnOnce() + Send + 'static) -> Arc<Self> {
        let mux = Arc::new(Self {
            state: Mutex::new(State::default()),
            waker: AtomicWaker::new(),
            lost: AtomicBool::new(false),
        });
        let task = Arc::clone(&mux);
        drop(R::spawn(async move {
            let mut framed = Framed::new(stream, PeerCodec::<Asked, Answered>::default());
            let reason = poll_fn(|cx| task.poll(&mut framed, cx)).await;
            task.end(reason);
            on_lost();
        }));
        mux
    }

    /// Whether the connection has ended.
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// Ends the connection.
    pub fn close(&self) {
        self.lock().closed.get_or_insert_with(|| "closed here".to_owned());
        self.waker.wake();
    }

    /// Sends a request and waits for its answer. Dropping the future abandons the answer, not the request.
    ///
    /// # Errors
    /// [`CallError::NotSent`] before anything was queued, [`CallError::Unknown`] after.
    pub async fn call(&self, request: Request, raw: &[Bytes]) -> Result<(Response, Bytes), CallError> {
        let answer = self.queue(request, raw)?;
        answer.await.unwrap_or_else(|_| Err(CallError::Unknown("the connection's task ended".to_owned())))
    }

    fn queue(&self, request: Request, raw: &[Bytes]) -> Result<oneshot::Receiver<Ended>, CallError> {
        let (tx, rx) = oneshot::channel();
        let mut state = self.lock();
        if let Some(reason) = &state.closed {
            return Err(CallError::NotSent(reason.clone()));
        }
        if state.unsent.len() > MAX_UNSENT {
            return Err(CallError::NotSent(format!("{} bytes wait unsent", state.unsent.len())));
        }
        if state.waiting.len() >= SWEEP_AT {
            state.waiting.retain(|_, tx| !tx.is_closed());
        }
        let id = state.next_id;
        state.next_id += 1;
        encode_frame(&Asked { id, request }, raw, &mut state.unsent).map_err(|e| CallError::NotSent(e.to_string()))?;
        state.waiting.insert(id, tx);
        drop(state);
        self.waker.wake();
        Ok(rx)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves bytes both ways until the connection ends; ready with the reason.
    fn poll<S>(&self, framed: &mut Framed<S, PeerCodec<Asked, Answered>>, cx: &mut Context<'_>) -> Poll<String>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    {
        self.waker.register(cx.waker());
        loop {
            {
                let mut state = self.lock();
                if let Some(reason) = &state.closed {
                    return Poll::Ready(reason.clone());
                }
                if !state.unsent.is_empty() && framed.write_buffer().is_empty() {
                    *framed.write_buffer_mut() = std::mem::take(&mut state.unsent);
                }
            }
            let mut moved = false;
            if !framed.write_buffer().is_empty() {
                match Sink::<Outgoing<'_, Asked>>::poll_flush(Pin::new(framed), cx) {
                    Poll::Ready(Ok(())) => moved = true,
                    Poll::Ready(Err(e)) => return Poll::Ready(format!("write: {e}")),
                    Poll::Pending => {}
                }
            }
            match Pin::new(&mut *framed).poll_next(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.answered(frame);
                    moved = true;
                }
                Poll::Ready(Some(Err(e))) => return Poll::Ready(format!("read: {e}")),
                Poll::Ready(None) => return Poll::Ready("the peer closed the connection".to_owned()),
                Poll::Pending => {}
            }
            if !moved {
                return Poll::Pending;
            }
        }
    }

    fn answered(&self, frame: Frame<Answered>) {
        let waiting = self.lock().waiting.remove(&frame.header.id);
        if let Some(tx) = waiting {
            // A caller that gave up no longer listens; the answer is then of no use to anyone.
            let _ = tx.send(Ok((frame.header.response, frame.raw)));
        }
    }

    fn end(&self, reason: String) {
        self.lost.store(true, Ordering::Release);
        let waiting = {
            let mut state = self.lock();
            state.closed = Some(reason.clone());
            state.unsent = BytesMut::new();
            std::mem::take(&mut state.waiting)
        };
        for (_, tx) in waiting {
            let _ = tx.send(Err(CallError::Unknown(reason.clone())));
        }
    }
}
