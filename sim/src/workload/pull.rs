//! A consumer that follows every queue by itself and keeps its offsets to itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use madsim::task::JoinHandle;
use openraft_rt::AsyncRuntime;
use quorumq::client::{ClientError, MessageQueue};
use quorumq_store::QueueOffset;
use rand::RngExt;

use super::read::{failed, pulled};
use super::{Client, PullConsumer};
use crate::history::{Action, Ended};
use crate::runtime::SimRuntime;

const GROUP: &str = "followers";
/// Most messages of a pull.
const MOST: u32 = 64;
/// Longest a broker is asked to hold a pull that finds nothing.
const HOLD: Duration = Duration::from_secs(10);
/// One pull in this many is not to be held.
const AT_ONCE_ONE_IN: u32 = 4;
/// What is said of a pull that was under way when its client was told to stop.
const STOPPED: &str = "the client was told to stop";
/// How often it looks for new queues.
const NEW_QUEUES: Duration = Duration::from_secs(5);

pub async fn run(mut client: Client) -> Result<(), ClientError> {
    client.options.route_interval = NEW_QUEUES;
    let consumer = Arc::new(PullConsumer::start_with(GROUP, client.options.clone())?);
    let mut following: BTreeMap<MessageQueue, JoinHandle<()>> = BTreeMap::new();
    let mut goes_on = true;
    while goes_on {
        for topic in client.topics.iter() {
            // Without an answer the known queues are followed on.
            for queue in consumer.message_queues(&topic.name).await.unwrap_or_default() {
                let follow = || SimRuntime::spawn(follow(client.clone(), Arc::clone(&consumer), queue.clone()));
                following.entry(queue.clone()).or_insert_with(follow);
            }
        }
        goes_on = client.pause_for(NEW_QUEUES / 10..=NEW_QUEUES).await;
    }
    for ended in following.into_values() {
        // An error is the end of this very host.
        let _ = ended.await;
    }
    consumer.close().await;
    Ok(())
}

/// Pulls one queue until told to stop; from its beginning, or from its end at the time.
async fn follow(client: Client, consumer: Arc<PullConsumer>, queue: MessageQueue) {
    let mut next = QueueOffset(0);
    if client.world.rng().random()
        && let Ok(max) = consumer.core().max_offset(&queue).await
    {
        next = max;
    }
    loop {
        let found = pull(&client, &consumer, &queue, &mut next).await;
        // A full answer: there is more to catch up with.
        if found < MOST as usize && !client.pause().await {
            return;
        }
    }
}

/// Pulls once; how many messages it got.
async fn pull(client: &Client, consumer: &PullConsumer, queue: &MessageQueue, next: &mut QueueOffset) -> usize {
    let hold = if client.world.rng().random_ratio(1, AT_ONCE_ONE_IN) {
        Duration::ZERO
    } else {
        client.world.rng().random_range(HOLD / 20..=HOLD)
    };
    let (consumer_name, place) = (Arc::clone(&client.name), queue.into());
    let line = client.begin(Action::Pull { consumer: consumer_name, place, from: next.0 });
    match client.unless_stopped(consumer.pull(queue, *next, MOST, "*", hold)).await {
        Some(Ok(result)) => {
            client.end(line, pulled(&result));
            *next = result.next_offset;
            result.messages.len()
        }
        Some(Err(e)) => {
            client.end(line, failed(&e));
            0
        }
        None => {
            client.end(line, Ended::Unknown(STOPPED.to_owned()));
            0
        }
    }
}
