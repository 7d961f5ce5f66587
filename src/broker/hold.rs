//! Held pulls: long polling. Bounded in number and memory; each is taken out exactly once, by whoever answers it.
//!
//! Nobody waits per pull: apply moves the pulls of a queue that got messages aside, and one task looks at them again and
//! at those whose time is over.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use openraft_rt::Instant;
use quorumq_raft::runtime::Runtime;
use quorumq_store::mutant::{Mutant, planted};
use tokio::sync::Notify;

use super::Broker;
use super::pull::{BoxedPull, Next, Proof};
use crate::machine::Arrival;

#[cfg(test)]
mod tests;

/// Most pulls held at a time (RocketMQ's pull queue takes 100,000).
const MAX_HELD: usize = 100_000;
/// Most bytes held pulls may take.
const MAX_HELD_BYTES: usize = 64 * 1024 * 1024;
/// Pulls whose time is over are answered at most this often: they share a read barrier.
const EXPIRY_PAUSE: Duration = Duration::from_millis(50);
/// Pulls one task looks at before it starts another.
const WOKEN_AT_ONCE: usize = 64;

/// No further pull can be held. Code 2 on the wire: a client waits a little and pulls again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "[HOLD]broker busy: {held} pulls of {bytes} bytes are held, the limits are {MAX_HELD} and {MAX_HELD_BYTES}; pull \
     less often or from another node"
)]
pub struct Full {
    held: usize,
    bytes: usize,
}

/// Pulls that wait for messages. `I` is the runtime's instant.
#[derive(Debug)]
pub struct Holds<I> {
    state: Mutex<State<I>>,
    /// There is something to take, or an earlier deadline.
    work: Notify,
    /// A connection ended: its pulls are to be dropped.
    some_closed: AtomicBool,
}

/// The held pulls of one queue, by number.
type Queue<I> = BTreeMap<u64, BoxedPull<I>>;

#[derive(Debug)]
struct State<I> {
    topics: BTreeMap<Arc<str>, BTreeMap<u32, Queue<I>>>,
    /// Deadline and number of every pull held or woken, with its queue.
    deadlines: BTreeMap<(I, u64), (Arc<str>, u32)>,
    /// Taken out of `topics`, to be looked at.
    woken: Vec<Queue<I>>,
    next: u64,
    bytes: usize,
}

/// Pulls taken out.
#[derive(Debug, Default)]
pub struct Taken<I> {
    /// To be looked at again.
    pub woken: Vec<BoxedPull<I>>,
    /// To be answered: their time is over.
    pub expired: Vec<BoxedPull<I>>,
}

impl<I> Default for Holds<I> {
    fn default() -> Self {
        let state = State { topics: BTreeMap::new(), deadlines: BTreeMap::new(), woken: Vec::new(), next: 0, bytes: 0 };
        Self { state: Mutex::new(state), work: Notify::new(), some_closed: AtomicBool::new(false) }
    }
}

impl<I> Holds<I> {
    fn lock(&self) -> MutexGuard<'_, State<I>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes pulls of queues that got messages. Called by apply: short.
    pub fn arrived(&self, arrivals: &[Arrival]) {
        let mut state = self.lock();
        if state.topics.is_empty() {
            return;
        }
        let before = state.woken.len();
        for arrival in arrivals {
            if planted(Mutant::LongPollSkips) {
                state.skip_to_newest(arrival);
            }
            state.wake_queue(&arrival.topic, arrival.queue_id);
        }
        let woken = state.woken.len() > before;
        drop(state);
        if woken {
            self.work.notify_one();
        }
    }

    /// Wakes pulls of topics that changed or went.
    pub fn topics_changed(&self, topics: &[Arc<str>]) {
        let mut state = self.lock();
        let before = state.woken.len();
        for topic in topics {
            let queues = state.topics.remove(topic);
            state.woken.extend(queues.into_iter().flat_map(BTreeMap::into_values));
        }
        let woken = state.woken.len() > before;
        drop(state);
        if woken {
            self.work.notify_one();
        }
    }

    /// A connection ended: its pulls are dropped soon.
    pub fn connection_closed(&self) {
        if !self.some_closed.swap(true, Ordering::AcqRel) {
            self.work.notify_one();
        }
    }

    /// Pulls held now, woken ones included.
    #[cfg(test)]
    pub fn len(&self) -> usize
    where
        I: Ord,
    {
        self.lock().deadlines.len()
    }
}

impl<I> State<I> {
    /// Only where such a bug is planted.
    fn skip_to_newest(&mut self, arrival: &Arrival) {
        let queue = self.topics.get_mut(&arrival.topic).and_then(|queues| queues.get_mut(&arrival.queue_id));
        queue.into_iter().flatten().for_each(|(_, pull)| pull.offset = arrival.next.0 - 1);
    }

    fn wake_queue(&mut self, topic: &str, queue_id: u32) {
        let Some(queues) = self.topics.get_mut(topic) else {
            return;
        };
        self.woken.extend(queues.remove(&queue_id));
        if queues.is_empty() {
            self.topics.remove(topic);
        }
    }
}

impl<I: Copy + Ord> State<I> {
    fn remove(&mut self, topic: &str, queue_id: u32, number: u64) -> Option<BoxedPull<I>> {
        let queues = self.topics.get_mut(topic)?;
        let queue = queues.get_mut(&queue_id)?;
        let pull = queue.remove(&number)?;
        if queue.is_empty() {
            queues.remove(&queue_id);
        }
        if queues.is_empty() {
            self.topics.remove(topic);
        }
        self.bytes -= pull.cost();
        Some(pull)
    }

