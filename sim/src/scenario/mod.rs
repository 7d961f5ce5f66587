//! What the simulator can run. A scenario builds nodes in a [`World`], runs the product's own code on them,
//! breaks what it wants to break, and checks what came of it.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::world::World;

pub mod brokers;
pub mod client;
pub mod counter;
pub mod echo;
pub mod group;
pub mod history;
pub mod members;
pub mod nodes;
pub mod seat;

/// Why a scenario does not hold: what was expected and what was seen.
pub type Verdict = Result<(), String>;

/// Pause between looks at a condition.
const LOOK: Duration = Duration::from_millis(1);

/// What `quorumq-sim run` can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Scenario {
    /// The runtime seam alone: three nodes that echo, one killed on the way.
    Echo,
    /// Three consensus nodes, 100 proposals, no fault.
    Calm,
    /// Three consensus nodes, proposals under faults drawn from the seed.
    Storm,
}

impl Scenario {
    /// Runs it.
    ///
    /// # Errors
    /// What does not hold.
    pub async fn run(self, world: World) -> Verdict {
        match self {
            Self::Echo => echo::run(world).await,
            Self::Calm => members::calm(world).await,
            Self::Storm => members::storm(world).await,
        }
    }
}

/// Waits until `look` finds something.
///
/// # Errors
/// It did not within `limit` of virtual time.
pub async fn until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> Result<T, String> {
    let time = madsim::time::TimeHandle::current();
    let deadline = time.now_instant() + limit;
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if time.now_instant() >= deadline {
            return Err(format!("not within {limit:?}: {what}"));
        }
        madsim::time::sleep(LOOK).await;
    }
}

/// The address of the `n`-th node of a scenario.
#[must_use]
pub fn address(n: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, n))
}
