//! Real processes of the built binary on loopback, for tests that look at the product from outside.
#![expect(dead_code, reason = "each test program uses its part of it")]

pub mod cluster;
pub mod load;
pub mod logs;
pub mod node;
pub mod ports;
pub mod process;
pub mod readback;
pub mod wire;

use std::time::{Duration, Instant};

use tempfile::TempDir;

pub use cluster::Plan;

/// A directory for one test's data, on the volume that the build is on.
pub fn directory(name: &str) -> TempDir {
    let dir = tempfile::Builder::new().prefix(name).tempdir_in(env!("CARGO_TARGET_TMPDIR"));
    dir.expect("the build's directory takes a new one")
}

/// Waits until `look` finds something; gives up with `what` after `limit`.
pub async fn until<T>(what: &str, limit: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(begun.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
