//! Real processes of the built binary on loopback, for tests that look at the product from outside.
#![expect(dead_code, reason = "each test program uses its part of it")]

pub mod cluster;
pub mod load;
pub mod logs;
pub mod node;
pub mod ports;
pub mod process;
pub mod raw;
pub mod readback;
pub mod wire;

use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub use cluster::Plan;
/// A use of it for the test programs that start no cluster: an unused import is a warning.
const _: fn(&'static str) -> Plan = Plan::new;

/// A directory for one test's data, on the volume that the build is on. It stays if the test fails.
#[derive(Debug)]
pub struct Directory(TempDir);

impl Directory {
    /// A new one.
    pub fn new(name: &str) -> Self {
        let dir = tempfile::Builder::new().prefix(&format!("{name}-")).tempdir_in(env!("CARGO_TARGET_TMPDIR"));
        Self(dir.expect("the build's directory takes a new one"))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.disable_cleanup(true);
            eprintln!("data, configurations and logs of the failed test are in {}", self.path().display());
        }
    }
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
