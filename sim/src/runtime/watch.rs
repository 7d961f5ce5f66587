//! A watch channel that wakes its receivers in the order in which they began to wait.
//!
//! tokio's spreads waiters over slots by a thread-local random number that no seed reaches, so that the order
//! of wakes, and with it the whole run, differs from process to process.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError};
use std::task::{Context, Poll, Waker};

use openraft_rt::watch::{RecvError, SendError, Watch, WatchReceiver, WatchSender};
use openraft_rt::{OptionalSend, OptionalSync};

/// Watch channels.
#[derive(Debug)]
pub struct SimWatch;

#[derive(Debug)]
struct Shared<T> {
    value: RwLock<T>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Rises with each change.
    version: u64,
    senders: usize,
    receivers: usize,
    /// Waiting receivers, by the ticket they drew when they began to wait.
    waiting: BTreeMap<u64, Waker>,
    next_ticket: u64,
}

impl<T> Shared<T> {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> RwLockReadGuard<'_, T> {
        self.value.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, T> {
        match self.value.try_write() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // All tasks share one thread here: waiting would hang the run without a word.
            Err(TryLockError::WouldBlock) => panic!("a watched value is changed while somebody still borrows it"),
        }
    }

    fn changed(&self) {
        let waiting = {
            let mut state = self.state();
            state.version += 1;
            std::mem::take(&mut state.waiting)
        };
        waiting.into_values().for_each(Waker::wake);
    }

    fn receiver(self: &Arc<Self>, seen: u64) -> SimWatchReceiver<T> {
        self.state().receivers += 1;
        SimWatchReceiver { shared: self.clone(), seen, ticket: None }
    }
}

/// Sending end of a [`SimWatch`].
#[derive(Debug)]
pub struct SimWatchSender<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Clone for SimWatchSender<T> {
    fn clone(&self) -> Self {
        self.shared.state().senders += 1;
        Self { shared: self.shared.clone() }
    }
}

impl<T> Drop for SimWatchSender<T> {
    fn drop(&mut self) {
        let waiting = {
            let mut state = self.shared.state();
            state.senders -= 1;
            if state.senders > 0 {
                return;
            }
            std::mem::take(&mut state.waiting)
        };
        waiting.into_values().for_each(Waker::wake);
    }
}

/// Receiving end of a [`SimWatch`].
#[derive(Debug)]
pub struct SimWatchReceiver<T> {
    shared: Arc<Shared<T>>,
    /// The version this receiver has seen.
    seen: u64,
    /// Its place among the waiting ones, if it waits.
    ticket: Option<u64>,
}

impl<T> Clone for SimWatchReceiver<T> {
    fn clone(&self) -> Self {
        self.shared.receiver(self.seen)
    }
}

impl<T> Drop for SimWatchReceiver<T> {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.receivers -= 1;
        if let Some(ticket) = self.ticket {
            state.waiting.remove(&ticket);
        }
    }
}

impl Watch for SimWatch {
    type Sender<T: OptionalSend + OptionalSync> = SimWatchSender<T>;
    type Receiver<T: OptionalSend + OptionalSync> = SimWatchReceiver<T>;
    type Ref<'a, T: OptionalSend + 'a> = RwLockReadGuard<'a, T>;

    fn channel<T: OptionalSend + OptionalSync>(init: T) -> (SimWatchSender<T>, SimWatchReceiver<T>) {
        let shared =
            Arc::new(Shared { value: RwLock::new(init), state: Mutex::new(State { senders: 1, ..State::default() }) });
        let receiver = shared.receiver(0);
        (SimWatchSender { shared }, receiver)
    }
}

impl<T: OptionalSend + OptionalSync> WatchSender<SimWatch, T> for SimWatchSender<T> {
    fn send(&self, value: T) -> Result<(), SendError<T>> {
        if self.shared.state().receivers == 0 {
            return Err(SendError(value));
        }
        *self.shared.write() = value;
        self.shared.changed();
        Ok(())
    }

    fn send_if_modified<F>(&self, modify: F) -> bool
    where
        F: FnOnce(&mut T) -> bool,
    {
        let modified = modify(&mut self.shared.write());
        if modified {
            self.shared.changed();
        }
        modified
    }

