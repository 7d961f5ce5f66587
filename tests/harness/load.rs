//! A producer that keeps many sends in flight and writes down what became of each.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use quorumq::client::producer::ProducerBuilder;
use quorumq::client::{ClientError, Message, Place, Producer};
use quorumq::protocol::message_id::OffsetMsgId;
use quorumq_raft::runtime::tokio::Tokio;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// How to load.
#[derive(Clone, Debug)]
pub struct Load {
    pub topic: &'static str,
    pub in_flight: usize,
    /// Bytes of a body, at least 8.
    pub body: usize,
    /// Pause of each sender after each send: zero for all it can.
    pub pause: Duration,
    /// Sends a second of all senders together, if they can: what is late is made up for. Zero for no such limit.
    pub rate: u32,
}

/// A message that was acknowledged.
#[derive(Clone, Debug)]
pub struct Ack {
    /// Number of the message, from 0, in the order they were begun.
    pub number: u64,
    pub msg_id: String,
    pub group: String,
    pub queue: u32,
    pub offset: u64,
    /// Port of the leader that took it.
    pub leader: u16,
    /// It may be stored twice.
    pub maybe_duplicate: bool,
    pub at: Instant,
}

/// What became of the messages.
#[derive(Clone, Debug, Default)]
pub struct Outcomes {
    pub acks: Vec<Ack>,
    /// Outcome unknown: may be stored.
    pub unknown: Vec<u64>,
    /// Neither acknowledged nor unknown: not stored.
    pub refused: Vec<(u64, String)>,
}

/// A load that runs until it is stopped.
pub struct Loading {
    shared: Arc<Shared>,
    senders: Vec<JoinHandle<()>>,
    producer: Producer<Tokio>,
}

struct Shared {
    outcomes: Mutex<Outcomes>,
    acked: AtomicU64,
    more: Notify,
    next: AtomicU64,
    stop: AtomicBool,
}

impl Load {
    /// 64 in flight of small messages.
    pub fn new(topic: &'static str) -> Self {
        Self { topic, in_flight: 64, body: 100, pause: Duration::ZERO, rate: 0 }
    }

    /// Starts to send.
    pub fn start(self, namesrv: &str) -> Loading {
        let builder = ProducerBuilder::new("load", namesrv).expect("a list of NameServers");
        let producer = builder.start::<Tokio>().expect("a producer");
        let shared = Arc::new(Shared {
            outcomes: Mutex::default(),
            acked: AtomicU64::new(0),
            more: Notify::new(),
            next: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        });
        let sender = |_| tokio::spawn(self.clone().send(producer.clone(), Arc::clone(&shared)));
        let senders = (0..self.in_flight).map(sender).collect();
        Loading { shared, senders, producer }
    }

    async fn send(self, producer: Producer<Tokio>, shared: Arc<Shared>) {
        let senders = u32::try_from(self.in_flight).expect("senders");
        let mut ticks = (self.rate > 0).then(|| tokio::time::interval(Duration::from_secs(1) * senders / self.rate));
        while !shared.stop.load(Ordering::Acquire) {
            if let Some(ticks) = &mut ticks {
                ticks.tick().await;
            }
            let number = shared.next.fetch_add(1, Ordering::AcqRel);
            let message = Message::new(self.topic, body(number, self.body));
            let result = producer.send_to(message, Place::Any).await;
            shared.note(number, result);
            if !self.pause.is_zero() {
                tokio::time::sleep(self.pause).await;
            }
        }
    }
}

/// The body of a message: its number, and bytes that follow from it.
pub fn body(number: u64, len: usize) -> Vec<u8> {
    let mut body = number.to_be_bytes().to_vec();
    let mut state = number;
    while body.len() < len {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        body.extend_from_slice(&state.to_be_bytes());
    }
    body.truncate(len.max(8));
    body
}

/// The number of the message with this body.
pub fn number(body: &[u8]) -> u64 {
    u64::from_be_bytes(body[..8].try_into().expect("8 bytes"))
}

impl Shared {
    fn note(&self, number: u64, result: Result<quorumq::client::SendResult, ClientError>) {
        let at = Instant::now();
        let mut outcomes = self.outcomes.lock().expect("no sender panicked");
        match result {
            Ok(sent) => {
                let stored = OffsetMsgId::parse(&sent.offset_msg_id).expect("an offsetMsgId");
                outcomes.acks.push(Ack {
                    number,
                    msg_id: sent.msg_id,
                    group: sent.queue.broker_name.to_string(),
                    queue: sent.queue.queue_id,
                    offset: sent.queue_offset,
                    leader: stored.store_host.port(),
                    maybe_duplicate: sent.maybe_duplicate,
                    at,
                });
                drop(outcomes);
                self.acked.fetch_add(1, Ordering::AcqRel);
                self.more.notify_waiters();
            }
            Err(ClientError::Unknown { .. }) => outcomes.unknown.push(number),
            Err(refused) => outcomes.refused.push((number, refused.to_string())),
        }
    }
}

impl Loading {
    /// Messages acknowledged so far.
    pub fn acked(&self) -> u64 {
        self.shared.acked.load(Ordering::Acquire)
    }

    /// Waits until so many are.
    pub async fn until_acked(&self, count: u64, limit: Duration) {
        let begun = Instant::now();
        while self.acked() < count {
            let more = self.shared.more.notified();
            // Bounded, because nothing says that more will come.
            let _ = tokio::time::timeout(Duration::from_millis(100), more).await;
            let acked = self.acked();
            assert!(begun.elapsed() < limit, "{acked} of {count} acknowledged within {limit:?}: {}", self.troubles());
        }
    }

    /// The first acknowledgement after `since` that `leader` did not give.
    pub async fn first_after(&self, since: Instant, leader: u16, limit: Duration) -> Ack {
        loop {
            let more = self.shared.more.notified();
            if let Some(ack) = self.look_after(since, leader) {
                return ack;
            }
            let _ = tokio::time::timeout(Duration::from_millis(20), more).await;
            assert!(since.elapsed() < limit, "no acknowledgement within {limit:?}: {}", self.troubles());
        }
    }

    fn look_after(&self, since: Instant, leader: u16) -> Option<Ack> {
        let outcomes = self.shared.outcomes.lock().expect("no sender panicked");
        // The newest come last.
        let new = outcomes.acks.iter().rev().take_while(|ack| ack.at >= since);
        new.filter(|ack| ack.leader != leader).last().cloned()
    }

    /// Sends that were neither acknowledged nor unknown, so far.
    pub fn refused(&self) -> usize {
        self.shared.outcomes.lock().expect("no sender panicked").refused.len()
    }

    fn troubles(&self) -> String {
        let outcomes = self.shared.outcomes.lock().expect("no sender panicked");
        let last = outcomes.refused.last();
        format!("{} unknown, {} refused, the last {last:?}", outcomes.unknown.len(), outcomes.refused.len())
    }

    /// Ends it once the sends under way have their outcome.
    pub async fn stop(self) -> Outcomes {
        self.shared.stop.store(true, Ordering::Release);
        for sender in self.senders {
            sender.await.expect("no sender panicked");
        }
        self.producer.close().await;
        std::mem::take(&mut *self.shared.outcomes.lock().expect("no sender panicked"))
    }
}
