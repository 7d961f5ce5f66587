//! How fast the disk of one host is.

use std::time::{Duration, Instant};

use crate::tally::{Fault, Tally};

/// Slow by a factor, stalled until a moment, or as fast as the weather has it.
#[derive(Debug)]
pub(super) struct DiskPace {
    factor: u32,
    stalled_until: Option<Instant>,
}

impl Default for DiskPace {
    fn default() -> Self {
        Self { factor: 1, stalled_until: None }
    }
}

impl DiskPace {
    pub(super) fn slow(&mut self, factor: u32) {
        self.factor = factor;
    }

    /// Stalls until then, or longer if it stalls longer already.
    pub(super) fn stall(&mut self, until: Instant) {
        self.stalled_until = self.stalled_until.max(Some(until));
    }

    /// How long a job takes that would take `delay`.
    pub(super) fn delay(&self, delay: Duration, tally: &Tally) -> Duration {
        if self.factor > 1 {
            tally.felt(Fault::SlowDisk, 1);
        }
        delay.saturating_mul(self.factor)
    }

    pub(super) fn stalled_until(&self, now: Instant) -> Option<Instant> {
        self.stalled_until.filter(|until| *until > now)
    }
}
