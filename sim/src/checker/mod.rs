//! What must be true of what clients saw: one rule a file, each a pass over the history.

use crate::history::History;

/// A rule of the outside.
pub trait Checker: Sync {
    /// Its name, as failures and the table of mutants print it.
    fn name(&self) -> &'static str;

    /// Judges the history of a run that has ended with a scan of every queue.
    ///
    /// # Errors
    /// What does not hold.
    fn check(&self, history: &History) -> Result<(), String>;
}

/// Every rule.
#[must_use]
pub fn all() -> Vec<Box<dyn Checker>> {
    Vec::new()
}
