//! A producer to whom order matters: it names the queue of each message, by a sharding key or by its number.

use quorumq::client::producer::Place;
use quorumq::client::{ClientError, MessageQueue};
use rand::RngExt;

use super::message::{Messages, ended};
use super::{Client, Producer};
use crate::history::SendKind;
use crate::runtime::SimRuntime;

/// Sharding keys.
const KEYS: u32 = 5;

pub async fn run(client: Client) -> Result<(), ClientError> {
    let producer = client.producer().start::<SimRuntime>()?;
    let mut messages = Messages::of(&client);
    while client.pause().await {
        let topic = client.any_topic();
        let place = match some_queue(&client, &producer, &topic).await {
            Some(queue) if client.world.rng().random() => Place::Queue(queue),
            _ => Place::Key(format!("shard-{}", client.world.rng().random_range(0..KEYS))),
        };
        let (message, sent) = messages.next(&topic);
        let line = client.begin_send(SendKind::Sync, &topic, vec![sent]);
        client.end(line, ended(producer.send_to(message, place).await));
    }
    producer.close().await;
    Ok(())
}

/// Any queue that can be written. `None` as long as no route is known.
async fn some_queue(client: &Client, producer: &Producer, topic: &str) -> Option<MessageQueue> {
    let route = producer.route(topic).await.ok().filter(|route| !route.write.is_empty())?;
    Some(route.write[client.world.rng().random_range(0..route.write.len())].queue.clone())
}
