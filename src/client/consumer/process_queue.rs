//! The messages of one queue between pull and commit. What may be committed is decided here: only the prefix that is
//! consumed, so a message is delivered at least once whatever happens.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use quorumq_store::QueueOffset;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// How much of one queue may be in memory (`pullThresholdForQueue`, `pullThresholdSizeForQueue`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheLimits {
    /// Messages: 1000.
    pub messages: usize,
    /// Bytes: 100 MiB.
    pub bytes: usize,
}

impl Default for CacheLimits {
    fn default() -> Self {
        Self { messages: 1000, bytes: 100 * 1024 * 1024 }
    }
}

/// An offset that a broker has confirmed is committed again after so many rounds without a new one. Another consumer can
/// have set it back: one that held the queue for a moment, and committed what it began with.
const REPEAT_AFTER: u32 = 6;

/// The messages of one queue that are pulled and not yet consumed.
#[derive(Debug)]
pub(super) struct ProcessQueue {
    limits: CacheLimits,
    state: Mutex<State>,
    /// There is room for more, or nothing is being consumed any more.
    changed: Notify,
    dropped: CancellationToken,
}

#[derive(Debug)]
struct State {
    /// Bytes of each message that is not consumed yet.
    waiting: BTreeMap<QueueOffset, usize>,
    bytes: usize,
    /// Listeners at work.
    running: usize,
    /// Where to pull next.
    next: QueueOffset,
    /// The last offset a broker has confirmed.
    committed: Option<QueueOffset>,
    /// Rounds of commits since then.
    rounds: u32,
}

impl ProcessQueue {
    /// Begins at `next`, a child of the consumer's own `stop`. `committed` is what the brokers have, if they have one.
    pub(super) fn new(
        next: QueueOffset,
        committed: Option<QueueOffset>,
        limits: CacheLimits,
        stop: &CancellationToken,
    ) -> Self {
        let state = State { waiting: BTreeMap::new(), bytes: 0, running: 0, next, committed, rounds: 0 };
        Self { limits, state: Mutex::new(state), changed: Notify::new(), dropped: stop.child_token() }
    }

    /// Where to pull next.
    pub(super) fn next(&self) -> QueueOffset {
        self.lock().next
    }

    /// Takes in a pull's messages, by offset and size, and where to pull next.
    pub(super) fn add(&self, messages: impl Iterator<Item = (QueueOffset, usize)>, next: QueueOffset) {
        let mut state = self.lock();
        for (offset, bytes) in messages {
            state.bytes += bytes;
            state.waiting.insert(offset, bytes);
        }
        state.next = next;
    }

    /// Waits until there is room for another pull. For one caller at a time.
    pub(super) async fn room(&self) {
        loop {
            {
                let state = self.lock();
                // The limits are soft by one pull.
                if state.waiting.len() < self.limits.messages && state.bytes < self.limits.bytes {
                    return;
                }
            }
            self.changed.notified().await;
        }
    }

    /// A listener takes a message. False if the queue belongs to another consumer by now.
    pub(super) fn begin(&self) -> bool {
        let mut state = self.lock();
        if self.dropped.is_cancelled() {
            return false;
        }
        state.running += 1;
        true
    }

