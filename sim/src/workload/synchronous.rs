//! A producer that waits for each message before it sends the next.

use quorumq::client::ClientError;

use super::Client;
use super::message::{Messages, ended};
use crate::history::SendKind;
use crate::runtime::SimRuntime;

pub async fn run(client: Client) -> Result<(), ClientError> {
    let producer = client.producer().start::<SimRuntime>()?;
    let mut messages = Messages::of(&client);
    while client.pause().await {
        let topic = client.any_topic();
        let (message, sent) = messages.next(&topic);
        let line = client.begin_send(SendKind::Sync, &topic, vec![sent]);
        client.end(line, ended(producer.send(message).await));
    }
    producer.close().await;
    Ok(())
}
