//! Sends in the background: one task drives them all, none has a task of its own.

use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use openraft_rt::Select3;
use quorumq_raft::runtime::Runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::prepared::Prepared;
use super::sending::SendResult;
use super::{Inner, Place};
use crate::client::error::ClientError;

/// Most sends under way, whatever is set: what one connection takes (65,535), over a few brokers.
const MAX_IN_FLIGHT: usize = 1 << 20;

type Outcome = Result<SendResult, ClientError>;
type Done = Box<dyn FnOnce(Outcome) + Send>;

/// The outcome of a send in the background.
#[derive(Debug)]
pub struct SendHandle {
    outcome: oneshot::Receiver<Outcome>,
    msg_id: String,
}

impl SendHandle {
    pub(super) fn new(msg_id: &str) -> (Self, impl FnOnce(Outcome) + Send + 'static) {
        let (tell, outcome) = oneshot::channel();
        let done = move |result| {
            // The handle may have been dropped.
            drop(tell.send(result));
        };
        (Self { outcome, msg_id: msg_id.to_owned() }, done)
    }
}

impl Future for SendHandle {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let outcome = std::task::ready!(Pin::new(&mut self.outcome).poll(cx));
        // The client was dropped in the middle of it.
        let lost = |_| {
            let detail = "the producer was dropped".to_owned();
            Err(ClientError::Unknown { msg_id: std::mem::take(&mut self.msg_id), attempts: 1, detail })
        };
        Poll::Ready(outcome.unwrap_or_else(lost))
    }
}

struct Job {
    prepared: Prepared,
    place: Place,
    done: Done,
    /// Given back when the send has ended.
    permit: OwnedSemaphorePermit,
}

/// The way to the task that drives sends in the background.
#[derive(Clone)]
pub(super) struct AsyncSends {
    jobs: mpsc::Sender<Job>,
    room: Arc<Semaphore>,
}

impl AsyncSends {
    pub(super) fn start<R: Runtime>(inner: &Arc<Inner<R>>) -> Self {
        let limit = inner.options.async_in_flight.clamp(1, MAX_IN_FLIGHT);
        // A job holds its permit, so the channel never fills up.
        let (jobs, queue) = mpsc::channel(limit);
        inner.core.tasks.spawn(drive(Arc::clone(inner), queue));
        Self { jobs, room: Arc::new(Semaphore::new(limit)) }
    }

    pub(super) async fn submit(&self, prepared: Prepared, place: Place, done: Done) -> Result<(), ClientError> {
        let permit = Arc::clone(&self.room).acquire_owned().await.map_err(|_| ClientError::Closed)?;
        let job = Job { prepared, place, done, permit };
        self.jobs.send(job).await.map_err(|_| ClientError::Closed)
    }

    /// Takes no more sends and waits until those under way, of at most `limit`, have ended.
    pub(super) async fn close(&self, limit: usize) {
        let all = limit.clamp(1, MAX_IN_FLIGHT) as u32;
        // Fails only if it was closed before.
        if let Ok(permits) = self.room.acquire_many(all).await {
            self.room.close();
            permits.forget();
        }
    }
}

async fn drive<R: Runtime>(inner: Arc<Inner<R>>, mut queue: mpsc::Receiver<Job>) {
    let stop = inner.core.stopped();
    let mut running = FuturesUnordered::new();
    let mut open = true;
    while open || !running.is_empty() {
        let job = async { if open { queue.recv().await } else { pending().await } };
        let ended = async { if running.is_empty() { pending().await } else { running.next().await } };
        match R::select3(stop.cancelled(), job, ended).await {
            Select3::First(()) => return,
            Select3::Second(Some(job)) => running.push(run(&inner, job)),
            Select3::Second(None) => open = false,
            Select3::Third(_) => {}
        }
    }
    // The last producer is gone without a word: so are its other tasks, then.
    inner.core.tasks.cancel();
}

async fn run<R: Runtime>(inner: &Inner<R>, job: Job) {
    let outcome = inner.send(&job.prepared, &job.place, None).await;
    drop(job.permit);
    (job.done)(outcome);
}
