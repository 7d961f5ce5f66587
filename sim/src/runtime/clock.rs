//! Wall clocks: one a host, each wrong in its own way. Timers do not follow them.

use crate::tally::{Fault, Tally};

/// What happens to a host's wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockFault {
    /// From now on it is ahead by so many milliseconds, or behind.
    Skew(i64),
    /// It jumps by so many milliseconds, forward or back, from where it is.
    Jump(i64),
    /// It stands still.
    Freeze,
}

/// A host's wall clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct WallClock {
    skew_ms: i64,
    jumped_ms: i64,
    /// What it shows, if it stands still.
    frozen_at_ms: Option<i64>,
}

impl WallClock {
    /// What it shows when the right time is `true_ms`. Counts the reading for each fault that changes it.
    pub(super) fn read(&self, true_ms: i64, tally: &Tally) -> i64 {
        tally.felt(Fault::ClockSkew, u64::from(self.skew_ms != 0));
        tally.felt(Fault::ClockJump, u64::from(self.jumped_ms != 0));
        tally.felt(Fault::ClockFreeze, u64::from(self.frozen_at_ms.is_some()));
        self.shows(true_ms)
    }

    fn shows(&self, true_ms: i64) -> i64 {
        let running = true_ms.saturating_add(self.skew_ms).saturating_add(self.jumped_ms);
        self.frozen_at_ms.unwrap_or(running)
    }

    /// A fault strikes it.
    pub(super) fn strike(&mut self, fault: ClockFault, true_ms: i64) {
        match fault {
            ClockFault::Skew(ms) => self.skew_ms = ms,
            ClockFault::Jump(ms) => self.jumped_ms = self.jumped_ms.saturating_add(ms),
            ClockFault::Freeze => self.frozen_at_ms = Some(self.shows(true_ms)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_of_a_clock_add_up_and_each_counts_its_readings() {
        let tally = Tally::default();
        let mut clock = WallClock::default();
        assert_eq!(clock.read(1000, &tally), 1000);
        clock.strike(ClockFault::Skew(-300), 1000);
        assert_eq!(clock.read(1001, &tally), 701);
        clock.strike(ClockFault::Jump(50), 1001);
        clock.strike(ClockFault::Jump(50), 1001);
        assert_eq!(clock.read(1002, &tally), 802);
        clock.strike(ClockFault::Freeze, 1002);
        assert_eq!(clock.read(9000, &tally), 802);
        let felt = |fault| tally.counts().fault(fault).felt;
        let felt = [Fault::ClockSkew, Fault::ClockJump, Fault::ClockFreeze].map(felt);
        assert_eq!(felt, [3, 2, 1]);
    }
}