    /// The listener has ended; `consumed` names the message if it was consumed.
    pub(super) fn end(&self, consumed: Option<QueueOffset>) {
        let mut state = self.lock();
        state.running -= 1;
        if let Some(bytes) = consumed.and_then(|offset| state.waiting.remove(&offset)) {
            state.bytes -= bytes;
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Waits until no listener is at work. For one caller at a time, once nothing calls [`Self::room`].
    pub(super) async fn idle(&self) {
        loop {
            if self.lock().running == 0 {
                return;
            }
            self.changed.notified().await;
        }
    }

    /// The offset to commit: the first message not consumed, or where the next pull begins. `None` if a broker has it.
    pub(super) fn to_commit(&self) -> Option<QueueOffset> {
        let state = self.lock();
        let offset = state.waiting.first_key_value().map_or(state.next, |(offset, _)| *offset);
        (state.committed != Some(offset)).then_some(offset)
    }

    /// As [`Self::to_commit`], asked once a round: what was confirmed long ago is confirmed anew.
    pub(super) fn due(&self) -> Option<QueueOffset> {
        let new = self.to_commit();
        let mut state = self.lock();
        state.rounds += 1;
        new.or_else(|| state.committed.filter(|_| state.rounds >= REPEAT_AFTER))
    }

    /// A broker has confirmed `offset`.
    pub(super) fn committed(&self, offset: QueueOffset) {
        let mut state = self.lock();
        (state.committed, state.rounds) = (Some(offset), 0);
    }

    /// The queue goes to another consumer: nothing more is pulled or handed to listeners.
    pub(super) fn drop_it(&self) {
        // Under the lock, so that no listener begins after it.
        let _state = self.lock();
        self.dropped.cancel();
    }

    /// Cancelled by [`Self::drop_it`] and when the consumer stops.
    pub(super) fn dropped(&self) -> &CancellationToken {
        &self.dropped
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(limits: CacheLimits) -> ProcessQueue {
        ProcessQueue::new(QueueOffset(10), None, limits, &CancellationToken::new())
    }

    fn consume(queue: &ProcessQueue, offset: u64) {
        assert!(queue.begin());
        queue.end(Some(QueueOffset(offset)));
    }

    #[test]
    fn only_the_consumed_prefix_is_committed() {
        let queue = queue(CacheLimits::default());
        assert_eq!(queue.to_commit(), Some(QueueOffset(10)));
        queue.add([10, 11, 13].map(|offset| (QueueOffset(offset), 5)).into_iter(), QueueOffset(15));
        consume(&queue, 11);
        assert_eq!(queue.to_commit(), Some(QueueOffset(10)), "10 is not consumed");
        consume(&queue, 10);
        assert_eq!(queue.to_commit(), Some(QueueOffset(13)), "12 was filtered out");
        queue.committed(QueueOffset(13));
        assert_eq!(queue.to_commit(), None, "nothing new");
        assert!(queue.begin());
        queue.end(None);
        assert_eq!(queue.to_commit(), None, "13 was not consumed");
        consume(&queue, 13);
        assert_eq!(queue.to_commit(), Some(QueueOffset(15)), "all consumed: where the next pull begins");
    }

    #[test]
    fn what_the_brokers_have_is_not_committed_by_one_who_consumed_nothing() {
        let begun = Some(QueueOffset(10));
        let queue = ProcessQueue::new(QueueOffset(10), begun, CacheLimits::default(), &CancellationToken::new());
        assert_eq!(queue.to_commit(), None);
    }

    #[test]
    fn a_confirmed_offset_is_committed_again_after_some_rounds() {
        let queue = queue(CacheLimits::default());
        for _ in 0..2 {
            assert_eq!(queue.due(), Some(QueueOffset(10)));
        }
        for _ in 0..2 {
            queue.committed(QueueOffset(10));
            let rounds: Vec<_> = (0..REPEAT_AFTER).map(|_| queue.due()).collect();
            let (last, before) = rounds.split_last().unwrap();
            assert_eq!((*last, before.iter().flatten().count()), (Some(QueueOffset(10)), 0));
        }
    }

    #[test]
    fn a_queue_that_was_dropped_hands_nothing_to_listeners() {
        let queue = queue(CacheLimits::default());
        queue.add([(QueueOffset(10), 5)].into_iter(), QueueOffset(11));
        assert!(queue.begin());
        queue.drop_it();
        assert!(!queue.begin());
        queue.end(Some(QueueOffset(10)));
        assert_eq!(queue.to_commit(), Some(QueueOffset(11)), "what was at work still counts");
    }

    #[tokio::test]
    async fn a_full_queue_has_no_room_until_something_is_consumed() {
        for limits in [CacheLimits { messages: 2, bytes: 1000 }, CacheLimits { messages: 100, bytes: 10 }] {
            let queue = queue(limits);
            queue.room().await;
            queue.add([10, 11].map(|offset| (QueueOffset(offset), 5)).into_iter(), QueueOffset(12));
            let mut room = Box::pin(queue.room());
            assert!(futures_util::poll!(room.as_mut()).is_pending(), "{limits:?}");
            consume(&queue, 11);
            room.await;
        }
    }
}
