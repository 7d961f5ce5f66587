//! Which queues are ours: computed by every member alike, from the members a broker knows and the topic's queues.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use openraft_rt::{Select2, Select3};
use quorumq_raft::runtime::Runtime;
use quorumq_store::QueueOffset;

use super::{ConsumeFrom, Shared, puller};
use crate::client::consumer::allocate;
use crate::client::consumer::process_queue::ProcessQueue;
use crate::client::core::Patience;
use crate::client::error::ClientError;
use crate::client::heartbeat;
use crate::client::queue::MessageQueue;
use crate::client::route::TopicRoute;
use crate::client::time::now;
use crate::protocol::body;
use crate::protocol::body::consumer::GetConsumerListByGroupResponseBody;
use crate::protocol::code::request;
use crate::protocol::header::consumer::ConsumerGroupRequest;
use crate::protocol::names;

/// When to try again after something was missing.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// How old a route may be to compute shares from.
const FRESH: Duration = Duration::from_secs(10);

/// Keeps our share right: at once, when told of a change, and every now and then.
pub(super) async fn keep_up<R: Runtime>(shared: Arc<Shared<R>>) {
    let stop = shared.core.stopped();
    loop {
        let complete = match R::select2(stop.cancelled(), rebalance(&shared)).await {
            Select2::First(()) => return,
            Select2::Second(complete) => complete,
        };
        let pause = if complete { shared.options.rebalance_interval } else { TRY_AGAIN };
        match R::select3(stop.cancelled(), shared.rebalance.notified(), R::sleep(pause)).await {
            Select3::First(()) => return,
            Select3::Second(()) | Select3::Third(()) => {}
        }
    }
}

/// Computes our share of every topic. False if some part could not be done.
async fn rebalance<R: Runtime>(shared: &Arc<Shared<R>>) -> bool {
    let mut complete = true;
    for topic in shared.subscriptions.keys() {
        match rebalance_topic(shared, topic).await {
            Ok(done) => complete &= done,
            // The retry topic comes to be with the group's first heartbeat.
            Err(ClientError::NoRoute { .. }) if topic.starts_with(names::RETRY_PREFIX) => {}
            Err(error) => {
                complete = false;
                tracing::info!(topic = %topic, group = shared.options.group, %error, "the share stays as it is");
            }
        }
    }
    complete
}

/// False if no broker lists us as a member yet.
async fn rebalance_topic<R: Runtime>(shared: &Arc<Shared<R>>, topic: &Arc<str>) -> Result<bool, ClientError> {
    let core = &shared.core;
    let new_here = core.routes.groups().is_empty();
    let route = route(shared, topic).await?;
    if new_here {
        heartbeat::beat(core, heartbeat::Whom::Members, &shared.heartbeat).await;
    }
    let mut members = members(shared, &route).await?;
    if !members.contains(&*core.client_id) {
        // A broker that has just come to lead need not have heard of us. To give our queues up for that would stop them.
        heartbeat::beat(core, heartbeat::Whom::Members, &shared.heartbeat).await;
        members = self::members(shared, &route).await?;
    }
    if !members.contains(&*core.client_id) {
        tracing::info!(topic = %topic, group = shared.options.group, "the broker does not list this client as a member yet");
        return Ok(false);
    }
    let queues: Vec<MessageQueue> = route.read.iter().map(|routed| routed.queue.clone()).collect();
    let members: Vec<String> = members.into_iter().collect();
    let ours = allocate::averagely(&queues, &members, &core.client_id);
    take_share(shared, topic, ours).await.map(|()| true)
}

/// The topic's route, fetched again if it is not fresh: its number of queues counts. An old one is better than none.
async fn route<R: Runtime>(shared: &Shared<R>, topic: &Arc<str>) -> Result<Arc<TopicRoute<R>>, ClientError> {
    let routes = &shared.core.routes;
    let known = routes.known(topic);
    if let Some(fresh) = known.as_ref().filter(|route| now::<R>() - route.fetched < FRESH) {
        return Ok(Arc::clone(fresh));
    }
    let deadline = now::<R>() + shared.core.options.api_timeout;
    match (routes.fetch(topic, deadline).await, known) {
        (Err(_), Some(known)) => Ok(known),
        (fetched, _) => fetched,
    }
}

