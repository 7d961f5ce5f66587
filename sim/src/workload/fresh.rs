//! Whether the system works again: fresh messages are taken by every group and can be read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use openraft_rt::AsyncRuntime;
use quorumq::client::producer::Place as Target;
use quorumq::client::{ClientError, MessageQueue};
use quorumq_store::QueueOffset;

use super::message::{Messages, ended};
use super::read::pulled;
use super::{Client, Producer, PullConsumer, soon, until_ok};
use crate::history::{Action, Ended, SendKind};
use crate::runtime::SimRuntime;

const GROUP: &str = "fresh-readers";

/// Sends `count` messages to each group of the client's first topic and reads each from where it was acknowledged. To be
/// asked once all faults are over.
///
/// # Errors
/// What was not possible within `limit`.
pub async fn fresh(client: Client, count: u32, limit: Duration) -> Result<(), String> {
    let work = async {
        let producer = client.producer().start::<SimRuntime>().map_err(|e| e.to_string())?;
        let consumer = PullConsumer::start_with(GROUP, client.options.clone()).map_err(|e| e.to_string())?;
        let mut messages = Messages::of(&client);
        let topic = Arc::clone(&client.topics[0].name);
        for queue in one_queue_of_each_group(&consumer, &topic, limit).await? {
            for _ in 0..count {
                let (key, offset) = send(&client, &producer, &mut messages, &queue, limit).await?;
                find(&client, &consumer, &queue, offset, &key, limit).await?;
            }
        }
        producer.close().await;
        consumer.close().await;
        Ok(())
    };
    let in_time = SimRuntime::timeout(limit, work).await;
    in_time.unwrap_or_else(|_| Err(format!("{count} fresh messages to each group took more than {limit:?}")))
}

async fn one_queue_of_each_group(
    consumer: &PullConsumer,
    topic: &Arc<str>,
    limit: Duration,
) -> Result<Vec<MessageQueue>, String> {
    let what = format!("a route of {topic}");
    let route = until_ok(&what, limit, || consumer.core().routes.fetch(topic, soon(consumer))).await?;
    let mut queues = BTreeMap::new();
    for routed in &route.read {
        queues.entry(Arc::clone(&routed.queue.broker_name)).or_insert_with(|| routed.queue.clone());
    }
    match route.groups.iter().find(|group| !queues.contains_key(group.name())) {
        None => Ok(queues.into_values().collect()),
        Some(group) => Err(format!("{what} has no queue of group {}", group.name())),
    }
}

/// Sends fresh messages until one is acknowledged: its key and its offset.
async fn send(
    client: &Client,
    producer: &Producer,
    messages: &mut Messages,
    queue: &MessageQueue,
    limit: Duration,
) -> Result<(Arc<str>, QueueOffset), String> {
    let end = client.world.elapsed() + limit;
    loop {
        let (message, sent) = messages.next(&queue.topic);
        let key = Arc::clone(&sent.key);
        let line = client.begin_send(SendKind::Sync, &queue.topic, vec![sent]);
        let ended = ended(producer.send_to(message, Target::Queue(queue.clone())).await);
        client.end(line, ended.clone());
        match ended {
            Ended::Stored { offset, .. } => return Ok((key, QueueOffset(offset))),
            other if client.world.elapsed() >= end => return Err(format!("a send to {queue}: {other:?}")),
            _ => {}
        }
    }
}

/// Reads the message `key` at `offset`.
async fn find(
    client: &Client,
    consumer: &PullConsumer,
    queue: &MessageQueue,
    offset: QueueOffset,
    key: &str,
    limit: Duration,
) -> Result<(), String> {
    // Each look is a consumer of its own: it follows no other.
    let line = client.begin(Action::Pull { consumer: key.into(), place: queue.into(), from: offset.0 });
    let what = format!("{key} is read at {offset} of {queue}");
    let found = until_ok(&what, limit, async || {
        let result = consumer.pull(queue, offset, 1, "*", Duration::ZERO).await?;
        let first = result.messages.first();
        if first.is_some_and(|message| message.queue_offset == offset && message.keys().eq([key])) {
            return Ok(pulled(&result));
        }
        Err(ClientError::BadAnswer { request: 11, why: format!("it holds {first:?}, {:?}", result.status) })
    })
    .await;
    client.end(line, found.clone().unwrap_or_else(Ended::Unknown));
    found.map(drop)
}
