//! A client that sends messages and finds them again by their keys.

use std::collections::VecDeque;
use std::sync::Arc;

use quorumq::client::{ByKey, ClientError, MessageExt};
use rand::RngExt;

use super::message::{Messages, ended};
use super::read::{failed, read};
use super::{Client, PullConsumer, soon};
use crate::history::{Action, Ended, Place, SendKind};
use crate::runtime::SimRuntime;

const GROUP: &str = "key-readers";
/// Messages it remembers.
const REMEMBERED: usize = 200;
/// Queries after each send.
const QUERIES: usize = 3;
/// One query in this many is narrowed to the moment at which the message was stored.
const BY_TIME_ONE_IN: u32 = 3;

/// A message, and where it was stored. An attempt before may have stored it once more elsewhere.
#[derive(Debug)]
struct Stored {
    key: Arc<str>,
    place: Place,
    offset: u64,
}

pub(super) async fn run(client: Client) -> Result<(), ClientError> {
    let producer = client.producer().start::<SimRuntime>()?;
    let consumer = PullConsumer::start_with(GROUP, client.options.clone())?;
    let mut messages = Messages::of(&client);
    let mut stored: VecDeque<Stored> = VecDeque::new();
    while client.pause().await {
        let topic = client.any_topic();
        let (message, sent) = messages.next(&topic);
        let key = Arc::clone(&sent.key);
        let line = client.begin_send(SendKind::Sync, &topic, vec![sent]);
        let outcome = ended(producer.send(message).await);
        if let Ended::Stored { place, offset, .. } = &outcome {
            stored.push_back(Stored { key, place: place.clone(), offset: *offset });
            if stored.len() > REMEMBERED {
                stored.pop_front();
            }
        }
        client.end(line, outcome);
        for _ in 0..QUERIES.min(stored.len()) {
            let drawn = client.world.rng().random_range(0..stored.len());
            look_for(&client, &consumer, &stored[drawn]).await;
        }
    }
    producer.close().await;
    consumer.close().await;
    Ok(())
}

async fn look_for(client: &Client, consumer: &PullConsumer, stored: &Stored) {
    let anytime = ByKey::new(&stored.place.topic, &stored.key);
    let Some(stored_ms) = query(client, consumer, stored, &anytime).await else { return };
    if client.world.rng().random_ratio(1, BY_TIME_ONE_IN) {
        let then = ByKey { stored_ms: stored_ms..=stored_ms, ..anytime };
        query(client, consumer, stored, &then).await;
    }
}

/// Asks once. When the message was stored, if it was found.
async fn query(client: &Client, consumer: &PullConsumer, stored: &Stored, wanted: &ByKey<'_>) -> Option<i64> {
    let Stored { key, place, offset } = stored;
    let stored_ms = (wanted.stored_ms.start() == wanted.stored_ms.end()).then_some(*wanted.stored_ms.start());
    let line = client.begin(Action::Query { place: place.clone(), key: Arc::clone(key), stored_ms });
    let mut found = query_broker(consumer, &place.broker, wanted).await;
    if let Ok(found) = &mut found {
        found.retain(|message| message.queue.queue_id == place.queue);
    }
    let ended = match &found {
        Ok(found) => Ended::Read { messages: found.iter().map(read).collect(), next: 0, min: 0, max: 0 },
        Err(e) => failed(e),
    };
    client.end(line, ended);
    let message = found.ok()?.into_iter().find(|message| message.queue_offset.0 == *offset)?;
    Some(message.store_timestamp_ms)
}

async fn query_broker(
    consumer: &PullConsumer,
    broker: &str,
    wanted: &ByKey<'_>,
) -> Result<Vec<MessageExt>, ClientError> {
    let route = consumer.core().routes.get(&wanted.topic.into(), soon(consumer)).await?;
    match route.groups.iter().find(|group| **group.name() == *broker) {
        Some(group) => consumer.core().query_group(group, wanted).await,
        None => Err(ClientError::NoMember { group: broker.to_owned() }),
    }
}
