//! Holds requests back while a group has no leader: of many that wait, one at a time asks. Otherwise they would hold up
//! the election they wait for.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use openraft_rt::Select2;
use quorumq_raft::runtime::Runtime;
use tokio::sync::Notify;

use crate::client::time::now;

/// How often a group without a leader is asked whether it has one again. Failover takes tens of milliseconds.
pub const PROBE_INTERVAL: Duration = Duration::from_millis(15);

/// How long one who waits sleeps before looking itself, in case the one who asks has given up.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// The way into a group, open or shut.
#[derive(Debug)]
pub struct Gate<R: Runtime> {
    /// Set while it is shut: when the next one may ask.
    shut: Mutex<Option<R::Instant>>,
    opened: Notify,
}

/// Whether a request may be tried now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admit {
    /// The group works, as far as is known.
    Open,
    /// It does not; this request is the one that asks again.
    Probe,
    /// It does not, and another request is asking.
    Wait,
}

/// How a request got its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Without waiting.
    AtOnce,
    /// The gate was shut: members tried before may answer otherwise now.
    Anew,
    /// Its deadline passed first.
    TooLate,
}

impl<R: Runtime> Default for Gate<R> {
    fn default() -> Self {
        Self { shut: Mutex::new(None), opened: Notify::new() }
    }
}

impl<R: Runtime> Gate<R> {
    /// No member took a request: until one does, few are tried.
    pub fn shut(&self) {
        *self.lock() = Some(now::<R>() + PROBE_INTERVAL);
    }

    /// A member took a request.
    pub fn open(&self) {
        if self.lock().take().is_some() {
            self.opened.notify_waiters();
        }
    }

    /// Whether it is shut.
    pub fn is_shut(&self) -> bool {
        self.lock().is_some()
    }

    /// Whether a request may be tried now.
    pub fn admit(&self) -> Admit {
        let mut shut = self.lock();
        match *shut {
            None => Admit::Open,
            Some(again) if again <= now::<R>() => {
                *shut = Some(now::<R>() + PROBE_INTERVAL);
                Admit::Probe
            }
            Some(_) => Admit::Wait,
        }
    }

    /// [`Self::admit`], waiting until it lets us through or `deadline` has passed. One who `asked` before asks again
    /// as soon as it may.
    pub async fn enter(&self, deadline: R::Instant, asked: bool) -> Entry {
        let mut waited = false;
        loop {
            // Before looking, or a change in between would wake nobody.
            let opened = self.opened.notified();
            match self.admit() {
                Admit::Open if !waited => return Entry::AtOnce,
                Admit::Open | Admit::Probe => return Entry::Anew,
                Admit::Wait => waited = true,
            }
            let now = now::<R>();
            if now >= deadline {
                return Entry::TooLate;
            }
            let again = self.lock().filter(|_| asked).unwrap_or(now + LOOK_AGAIN);
            match R::select2(opened, R::sleep_until(again.min(deadline))).await {
                Select2::First(()) | Select2::Second(()) => {}
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<R::Instant>> {
        self.shut.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use quorumq_raft::runtime::tokio::Tokio;

    use super::*;

    #[test]
    fn one_request_at_a_time_asks_while_it_is_shut() {
        let gate: Gate<Tokio> = Gate::default();
        assert_eq!(gate.admit(), Admit::Open);
        gate.shut();
        assert_eq!(gate.admit(), Admit::Wait);
        *gate.lock() = Some(now::<Tokio>());
        assert_eq!(gate.admit(), Admit::Probe);
        assert_eq!(gate.admit(), Admit::Wait);
        gate.open();
        assert_eq!(gate.admit(), Admit::Open);
    }

    #[tokio::test]
    async fn all_that_wait_are_let_in_when_it_opens() {
        let gate: Gate<Tokio> = Gate::default();
        let deadline = now::<Tokio>() + Duration::from_secs(20);
        assert_eq!(gate.enter(deadline, false).await, Entry::AtOnce);
        gate.shut();
        // Nobody probes meanwhile.
        *gate.lock() = Some(deadline);
        let waiting = futures_util::future::join_all((0..3).map(|_| gate.enter(deadline, true)));
        let opening = async {
            tokio::task::yield_now().await;
            gate.open();
        };
        let (entries, ()) = futures_util::future::join(waiting, opening).await;
        assert_eq!(entries, [Entry::Anew; 3]);
        gate.shut();
        *gate.lock() = Some(deadline);
        let soon = now::<Tokio>() + Duration::from_millis(20);
        assert_eq!(gate.enter(soon, false).await, Entry::TooLate);
    }
}
