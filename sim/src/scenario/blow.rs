//! What a scenario does to a group while it works: deaths, partitions, pauses; drawn from the seed.

use std::time::Duration;

use quorumq_raft::machine::Machine;
use rand::RngExt;

use super::Verdict;
use super::nodes::Nodes;
use crate::runtime::SimRng;
use crate::world::Death;

/// A group whose nodes can be killed, stopped and started.
pub trait Cluster {
    /// Its state machine.
    type Machine: Machine;
    /// Its nodes.
    fn nodes(&mut self) -> &mut Nodes<Self::Machine>;
    /// Ends a node.
    fn kill(&mut self, at: usize, death: Death);
    /// Stops a node in good order, and then its process.
    fn stop(&mut self, at: usize) -> impl Future<Output = ()>;
    /// Starts a node that was killed or stopped.
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
    /// The leader is stopped in good order.
    StopLeader,
    /// The leader is asked to hand over.
    Transfer,
}

impl Blow {
    /// Any of them; without loss of power unless `power`.
    pub fn draw(rng: &mut SimRng, power: bool) -> Self {
        let death = if power && rng.random_range(0..3) == 0 { Death::PowerLoss } else { Death::Crash };
        match rng.random_range(0..13) {
            0..=2 => Self::KillLeader(death),
            3 | 4 => Self::KillFollower(death),
            5 => Self::KillAll(death),
            6 => Self::IsolateLeader,
            7 => Self::IsolateFollower,
            8 => Self::Deafen,
            9 => Self::Cut,
            10 => Self::PauseLeader,
            11 => Self::StopLeader,
            _ => Self::Transfer,
        }
    }

    /// Whether the group can go on meanwhile.
    #[must_use]
    pub fn leaves_majority(self) -> bool {
        !matches!(self, Self::KillAll(_))
    }

    /// Strikes. What it struck has to be made good.
    ///
    /// # Errors
    /// There was no leader to strike.
    pub async fn strike<C: Cluster>(self, cluster: &mut C) -> Result<Struck, String> {
        let nodes = cluster.nodes();
        let (leader, _) = nodes.elected(&[]).await?;
        let follower = (leader + nodes.rng.random_range(1..nodes.count())) % nodes.count();
        nodes.world.record("blow", leader as u64, format!("{self:?}").as_bytes());
        tracing::info!(leader = %nodes.ip(leader), follower = %nodes.ip(follower), "{self:?}");
        let mut struck = Struck { dead: Vec::new(), paused: None };
        match self {
            Self::KillLeader(_) | Self::StopLeader => struck.dead.push(leader),
            Self::KillFollower(_) => struck.dead.push(follower),
            Self::KillAll(_) => struck.dead.extend(0..nodes.count()),
            Self::IsolateLeader => nodes.isolate(leader),
            Self::IsolateFollower => nodes.isolate(follower),
            Self::Deafen => nodes.world.clog(nodes.ip(leader), nodes.ip(follower)),
            Self::Cut => nodes.cut_all(),
            Self::PauseLeader => {
                nodes.seat(leader).host().pause();
                struck.paused = Some(leader);
            }
            Self::Transfer => nodes.transfer(leader),
        }
        match self {
            Self::KillLeader(death) | Self::KillFollower(death) | Self::KillAll(death) => {
                doom(nodes, &struck.dead).await;
                struck.dead.iter().for_each(|at| cluster.kill(*at, death));
            }
            Self::StopLeader => cluster.stop(leader).await,
            _ => {}
        }
        Ok(struck)
    }
}

/// Lets those who are about to die do so in the middle of a write now and then: their disks fail a little before.
async fn doom<M: Machine>(nodes: &mut Nodes<M>, dying: &[usize]) {
    if nodes.rng.random() {
        return;
    }
    for at in dying {
        let operations = nodes.rng.random_range(0..6);
        nodes.seat(*at).doom(operations);
    }
    let time = nodes.rng.random_range(0..10_000);
    madsim::time::sleep(Duration::from_micros(time)).await;
}

/// What a blow has left behind.
#[derive(Debug)]
#[must_use]
pub struct Struck {
    dead: Vec<usize>,
    paused: Option<usize>,
}

impl Struck {
    /// Heals every link, wakes who sleeps, starts who is down: one after the other, in any order.
    ///
    /// # Errors
    /// A node did not start again.
    pub async fn make_good<C: Cluster>(mut self, cluster: &mut C) -> Verdict {
        cluster.nodes().world.heal_all();
        if let Some(at) = self.paused {
            cluster.nodes().seat(at).host().resume();
        }
        while !self.dead.is_empty() {
            let at = self.dead.remove(cluster.nodes().rng.random_range(0..self.dead.len()));
            tracing::info!(node = %cluster.nodes().ip(at), "starts again");
            cluster.restart(at).await?;
        }
        Ok(())
    }
}
