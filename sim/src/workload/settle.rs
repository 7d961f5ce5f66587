//! Waits until the push consumers are done: everything acknowledged was handed to one of them, and all is committed.

use std::collections::BTreeSet;
use std::time::Duration;

use openraft_rt::AsyncRuntime;
use quorumq::client::MessageQueue;
use quorumq_store::QueueOffset;

use super::push::GROUP as WORKERS;
use super::{Client, PullConsumer, soon, topics, until_ok};
use crate::history::{Action, Ended, Place};
use crate::runtime::SimRuntime;

/// How long one question may take to get an answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it looks.
const LOOK: Duration = Duration::from_millis(500);

/// A queue and what it holds.
struct Held {
    queue: MessageQueue,
    min: QueueOffset,
    max: QueueOffset,
}

/// Waits until every acknowledged message of the client's topics, but for those purged meanwhile, was handed to the push
/// consumers, and these have committed up to every queue's end. Push consumers have to be at work, producers not: consumers
/// who died without a word keep their share for up to two minutes, and shares are computed anew every 20 s.
///
/// # Errors
/// What is missing after `limit`.
pub async fn settle(client: Client, limit: Duration) -> Result<(), String> {
    topics::restore(&client).await?;
    let consumer = PullConsumer::start_with("settlers", client.options.clone()).map_err(|e| e.to_string())?;
    let end = client.world.elapsed() + limit;
    let held = held(&client, &consumer).await?;
    let mut unseen = acknowledged(&client, &held);
    let mut looked_at = 0;
    loop {
        looked_at = strike_off(&client, &mut unseen, looked_at);
        if unseen.is_empty() {
            break;
        }
        strike_off_purged(&consumer, &mut unseen).await;
        if client.world.elapsed() >= end {
            let first = unseen.first();
            let count = unseen.len();
            return Err(format!(
                "{count} acknowledged messages were handed to no push consumer, the first at {first:?}"
            ));
        }
        SimRuntime::sleep(LOOK).await;
    }
    for held in held.iter().filter(|held| held.max > held.min) {
        await_commit(&client, &consumer, held, end).await?;
    }
    consumer.close().await;
    Ok(())
}

/// All queues of the client's topics, and where they begin and end.
async fn held(client: &Client, consumer: &PullConsumer) -> Result<Vec<Held>, String> {
    let mut all = Vec::new();
    for topic in client.topics.iter() {
        let what = format!("the queues of {}", topic.name);
        let route = until_ok(&what, PATIENCE, || consumer.core().routes.fetch(&topic.name, soon(consumer))).await?;
        for routed in &route.read {
            let queue = routed.queue.clone();
            let min = until_ok(&what, PATIENCE, || consumer.core().min_offset(&queue)).await?;
            let max = until_ok(&what, PATIENCE, || consumer.core().max_offset(&queue)).await?;
            all.push(Held { queue, min, max });
        }
    }
    Ok(all)
}

/// Where acknowledged messages lie that are still held.
fn acknowledged(client: &Client, held: &[Held]) -> BTreeSet<(Place, u64)> {
    let mut places = BTreeSet::new();
    client.ledger.look(|history| {
        for op in &history.ops {
            let (Action::Send { messages, .. }, Ended::Stored { place, offset, .. }) = (&op.action, &op.ended) else {
                continue;
            };
            let slots = (*offset..*offset + messages.len() as u64).map(|offset| (place.clone(), offset));
            places.extend(slots);
        }
    });
    let is_held = |(place, offset): &(Place, u64)| {
        held.iter().any(|held| Place::from(&held.queue) == *place && *offset >= held.min.0)
    };
    places.retain(is_held);
    places
}

/// Takes away what was handed over in operations from number `from` on; how many operations there are.
fn strike_off(client: &Client, unseen: &mut BTreeSet<(Place, u64)>, from: usize) -> usize {
    client.ledger.look(|history| {
        for op in &history.ops[from..] {
            let (Action::Consume { place, .. }, Ended::Read { messages, .. }) = (&op.action, &op.ended) else {
                continue;
            };
            for message in messages {
                unseen.remove(&(place.clone(), message.offset));
            }
        }
        history.ops.len()
    })
}

/// Takes away what retention has purged while nobody had come to it.
async fn strike_off_purged(consumer: &PullConsumer, unseen: &mut BTreeSet<(Place, u64)>) {
    let places: BTreeSet<Place> = unseen.iter().map(|(place, _)| place.clone()).collect();
    for place in places {
        let queue = MessageQueue::new(&place.topic, &place.broker, place.queue);
        if let Ok(min) = consumer.core().min_offset(&queue).await {
            unseen.retain(|(of, offset)| *of != place || *offset >= min.0);
        }
    }
}

/// Waits until the push consumers have committed a queue to its end.
async fn await_commit(client: &Client, consumer: &PullConsumer, held: &Held, end: Duration) -> Result<(), String> {
    let Held { queue, max, .. } = held;
    loop {
        let committed = consumer.core().committed(WORKERS, queue).await;
        if committed.as_ref().is_ok_and(|offset| offset.is_some_and(|offset| offset >= *max)) {
            return Ok(());
        }
        if client.world.elapsed() >= end {
            return Err(format!("{WORKERS} have to commit {max} of {queue}, and there is {committed:?}"));
        }
        SimRuntime::sleep(LOOK).await;
    }
}
