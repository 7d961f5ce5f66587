//! Three consensus nodes without a broker: form a group, propose, die, come back, agree.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use quorumq_raft::form::Start;
use quorumq_raft::machine::Machine;
use quorumq_raft::node::{Node, Parts, Settings, Timing};
use quorumq_raft::outcome::Outcome;
use quorumq_raft::types::Proposal;
use quorumq_store::frame::Kind;
use quorumq_store::identity::GroupConstants;
use quorumq_store::log_store::FlushMode;
use rand::RngExt;
use tokio::sync::oneshot;

use super::counter::{Counter, checksum};
use super::seat::{Seat, compare_commit_logs};
use super::{Verdict, until};
use crate::runtime::{SimRng, SimRuntime};
use crate::world::{Death, World};

/// Where members listen for their peers.
const PEER_PORT: u16 = 10912;
const CONSTANTS: GroupConstants =
    GroupConstants { segment_size: 16 * 1024, max_entry: 4 * 1024, frame_version: 1, feature_level: 1 };
/// Time within which a group without faults elects, catches up and agrees.
const SOON: Duration = Duration::from_secs(20);

type Member = Arc<Node<SimRuntime, Counter>>;

/// A group of consensus nodes.
pub struct Members {
    world: World,
    rng: SimRng,
    seats: Vec<Seat>,
    running: Vec<Option<Member>>,
    fatal: Arc<Mutex<Vec<String>>>,
}

impl std::fmt::Debug for Members {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Members").field("seats", &self.seats).finish_non_exhaustive()
    }
}

/// An entry that a proposer was told is applied: index and checksum of its body.
pub type Acked = (u64, u64);

impl Members {
    /// Starts `n` empty nodes as a new group and waits until each is a member.
    ///
    /// # Errors
    /// A node did not start.
    pub async fn form(world: &World, n: u8) -> Result<Self, String> {
        let seats: Vec<_> = (1..=n).map(|n| Seat::new(world, n)).collect();
        let running = seats.iter().map(|_| None).collect();
        let mut members = Self { world: world.clone(), rng: world.rng(), seats, running, fatal: Arc::default() };
        let starting = (0..members.seats.len()).map(|me| members.start(me));
        let started = join_all(starting).await;
        members.running = started.into_iter().map(|member| member.map(Some)).collect::<Result<_, _>>()?;
        Ok(members)
    }

    fn peer(&self, at: usize) -> SocketAddr {
        SocketAddr::new(self.ip(at), PEER_PORT)
    }

    /// The address of the node `at`.
    #[must_use]
    pub fn ip(&self, at: usize) -> IpAddr {
        self.seats[at].host().ip()
    }

    fn start(&self, me: usize) -> impl Future<Output = Result<Member, String>> + use<> {
        let peers = (0..self.seats.len()).map(|at| self.peer(at)).collect();
        let settings = Settings {
            cluster: "sim".to_owned(),
            group: "counters".to_owned(),
            listen: self.peer(me),
            client_addr: format!("{}:10911", self.ip(me)),
            constants: CONSTANTS,
            flush: FlushMode::Sync,
            timing: Timing::default(),
            start: Start::Bootstrap { peers, me },
        };
        let (fatal, ip) = (Arc::clone(&self.fatal), self.ip(me));
        let parts = Parts::<Counter> {
            place: self.seats[me].place(),
            machine: Box::new(|_| Ok(Counter::default())),
            sink: Arc::new(|_| {}),
            on_fatal: Arc::new(move |why| {
                fatal.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{ip}: {why}"));
            }),
            process: self.rng.clone().random(),
        };
        let starting = self.seats[me].host().spawn(Node::start(settings, parts));
        async move { starting.await.map_err(|e| e.to_string())?.map_err(|e| format!("{ip} does not start: {e}")) }
    }

    /// Nodes that run.
    pub fn alive(&self) -> impl Iterator<Item = (usize, &Member)> {
        self.running.iter().enumerate().filter_map(|(at, member)| Some((at, member.as_ref()?)))
    }

    /// The running node that leads the highest term.
    #[must_use]
    pub fn leader(&self) -> Option<usize> {
        let leading = self.alive().filter(|(_, member)| member.is_leader());
        leading.max_by_key(|(_, member)| member.leadership().0).map(|(at, _)| at)
    }

    /// Waits for a leader other than those in `but`; which it is and how long it took.
    ///
    /// # Errors
    /// None came in time.
    pub async fn elected(&self, but: &[usize]) -> Result<(usize, Duration), String> {
        let since = self.world.elapsed();
        let found = until("a leader", SOON, || self.leader().filter(|at| !but.contains(at))).await?;
        Ok((found, self.world.elapsed() - since))
    }

    /// Ends a node.
    pub fn kill(&mut self, at: usize, death: Death) {
        self.running[at] = None;
        self.seats[at].kill(death, &mut self.rng);
    }

    /// Starts a killed node again.
    ///
    /// # Errors
    /// It does not start.
    pub async fn restart(&mut self, at: usize) -> Verdict {
        self.seats[at].host().restart();
        self.running[at] = Some(self.start(at).await?);
        Ok(())
    }

    /// Proposes on the node `at`. `None` if the node died meanwhile.
    pub async fn propose(&self, at: usize, body: Vec<u8>) -> Option<Outcome<u64>> {
        let member = self.running[at].clone()?;
        let proposing = self.seats[at].host().spawn(async move {
            let (tx, rx) = oneshot::channel();
            let proposal = Proposal { kind: Kind::Records, body: body.into() };
            member.propose(proposal, move |outcome| drop(tx.send(outcome))).await;
            rx.await
        });
        proposing.await.ok()?.ok()
    }

