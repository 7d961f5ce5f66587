//! The orderly end of a server: nothing new, what is in flight gets its answer, then the connections close.

use std::future::Future;
use std::time::Duration;

use quorumq_raft::runtime::Runtime;

use super::accept::Server;

/// How often a drain looks whether the service has answered everything.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// How a drain went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Requests that had no answer when the deadline came.
    pub unanswered: usize,
    /// Connections that were still open when the deadline came.
    pub still_open: usize,
}

impl Server {
    /// Stops accepting and reading, lets answers in flight out, closes every connection. Takes at most
    /// `within`; connections that are still open then end as their linger time runs out.
    pub async fn drain<R: Runtime>(&self, within: Duration) -> Drained {
        let shared = &self.shared;
        shared.stop.cancel();
        shared.each(|conn| conn.pause_reads(true));
        let answered = async {
            while (shared.in_flight)() > 0 {
                R::sleep(LOOK_EVERY).await;
            }
        };
        // Half of the time for the answers, the rest for the bytes to leave.
        bounded::<R>(within / 2, answered).await;
        let unanswered = (shared.in_flight)();
        shared.close_all();
        let emptied = async {
            loop {
                // Registered before the look, or the last connection could go in between.
                let empty = shared.empty.notified();
                tokio::pin!(empty);
                empty.as_mut().enable();
                if shared.count() == 0 {
                    return;
                }
                empty.await;
            }
        };
        bounded::<R>(within / 2, emptied).await;
        Drained { unanswered, still_open: shared.count() }
    }
}

/// Runs `work` for at most `within`; what it had not done by then shows in the state it looks at.
async fn bounded<R: Runtime>(within: Duration, work: impl Future<Output = ()> + Send) {
    let _ = R::timeout(within, work).await;
}
