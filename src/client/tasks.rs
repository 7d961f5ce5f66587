//! The background tasks of a client: none outlives it.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use quorumq_raft::runtime::Runtime;
use tokio_util::sync::CancellationToken;

/// Tasks that end when they are told to stop. Dropping this tells them as well.
pub struct Tasks<R: Runtime> {
    stop: CancellationToken,
    running: Mutex<Vec<R::JoinHandle<()>>>,
}

impl<R: Runtime> Default for Tasks<R> {
    fn default() -> Self {
        Self { stop: CancellationToken::new(), running: Mutex::default() }
    }
}

impl<R: Runtime> Tasks<R> {
    /// Told to stop?
    pub fn stopped(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Runs `task`, which must end soon after [`Self::stopped`] is cancelled.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let handle = R::spawn(task);
        self.running.lock().unwrap_or_else(PoisonError::into_inner).push(handle);
    }

    /// Tells all tasks to stop.
    pub fn cancel(&self) {
        self.stop.cancel();
    }

    /// Tells all tasks to stop and waits for them, not longer than `within`: a listener may hang.
    pub async fn stop(&self, within: Duration) {
        self.stop.cancel();
        let running = std::mem::take(&mut *self.running.lock().unwrap_or_else(PoisonError::into_inner));
        let all_ended = async {
            for task in running {
                if let Err(error) = task.await {
                    tracing::error!(%error, "a task of the client failed");
                }
            }
        };
        if R::timeout(within, all_ended).await.is_err() {
            tracing::warn!("a task of the client still runs after it was told to stop");
        }
    }
}

impl<R: Runtime> Drop for Tasks<R> {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl<R: Runtime> fmt::Debug for Tasks<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tasks(stopping: {})", self.stop.is_cancelled())
    }
}
