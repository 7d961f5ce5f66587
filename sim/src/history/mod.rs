//! What clients did and what they were told: the evidence that checkers judge.
//!
//! Every operation is written down before it begins, with the virtual time, and ends once: as its client said, or never,
//! if the client died. Times are the world's, not a host's clock.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

/// A queue of a topic on one broker group. Groups number their queues each from 0.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Topic.
    pub topic: Arc<str>,
    /// Broker group (RocketMQ's brokerName).
    pub broker: Arc<str>,
    /// Queue number.
    pub queue: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}/{}", self.topic, self.broker, self.queue)
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Tells a message's body from every other: a checksum of what was sent or read.
pub type BodyHash = u64;

/// A message as it was sent. Its key tells it from every other message of the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The message's key.
    pub key: Arc<str>,
    /// What was sent.
    pub body: BodyHash,
}

/// A message as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// Its offset in the queue.
    pub offset: u64,
    /// Its place in the CommitLog.
    pub physical: u64,
    /// The message's key.
    pub key: Arc<str>,
    /// What was read.
    pub body: BodyHash,
}

/// How a message is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SendKind {
    /// Waits for each before the next.
    Sync,
    /// Several under way at once.
    Async,
    /// No answer is asked for: the outcome is always unknown.
    OneWay,
    /// Several messages in one request: all or none.
    Batch,
}

/// What a client set out to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send messages to one topic. More than one only in a batch.
    Send {
        /// How.
        kind: SendKind,
        /// Topic.
        topic: Arc<str>,
        /// Messages, in order.
        messages: Vec<Sent>,
    },
    /// Pull from a queue.
    Pull {
        /// The consumer, of whom there may be several lives: each has a name of its own.
        consumer: Arc<str>,
        /// The queue.
        place: Place,
        /// From this offset on.
        from: u64,
    },
    /// A push consumer's listener was handed a message. Ends at once, as `Ended::Read`.
    Consume {
        /// Consumer group.
        group: Arc<str>,
        /// The consumer.
        consumer: Arc<str>,
        /// The queue.
        place: Place,
    },
    /// Commit a consumer offset.
    Commit {
        /// Consumer group.
        group: Arc<str>,
        /// The queue.
        place: Place,
        /// The offset of the next message to consume.
        offset: u64,
        /// Whether it may go back: a reset.
        reset: bool,
    },
    /// Ask for a consumer offset.
    Committed {
        /// Consumer group.
        group: Arc<str>,
        /// The queue.
        place: Place,
    },
    /// Ask for a queue's ends.
    Ends {
        /// The queue.
        place: Place,
    },
    /// Create or change a topic, or delete it: `queues` is 0 then.
    Topic {
        /// Topic.
        topic: Arc<str>,
        /// Queues on each group.
        queues: u32,
    },
    /// Look for a message by its key. Ends as `Ended::Read` with what lies in the queue; its offsets are all 0.
    Query {
        /// Where it was acknowledged.
        place: Place,
        /// The key.
        key: Arc<str>,
        /// Only what was stored then, in milliseconds since 1970.
        stored_ms: Option<i64>,
    },
    /// The last look, once all faults are over: everything a queue holds, from its first offset to its last.
    Scan {
        /// The queue.
        place: Place,
    },
}

/// How an operation ended, as the client said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Messages are stored; the first has this offset, the others of a batch follow.
    Stored {
        /// The queue.
        place: Place,
        /// The first message's offset.
        offset: u64,
        /// An attempt before had an unknown outcome: the messages may be stored once more elsewhere.
        maybe_duplicate: bool,
    },
    /// What a pull, a listener or a scan got.
    Read {
        /// Messages, in order.
        messages: Vec<Read>,
        /// The offset to pull next.
        next: u64,
        /// The queue's first offset as answered with it.
        min: u64,
        /// The offset of the queue's next message as answered with it.
        max: u64,
    },
    /// The offset asked for; `None`: nothing was ever committed.
    Offset(Option<u64>),
    /// A queue's ends asked for.
    Ends {
        /// First offset.
        min: u64,
        /// Offset of the next message.
        max: u64,
    },
    /// Done.
    Done,
    /// Not done, and never will be.
    Refused(String),
    /// It may have been done, or be done later. Queries that got no answer end like this too.
    Unknown(String),
}

