//! A push consumer: one of a group whose members share all queues, join and go.

use std::sync::Arc;
use std::time::Duration;

use openraft_rt::AsyncRuntime;
use quorumq::client::{ClientError, ConsumeFrom, ConsumeResult, MessageExt, PushConsumerBuilder};
use rand::RngExt;

use super::Client;
use super::read::read;
use crate::history::{Action, Ended, Place};
use crate::runtime::SimRuntime;

/// The group that all push consumers are in.
pub const GROUP: &str = "workers";
/// One message in this many is wanted later.
const LATER_ONE_IN: u32 = 50;
/// Longest pause between two commits of what is consumed.
const COMMIT_INTERVAL: Duration = Duration::from_secs(5);
/// Messages in work at a time.
const CONCURRENCY: usize = 4;

pub async fn run(client: Client) -> Result<(), ClientError> {
    let mut builder = PushConsumerBuilder::with_client(GROUP, client.options.clone()).from(ConsumeFrom::First);
    for topic in client.topics.iter() {
        builder = builder.subscribe(&topic.name, "*");
    }
    let commit_interval = client.world.rng().random_range(COMMIT_INTERVAL / 5..=COMMIT_INTERVAL);
    let builder = builder.with(|options| {
        options.commit_interval = commit_interval;
        options.concurrency = CONCURRENCY;
    });
    let listener = {
        let client = client.clone();
        move |message| consume(client.clone(), message)
    };
    let consumer = builder.start::<SimRuntime, _>(listener)?;
    client.stop.cancelled().await;
    consumer.close().await;
    Ok(())
}

/// Writes a message down the moment it is handed over, and is busy with it for a while.
async fn consume(client: Client, message: Arc<MessageExt>) -> ConsumeResult {
    let place = Place::from(&message.queue);
    let consumed = Action::Consume { group: GROUP.into(), consumer: Arc::clone(&client.name), place };
    let offset = message.queue_offset.0;
    // A listener is not told where the queue begins and ends.
    let handed = Ended::Read { messages: vec![read(&message)], next: offset + 1, min: offset, max: offset + 1 };
    client.end(client.begin(consumed), handed);
    if client.world.rng().random_ratio(1, LATER_ONE_IN) {
        return ConsumeResult::Later;
    }
    let busy = client.world.rng().random_range(Duration::ZERO..=client.pause);
    if busy > client.pause / 2 {
        SimRuntime::sleep(busy).await;
    }
    ConsumeResult::Consumed
}
