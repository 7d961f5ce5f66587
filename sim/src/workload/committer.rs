//! A consumer group that only commits: forward mostly, back now and then; and asks what it has committed.

use std::collections::BTreeMap;

use quorumq::client::{ClientError, MessageQueue};
use quorumq_store::QueueOffset;
use rand::RngExt;

use super::read::failed;
use super::{Client, PullConsumer};
use crate::history::{Action, Ended};

/// The group that all committers are in.
const GROUP: &str = "committers";

pub async fn run(client: Client) -> Result<(), ClientError> {
    let consumer = PullConsumer::start_with(GROUP, client.options.clone())?;
    // Where this life believes the group to be.
    let mut at: BTreeMap<MessageQueue, QueueOffset> = BTreeMap::new();
    while client.pause().await {
        let queues = consumer.message_queues(&client.any_topic()).await.unwrap_or_default();
        if queues.is_empty() {
            continue;
        }
        let queue = &queues[client.world.rng().random_range(0..queues.len())];
        let known = at.get(queue).copied();
        let next = match (known, client.world.rng().random_range(0..10)) {
            (None, _) | (_, 0..=4) => query(&client, &consumer, queue).await,
            (Some(known), 5..=8) => forward(&client, &consumer, queue, known).await,
            (Some(known), _) => {
                let back = QueueOffset(client.world.rng().random_range(0..=known.0));
                Some(commit(&client, &consumer, queue, back, true).await)
            }
        };
        if let Some(next) = next {
            at.insert(queue.clone(), next);
        }
    }
    consumer.close().await;
    Ok(())
}

/// Asks where the group is.
async fn query(client: &Client, consumer: &PullConsumer, queue: &MessageQueue) -> Option<QueueOffset> {
    let line = client.begin(Action::Committed { group: GROUP.into(), place: queue.into() });
    match consumer.committed(queue).await {
        Ok(found) => {
            client.end(line, Ended::Offset(found.map(|offset| offset.0)));
            Some(found.unwrap_or(QueueOffset(0)))
        }
        Err(e) => {
            client.end(line, failed(&e));
            None
        }
    }
}

/// Commits an offset between `from` and the queue's end: one beyond it would be cut to it.
async fn forward(
    client: &Client,
    consumer: &PullConsumer,
    queue: &MessageQueue,
    from: QueueOffset,
) -> Option<QueueOffset> {
    let max = consumer.core().max_offset(queue).await.ok()?;
    let offset = client.world.rng().random_range(from.0..=max.0.max(from.0));
    Some(commit(client, consumer, queue, QueueOffset(offset), false).await)
}

/// Commits an offset, which it returns.
async fn commit(
    client: &Client,
    consumer: &PullConsumer,
    queue: &MessageQueue,
    offset: QueueOffset,
    reset: bool,
) -> QueueOffset {
    let action = Action::Commit { group: GROUP.into(), place: queue.into(), offset: offset.0, reset };
    let line = client.begin(action.clone());
    match consumer.commit(queue, offset).await {
        Ok(changed) => {
            client.end(line, Ended::Done);
            if changed.maybe_again {
                // An attempt before the one that was answered may still be carried out, at any time.
                let again = client.begin(action);
                client.end(again, Ended::Unknown("an earlier attempt was not answered".to_owned()));
            }
        }
        Err(e) if e.is_unknown() => client.end(line, Ended::Unknown(e.to_string())),
        Err(e) => client.end(line, Ended::Refused(e.to_string())),
    }
    offset
}
