//! What a client of a group does, through the product's own client.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quorumq::client::consumer::PullStatus;
use quorumq::client::{
    Admin, ClientError, ClientOptions, Message, MessageExt, MessageQueue, Producer, PullConsumer, TopicSpec,
};
use quorumq::protocol::ExtFields;
use quorumq::protocol::code::request;
use quorumq_raft::runtime::Runtime;
use quorumq_store::QueueOffset;
use rand::RngExt;

use super::history::{Ended, Ledger, Read};

/// Pause after something that the cluster could not do yet.
const PAUSE: Duration = Duration::from_millis(20);
/// How often something is tried.
const ATTEMPTS: u32 = 500;
/// Most messages of one pull.
const PULL: u32 = 32;
/// How long a pull of a follower is held.
const HOLD: Duration = Duration::from_millis(100);
/// Longest body, in bytes.
const LONGEST: usize = 2000;

/// What consumers read while the topic grew.
pub type Followed = Arc<Mutex<Vec<Read>>>;

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

/// What a lane sends.
#[derive(Clone, Debug)]
pub struct Lane {
    /// To which topic.
    pub topic: String,
    /// What its messages' keys begin with.
    pub name: String,
    /// How many messages.
    pub count: u32,
    /// Longest pause before each.
    pub pause: Duration,
    /// Where they are written down.
    pub ledger: Ledger,
}

/// Sends messages one after the other.
pub async fn send_lane<R: Runtime>(producer: Producer<R>, lane: Lane) {
    let Lane { topic, name, count, pause, ledger } = lane;
    for n in 0..count {
        if !pause.is_zero() {
            R::sleep(R::thread_rng().random_range(Duration::ZERO..pause)).await;
        }
        let key = format!("{name}-{n}");
        let mut body = vec![0; R::thread_rng().random_range(1..LONGEST)];
        R::thread_rng().fill(&mut body[..]);
        let message = Message::new(topic.clone(), body).with_keys([&key]);
        let line = ledger.begin(key, message.body().clone());
        let ended = match producer.send(message).await {
            Ok(sent) => {
                Ended::Stored { slot: (sent.queue.queue_id, sent.queue_offset), maybe_duplicate: sent.maybe_duplicate }
            }
            Err(e) if e.is_unknown() => Ended::Unknown(e.to_string()),
            Err(e) => Ended::Refused(e.to_string()),
        };
        ledger.end(line, ended, R::wall_clock_ms());
    }
}

/// Reads every queue of a topic as it grows, until its client ends. What it read goes into `followed`.
///
/// # Errors
/// An answer that contradicts another.
pub async fn follow<R: Runtime>(
    options: ClientOptions,
    group: String,
    topic: String,
    followed: Followed,
) -> Result<(), String> {
    let consumer = PullConsumer::<R>::start_with(&group, options).map_err(|e| e.to_string())?;
    let queues = again::<R, _, _>("get the route", || consumer.message_queues(&topic)).await?;
    let mut offsets = vec![QueueOffset(0); queues.len()];
    for at in (0..queues.len()).cycle() {
        let (queue, offset) = (&queues[at], &mut offsets[at]);
        let Ok(pulled) = consumer.pull(queue, *offset, PULL, "*", HOLD).await else {
            // Tried again in the next turn.
            R::sleep(PAUSE).await;
            continue;
        };
        match pulled.status {
            PullStatus::OffsetIllegal if *offset < pulled.min_offset => *offset = pulled.min_offset,
            PullStatus::OffsetIllegal => {
                let (min, max) = (pulled.min_offset, pulled.max_offset);
                return Err(format!("{queue} was read up to {offset}, and now it holds {min}..{max}"));
            }
            _ => *offset = pulled.next_offset,
        }
        let mut followed = followed.lock().unwrap_or_else(PoisonError::into_inner);
        followed.extend(pulled.messages.iter().map(|message| read_of(queue, message)));
    }
    Ok(())
}

fn read_of(queue: &MessageQueue, message: &MessageExt) -> Read {
    Read {
        slot: (queue.queue_id, message.queue_offset.0),
        physical: message.physical_offset.0,
        key: message.keys().collect(),
        body: message.body.clone(),
    }
}

/// Asks the group to drop the older half of its log.
///
/// # Errors
/// It refused, or did not answer.
pub async fn purge<R: Runtime>(mut options: ClientOptions) -> Result<(), String> {
    options.api_timeout = Duration::from_secs(10);
    let admin = Admin::<R>::start_with(options).map_err(|e| e.to_string())?;
    let groups = admin.groups(None).await.map_err(|e| e.to_string())?;
    for group in groups {
        let asked = admin.call_group(&group, request::PURGE_LOG, ExtFields::default(), Vec::new()).await;
        asked.map_err(|e| e.to_string())?;
    }
    admin.close().await;
    Ok(())
}

/// Everything that is in a topic.
#[derive(Clone, Debug, Default)]
pub struct Content {
    /// Messages, in order within a queue.
    pub read: Vec<Read>,
    /// The first offset of each queue.
    pub begins: BTreeMap<u32, u64>,
}

/// Reads every queue of a topic from its first message to its last; then commits and asks back where it is.
///
/// # Errors
/// A pull failed for too long, or an answer contradicts another.
pub async fn read_all<R: Runtime>(options: ClientOptions, group: &str, topic: &str) -> Result<Content, String> {
    let consumer = PullConsumer::<R>::start_with(group, options).map_err(|e| e.to_string())?;
    let queues = again::<R, _, _>("get the route", || consumer.message_queues(topic)).await?;
    let mut found = Content::default();
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
    found: &mut Content,
) -> Result<QueueOffset, String> {
    let mut offset = QueueOffset(0);
    let mut begun = false;
    loop {
        let pulled = again::<R, _, _>("pull", || consumer.pull(queue, offset, PULL, "*", Duration::ZERO)).await?;
        if !std::mem::replace(&mut begun, true) {
            found.begins.insert(queue.queue_id, pulled.min_offset.0);
        }
        found.read.extend(pulled.messages.iter().map(|message| read_of(queue, message)));
        match pulled.status {
            PullStatus::Found if pulled.next_offset > offset => offset = pulled.next_offset,
            PullStatus::NoNewMessage if pulled.max_offset == offset => return Ok(offset),
            // Nothing was ever sent to it.
            PullStatus::OffsetIllegal if pulled.max_offset == offset => return Ok(offset),
            PullStatus::OffsetIllegal if offset.0 == 0 && pulled.min_offset > offset => offset = pulled.min_offset,
            status => {
                let (min, max) = (pulled.min_offset, pulled.max_offset);
                return Err(format!("{queue} from {offset}: {status:?}, it holds {min}..{max}"));
            }
        }
    }
}
