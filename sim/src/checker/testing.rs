//! Histories written by hand, to show what a checker lets pass and what it does not.

use super::Checker;
use super::facts::Facts;
use crate::history::{Action, Ended, History, Op, Place, Read, SendKind, Sent, body_hash};

const TOPIC: &str = "orders";

/// A queue of the one topic.
pub fn place(queue: u32) -> Place {
    Place { topic: TOPIC.into(), broker: "broker-a".into(), queue }
}

fn message(key: &str) -> Sent {
    Sent { key: key.into(), body: body_hash(key.as_bytes()) }
}

/// A message as it is read from where it ought to be.
pub fn read(key: &str, queue: u32, offset: u64) -> Read {
    let Sent { key, body } = message(key);
    Read { offset, physical: offset * 100 + u64::from(queue), key, body }
}

/// A history under construction: operations come one after the other, each begins at a multiple of ten and takes five,
/// unless [`Story::during`] says otherwise.
#[derive(Default)]
pub struct Story {
    pub history: History,
}

impl Story {
    fn tell(mut self, action: Action, ended: Ended) -> Self {
        let begun_ns = (self.history.ops.len() as u64 + 1) * 10;
        self.history.ops.push(Op { client: "client".into(), begun_ns, ended_ns: begun_ns + 5, action, ended });
        self
    }

    /// The last operation took this time.
    pub fn during(mut self, begun_ns: u64, ended_ns: u64) -> Self {
        let op = self.history.ops.last_mut().unwrap();
        (op.begun_ns, op.ended_ns) = (begun_ns, ended_ns);
        self
    }

    /// The last operation ended otherwise.
    pub fn ended(mut self, ended: Ended) -> Self {
        self.history.ops.last_mut().unwrap().ended = ended;
        self
    }

    /// The outcome of the last operation is unknown for ever.
    pub fn unknown(mut self) -> Self {
        let op = self.history.ops.last_mut().unwrap();
        (op.ended, op.ended_ns) = (Ended::Unknown("lost".to_owned()), u64::MAX);
        self
    }

    /// The last operation was refused.
    pub fn refused(self) -> Self {
        self.ended(Ended::Refused("busy".to_owned()))
    }

    /// The messages of the last operation are changed by `change`.
    pub fn but(mut self, change: impl Fn(&mut Read)) -> Self {
        if let Ended::Read { messages, .. } = &mut self.history.ops.last_mut().unwrap().ended {
            messages.iter_mut().for_each(change);
        }
        self
    }

    /// An earlier attempt of the last send has an unknown outcome.
    pub fn after_a_retry(mut self) -> Self {
        if let Ended::Stored { maybe_duplicate, .. } = &mut self.history.ops.last_mut().unwrap().ended {
            *maybe_duplicate = true;
        }
        self
    }

    pub fn stored(self, key: &str, queue: u32, offset: u64) -> Self {
        self.send(SendKind::Sync, &[key], queue, offset)
    }

    pub fn batch(self, keys: &[&str], queue: u32, offset: u64) -> Self {
        self.send(SendKind::Batch, keys, queue, offset)
    }

    pub fn one_way(self, key: &str) -> Self {
        self.send(SendKind::OneWay, &[key], 0, 0).unknown()
    }

    fn send(self, kind: SendKind, keys: &[&str], queue: u32, offset: u64) -> Self {
        let messages = keys.iter().map(|key| message(key)).collect();
        let ended = Ended::Stored { place: place(queue), offset, maybe_duplicate: false };
        self.tell(Action::Send { kind, topic: TOPIC.into(), messages }, ended)
    }

    /// Messages from `from` on; the queue ends behind the last of them.
    pub fn pull(self, consumer: &str, queue: u32, from: u64, keys: &[&str]) -> Self {
        let ended = reading(queue, from, keys, 0);
        self.tell(Action::Pull { consumer: consumer.into(), place: place(queue), from }, ended)
    }

    /// Everything in a queue, whose first offset is `min`.
    pub fn scan(self, queue: u32, min: u64, keys: &[&str]) -> Self {
        self.tell(Action::Scan { place: place(queue) }, reading(queue, min, keys, min))
    }

    /// One of group "g" is handed a message.
    pub fn consume(self, consumer: &str, queue: u32, offset: u64, key: &str) -> Self {
        let action = Action::Consume { group: "g".into(), consumer: consumer.into(), place: place(queue) };
        self.tell(action, reading(queue, offset, &[key], 0))
    }

    /// Group "g" commits.
    pub fn commit(self, queue: u32, offset: u64) -> Self {
        self.tell(Action::Commit { group: "g".into(), place: place(queue), offset, reset: false }, Ended::Done)
    }

    /// Group "g" is set to an offset.
    pub fn reset(self, queue: u32, offset: u64) -> Self {
        self.tell(Action::Commit { group: "g".into(), place: place(queue), offset, reset: true }, Ended::Done)
    }

    /// Group "g" finds an offset.
    pub fn committed(self, queue: u32, offset: impl Into<Option<u64>>) -> Self {
        self.tell(Action::Committed { group: "g".into(), place: place(queue) }, Ended::Offset(offset.into()))
    }

    /// A message is looked for by its key, and these are found, with their offsets.
    pub fn query(self, key: &str, queue: u32, found: &[(&str, u64)]) -> Self {
        let messages = found.iter().map(|(key, offset)| read(key, queue, *offset)).collect();
        let action = Action::Query { place: place(queue), key: key.into(), stored_ms: None };
        self.tell(action, Ended::Read { messages, next: 0, min: 0, max: 0 })
    }

    pub fn ends(self, queue: u32, min: u64, max: u64) -> Self {
        self.tell(Action::Ends { place: place(queue) }, Ended::Ends { min, max })
    }

    pub fn delete_topic(self) -> Self {
        self.tell(Action::Topic { topic: TOPIC.into(), queues: 0 }, Ended::Done)
    }

    /// The checker has nothing to say.
    #[track_caller]
    pub fn passes(&self, checker: &dyn Checker) {
        assert_eq!(checker.check(&Facts::of(&self.history)), Ok(()));
    }

    /// The checker says so.
    #[track_caller]
    pub fn breaks(&self, checker: &dyn Checker, what: &str) {
        let said = checker.check(&Facts::of(&self.history));
        assert!(said.as_ref().is_err_and(|said| said.contains(what)), "{said:?}");
    }
}

fn reading(queue: u32, from: u64, keys: &[&str], min: u64) -> Ended {
    let messages: Vec<_> = keys.iter().zip(from..).map(|(key, offset)| read(key, queue, offset)).collect();
    let next = from + messages.len() as u64;
    Ended::Read { messages, next, min, max: next }
}