    fn take_woken(&mut self) -> Vec<BoxedPull<I>> {
        let mut woken = Vec::new();
        for (number, pull) in std::mem::take(&mut self.woken).into_iter().flatten() {
            if let Some(until) = pull.until {
                self.deadlines.remove(&(until, number));
            }
            self.bytes -= pull.cost();
            woken.push(pull);
        }
        woken
    }

    fn take_expired(&mut self, now: I) -> Vec<BoxedPull<I>> {
        let mut expired = Vec::new();
        while let Some(first) = self.deadlines.first_entry()
            && first.key().0 <= now
        {
            let ((_, number), (topic, queue_id)) = first.remove_entry();
            expired.extend(self.remove(&topic, queue_id, number));
        }
        expired
    }

    fn drop_abandoned(&mut self) {
        let queues = self.topics.values().flat_map(BTreeMap::values);
        let abandoned: Vec<_> = queues
            .flatten()
            .filter(|(_, pull)| pull.is_abandoned())
            .filter_map(|(number, pull)| Some((pull.until?, *number)))
            .collect();
        for key in abandoned {
            if let Some((topic, queue_id)) = self.deadlines.remove(&key) {
                self.remove(&topic, queue_id, key.1);
            }
        }
    }
}

impl<I: Copy + Ord> Holds<I> {
    /// Holds a pull until messages arrive or its time is over. To be called under the machine's read lock, in which the
    /// pull found nothing: nothing can arrive unnoticed in between.
    ///
    /// # Errors
    /// The limits are reached; the pull is handed back.
    ///
    /// # Panics
    /// If the pull may not wait.
    pub fn hold(&self, mut pull: BoxedPull<I>) -> Result<(), (Full, BoxedPull<I>)> {
        let Some(until) = pull.until else { unreachable!("a pull that may not wait is answered") };
        let mut state = self.lock();
        let (held, bytes) = (state.deadlines.len(), state.bytes);
        let cost = pull.cost();
        if held >= MAX_HELD || bytes + cost > MAX_HELD_BYTES {
            return Err((Full { held, bytes }, pull));
        }
        pull.was_held = true;
        (pull.is_retried, pull.repairs_awaited) = (false, 0);
        pull.scanned = 0;
        let number = state.next;
        state.next += 1;
        state.bytes += cost;
        let (topic, queue_id) = (Arc::clone(&pull.topic), pull.queue_id);
        let is_first = state.deadlines.first_key_value().is_none_or(|((first, _), _)| until < *first);
        state.deadlines.insert((until, number), (Arc::clone(&topic), queue_id));
        let queues = state.topics.entry(topic).or_default();
        queues.entry(queue_id).or_default().insert(number, pull);
        drop(state);
        if is_first {
            self.work.notify_one();
        }
        Ok(())
    }

    /// The first deadline.
    fn next_deadline(&self) -> Option<I> {
        self.lock().deadlines.first_key_value().map(|((until, _), _)| *until)
    }

    /// Takes out what was woken and, with a time, what is over by then.
    pub fn take(&self, now: Option<I>) -> Taken<I> {
        let mut state = self.lock();
        let woken = state.take_woken();
        if self.some_closed.swap(false, Ordering::AcqRel) {
            state.drop_abandoned();
        }
        let expired = now.map(|now| state.take_expired(now)).unwrap_or_default();
        Taken { woken, expired }
    }
}

/// Looks at woken pulls again, and answers those whose time is over.
pub async fn run<R: Runtime>(broker: Arc<Broker<R>>) {
    let mut next_expiry = <R::Instant as Instant>::now();
    loop {
        let work = broker.holds.work.notified();
        match broker.holds.next_deadline() {
            Some(deadline) => drop(R::timeout_at(deadline.max(next_expiry), work).await),
            None => work.await,
        }
        let now = <R::Instant as Instant>::now();
        let taken = broker.holds.take((now >= next_expiry).then_some(now));
        if !taken.expired.is_empty() {
            next_expiry = now + EXPIRY_PAUSE;
            drop(R::spawn(Arc::clone(&broker).expire(taken.expired)));
        }
        let mut woken = taken.woken;
        while woken.len() > WOKEN_AT_ONCE {
            let rest = woken.split_off(woken.len() - WOKEN_AT_ONCE);
            let broker = Arc::clone(&broker);
            drop(R::spawn(async move { broker.look_again(rest) }));
        }
        broker.look_again(woken);
    }
}

impl<R: Runtime> Broker<R> {
    fn look_again(self: &Arc<Self>, pulls: Vec<BoxedPull<R::Instant>>) {
        for pull in pulls {
            match self.attend(pull, &Proof::None) {
                Next::Done => {}
                // It needs the disk or a barrier: the others must not wait for it.
                next => {
                    let broker = Arc::clone(self);
                    drop(R::spawn(async move { broker.finish(next).await }));
                }
            }
        }
    }

    /// Answers pulls whose time is over: "nothing new" is said only behind a read barrier.
    async fn expire(self: Arc<Self>, pulls: Vec<BoxedPull<R::Instant>>) {
        let proof = self.prove().await;
        for mut pull in pulls {
            pull.until = None;
            match self.attend(pull, &proof) {
                Next::Done => {}
                next => {
                    let broker = Arc::clone(&self);
                    drop(R::spawn(async move { broker.finish(next).await }));
                }
            }
        }
    }
}
