//! Reading the whole CommitLog now and then, so that damage is found while another member still has a sound copy.

use super::{BadRange, Walk};
use crate::log_store::LogStore;
use crate::{PhysicalOffset, StoreError};

/// One pass over the log, in steps.
#[derive(Debug)]
pub struct Scrub {
    walk: Walk,
    upto: PhysicalOffset,
}

impl Scrub {
    /// A pass over everything that is read from the files now. What is kept in memory is left for the next.
    pub fn new(store: &LogStore) -> Self {
        let walk = store.walk(store.positions().first);
        Self { upto: walk.end.end, walk }
    }

    /// How far it has come.
    pub fn at(&self) -> PhysicalOffset {
        self.walk.at
    }

    /// Whether all is read.
    pub fn is_done(&self) -> bool {
        self.walk.at >= self.upto
    }

    /// Reads on for not much more than `budget` bytes. Returns the bad ranges met. Blocks.
    ///
    /// # Errors
    /// `Io`, `UnknownVersion`.
    pub fn step(&mut self, store: &LogStore, budget: u64) -> Result<Vec<BadRange>, StoreError> {
        let first = store.positions().first;
        if self.walk.at < first {
            self.walk = store.walk(first);
        }
        let mut bad = self.walk.step(self.upto, budget, &mut |_| {})?;
        // What was purged meanwhile is not missing.
        bad.retain(|bad| store.holds(bad.from));
        Ok(bad)
    }
}
