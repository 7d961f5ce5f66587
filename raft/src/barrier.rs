//! Read barriers: one ReadIndex round serves every read that waited for it.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use crate::runtime::Runtime;

/// Why a read could not be made linearizable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// There is no leader, or it could not confirm that it still leads.
    #[error("no leader confirmed the read: {0}")]
    Unavailable(String),
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<oneshot::Sender<Result<(), ReadError>>>,
    running: bool,
}

/// Batches barriers: a read joins the next round, never one under way, which may have begun before it.
#[derive(Clone, Debug, Default)]
pub struct Barrier(Arc<Mutex<State>>);

impl Barrier {
    /// Waits for a round that starts after this call. `round` runs it.
    ///
    /// # Errors
    /// What the round answered.
    pub async fn pass<R, F, Fut>(&self, round: F) -> Result<(), ReadError>
    where
        R: Runtime,
        F: Fn() -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), ReadError>> + Send,
    {
        let (tx, rx) = oneshot::channel();
        let start = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            state.waiting.push(tx);
            !std::mem::replace(&mut state.running, true)
        };
        if start {
            let barrier = self.clone();
            drop(R::spawn(async move { barrier.run(round).await }));
        }
        rx.await.unwrap_or_else(|_| Err(ReadError::Unavailable("the node has stopped".to_owned())))
    }

    async fn run<F, Fut>(self, round: F)
    where
        F: Fn() -> Fut + Send,
        Fut: Future<Output = Result<(), ReadError>> + Send,
    {
        loop {
            let waiting = {
                let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                if state.waiting.is_empty() {
                    state.running = false;
                    return;
                }
                std::mem::take(&mut state.waiting)
            };
            let result = round().await;
            for tx in waiting {
                let _ = tx.send(result.clone());
            }
        }
    }
}
