//! What the simulator can run. A scenario builds nodes in a [`World`], runs the product's own code on them,
//! breaks what it wants to break, and checks what came of it.

use std::net::{IpAddr, Ipv4Addr};

use crate::world::World;

pub mod echo;

/// Why a scenario does not hold: what was expected and what was seen.
pub type Verdict = Result<(), String>;

/// The scenario behind `quorumq-sim run`.
///
/// # Errors
/// What does not hold.
pub async fn skeleton(world: World) -> Verdict {
    echo::run(world).await
}

/// The address of the `n`-th node of a scenario.
#[must_use]
pub fn address(n: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, n))
}
