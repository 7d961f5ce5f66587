//! An operator: creates topics and uses them a little, gives topics more queues, deletes its own.
//!
//! A topic that was deleted never comes back under its name, so that its offsets stay its own.

use std::sync::Arc;

use quorumq::client::{Admin, ClientError};
use rand::RngExt;

use super::message::{Messages, ended};
use super::{Client, Producer, topics};
use crate::history::SendKind;
use crate::runtime::SimRuntime;

/// Queues that a topic may get on top of those it began with.
const MORE_QUEUES: u32 = 2;
/// Queues of a new topic.
const FEW_QUEUES: u32 = 2;
/// Most messages sent to an own topic at a time.
const FEW_MESSAGES: u32 = 3;

/// What it works with.
struct Operator {
    client: Client,
    admin: Admin<SimRuntime>,
    producer: Producer,
    messages: Messages,
    /// Its own topic at the time, once that is known to exist.
    own: Option<Arc<str>>,
    created: u32,
}

pub async fn run(client: Client) -> Result<(), ClientError> {
    let mut operator = Operator {
        admin: Admin::start_with(client.options.clone())?,
        producer: client.producer().start::<SimRuntime>()?,
        messages: Messages::of(&client),
        own: None,
        created: 0,
        client,
    };
    while operator.client.pause().await {
        operator.work().await;
    }
    operator.producer.close().await;
    operator.admin.close().await;
    Ok(())
}

impl Operator {
    async fn work(&mut self) {
        let chance = self.client.world.rng().random_range(0..10);
        match (self.own.clone(), chance) {
            (_, 0) => {
                let topic = self.client.any_topic();
                self.widen(&topic).await;
            }
            (None, _) => self.create().await,
            (Some(own), 1) => self.widen(&own).await,
            (Some(own), 2..=3) => {
                // Whatever comes of it, the name is not used any more.
                self.own = None;
                topics::delete(&self.client, &self.admin, &own).await;
            }
            (Some(own), _) => self.send(&own).await,
        }
    }

    async fn create(&mut self) {
        let topic: Arc<str> = format!("{}-topic-{}", self.client.name, self.created).into();
        self.created += 1;
        let queues = self.client.world.rng().random_range(1..=FEW_QUEUES);
        if topics::change(&self.client, &self.admin, &topic, queues).await {
            self.own = Some(topic);
        }
    }

    /// Gives a topic one more queue on each group. Never fewer than anybody wanted before: that would hide messages.
    async fn widen(&self, topic: &Arc<str>) {
        let known = self.client.topics.iter().find(|known| known.name == *topic);
        let most = known.map_or(FEW_QUEUES, |known| known.queues) + MORE_QUEUES;
        let queues = topics::most_queues(&self.client, topic) + 1;
        if queues <= most {
            topics::change(&self.client, &self.admin, topic, queues).await;
        }
    }

    async fn send(&mut self, topic: &Arc<str>) {
        for _ in 0..self.client.world.rng().random_range(1..=FEW_MESSAGES) {
            let (message, sent) = self.messages.next(topic);
            let line = self.client.begin_send(SendKind::Sync, topic, vec![sent]);
            self.client.end(line, ended(self.producer.send(message).await));
        }
    }
}
