//! The last look: everything that every queue holds, and where every group is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use quorumq::client::consumer::PullStatus;
use quorumq::client::{ClientError, MessageQueue};
use quorumq_store::QueueOffset;

use super::read::read;
use super::{Client, PullConsumer, topics, until_ok};
use crate::history::{Action, Ended, Place};

const GROUP: &str = "scanners";
/// Most messages of a pull.
const MOST: u32 = 512;
/// How long one question may take to get an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Reads every queue of every topic on every group, each as one operation, and asks for all committed offsets. For a
/// fresh client, once nothing goes wrong any more. Topics whose deletion was begun are left out.
///
/// # Errors
/// A question got no good answer in time, or a queue with acknowledged messages is in no route.
pub async fn scan(client: Client) -> Result<(), String> {
    topics::restore(&client).await?;
    let consumer = PullConsumer::start_with(GROUP, client.options.clone()).map_err(|e| e.to_string())?;
    let mut needed = acknowledged(&client);
    let mut queues = Vec::new();
    for topic in topics::living(&client) {
        let needed = needed.remove(&topic).unwrap_or_default();
        queues.extend(all_queues(&consumer, &topic, &needed).await?);
    }
    for queue in &queues {
        let line = client.begin(Action::Scan { place: queue.into() });
        let content = read_queue(&consumer, queue).await;
        client.end(line, content.clone().unwrap_or_else(Ended::Unknown));
        content?;
    }
    ask_committed(&client, &consumer, &queues).await?;
    consumer.close().await;
    Ok(())
}

/// The places that hold acknowledged messages, by topic.
fn acknowledged(client: &Client) -> BTreeMap<Arc<str>, BTreeSet<Place>> {
    client.ledger.look(|history| {
        let mut places: BTreeMap<Arc<str>, BTreeSet<Place>> = BTreeMap::new();
        for op in &history.ops {
            if let Ended::Stored { place, .. } = &op.ended {
                places.entry(Arc::clone(&place.topic)).or_default().insert(place.clone());
            }
        }
        places
    })
}

/// The queues of a topic, once its route names all that are `needed`. None if nobody knows the topic or needs it.
async fn all_queues(
    consumer: &PullConsumer,
    topic: &Arc<str>,
    needed: &BTreeSet<Place>,
) -> Result<Vec<MessageQueue>, String> {
    let what = format!("a route with all queues of {topic} that hold messages");
    until_ok(&what, PATIENCE, async || {
        let found = match consumer.core().routes.fetch(topic, super::soon(consumer)).await {
            Ok(route) => route.read.iter().map(|routed| routed.queue.clone()).collect(),
            // It was wanted once, and never came to be.
            Err(ClientError::NoRoute { .. }) if needed.is_empty() => Vec::new(),
            Err(e) => return Err(e),
        };
        let places: BTreeSet<Place> = found.iter().map(Place::from).collect();
        match needed.difference(&places).next() {
            None => Ok(found),
            Some(missing) => Err(ClientError::NoRoute { topic: topic.to_string(), detail: format!("no {missing}") }),
        }
    })
    .await
}

/// Everything a queue holds.
async fn read_queue(consumer: &PullConsumer, queue: &MessageQueue) -> Result<Ended, String> {
    let mut messages = Vec::new();
    // Where it is read from: more may be purged meanwhile.
    let mut first = QueueOffset(0);
    let mut at = first;
    let what = format!("{queue} is read");
    loop {
        let pulled = until_ok(&what, PATIENCE, || consumer.pull(queue, at, MOST, "*", Duration::ZERO)).await?;
        let (min, max) = (pulled.min_offset, pulled.max_offset);
        messages.extend(pulled.messages.iter().map(read));
        match pulled.status {
            PullStatus::Found if pulled.next_offset > at => at = pulled.next_offset,
            PullStatus::NoNewMessage if at == max => {
                return Ok(Ended::Read { messages, next: at.0, min: first.0, max: max.0 });
            }
            // What lies before was purged, perhaps just now.
            PullStatus::OffsetIllegal if at < min => {
                messages.clear();
                (first, at) = (min, min);
            }
            status => return Err(format!("{queue} from {at}: {status:?}, and it holds {min}..{max}")),
        }
    }
}

/// Asks where every group is that ever consumed or committed.
async fn ask_committed(client: &Client, consumer: &PullConsumer, queues: &[MessageQueue]) -> Result<(), String> {
    let groups: BTreeSet<Arc<str>> = client.ledger.look(|history| {
        let group = |action: &Action| match action {
            Action::Consume { group, .. } | Action::Commit { group, .. } | Action::Committed { group, .. } => {
                Some(Arc::clone(group))
            }
            _ => None,
        };
        history.ops.iter().filter_map(|op| group(&op.action)).collect()
    });
    for group in groups {
        for queue in queues {
            let line = client.begin(Action::Committed { group: Arc::clone(&group), place: queue.into() });
            let what = format!("where {group} is in {queue}");
            let found = until_ok(&what, PATIENCE, || consumer.core().committed(&group, queue)).await;
            let ended = found.as_ref().map(|offset| Ended::Offset(offset.map(|offset| offset.0)));
            client.end(line, ended.unwrap_or_else(|e| Ended::Unknown(e.clone())));
            found?;
        }
    }
    Ok(())
}
