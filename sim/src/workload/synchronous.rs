//! A producer that waits for each message before it sends the next.

use quorumq::client::ClientError;

use super::message::{Messages, ended};
use super::{Client, Producer};
use crate::history::SendKind;
use crate::runtime::SimRuntime;

pub(super) async fn run(client: Client) -> Result<(), ClientError> {
    let producer = client.producer().start::<SimRuntime>()?;
    let mut messages = Messages::of(&client);
    while client.pause().await {
        send_one(&client, &producer, &mut messages).await;
    }
    producer.close().await;
    Ok(())
}

/// Sends so many messages without a pause.
///
/// # Errors
/// The producer did not start. How each send ended is in the ledger.
pub async fn send(client: Client, count: u32) -> Result<(), ClientError> {
    let producer = client.producer().start::<SimRuntime>()?;
    let mut messages = Messages::of(&client);
    for _ in 0..count {
        send_one(&client, &producer, &mut messages).await;
    }
    producer.close().await;
    Ok(())
}

async fn send_one(client: &Client, producer: &Producer, messages: &mut Messages) {
    let topic = client.any_topic();
    let (message, sent) = messages.next(&topic);
    let line = client.begin_send(SendKind::Sync, &topic, vec![sent]);
    client.end(line, ended(producer.send(message).await));
}
