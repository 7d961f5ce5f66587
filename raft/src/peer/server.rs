//! The acceptor: peers' connections, each served by one task.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::task::AtomicWaker;
use futures_util::{Sink, Stream};
use tokio_util::codec::Framed;
use tokio_util::sync::CancellationToken;

use super::codec::{Frame, Outgoing, PeerCodec, encode_frame};
use super::handshake::{HANDSHAKE_TIMEOUT, LocalPeer, accept};
use super::message::{Answered, Asked, Hello, Purpose, Request, Response};
use crate::runtime::{Listener, Runtime};
use crate::types::{Member, NodeId};

/// Connections a node accepts from its peers: some tens are used, the rest guards against a scanner.
const MAX_CONNECTIONS: usize = 512;
/// Requests of one connection that are handled at a time; the rest waits unread.
const MAX_HANDLING: usize = 1024;
/// Pause after a failed accept (out of file handles, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A future that answers a request.
pub type Answer = Pin<Box<dyn Future<Output = (Response, Vec<Bytes>)> + Send>>;

/// What stands behind the acceptor.
pub trait PeerService<R: Runtime>: Send + Sync + 'static {
    /// Who we are now.
    fn local(&self) -> LocalPeer;
    /// What the membership knows of a node.
    fn known(&self, id: NodeId) -> Option<Member>;
    /// Answers one request of `from`.
    fn answer(self: Arc<Self>, from: Option<NodeId>, request: Request, raw: Bytes) -> Answer;
    /// Serves a log connection until it ends.
    fn serve_log(self: Arc<Self>, stream: R::Stream) -> Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;
    /// A connection of `from` has ended.
    fn lost(&self, from: NodeId);
}

/// Accepts connections until `stop`.
pub async fn serve<R: Runtime, S: PeerService<R>>(mut listener: R::Listener, service: Arc<S>, stop: CancellationToken) {
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        let accepted = match R::select2(stop.cancelled(), listener.accept()).await {
            openraft_rt::Select2::First(()) => return,
            openraft_rt::Select2::Second(accepted) => accepted,
        };
        match accepted {
            Ok((stream, _)) if open.load(Ordering::Relaxed) >= MAX_CONNECTIONS => drop(stream),
            Ok((stream, addr)) => {
                open.fetch_add(1, Ordering::Relaxed);
                let (service, open, stop) = (Arc::clone(&service), Arc::clone(&open), stop.clone());
                drop(R::spawn(async move {
                    let served = R::select2(stop.cancelled(), serve_one::<R, S>(stream, service)).await;
                    if let openraft_rt::Select2::Second(Err(e)) = served {
                        tracing::info!(%addr, "peer connection ended: {e}");
                    }
                    open.fetch_sub(1, Ordering::Relaxed);
                }));
            }
            Err(e) => {
                tracing::warn!("cannot accept a peer connection: {e}");
                R::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_one<R: Runtime, S: PeerService<R>>(stream: R::Stream, service: Arc<S>) -> io::Result<()> {
    let local = service.local();
    let shaken = R::timeout(HANDSHAKE_TIMEOUT, accept::<R>(&local, stream, |id| service.known(id))).await;
    let (stream, hello) = match shaken {
        Err(_) => return Err(io::Error::new(io::ErrorKind::TimedOut, "no handshake in time")),
        Ok(Err(e)) => return Err(e),
        Ok(Ok(Err(refused))) => return Err(io::Error::other(format!("refused: {refused}"))),
        Ok(Ok(Ok(done))) => done,
    };
    let Hello { purpose, from, .. } = hello;
    let from = from.map(|caller| caller.id);
    let served = match purpose {
        Purpose::Log => Arc::clone(&service).serve_log(stream).await,
        _ => serve_requests::<R, S>(stream, from, &service).await,
    };
    if let Some(from) = from {
        service.lost(from);
    }
    served
}

/// Answers waiting to be written, filled by handler tasks.
#[derive(Debug, Default)]
struct Outbox {
    bytes: Mutex<BytesMut>,
    handling: AtomicUsize,
    waker: AtomicWaker,
}

impl Outbox {
    fn answer(&self, id: u64, response: Response, raw: &[Bytes]) {
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(e) = encode_frame(&Answered { id, response }, raw, &mut bytes) {
            tracing::error!("cannot encode an answer to a peer: {e}");
        }
        drop(bytes);
        self.handling.fetch_sub(1, Ordering::AcqRel);
        self.waker.wake();
    }
    fn take(&self) -> BytesMut {
        std::mem::take(&mut *self.bytes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

type RequestStream<S> = Framed<S, PeerCodec<Answered, Asked>>;

async fn serve_requests<R: Runtime, S: PeerService<R>>(
    stream: R::Stream,
    from: Option<NodeId>,
    service: &Arc<S>,
) -> io::Result<()> {
    let outbox = Arc::new(Outbox::default());
    let mut framed: RequestStream<R::Stream> = Framed::new(stream, PeerCodec::default());
    poll_fn(|cx| {
        poll_requests(&mut framed, &outbox, cx, |asked: Frame<Asked>| {
            outbox.handling.fetch_add(1, Ordering::AcqRel);
            let outbox = Arc::clone(&outbox);
            let answer = Arc::clone(service).answer(from, asked.header.request, asked.raw);
            drop(R::spawn(async move {
                let (response, raw) = answer.await;
                outbox.answer(asked.header.id, response, &raw);
            }));
        })
    })
    .await
}

fn poll_requests<S>(
    framed: &mut RequestStream<S>,
    outbox: &Outbox,
    cx: &mut Context<'_>,
    mut start: impl FnMut(Frame<Asked>),
) -> Poll<io::Result<()>>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    outbox.waker.register(cx.waker());
    loop {
        let mut moved = false;
        if framed.write_buffer().is_empty() {
            *framed.write_buffer_mut() = outbox.take();
        }
        if !framed.write_buffer().is_empty() {
            moved |= Sink::<Outgoing<'_, Answered>>::poll_flush(Pin::new(&mut *framed), cx)?.is_ready();
        }
        if outbox.handling.load(Ordering::Acquire) < MAX_HANDLING {
            match Pin::new(&mut *framed).poll_next(cx)? {
                Poll::Ready(Some(asked)) => {
                    start(asked);
                    moved = true;
                }
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending => {}
            }
        }
        if !moved {
            return Poll::Pending;
        }
    }
}

/// Process numbers of peers as last seen, to notice that a process was replaced.
#[derive(Debug, Default)]
pub struct Processes(Mutex<BTreeMap<NodeId, u64>>);

impl Processes {
    /// Notes `process` for `id`; the one before, if it was another.
    pub fn note(&self, id: NodeId, process: u64) -> Option<u64> {
        let before = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id, process);
        before.filter(|before| *before != process)
    }
}
