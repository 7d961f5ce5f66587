//! Three consensus nodes without a broker: form a group, propose, die, come back, agree.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use futures_util::future::try_join_all;
use openraft_rt::AsyncRuntime;
use quorumq_raft::form::Start;
use quorumq_raft::node::{Node, Parts, Settings, Timing};
use quorumq_raft::outcome::Outcome;
use quorumq_raft::repair::scrub::Scrub;
use quorumq_raft::types::Proposal;
use quorumq_store::frame::Kind;
use quorumq_store::identity::GroupConstants;
use quorumq_store::log_store::FlushMode;
use rand::RngExt;
use tokio::sync::oneshot;

use super::Verdict;
use super::blow::{Blow, Cluster};
use super::counter::{Counter, checksum};
use super::nodes::{Member, Nodes};
use super::weather;
use crate::runtime::SimRuntime;
use crate::world::{Death, World};

/// Where members listen for their peers.
const PEER_PORT: u16 = 10912;
/// What every group of members is formed with.
pub const CONSTANTS: GroupConstants =
    GroupConstants { segment_size: 16 * 1024, max_entry: 4 * 1024, frame_version: 1, feature_level: 1 };

/// How long one proposal may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long a run of proposals may take.
const GIVE_UP: Duration = Duration::from_secs(30);

/// A group of consensus nodes.
#[derive(Debug)]
pub struct Members {
    /// Who runs.
    pub nodes: Nodes<Counter>,
}

/// An entry that a proposer was told is applied: index and checksum of its body.
pub type Acked = (u64, u64);

impl Members {
    /// Starts `n` empty nodes as a new group and waits until each is a member.
    ///
    /// # Errors
    /// A node did not start.
    pub async fn form(world: &World, n: u8) -> Result<Self, String> {
        let mut members = Self { nodes: Nodes::new(world, n, CONSTANTS) };
        let starting = (0..members.nodes.count()).map(|me| members.start(me));
        for (at, started) in try_join_all(starting).await?.into_iter().enumerate() {
            members.nodes.set_running(at, started);
        }
        Ok(members)
    }

    /// As [`Members::form`], while one of the nodes is killed and started again.
    ///
    /// # Errors
    /// A node did not start.
    pub async fn form_through_a_death(world: &World, n: u8, death: Death) -> Result<Self, String> {
        let mut members = Self { nodes: Nodes::new(world, n, CONSTANTS) };
        let mut starting: Vec<_> = (0..members.nodes.count()).map(|me| Box::pin(members.start(me))).collect();
        let (at, rng) = (members.nodes.rng.random_range(0..starting.len()), &mut members.nodes.rng);
        let (before, down) = (rng.random_range(0..30_000), rng.random_range(0..300_000));
        madsim::time::sleep(Duration::from_micros(before)).await;
        members.nodes.kill(at, death);
        madsim::time::sleep(Duration::from_micros(down)).await;
        members.nodes.seat(at).host().restart();
        starting[at] = Box::pin(members.start(at));
        for (at, started) in try_join_all(starting).await?.into_iter().enumerate() {
            members.nodes.set_running(at, started);
        }
        Ok(members)
    }

    fn start(&self, me: usize) -> impl Future<Output = Result<Member<Counter>, String>> + use<> {
        let peer = |at| SocketAddr::new(self.nodes.ip(at), PEER_PORT);
        let ip = self.nodes.ip(me);
        let settings = Settings {
            cluster: "sim".to_owned(),
            group: "counters".to_owned(),
            listen: peer(me),
            client_addr: format!("{ip}:10911"),
            constants: CONSTANTS,
            flush: FlushMode::Sync,
            scrub: Scrub::default(),
            timing: Timing::default(),
            start: Start::Bootstrap { peers: (0..self.nodes.count()).map(peer).collect(), me },
        };
        // Effects find their node once it exists.
        let cell = Arc::new(OnceLock::<Weak<Node<SimRuntime, Counter>>>::new());
        let retaining = Arc::clone(&cell);
        let parts = Parts::<Counter> {
            place: self.nodes.seat(me).place(),
            machine: Box::new(|_| Ok(Counter::default())),
            sink: Arc::new(move |_| {
                if let Some(node) = retaining.get().and_then(Weak::upgrade) {
                    node.retain();
                }
            }),
            on_fatal: self.nodes.on_fatal(me),
            process: self.nodes.rng.clone().random(),
        };
        let starting = self.nodes.seat(me).host().spawn(Node::start(settings, parts));
        async move {
            let started = starting.await.map_err(|e| e.to_string())?;
            let node = started.map_err(|e| format!("{ip} does not start: {e}"))?;
            let _ = cell.set(Arc::downgrade(&node));
            Ok(node)
        }
    }

    /// Proposes on the node `at`. `None` if the node died meanwhile, or has not answered in good time.
    pub async fn propose(&self, at: usize, kind: Kind, body: Vec<u8>) -> Option<Outcome<u64>> {
        let member = self.nodes.member(at)?.clone();
        let proposing = self.nodes.seat(at).host().spawn(async move {
            let (tx, rx) = oneshot::channel();
            member.propose(Proposal { kind, body: body.into() }, move |outcome| drop(tx.send(outcome))).await;
            rx.await
        });
        SimRuntime::timeout(PATIENCE, proposing).await.ok()?.ok()?.ok()
    }

