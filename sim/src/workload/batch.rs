//! A producer that sends several messages in one request: all are stored next to each other, or none.

use quorumq::client::ClientError;
use quorumq::client::producer::Place;
use rand::RngExt;

use super::Client;
use super::message::{Messages, ended};
use crate::history::SendKind;
use crate::runtime::SimRuntime;

/// Most messages of a batch.
const MOST: u32 = 16;

pub async fn run(client: Client) -> Result<(), ClientError> {
    let producer = client.producer().start::<SimRuntime>()?;
    let mut messages = Messages::of(&client);
    while client.pause().await {
        let topic = client.any_topic();
        let count = client.world.rng().random_range(2..=MOST);
        let (batch, sent): (Vec<_>, Vec<_>) = (0..count).map(|_| messages.next_short(&topic)).unzip();
        let line = client.begin_send(SendKind::Batch, &topic, sent);
        client.end(line, ended(producer.send_batch(&batch, Place::Any).await));
    }
    producer.close().await;
    Ok(())
}
