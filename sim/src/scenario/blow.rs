//! What a scenario does to a group while it works: deaths, partitions, pauses; drawn from the seed.

use std::time::Duration;

use quorumq_raft::machine::Machine;
use rand::RngExt;

use super::Verdict;
use super::nodes::Nodes;
use crate::runtime::SimRng;
use crate::world::Death;

/// A group whose nodes can be killed and started.
pub trait Cluster {
    /// Its state machine.
    type Machine: Machine;
    /// Its nodes.
    fn nodes(&mut self) -> &mut Nodes<Self::Machine>;
    /// Ends a node.
    fn kill(&mut self, at: usize, death: Death);
    /// Starts a killed node again.
    ///
    /// # Errors
    /// It does not start.
    fn restart(&mut self, at: usize) -> impl Future<Output = Verdict>;
}

/// One thing that goes wrong, for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    /// The leader dies.
    KillLeader(Death),
    /// A follower dies.
    KillFollower(Death),
    /// Every node dies at once.
    KillAll(Death),
    /// The leader hears nobody and is heard by nobody.
    IsolateLeader,
    /// A follower hears nobody and is heard by nobody.
    IsolateFollower,
    /// What the leader sends to one follower does not arrive.
    Deafen,
    /// Every connection between nodes is reset.
    Cut,
    /// The leader's process stops where it is, and goes on later.
    PauseLeader,
}

impl Blow {
    /// Any of them.
    pub fn draw(rng: &mut SimRng) -> Self {
        let death = if rng.random_range(0..3) > 0 { Death::Crash } else { Death::PowerLoss };
        match rng.random_range(0..10) {
            0..=2 => Self::KillLeader(death),
            3 => Self::KillFollower(death),
            4 => Self::KillAll(death),
            5 => Self::IsolateLeader,
            6 => Self::IsolateFollower,
            7 => Self::Deafen,
            8 => Self::Cut,
            _ => Self::PauseLeader,
        }
    }

    /// Strikes, waits for `time`, then makes good what can be.
    ///
    /// # Errors
    /// There was no leader to strike, or a node did not start again.
    pub async fn strike<C: Cluster>(self, cluster: &mut C, time: Duration) -> Verdict {
        let nodes = cluster.nodes();
        let (leader, _) = nodes.elected(&[]).await?;
        let follower = (leader + nodes.rng.random_range(1..nodes.count())) % nodes.count();
        nodes.world.record("blow", leader as u64, format!("{self:?}").as_bytes());
        tracing::info!(leader = %nodes.ip(leader), follower = %nodes.ip(follower), ?time, "{self:?}");
        let dead = match self {
            Self::KillLeader(_) => vec![leader],
            Self::KillFollower(_) => vec![follower],
            Self::KillAll(_) => (0..nodes.count()).collect(),
            _ => Vec::new(),
        };
        match self {
            Self::KillLeader(death) | Self::KillFollower(death) | Self::KillAll(death) => {
                dead.iter().for_each(|at| cluster.kill(*at, death));
            }
            Self::IsolateLeader => nodes.isolate(leader),
            Self::IsolateFollower => nodes.isolate(follower),
            Self::Deafen => nodes.world.clog(nodes.ip(leader), nodes.ip(follower)),
            Self::Cut => nodes.cut_all(),
            Self::PauseLeader => nodes.seat(leader).host().pause(),
        }
        madsim::time::sleep(time).await;
        let nodes = cluster.nodes();
        nodes.world.heal_all();
        if self == Self::PauseLeader {
            nodes.seat(leader).host().resume();
        }
        for at in in_any_order(dead, &mut nodes.rng) {
            cluster.restart(at).await?;
        }
        Ok(())
    }
}

fn in_any_order(mut from: Vec<usize>, rng: &mut SimRng) -> Vec<usize> {
    let mut drawn = Vec::with_capacity(from.len());
    while !from.is_empty() {
        drawn.push(from.remove(rng.random_range(0..from.len())));
    }
    drawn
}