    /// Proposes `n` bodies, one after the other, each until it is applied. Returns what was acknowledged.
    ///
    /// # Errors
    /// There was no leader for too long.
    pub async fn write(&self, n: usize) -> Result<Vec<Acked>, String> {
        let (mut acked, mut rng) = (Vec::new(), self.nodes.rng.clone());
        let give_up = self.nodes.world.elapsed() + GIVE_UP;
        while acked.len() < n {
            let (at, _) = self.nodes.elected(&[]).await?;
            let mut body = vec![0; rng.random_range(1..2000)];
            rng.fill(&mut body[..]);
            let sum = checksum(&body);
            match self.propose(at, Kind::Records, body).await {
                Some(Outcome::Applied { id, .. }) => acked.push((id.index.0, sum)),
                _ if self.nodes.world.elapsed() > give_up => {
                    return Err(format!("{} of {n} proposals applied in {GIVE_UP:?}", acked.len()));
                }
                _ => madsim::time::sleep(Duration::from_millis(5)).await,
            }
        }
        Ok(acked)
    }

    /// Proposes to drop the log below a segment start drawn from what the leader holds. It may come to nothing.
    ///
    /// # Errors
    /// There was no leader for too long.
    pub async fn purge(&self) -> Verdict {
        let (at, _) = self.nodes.elected(&[]).await?;
        let Some(positions) = self.nodes.member(at).map(|member| member.positions()) else { return Ok(()) };
        let size = CONSTANTS.segment_size;
        let segment = self.nodes.rng.clone().random_range(positions.first.0 / size..=positions.end.0 / size) * size;
        tracing::info!(segment, ?positions, "purge");
        drop(self.propose(at, Kind::Command, segment.to_be_bytes().to_vec()).await);
        Ok(())
    }

    /// Waits until all running nodes agree, and checks that each holds every entry of `acked`.
    ///
    /// # Errors
    /// What does not hold.
    pub async fn agree(&self, acked: &[Acked]) -> Verdict {
        self.nodes.agree().await?;
        for (at, member) in self.nodes.alive() {
            let machine = member.machine();
            for (index, sum) in acked {
                let found = machine.entries().binary_search_by_key(index, |(index, _)| *index);
                if found.map(|i| machine.entries()[i].1) != Ok(*sum) {
                    return Err(format!("{} lost or changed the acknowledged entry {index}", self.nodes.ip(at)));
                }
            }
        }
        Ok(())
    }
}

impl Cluster for Members {
    type Machine = Counter;

    fn nodes(&mut self) -> &mut Nodes<Counter> {
        &mut self.nodes
    }

    fn kill(&mut self, at: usize, death: Death) {
        self.nodes.kill(at, death);
    }

    async fn stop(&mut self, at: usize) {
        if let Some(member) = self.nodes.member(at).cloned() {
            // The node's host may not be killed meanwhile: an error is impossible.
            let _ = self.nodes.seat(at).host().spawn(async move { member.shutdown().await }).await;
        }
        self.nodes.stopped(at);
    }

    async fn restart(&mut self, at: usize) -> Verdict {
        self.nodes.seat(at).host().restart();
        let member = self.start(at).await?;
        self.nodes.set_running(at, member);
        Ok(())
    }
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

/// A group is formed while one of its nodes is killed and started again.
///
/// # Errors
/// What does not hold.
pub async fn forming(world: World) -> Verdict {
    weather::draw(&world);
    let death = if world.rng().random() { Death::Crash } else { Death::PowerLoss };
    let members = Members::form_through_a_death(&world, 3, death).await?;
    members.agree(&members.write(5).await?).await
}

/// Four times a fault drawn from the seed, with proposals before, meanwhile and after, and the log purged now and then;
/// each time the group has to agree in the end.
///
/// # Errors
/// What does not hold.
pub async fn storm(world: World) -> Verdict {
    weather::draw(&world);
    let mut members = Members::form(&world, 3).await?;
    let mut acked = Vec::new();
    for _ in 0..4 {
        acked.extend(members.write(10).await?);
        crowd(&mut members).await?;
        let blow = Blow::draw(&mut members.nodes.rng, true);
        let struck = blow.strike(&mut members).await?;
        if blow.leaves_majority() && members.nodes.rng.random() {
            acked.extend(members.write(30).await?);
        }
        if blow.leaves_majority() && members.nodes.rng.random() {
            members.purge().await?;
        }
        madsim::time::sleep(Duration::from_millis(members.nodes.rng.random_range(0..3000))).await;
        struck.make_good(&mut members).await?;
        acked.extend(members.write(10).await?);
        members.agree(&acked).await?;
    }
    Ok(())
}

/// Leaves proposals under way at the leader.
async fn crowd(members: &mut Members) -> Verdict {
    let (leader, _) = members.nodes.elected(&[]).await?;
    for n in 0..members.nodes.rng.random_range(0..20u8) {
        let Some(member) = members.nodes.member(leader).cloned() else { break };
        let proposal = Proposal { kind: Kind::Records, body: vec![n; 1000].into() };
        drop(members.nodes.seat(leader).host().spawn(async move { member.propose(proposal, |_| {}).await }));
    }
    madsim::time::sleep(Duration::from_micros(members.nodes.rng.random_range(0..3000))).await;
    Ok(())
}