    fn borrow_watched(&self) -> RwLockReadGuard<'_, T> {
        self.shared.read()
    }

    fn subscribe(&self) -> SimWatchReceiver<T> {
        let version = self.shared.state().version;
        self.shared.receiver(version)
    }
}

impl<T> SimWatchReceiver<T> {
    fn poll_changed(&mut self, cx: &Context<'_>) -> Poll<Result<(), RecvError>> {
        let mut state = self.shared.state();
        if state.version != self.seen {
            self.seen = state.version;
            if let Some(ticket) = self.ticket.take() {
                state.waiting.remove(&ticket);
            }
            return Poll::Ready(Ok(()));
        }
        if state.senders == 0 {
            return Poll::Ready(Err(RecvError(())));
        }
        // A place in the line is kept over polls, and given up only by a wake.
        let ticket = match self.ticket {
            Some(ticket) if state.waiting.contains_key(&ticket) => ticket,
            _ => {
                state.next_ticket += 1;
                state.next_ticket
            }
        };
        state.waiting.insert(ticket, cx.waker().clone());
        self.ticket = Some(ticket);
        Poll::Pending
    }
}

impl<T: OptionalSend + OptionalSync> WatchReceiver<SimWatch, T> for SimWatchReceiver<T> {
    async fn changed(&mut self) -> Result<(), RecvError> {
        poll_fn(|cx| self.poll_changed(cx)).await
    }

    fn borrow_watched(&self) -> RwLockReadGuard<'_, T> {
        self.shared.read()
    }

    fn borrow_and_update(&mut self) -> RwLockReadGuard<'_, T> {
        let value = self.shared.read();
        self.seen = self.shared.state().version;
        value
    }
}

#[cfg(test)]
mod tests {
    use std::task::Wake;

    use super::*;

    /// Notes its number when woken.
    struct Note(u32, Arc<Mutex<Vec<u32>>>);

    impl Wake for Note {
        fn wake(self: Arc<Self>) {
            self.1.lock().unwrap().push(self.0);
        }
    }

    #[test]
    fn receivers_wake_in_the_order_in_which_they_began_to_wait() {
        let (sender, receiver) = SimWatch::channel(0);
        let woken = Arc::new(Mutex::new(Vec::new()));
        let mut receivers: Vec<_> = (0..50).map(|_| receiver.clone()).collect();
        let mut poll = |number: u32| {
            let waker = Waker::from(Arc::new(Note(number, woken.clone())));
            receivers[number as usize].poll_changed(&Context::from_waker(&waker))
        };
        // The odd ones first; polling again keeps the place.
        let order: Vec<u32> = (0..50).filter(|i| i % 2 == 1).chain((0..50).filter(|i| i % 2 == 0)).collect();
        for &i in &order {
            assert!(poll(i).is_pending());
        }
        for i in [40, 3, 8] {
            assert!(poll(i).is_pending());
        }
        assert_eq!(*woken.lock().unwrap(), [] as [u32; 0]);
        sender.send(1).unwrap();
        assert_eq!(*woken.lock().unwrap(), order);
        for i in 0..50 {
            assert!(poll(i).is_ready());
        }
    }

    #[test]
    fn a_dropped_receiver_is_not_woken() {
        let (sender, receiver) = SimWatch::channel(0);
        let woken = Arc::new(Mutex::new(Vec::new()));
        let waker = Waker::from(Arc::new(Note(1, woken.clone())));
        let mut gone = receiver.clone();
        assert!(gone.poll_changed(&Context::from_waker(&waker)).is_pending());
        drop(gone);
        sender.send(1).unwrap();
        assert_eq!(*woken.lock().unwrap(), [] as [u32; 0]);
        drop(receiver);
        assert!(sender.send(2).is_err(), "sent a value to nobody");
    }

    #[test]
    #[should_panic(expected = "still borrows it")]
    fn changing_a_borrowed_value_panics_instead_of_hanging() {
        let (sender, receiver) = SimWatch::channel(0);
        let _borrowed = receiver.borrow_watched();
        let _ = sender.send(1);
    }
}
