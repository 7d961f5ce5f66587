//! Short names for what the client asks of the runtime's clock.

use std::time::Duration;

use openraft_rt::Instant;
use quorumq_raft::runtime::Runtime;

/// The runtime's monotonic clock.
pub(super) fn now<R: Runtime>() -> R::Instant {
    <R::Instant as Instant>::now()
}

/// Time left until `deadline`, zero once it has passed.
pub(super) fn left<R: Runtime>(deadline: R::Instant) -> Duration {
    deadline.saturating_duration_since(now::<R>())
}
