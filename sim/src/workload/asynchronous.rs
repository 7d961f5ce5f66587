//! A producer with several sends under way.

use quorumq::client::ClientError;
use quorumq::client::producer::Place;
use rand::RngExt;

use super::message::{Messages, ended};
use super::{Client, Producer};
use crate::history::SendKind;
use crate::runtime::SimRuntime;

/// Most sends under way: the producer itself holds further ones back.
const IN_FLIGHT: usize = 16;
/// Most sends started at once.
const BURST: u32 = 8;

pub async fn run(client: Client) -> Result<(), ClientError> {
    let producer = client.producer().with(|options| options.async_in_flight = IN_FLIGHT).start::<SimRuntime>()?;
    let mut messages = Messages::of(&client);
    while client.pause().await {
        for _ in 0..client.world.rng().random_range(1..=BURST) {
            send(&client, &producer, &mut messages).await;
        }
    }
    producer.close().await;
    Ok(())
}

async fn send(client: &Client, producer: &Producer, messages: &mut Messages) {
    let topic = client.any_topic();
    let (message, sent) = messages.next(&topic);
    let line = client.begin_send(SendKind::Async, &topic, vec![sent]);
    let done = {
        let client = client.clone();
        move |outcome| client.end(line, ended(outcome))
    };
    if let Err(e) = producer.send_with(&message, Place::Any, done).await {
        client.end(line, ended(Err(e)));
    }
}
