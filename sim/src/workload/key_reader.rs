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

/// Where a message was stored.
type Stored = (Place, Arc<str>);

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
        if let Ended::Stored { place, .. } = &outcome {
            stored.push_back((place.clone(), key));
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

async fn look_for(client: &Client, consumer: &PullConsumer, (place, key): &Stored) {
    let anytime = ByKey::new(&place.topic, key);
    let Some(stored_ms) = query(client, consumer, (place, key), &anytime).await else { return };
    if client.world.rng().random_ratio(1, BY_TIME_ONE_IN) {
        let then = ByKey { stored_ms: stored_ms..=stored_ms, ..anytime };
        query(client, consumer, (place, key), &then).await;
    }
}

/// Asks once. When the message was stored, if it was found.
async fn query(
    client: &Client,
    consumer: &PullConsumer,
    (place, key): (&Place, &Arc<str>),
    wanted: &ByKey<'_>,
) -> Option<i64> {
    let stored_ms = (wanted.stored_ms.start() == wanted.stored_ms.end()).then_some(*wanted.stored_ms.start());
    let line = client.begin(Action::Query { place: place.clone(), key: Arc::clone(key), stored_ms });
    let found = query_broker(consumer, &place.broker, wanted).await;
    let ended = match &found {
        Ok(found) => {
            let here = found.iter().filter(|message| message.queue.queue_id == place.queue);
            Ended::Read { messages: here.map(read).collect(), next: 0, min: 0, max: 0 }
        }
        Err(e) => failed(e),
    };
    client.end(line, ended);
    Some(found.ok()?.first()?.store_timestamp_ms)
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
