//! What a client of a group does, through the product's own client.

use std::time::Duration;

use quorumq::client::consumer::PullStatus;
use quorumq::client::{Admin, ClientError, ClientOptions, Message, MessageQueue, Producer, PullConsumer, TopicSpec};
use quorumq_raft::runtime::Runtime;
use quorumq_store::QueueOffset;
use rand::RngExt;

use super::history::{Ended, Read, Sent};

/// Pause after something that the cluster could not do yet.
const PAUSE: Duration = Duration::from_millis(20);
/// How often something is tried.
const ATTEMPTS: u32 = 500;
/// Most messages of one pull.
const PULL: u32 = 32;
/// Longest body, in bytes.
const LONGEST: usize = 2000;

/// Creates a topic and waits until a NameServer routes to it.
///
/// # Errors
/// The group did not do it in time.
pub async fn create_topic<R: Runtime>(options: ClientOptions, topic: &str, queues: u32) -> Result<(), String> {
    let admin = Admin::<R>::start_with(options).map_err(|e| e.to_string())?;
    let spec = TopicSpec::new(topic, queues);
    let groups = again::<R, _, _>("create a topic", || admin.create_topic(&spec, None)).await?;
    let routed = admin.await_route(topic, &groups, Duration::from_secs(20)).await;
    admin.close().await;
    routed.map_err(|e| e.to_string())
}

/// Does something until it succeeds.
async fn again<R, T, F>(what: &str, attempt: impl Fn() -> F) -> Result<T, String>
where
    R: Runtime,
    F: Future<Output = Result<T, ClientError>>,
{
    let mut last = String::new();
    for _ in 0..ATTEMPTS {
        match attempt().await {
            Ok(done) => return Ok(done),
            Err(e) => last = e.to_string(),
        }
        R::sleep(PAUSE).await;
    }
    Err(format!("cannot {what}: {last}"))
}

/// Sends `count` messages one after the other, their keys starting with `lane`; pauses up to `pause` before each.
pub async fn send_lane<R: Runtime>(
    producer: Producer<R>,
    topic: String,
    lane: String,
    count: u32,
    pause: Duration,
) -> Vec<Sent> {
    let mut sends = Vec::new();
    for n in 0..count {
        if !pause.is_zero() {
            R::sleep(R::thread_rng().random_range(Duration::ZERO..pause)).await;
        }
        let key = format!("{lane}-{n}");
        let mut body = vec![0; R::thread_rng().random_range(1..LONGEST)];
        R::thread_rng().fill(&mut body[..]);
        let message = Message::new(topic.clone(), body).with_keys([&key]);
        let body = message.body().clone();
        let ended = match producer.send(message).await {
            Ok(sent) => {
                Ended::Stored { slot: (sent.queue.queue_id, sent.queue_offset), maybe_duplicate: sent.maybe_duplicate }
            }
            Err(e) if e.is_unknown() => Ended::Unknown(e.to_string()),
            Err(e) => Ended::Refused(e.to_string()),
        };
        sends.push(Sent { key, body, ended, ended_ms: R::wall_clock_ms() });
    }
    sends
}

/// Reads every queue of a topic from its first message to its last; then commits and asks back where it is.
///
/// # Errors
/// A pull failed for too long, or an answer contradicts another.
pub async fn read_all<R: Runtime>(options: ClientOptions, group: &str, topic: &str) -> Result<Vec<Read>, String> {
    let consumer = PullConsumer::<R>::start_with(group, options).map_err(|e| e.to_string())?;
    let queues = again::<R, _, _>("get the route", || consumer.message_queues(topic)).await?;
    let mut found = Vec::new();
    for queue in &queues {
        let end = read_queue(&consumer, queue, &mut found).await?;
        again::<R, _, _>("commit an offset", || consumer.commit(queue, end)).await?;
        let committed = again::<R, _, _>("ask for an offset", || consumer.committed(queue)).await?;
        if committed != Some(end) {
            return Err(format!("{queue}: committed {end}, and then it is {committed:?}"));
        }
    }
    consumer.close().await;
    Ok(found)
}

/// Reads a queue to its end, which it returns.
async fn read_queue<R: Runtime>(
    consumer: &PullConsumer<R>,
    queue: &MessageQueue,
    found: &mut Vec<Read>,
) -> Result<QueueOffset, String> {
    let mut offset = QueueOffset(0);
    loop {
        let pulled = again::<R, _, _>("pull", || consumer.pull(queue, offset, PULL, "*", Duration::ZERO)).await?;
        if pulled.min_offset.0 != 0 {
            return Err(format!("{queue} begins at {}", pulled.min_offset));
        }
        found.extend(pulled.messages.iter().map(|message| Read {
            slot: (queue.queue_id, message.queue_offset.0),
            physical: message.physical_offset.0,
            key: message.keys().collect(),
            body: message.body.clone(),
        }));
        match pulled.status {
            PullStatus::Found if pulled.next_offset > offset => offset = pulled.next_offset,
            PullStatus::NoNewMessage if pulled.max_offset == offset => return Ok(offset),
            // Nothing was ever sent to it.
            PullStatus::OffsetIllegal if pulled.max_offset == offset => return Ok(offset),
            status => {
                let (min, max) = (pulled.min_offset, pulled.max_offset);
                return Err(format!("{queue} from {offset}: {status:?}, it holds {min}..{max}"));
            }
        }
    }
}
