//! A watcher of queues: where they begin, where they end, and what lies there by time.

use quorumq::client::{ClientError, MessageQueue};
use quorumq_store::QueueOffset;
use rand::RngExt;

use super::read::failed;
use super::{Client, PullConsumer};
use crate::history::{Action, Ended};

const GROUP: &str = "watchers";
/// One look in this many goes by time.
const BY_TIME_ONE_IN: u32 = 3;

pub async fn run(client: Client) -> Result<(), ClientError> {
    let consumer = PullConsumer::start_with(GROUP, client.options.clone())?;
    while client.pause().await {
        let queues = consumer.message_queues(&client.any_topic()).await.unwrap_or_default();
        if queues.is_empty() {
            continue;
        }
        let queue = &queues[client.world.rng().random_range(0..queues.len())];
        let line = client.begin(Action::Ends { place: queue.into() });
        let found = if client.world.rng().random_ratio(1, BY_TIME_ONE_IN) {
            ends_by_time(&consumer, queue).await
        } else {
            ends(&consumer, queue).await
        };
        let ended = match found {
            Ok((min, max)) => Ended::Ends { min: min.0, max: max.0 },
            Err(e) => failed(&e),
        };
        client.end(line, ended);
    }
    consumer.close().await;
    Ok(())
}

type Ends = Result<(QueueOffset, QueueOffset), ClientError>;

async fn ends(consumer: &PullConsumer, queue: &MessageQueue) -> Ends {
    let min = consumer.core().min_offset(queue).await?;
    Ok((min, consumer.core().max_offset(queue).await?))
}

/// The first message since the beginning of time is the queue's first; after the end of time comes what is next.
async fn ends_by_time(consumer: &PullConsumer, queue: &MessageQueue) -> Ends {
    let min = consumer.core().search_offset(queue, 0).await?;
    Ok((min, consumer.core().search_offset(queue, i64::MAX).await?))
}
