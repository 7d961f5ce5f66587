//! Where the answers of many requests end up, taken in batches.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::error::CallResult;

/// How one request of a batch ended.
#[derive(Debug)]
pub struct Completion {
    /// What its sender called it.
    pub token: u64,
    /// The answer, or why there is none.
    pub result: CallResult,
}

/// Collects completions for one taker. It holds no more than the requests in flight that name it.
#[derive(Debug, Default)]
pub struct Completions {
    ready: Mutex<Vec<Completion>>,
    filled: Notify,
}

impl Completions {
    /// Waits for at least one completion and swaps all there are into `taken`, which is cleared first. For one taker
    /// at a time. Cancel-safe.
    pub async fn take(&self, taken: &mut Vec<Completion>) {
        taken.clear();
        loop {
            {
                let mut ready = self.lock();
                if !ready.is_empty() {
                    std::mem::swap(&mut *ready, taken);
                    return;
                }
            }
            self.filled.notified().await;
        }
    }

    /// Adds what `completions` holds, with one lock and one wake-up.
    pub(super) fn add(&self, completions: impl Iterator<Item = Completion>) {
        self.lock().extend(completions);
        self.filled.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Completion>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
