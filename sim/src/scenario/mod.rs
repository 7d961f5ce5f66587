//! What the simulator can run. A scenario builds nodes in a [`World`], runs the product's own code on them,
//! breaks what it wants to break, and checks what came of it.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::world::World;

pub mod blow;
pub mod brokers;
pub mod cast;
pub mod counter;
pub mod echo;
pub mod group;
pub mod launch;
pub mod members;
pub mod nodes;
pub mod seat;
pub mod watch;
pub mod weather;

/// Why a scenario does not hold: what was expected and what was seen.
pub type Verdict = Result<(), String>;

/// Pause between looks at a condition.
const LOOK: Duration = Duration::from_millis(1);

/// What `quorumq-sim run` can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Scenario {
    /// Three brokers, a NameServer and a client: 100 messages sent and read.
    Group,
    /// The same group; the leader is killed and started again while sends are under way.
    GroupDeaths,
    /// Three consensus nodes without brokers: 100 proposals.
    Members,
    /// Three consensus nodes form a group while one of them dies.
    MembersForming,
    /// Three consensus nodes under faults drawn from the seed.
    MembersStorm,
    /// The runtime seam alone: three nodes that echo, one killed on the way.
    Echo,
}

impl Scenario {
    /// Runs it. Returns what it counted.
    ///
    /// # Errors
    /// What does not hold.
    pub async fn run(self, world: World) -> Result<String, String> {
        let report = |report: group::Report| report.to_string();
        match self {
            Self::Group => group::calm(world).await.map(report),
            Self::GroupDeaths => group::deaths(world).await.map(report),
            Self::Members => members::calm(world).await.map(|()| String::new()),
            Self::MembersForming => members::forming(world).await.map(|()| String::new()),
            Self::MembersStorm => members::storm(world).await.map(|()| String::new()),
            Self::Echo => echo::run(world).await.map(|()| String::new()),
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
