//! A producer that does not ask the leader but any other member, once: the member forwards what it gets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quorumq::client::ClientError;
use quorumq::client::producer::{Verdict, judge};
use quorumq::client::route::RoutedQueue;
use rand::RngExt;

use super::message::Messages;
use super::{Client, Producer};
use crate::history::{Ended, Place, SendKind};
use crate::runtime::SimRuntime;

/// How long an answer may take: as long as a whole send of other producers.
const TIMEOUT: Duration = Duration::from_secs(3);

pub async fn run(client: Client) -> Result<(), ClientError> {
    let producer = client.producer().start::<SimRuntime>()?;
    let mut messages = Messages::of(&client);
    while client.pause().await {
        let topic = client.any_topic();
        if let Some((target, follower)) = choose(&client, &producer, &topic).await {
            send(&client, &producer, &mut messages, &topic, &target, follower).await?;
        }
    }
    producer.close().await;
    Ok(())
}

/// A queue of the topic, and a member of its group that does not lead as far as is known. `None` as long as no route is.
async fn choose(client: &Client, producer: &Producer, topic: &str) -> Option<(RoutedQueue<SimRuntime>, SocketAddr)> {
    let route = producer.route(topic).await.ok().filter(|route| !route.write.is_empty())?;
    let target = &route.write[client.world.rng().random_range(0..route.write.len())];
    let leader = target.group.leader();
    let followers: Vec<_> = target.group.members().into_iter().filter(|addr| Some(*addr) != leader).collect();
    let at = client.world.rng().random_range(0..followers.len().max(1));
    Some((target.clone(), *followers.get(at)?))
}

async fn send(
    client: &Client,
    producer: &Producer,
    messages: &mut Messages,
    topic: &Arc<str>,
    target: &RoutedQueue<SimRuntime>,
    follower: SocketAddr,
) -> Result<(), ClientError> {
    let (message, sent) = messages.next(topic);
    let prepared = producer.prepare(&message)?;
    let line = client.begin_send(SendKind::Sync, topic, vec![sent]);
    let request = prepared.request(client.options.encoding, "producers", &target.queue);
    let answer = producer.core().connections.get(follower).call(&request, TIMEOUT).await;
    if let Ok(answer) = &answer {
        target.group.learn(&answer.ext);
    }
    let ended = match judge(answer) {
        Verdict::Stored(stored) => Ended::Stored {
            place: Place { queue: stored.queue_id, ..(&target.queue).into() },
            offset: stored.queue_offset,
            maybe_duplicate: false,
        },
        Verdict::Refused(answer) => Ended::Refused(format!("code {}: {:?}", answer.code, answer.remark)),
        Verdict::NotSent(e) => Ended::Refused(e.to_string()),
        Verdict::Unknown(why) => Ended::Unknown(why),
    };
    client.end(line, ended);
    Ok(())
}
