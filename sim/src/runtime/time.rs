//! Virtual time: instants, sleeps, timeouts.

use std::fmt;
use std::future::Future;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use madsim::time::{Sleep, TimeHandle};

/// A moment of virtual time. Taken from madsim's clock by name, not through its override of the libc call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SimInstant(Instant);

impl openraft_rt::Instant for SimInstant {
    fn now() -> Self {
        Self(TimeHandle::current().now_instant())
    }
}

impl Add<Duration> for SimInstant {
    type Output = Self;
    fn add(self, rhs: Duration) -> Self {
        Self(self.0 + rhs)
    }
}

impl AddAssign<Duration> for SimInstant {
    fn add_assign(&mut self, rhs: Duration) {
        self.0 += rhs;
    }
}

impl Sub<Duration> for SimInstant {
    type Output = Self;
    fn sub(self, rhs: Duration) -> Self {
        Self(self.0 - rhs)
    }
}

impl SubAssign<Duration> for SimInstant {
    fn sub_assign(&mut self, rhs: Duration) {
        self.0 -= rhs;
    }
}

impl Sub for SimInstant {
    type Output = Duration;
    fn sub(self, rhs: Self) -> Duration {
        self.0.saturating_duration_since(rhs.0)
    }
}

/// A sleep with one timer, which wakes nobody once the sleep is dropped. madsim's own adds a timer at each poll and
/// never takes one back: a task would be woken once more for each timeout that it did not need.
#[derive(Debug)]
pub struct SimSleep {
    inner: Sleep,
    alarm: Option<Arc<Alarm>>,
}

/// What a timer wakes: whoever polled the sleep last, unless nobody is left.
#[derive(Debug)]
struct Alarm(Mutex<Option<Waker>>);

impl Alarm {
    fn sleeper(&self) -> MutexGuard<'_, Option<Waker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        let sleeper = self.sleeper().take();
        sleeper.into_iter().for_each(Waker::wake);
    }
}

impl SimSleep {
    /// The product's sleep: like tokio's, no shorter than a millisecond.
    pub(super) fn of(duration: Duration) -> Self {
        Self::from(madsim::time::sleep(duration))
    }

    /// The product's sleep until a deadline: like tokio's, no shorter than a millisecond.
    pub(super) fn until(deadline: SimInstant) -> Self {
        Self::from(madsim::time::sleep_until(deadline.0))
    }

    /// The simulator's own sleep, to the nanosecond: for networks and disks that are faster than timers.
    pub(super) fn exactly_until(time: &TimeHandle, deadline: Instant) -> Self {
        let mut inner = time.sleep_until(deadline);
        Pin::new(&mut inner).reset(deadline);
        Self::from(inner)
    }

    pub(super) fn deadline(&self) -> Instant {
        self.inner.deadline()
    }
}

impl From<Sleep> for SimSleep {
    fn from(inner: Sleep) -> Self {
        Self { inner, alarm: None }
    }
}

impl Drop for SimSleep {
    fn drop(&mut self) {
        if let Some(alarm) = &self.alarm {
            *alarm.sleeper() = None;
        }
    }
}

impl Future for SimSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.inner.is_elapsed() {
            return Poll::Ready(());
        }
        if let Some(alarm) = &self.alarm {
            let mut sleeper = alarm.sleeper();
            if sleeper.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
                *sleeper = Some(cx.waker().clone());
            }
            return Poll::Pending;
        }
        let alarm = Arc::new(Alarm(Mutex::new(Some(cx.waker().clone()))));
        self.alarm = Some(alarm.clone());
        Pin::new(&mut self.inner).poll(&mut Context::from_waker(&alarm.into()))
    }
}

/// Wakes `waker` at `due`: for those who wait for what is on its way to them.
pub(super) fn wake_at(time: &TimeHandle, due: Instant, waker: Waker) {
    let mut sleep = time.sleep_until(due);
    Pin::new(&mut sleep).reset(due);
    // Its timer outlives the sleep.
    if Pin::new(&mut sleep).poll(&mut Context::from_waker(&waker)).is_ready() {
        waker.wake();
    }
}

/// The time was up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("deadline has elapsed")
    }
}

impl std::error::Error for Elapsed {}

/// A future with a time limit. The future is polled first: a ready value never times out.
#[derive(Debug)]
pub struct SimTimeout<F> {
    future: Pin<Box<F>>,
    limit: SimSleep,
}

impl<F> SimTimeout<F> {
    pub(super) fn new(future: F, limit: SimSleep) -> Self {
        Self { future: Box::pin(future), limit }
    }
}

impl<F: Future> Future for SimTimeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(value) = self.future.as_mut().poll(cx) {
            return Poll::Ready(Ok(value));
        }
        Pin::new(&mut self.limit).poll(cx).map(|()| Err(Elapsed))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use crate::world::{Config, run};

    #[test]
    fn a_sleep_wakes_its_last_poller_once_and_nobody_after_its_drop() {
        let polls = run(1, Config::default(), |_| async {
            let (mut short, mut long) = (None, SimSleep::of(Duration::from_millis(50)));
            let mut polls = 0;
            poll_fn(|cx| {
                polls += 1;
                if polls == 1 {
                    let sleep = short.insert(SimSleep::of(Duration::from_millis(10)));
                    assert!(Pin::new(&mut *sleep).poll(cx).is_pending());
                    assert!(Pin::new(sleep).poll(cx).is_pending());
                    short = None;
                }
                Pin::new(&mut long).poll(cx)
            })
            .await;
            polls
        });
        assert_eq!(polls.unwrap().value, 2);
    }
}
