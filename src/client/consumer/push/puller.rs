//! Pulls one queue for as long as it is ours.

use std::sync::Arc;
use std::time::Duration;

use openraft_rt::Select2;
use quorumq_raft::runtime::Runtime;

use super::Shared;
use super::consume::Work;
use crate::client::consumer::process_queue::ProcessQueue;
use crate::client::consumer::pull::{Pull, PullResult, PullStatus};
use crate::client::consumer::subscription::Subscription;
use crate::client::error::ClientError;
use crate::client::heartbeat;
use crate::client::queue::MessageQueue;
use crate::client::time::now;
use crate::protocol::code::response;

/// Pause after a pull that nobody could answer for another reason than a lost connection
/// (`pullTimeDelayMillsWhenException`).
const AFTER_ERROR: Duration = Duration::from_secs(1);

/// Pause after a lost connection: another member answers within tens of milliseconds.
const AFTER_LOSS: Duration = Duration::from_millis(20);

/// Pause after an answer that brought us nowhere although the broker did not hold the request, so that a broker that
/// holds none is not asked in a tight loop.
const NOT_HELD: Duration = Duration::from_millis(50);

pub(super) async fn run<R: Runtime>(shared: Arc<Shared<R>>, queue: MessageQueue, process: Arc<ProcessQueue>) {
    let Some(subscription) = shared.subscriptions.get(&queue.topic) else { return };
    let dropped = process.dropped().clone();
    loop {
        let round = round(&shared, &queue, &process, subscription);
        match R::select2(dropped.cancelled(), round).await {
            Select2::First(()) => return,
            Select2::Second(()) => {}
        }
    }
}

/// One pull and what follows from it.
async fn round<R: Runtime>(
    shared: &Arc<Shared<R>>,
    queue: &MessageQueue,
    process: &Arc<ProcessQueue>,
    subscription: &Subscription,
) {
    process.room().await;
    let offset = process.next();
    let begun = now::<R>();
    let (group, max, hold) = (&*shared.options.group, shared.options.batch, shared.options.hold);
    match shared.core.pull(&Pull { group, queue, offset, max, subscription, hold }).await {
        Ok(result) => {
            let stuck = result.messages.is_empty() && result.next_offset == offset;
            take_in(shared, queue, process, result).await;
            if stuck && now::<R>() - begun < NOT_HELD {
                R::sleep(NOT_HELD).await;
            }
        }
        Err(error) => after_error(shared, queue, &error).await,
    }
}

async fn take_in<R: Runtime>(
    shared: &Arc<Shared<R>>,
    queue: &MessageQueue,
    process: &Arc<ProcessQueue>,
    result: PullResult,
) {
    let asked = process.next();
    let next = match result.status {
        PullStatus::OffsetIllegal => {
            // Beyond the end we go on at the end, before the beginning at the beginning: never from an end to the other.
            let next = asked.clamp(result.min_offset, result.max_offset.max(result.min_offset));
            tracing::warn!(%queue, %asked, %next, min = %result.min_offset, max = %result.max_offset,
                "the offset is outside of what the queue holds");
            next
        }
        _ => result.next_offset,
    };
    process.add(result.messages.iter().map(|message| (message.queue_offset, message.stored_len)), next);
    for message in result.messages {
        let work = Work { message: Arc::new(message), process: Arc::clone(process) };
        if shared.work.send(work).await.is_err() {
            // The workers are gone: the consumer is being closed.
            return;
        }
    }
}

async fn after_error<R: Runtime>(shared: &Shared<R>, queue: &MessageQueue, error: &ClientError) {
    tracing::debug!(%queue, %error, "a pull failed");
    match error {
        ClientError::NoAnswer(_) | ClientError::NotSent(_) => R::sleep(AFTER_LOSS).await,
        ClientError::Refused { code: response::SUBSCRIPTION_NOT_EXIST | response::SUBSCRIPTION_NOT_LATEST, .. } => {
            heartbeat::beat(&shared.core, heartbeat::Whom::Members, &shared.heartbeat).await;
            R::sleep(NOT_HELD).await;
        }
        _ => {
            shared.core.routes.refresh_soon(&queue.topic);
            R::sleep(AFTER_ERROR).await;
        }
    }
}
