//! Hands messages to the listener: a fixed number of workers, however many queues there are.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use openraft_rt::{Select2, Select3};
use quorumq_raft::runtime::Runtime;
use tokio::sync::{Notify, mpsc};

use super::{ConsumeResult, Listener, Shared};
use crate::client::consumer::message::MessageExt;
use crate::client::consumer::process_queue::ProcessQueue;
use crate::client::time::now;

/// How long the redelivery task sleeps while nothing waits; it is woken for the first message.
const NOTHING_DELAYED: Duration = Duration::from_secs(60);

/// A message and the queue it counts for.
pub(super) struct Work {
    pub message: Arc<MessageExt>,
    pub process: Arc<ProcessQueue>,
}

/// Messages to be handed over again, by when. Bounded by what the queues may hold.
pub(super) struct Delayed<R: Runtime> {
    waiting: Mutex<Waiting<R>>,
    /// Something was added.
    added: Notify,
}

struct Waiting<R: Runtime> {
    by_time: BTreeMap<(R::Instant, u64), Work>,
    /// Numbers messages, as several may be due at one instant.
    next: u64,
}

impl<R: Runtime> Default for Delayed<R> {
    fn default() -> Self {
        Self { waiting: Mutex::new(Waiting { by_time: BTreeMap::new(), next: 0 }), added: Notify::new() }
    }
}

impl<R: Runtime> Delayed<R> {
    fn add(&self, at: R::Instant, work: Work) {
        let mut waiting = self.lock();
        let number = waiting.next;
        waiting.next += 1;
        waiting.by_time.insert((at, number), work);
        drop(waiting);
        self.added.notify_one();
    }

    fn first(&self) -> Option<R::Instant> {
        self.lock().by_time.first_key_value().map(|((at, _), _)| *at)
    }

    fn take_due(&self, now: R::Instant) -> Option<Work> {
        let mut waiting = self.lock();
        let first = waiting.by_time.first_entry().filter(|first| first.key().0 <= now)?;
        Some(first.remove())
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<R>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts the workers, which share one listener and one queue of work.
pub(super) fn start_workers<R: Runtime, L: Listener>(
    shared: &Arc<Shared<R>>,
    queue: mpsc::Receiver<Work>,
    listener: L,
) {
    let queue = Arc::new(tokio::sync::Mutex::new(queue));
    let listener = Arc::new(listener);
    for _ in 0..shared.options.concurrency.max(1) {
        let worker = work(Arc::clone(shared), Arc::clone(&queue), Arc::clone(&listener));
        shared.core.tasks.spawn(worker);
    }
}

async fn work<R: Runtime, L: Listener>(
    shared: Arc<Shared<R>>,
    queue: Arc<tokio::sync::Mutex<mpsc::Receiver<Work>>>,
    listener: Arc<L>,
) {
    let stop = shared.core.stopped();
    loop {
        let next = async { queue.lock().await.recv().await };
        let work = match R::select2(stop.cancelled(), next).await {
            Select2::First(()) | Select2::Second(None) => return,
            Select2::Second(Some(work)) => work,
        };
        if !work.process.begin() {
            continue;
        }
        let offset = work.message.queue_offset;
        let consuming = async { listener.consume(Arc::clone(&work.message)).await };
        let consumed = AssertUnwindSafe(consuming).catch_unwind().await;
        match consumed {
            Ok(ConsumeResult::Consumed) => work.process.end(Some(offset)),
            later => {
                if later.is_err() {
                    tracing::error!(queue = %work.message.queue, %offset, "the listener panicked; the message comes again");
                }
                work.process.end(None);
                let message = Arc::new(Arc::unwrap_or_clone(work.message).again());
                shared.delayed.add(now::<R>() + shared.options.redeliver_after, Work { message, ..work });
            }
        }
    }
}

/// Hands messages over again when their time has come.
pub(super) async fn redeliver<R: Runtime>(shared: Arc<Shared<R>>) {
    let stop = shared.core.stopped();
    loop {
        while let Some(work) = shared.delayed.take_due(now::<R>()) {
            match R::select2(stop.cancelled(), shared.work.send(work)).await {
                Select2::Second(Ok(())) => {}
                Select2::First(()) | Select2::Second(Err(_)) => return,
            }
        }
        let until = shared.delayed.first().unwrap_or_else(|| now::<R>() + NOTHING_DELAYED);
        match R::select3(stop.cancelled(), shared.delayed.added.notified(), R::sleep_until(until)).await {
            Select3::First(()) => return,
            Select3::Second(()) | Select3::Third(()) => {}
        }
    }
}