    /// Proposes `n` bodies, one after the other, each until it is applied. Returns what was acknowledged.
    ///
    /// # Errors
    /// There was no leader for too long.
    pub async fn write(&self, n: usize) -> Result<Vec<Acked>, String> {
        let mut acked = Vec::new();
        while acked.len() < n {
            let (at, _) = self.elected(&[]).await?;
            let mut body = vec![0; self.rng.clone().random_range(1..2000)];
            self.rng.clone().fill(&mut body[..]);
            let sum = checksum(&body);
            match self.propose(at, body).await {
                Some(Outcome::Applied { id, .. }) => acked.push((id.index.0, sum)),
                _ => madsim::time::sleep(Duration::from_millis(5)).await,
            }
        }
        Ok(acked)
    }

    /// Waits until all running nodes have applied the same, and checks that this holds every entry of `acked`.
    ///
    /// # Errors
    /// They do not agree in time, or something acknowledged is missing, or a node reported that it cannot go on.
    pub async fn agree(&self, acked: &[Acked]) -> Verdict {
        let state = |member: &Member| {
            let positions = member.positions();
            let (last, synced) = (positions.last.map(|id| id.index.0), positions.synced.map(|id| id.index.0));
            let machine = member.machine();
            ([last, synced, machine.entries().last().map(|(index, _)| *index)], machine.digest())
        };
        until("equal digests", SOON, || {
            let states: Vec<_> = self.alive().map(|(_, member)| state(member)).collect();
            states.iter().all(|s| s.0 == [s.0[0]; 3] && *s == states[0]).then_some(())
        })
        .await?;
        for (at, member) in self.alive() {
            let machine = member.machine();
            for (index, sum) in acked {
                let found = machine.entries().binary_search_by_key(index, |(index, _)| *index);
                if found.map(|i| machine.entries()[i].1) != Ok(*sum) {
                    return Err(format!("{} lost or changed the acknowledged entry {index}", self.ip(at)));
                }
            }
        }
        self.compare()?;
        let fatal = self.fatal.lock().unwrap_or_else(PoisonError::into_inner);
        if fatal.is_empty() { Ok(()) } else { Err(fatal.join("; ")) }
    }

    fn compare(&self) -> Verdict {
        let ranges: Vec<_> = self
            .alive()
            .map(|(at, member)| {
                let positions = member.positions();
                (&self.seats[at], positions.first.0, positions.end.0)
            })
            .collect();
        compare_commit_logs(&ranges, CONSTANTS.segment_size).map(drop)
    }

    fn others(&self, at: usize) -> Vec<IpAddr> {
        (0..self.seats.len()).filter(|other| *other != at).map(|other| self.ip(other)).collect()
    }

    /// Cuts the node `at` off from all others, both ways.
    pub fn isolate(&self, at: usize) {
        self.world.partition(&[self.ip(at)], &self.others(at));
    }
}

/// What a step of [`storm`] does to the group.
#[derive(Clone, Copy, Debug)]
enum Blow {
    KillLeader(Death),
    KillFollower(Death),
    IsolateLeader,
    Nothing,
}

/// 100 proposals without a fault.
///
/// # Errors
/// What does not hold.
pub async fn calm(world: World) -> Verdict {
    let members = Members::form(&world, 3).await?;
    let acked = members.write(100).await?;
    members.agree(&acked).await
}

/// Runs of proposals, each under a fault drawn from the seed; after each the group has to agree again.
///
/// # Errors
/// What does not hold.
pub async fn storm(world: World) -> Verdict {
    let mut members = Members::form(&world, 3).await?;
    let mut acked = Vec::new();
    for _ in 0..4 {
        acked.extend(members.write(10).await?);
        let blow = draw_blow(&mut members.rng);
        let struck = strike(&mut members, blow).await?;
        acked.extend(members.write(10).await?);
        world.heal_all();
        if let Some(at) = struck
            && members.running[at].is_none()
        {
            members.restart(at).await?;
        }
        members.agree(&acked).await?;
    }
    Ok(())
}

fn draw_blow(rng: &mut SimRng) -> Blow {
    let death = if rng.random() { Death::Crash } else { Death::PowerLoss };
    match rng.random_range(0..4) {
        0 => Blow::KillLeader(death),
        1 => Blow::KillFollower(death),
        2 => Blow::IsolateLeader,
        _ => Blow::Nothing,
    }
}

/// Strikes while proposals are under way; which node it hit.
async fn strike(members: &mut Members, blow: Blow) -> Result<Option<usize>, String> {
    let (leader, _) = members.elected(&[]).await?;
    let follower = (leader + members.rng.random_range(1..members.seats.len())) % members.seats.len();
    let under_way: Vec<_> = (0..members.rng.random_range(0..20u8))
        .map(|n| {
            let member = members.running[leader].clone();
            members.seats[leader].host().spawn(async move {
                if let Some(member) = member {
                    let body = vec![n; 1000];
                    member.propose(Proposal { kind: Kind::Records, body: body.into() }, |_| {}).await;
                }
            })
        })
        .collect();
    drop(under_way);
    madsim::time::sleep(Duration::from_micros(members.rng.random_range(0..3000))).await;
    Ok(match blow {
        Blow::KillLeader(death) => {
            members.kill(leader, death);
            Some(leader)
        }
        Blow::KillFollower(death) => {
            members.kill(follower, death);
            Some(follower)
        }
        Blow::IsolateLeader => {
            members.isolate(leader);
            members.elected(&[leader]).await?;
            Some(leader)
        }
        Blow::Nothing => None,
    })
}
