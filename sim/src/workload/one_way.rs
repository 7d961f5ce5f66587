//! A producer that asks for no answer, and so never learns what came of its messages.

use quorumq::client::ClientError;
use quorumq::client::producer::Place;

use super::Client;
use super::message::Messages;
use crate::history::{Ended, SendKind};
use crate::runtime::SimRuntime;

pub async fn run(client: Client) -> Result<(), ClientError> {
    let producer = client.producer().start::<SimRuntime>()?;
    let mut messages = Messages::of(&client);
    while client.pause().await {
        let topic = client.any_topic();
        let (message, sent) = messages.next(&topic);
        let line = client.begin_send(SendKind::OneWay, &topic, vec![sent]);
        let ended = match producer.send_oneway(&message, &Place::Any).await {
            Ok(()) => Ended::Unknown("one-way: nobody answers".to_owned()),
            // It was not even queued.
            Err(e) => Ended::Refused(e.to_string()),
        };
        client.end(line, ended);
    }
    producer.close().await;
    Ok(())
}
