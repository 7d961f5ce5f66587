//! Catch-up is paced: log replication to a member that is far behind must not starve fresh traffic.
//!
//! What counts is what the leader reads from old segments for its followers; the live tail is in memory and never waits.
//! One pace holds for all members that catch up, and it yields where waiting would hold up the group: while entries
//! wait for a majority and the committed position stands still, a member that is behind may be the one that is needed.

use std::num::NonZeroU64;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use openraft_rt::Instant;
use quorumq_store::LogIndex;
use quorumq_store::log_store::Positions;

use crate::runtime::Runtime;

/// Default of `catchUpBytesPerSecond`: 32 MiB, a fraction of what a disk and a network give.
pub const DEFAULT_BYTES_PER_SECOND: u64 = 32 << 20;
/// Smallest rate, in bytes a second: the largest entry takes seconds then, not minutes.
pub const MIN_BYTES_PER_SECOND: u64 = 1 << 20;
/// Longest sleep between looks: a changed rate takes hold within this time.
const LOOK: Duration = Duration::from_millis(50);
/// With entries to commit and none committed for this long, nobody waits.
const STANDSTILL: Duration = Duration::from_millis(500);
/// A read takes at most this part of a second's bytes, so that the pace is even.
const READS_PER_SECOND: u64 = 8;

/// How fast members that are far behind are caught up with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatchUp {
    /// Not at all until an operator resumes it, unless the group cannot commit without.
    Paused,
    /// As fast as disk and network go.
    Unlimited,
    /// At so many bytes of entries a second, all members together.
    BytesPerSecond(NonZeroU64),
}

impl CatchUp {
    /// From a setting's value: bytes a second, 0 for no limit. A rate below [`MIN_BYTES_PER_SECOND`] is raised to it.
    pub fn from_setting(bytes_per_second: u64) -> Self {
        match NonZeroU64::new(bytes_per_second) {
            None => Self::Unlimited,
            Some(rate) => Self::BytesPerSecond(rate.max(NonZeroU64::MIN.saturating_add(MIN_BYTES_PER_SECOND - 1))),
        }
    }
}

/// Paces reads of old segments.
#[derive(Debug)]
pub struct Pace<I> {
    /// The rate it began with.
    configured: CatchUp,
    state: Mutex<State<I>>,
}

#[derive(Debug)]
struct State<I> {
    rate: CatchUp,
    /// Bytes read that the rate has not made up for, as of `counted`.
    owed: u64,
    counted: I,
    /// The committed position and since when it stands still while there is more to commit.
    stuck: Option<(Option<LogIndex>, I)>,
    /// When the last pause ended.
    resumed: Option<I>,
}

impl<I: Instant> Pace<I> {
    /// A pace that begins at `rate`.
    pub fn new(rate: CatchUp) -> Self {
        let state = State { rate, owed: 0, counted: I::now(), stuck: None, resumed: None };
        Self { configured: rate, state: Mutex::new(state) }
    }

    /// The rate it began with.
    pub fn configured(&self) -> CatchUp {
        self.configured
    }

    fn lock(&self) -> MutexGuard<'_, State<I>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The rate that holds.
    pub fn rate(&self) -> CatchUp {
        self.lock().rate
    }

    /// Sets another rate, for those too who wait.
    pub fn set(&self, rate: CatchUp) {
        let mut state = self.lock();
        state.settle(I::now());
        if state.rate == CatchUp::Paused && rate != CatchUp::Paused {
            state.resumed = Some(I::now());
        }
        state.rate = rate;
    }

    /// Whether catch-up was paused at some time within the last `within`.
    pub fn was_paused(&self, within: Duration) -> bool {
        let state = self.lock();
        state.rate == CatchUp::Paused || state.resumed.is_some_and(|at| at.elapsed() < within)
    }

    /// Bytes that one read should take, `most` at most.
    pub fn read_size(&self, most: u64) -> u64 {
        match self.rate() {
            CatchUp::BytesPerSecond(rate) => most.min(rate.get() / READS_PER_SECOND),
            CatchUp::Paused | CatchUp::Unlimited => most,
        }
    }

    /// Waits until the next read is due. `positions` tells where the log stands.
    pub async fn wait<R: Runtime<Instant = I>>(&self, positions: impl Fn() -> Positions) {
        loop {
            let pause = self.lock().due(&positions(), I::now());
            match pause {
                None => return,
                Some(pause) => R::sleep(pause.min(LOOK)).await,
            }
        }
    }

    /// Notes what a read has taken, in bytes.
    pub fn took(&self, bytes: u64) {
        let mut state = self.lock();
        state.settle(I::now());
        state.owed += bytes;
    }
}