/// An operation.
#[derive(Clone, Debug)]
pub struct Op {
    /// The client, one life of it.
    pub client: Arc<str>,
    /// Virtual nanoseconds at which it began.
    pub begun_ns: u64,
    /// Virtual nanoseconds at which it ended; `u64::MAX` if it never did.
    pub ended_ns: u64,
    /// What it is.
    pub action: Action,
    /// How it ended.
    pub ended: Ended,
}

/// Everything clients did in a run, in the order in which it began.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Operations.
    pub ops: Vec<Op>,
}

/// How many operations ended well, refused and unknown, by name.
pub type Outcomes = BTreeMap<String, [u64; 3]>;

impl Action {
    /// Its name in tables.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Send { kind: SendKind::Sync, .. } => "send",
            Self::Send { kind: SendKind::Async, .. } => "send async",
            Self::Send { kind: SendKind::OneWay, .. } => "send one-way",
            Self::Send { kind: SendKind::Batch, .. } => "send batch",
            Self::Pull { .. } => "pull",
            Self::Consume { .. } => "consume",
            Self::Commit { reset: false, .. } => "commit offset",
            Self::Commit { reset: true, .. } => "reset offset",
            Self::Committed { .. } => "query offset",
            Self::Ends { .. } => "query ends",
            Self::Topic { .. } => "change topic",
            Self::Query { .. } => "query by key",
            Self::Scan { .. } => "scan",
        }
    }
}

impl History {
    /// Operations by name and outcome.
    #[must_use]
    pub fn outcomes(&self) -> Outcomes {
        let mut outcomes = Outcomes::new();
        for op in &self.ops {
            let column = match op.ended {
                Ended::Refused(_) => 1,
                Ended::Unknown(_) => 2,
                _ => 0,
            };
            outcomes.entry(op.action.name().to_owned()).or_default()[column] += 1;
        }
        outcomes
    }

    /// The messages of every queue as the last look found them.
    #[must_use]
    pub fn scanned(&self) -> BTreeMap<&Place, &[Read]> {
        let scans = self.ops.iter().filter_map(|op| match (&op.action, &op.ended) {
            (Action::Scan { place }, Ended::Read { messages, .. }) => Some((place, &messages[..])),
            _ => None,
        });
        scans.collect()
    }

    /// Messages acknowledged.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        let sends = self.ops.iter().filter(|op| matches!(op.ended, Ended::Stored { .. }));
        let messages = sends.map(|op| match &op.action {
            Action::Send { messages, .. } => messages.len() as u64,
            _ => 0,
        });
        messages.sum()
    }
}

/// Where operations are written down while they happen. Shared by all clients of a run.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    history: Arc<Mutex<History>>,
    acked: Arc<AtomicU64>,
}

/// An operation in a [`Ledger`].
#[derive(Clone, Copy, Debug)]
pub struct Line(usize);

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An operation begins.
    #[must_use]
    pub fn begin(&self, client: &Arc<str>, begun_ns: u64, action: Action) -> Line {
        let mut history = self.lock();
        let ended = Ended::Unknown("its client died".to_owned());
        history.ops.push(Op { client: Arc::clone(client), begun_ns, ended_ns: u64::MAX, action, ended });
        Line(history.ops.len() - 1)
    }

    /// An operation has ended.
    pub fn end(&self, line: Line, ended_ns: u64, ended: Ended) {
        let op = &mut self.lock().ops[line.0];
        if let (Action::Send { messages, .. }, Ended::Stored { .. }) = (&op.action, &ended) {
            self.acked.fetch_add(messages.len() as u64, Ordering::Relaxed);
        }
        (op.ended_ns, op.ended) = (ended_ns, ended);
    }

    /// Messages acknowledged so far.
    #[must_use]
    pub fn acked(&self) -> u64 {
        self.acked.load(Ordering::Relaxed)
    }

    /// All operations so far. The ledger is empty afterwards: call it once nobody writes any more.
    #[must_use]
    pub fn take(&self) -> History {
        std::mem::take(&mut *self.lock())
    }

    /// Looks at the operations so far.
    pub fn look<T>(&self, at: impl FnOnce(&History) -> T) -> T {
        at(&self.lock())
    }
}

/// The checksum of a body.
#[must_use]
pub fn body_hash(body: &[u8]) -> BodyHash {
    crate::trace::hash_of_bytes(body)
}