/// The group's members as any broker of the topic knows them.
async fn members<R: Runtime>(shared: &Shared<R>, route: &TopicRoute<R>) -> Result<BTreeSet<String>, ClientError> {
    let header = ConsumerGroupRequest { consumer_group: &shared.options.group };
    let code = request::GET_CONSUMER_LIST_BY_GROUP;
    let question = shared.core.request(code, header.encode());
    let mut last = ClientError::NoMember { group: String::new() };
    for group in &route.groups {
        let patience = Patience::new(shared.core.options.api_timeout);
        match shared.core.ask_ok(group, &question, patience).await {
            Ok(answer) => {
                let bad = |why| ClientError::BadAnswer { request: code, why };
                let list = body::decode::<GetConsumerListByGroupResponseBody>(&answer.body);
                return Ok(list.map_err(|error| bad(error.to_string()))?.consumer_id_list.into_iter().collect());
            }
            // No member at all: not even we.
            Err(ClientError::Refused { code: 1, .. }) => return Ok(BTreeSet::new()),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Gives up queues that are not `ours` any more and begins with those that newly are.
async fn take_share<R: Runtime>(
    shared: &Arc<Shared<R>>,
    topic: &Arc<str>,
    ours: &[MessageQueue],
) -> Result<(), ClientError> {
    let (given_up, new): (Vec<_>, Vec<_>) = {
        let held = shared.queues();
        let of_topic = held.iter().filter(|(queue, _)| queue.topic == *topic);
        let given_up = of_topic.filter(|(queue, _)| !ours.contains(queue));
        let given_up = given_up.map(|(queue, process)| (queue.clone(), Arc::clone(process))).collect();
        (given_up, ours.iter().filter(|queue| !held.contains_key(queue)).collect())
    };
    if !given_up.is_empty() || !new.is_empty() {
        let (gone, come) = (given_up.len(), new.len());
        tracing::info!(topic = %topic, group = shared.options.group, gone, come, held = ours.len(), "new share of queues");
    }
    shared.queues().retain(|queue, _| !given_up.iter().any(|(gone, _)| gone == queue));
    join_all(given_up.iter().map(|(queue, process)| shared.release(queue, process))).await;
    let begun = join_all(new.into_iter().map(|queue| begin(shared, queue))).await;
    begun.into_iter().collect()
}

/// Begins to pull a queue.
async fn begin<R: Runtime>(shared: &Arc<Shared<R>>, queue: &MessageQueue) -> Result<(), ClientError> {
    let committed = shared.core.committed(&shared.options.group, queue).await?;
    let offset = match committed {
        Some(offset) => offset,
        None => begin_at(shared, queue).await?,
    };
    let process = Arc::new(ProcessQueue::new(offset, committed, shared.options.cache, &shared.core.stopped()));
    shared.queues().insert(queue.clone(), Arc::clone(&process));
    // Ends with the queue's token, which is a child of the client's.
    drop(R::spawn(puller::run(Arc::clone(shared), queue.clone(), process)));
    Ok(())
}

/// Where to begin in a queue for which the group has committed no offset. Without an answer to that nothing is assumed.
async fn begin_at<R: Runtime>(shared: &Shared<R>, queue: &MessageQueue) -> Result<QueueOffset, ClientError> {
    let core = &shared.core;
    if queue.topic.starts_with(names::RETRY_PREFIX) {
        return core.min_offset(queue).await;
    }
    match shared.options.from {
        ConsumeFrom::Last => core.max_offset(queue).await,
        ConsumeFrom::First => core.min_offset(queue).await,
        ConsumeFrom::Timestamp(at_ms) => core.search_offset(queue, at_ms).await,
    }
}