impl<I: Instant> State<I> {
    /// Takes off what the time since the last look has made up for.
    fn settle(&mut self, now: I) {
        let paid = match self.rate {
            CatchUp::Unlimited => self.owed,
            // A pause makes up for all that was read before it.
            CatchUp::Paused => 0,
            CatchUp::BytesPerSecond(rate) => {
                let paid = (now - self.counted).as_nanos() * u128::from(rate.get()) / 1_000_000_000;
                u64::try_from(paid).unwrap_or(u64::MAX)
            }
        };
        self.owed = self.owed.saturating_sub(paid);
        self.counted = now;
    }

    /// How long until the next read is due; `None` if it is.
    fn due(&mut self, positions: &Positions, now: I) -> Option<Duration> {
        self.settle(now);
        if self.is_stuck(positions, now) {
            return None;
        }
        match self.rate {
            CatchUp::Unlimited => None,
            CatchUp::Paused => Some(LOOK),
            CatchUp::BytesPerSecond(rate) => {
                let nanos = u128::from(self.owed) * 1_000_000_000 / u128::from(rate.get());
                (self.owed > 0).then(|| Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX).max(1)))
            }
        }
    }

    /// Whether entries wait for a majority and none has got one for a while.
    fn is_stuck(&mut self, positions: &Positions, now: I) -> bool {
        let (last, committed) = (positions.last.map(|id| id.index), positions.committed.map(|id| id.index));
        if last <= committed {
            self.stuck = None;
            return false;
        }
        match self.stuck {
            Some((then, since)) if then == committed => now - since >= STANDSTILL,
            _ => {
                self.stuck = Some((committed, now));
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use openraft_rt_tokio::TokioInstant;
    use quorumq_store::{LogId, Term};

    use super::*;

    const MIB: u64 = 1 << 20;

    fn positions(last: u64, committed: u64) -> Positions {
        let id = |index| Some(LogId { term: Term(1), index: LogIndex(index) });
        Positions { last: id(last), committed: id(committed), ..Positions::default() }
    }

    fn state(rate: CatchUp) -> (State<TokioInstant>, TokioInstant) {
        let begun = TokioInstant::now();
        (State { rate, owed: 0, counted: begun, stuck: None, resumed: None }, begun)
    }

    #[test]
    fn reads_are_due_as_fast_as_the_rate_pays_for_them() {
        let (mut state, begun) = state(CatchUp::from_setting(4 * MIB));
        let at = |ms| begun + Duration::from_millis(ms);
        let calm = positions(9, 9);
        assert_eq!(state.due(&calm, at(0)), None, "nothing is owed");
        state.owed = 2 * MIB;
        assert_eq!(state.due(&calm, at(0)), Some(Duration::from_millis(500)));
        assert_eq!(state.due(&calm, at(250)), Some(Duration::from_millis(250)));
        assert_eq!(state.due(&calm, at(500)), None);
        assert_eq!(state.due(&calm, at(60_000)), None);
        assert_eq!(state.owed, 0, "time without reads is not saved up");
    }

    #[test]
    fn a_pause_lasts_until_it_is_ended_and_no_limit_asks_for_no_wait() {
        let (mut state, begun) = state(CatchUp::Paused);
        let calm = positions(9, 9);
        assert_eq!(state.due(&calm, begun + Duration::from_secs(3600)), Some(LOOK));
        state.rate = CatchUp::Unlimited;
        state.owed = 100 * MIB;
        assert_eq!(state.due(&calm, begun + Duration::from_secs(3600)), None);
    }

    #[test]
    fn nobody_waits_while_nothing_is_committed() {
        let (mut state, begun) = state(CatchUp::Paused);
        let mut due = |last, committed, ms| state.due(&positions(last, committed), begun + Duration::from_millis(ms));
        assert!(due(10, 9, 0).is_some());
        assert!(due(11, 9, 400).is_some());
        assert!(due(12, 9, 500).is_none(), "the member that is behind may be needed");
        assert!(due(12, 9, 700).is_none());
        assert!(due(12, 11, 800).is_some(), "it goes on without");
        assert!(due(12, 12, 9000).is_some());
        assert!(due(13, 12, 9001).is_some(), "one that has just come has not waited");
    }

    #[test]
    fn rates_below_the_smallest_are_raised_to_it() {
        assert_eq!(CatchUp::from_setting(0), CatchUp::Unlimited);
        assert_eq!(CatchUp::from_setting(1), CatchUp::from_setting(MIN_BYTES_PER_SECOND));
        assert_ne!(CatchUp::from_setting(2 * MIB), CatchUp::from_setting(MIB));
    }
}
