//! Virtual time: instants, sleeps, timeouts.

use std::fmt;
use std::future::Future;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
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

/// A sleep that registers one timer for as long as its waker stays the same. madsim's own adds a timer at each
/// poll and never takes one back.
#[derive(Debug)]
pub struct SimSleep {
    inner: Sleep,
    registered: Option<Waker>,
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
        Self { inner, registered: None }
    }
}

impl Future for SimSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.inner.is_elapsed() {
            return Poll::Ready(());
        }
        if self.registered.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            return Poll::Pending;
        }
        self.registered = Some(cx.waker().clone());
        Pin::new(&mut self.inner).poll(cx)
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
