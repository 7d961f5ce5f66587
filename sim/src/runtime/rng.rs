//! Randomness: one seeded generator for the whole world.

use std::convert::Infallible;
use std::ops::Range;
use std::time::Duration;

use madsim::rand::{GlobalRng, Rng as _, RngCore};

/// The world's generator (madsim's, of rand 0.8) in the shape the product wants (rand 0.10).
#[derive(Clone)]
pub struct SimRng(GlobalRng);

impl SimRng {
    /// The generator of the current run.
    pub(crate) fn current() -> Self {
        Self(madsim::rand::thread_rng())
    }
}

impl std::fmt::Debug for SimRng {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SimRng")
    }
}

impl rand::TryRng for SimRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.0.next_u32())
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.0.next_u64())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill_bytes(bytes);
        Ok(())
    }
}

/// How long something takes: mostly in one range, now and then in a slower one.
#[derive(Clone, Debug)]
pub struct Delay {
    /// The usual time.
    pub usual: Range<Duration>,
    /// The time of a slow one.
    pub slow: Range<Duration>,
    /// One in this many is slow. 0: none.
    pub slow_one_in: u32,
}

impl Delay {
    pub(super) fn draw(&self, rng: &mut GlobalRng) -> Duration {
        let slow = self.slow_one_in > 0 && rng.gen_range(0..self.slow_one_in) == 0;
        let range = if slow { &self.slow } else { &self.usual };
        if range.is_empty() { range.start } else { rng.gen_range(range.clone()) }
    }
}
