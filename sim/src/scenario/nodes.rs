//! The consensus nodes of a scenario as it sees them from outside: who runs, who leads, whether they agree.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quorumq_raft::machine::Machine;
use quorumq_raft::node::Node;
use quorumq_raft::state_machine::OnFatal;
use quorumq_store::identity::GroupConstants;
use rand::RngExt;

use super::seat::{Seat, compare_commit_logs};
use super::{Verdict, until};
use crate::runtime::{SimRng, SimRuntime};
use crate::world::{Death, World};

/// Time within which a group without faults elects, catches up and agrees.
pub const SOON: Duration = Duration::from_secs(20);

/// A running member.
pub type Member<M> = Arc<Node<SimRuntime, M>>;

/// Seats and the nodes that run on them.
pub struct Nodes<M: Machine> {
    /// The world they are in.
    pub world: World,
    /// What the scenario draws from.
    pub rng: SimRng,
    seats: Vec<Seat>,
    running: Vec<Option<Member<M>>>,
    constants: GroupConstants,
    /// What nodes said of why they must end, by seat.
    fatal: Arc<Mutex<Vec<(usize, String)>>>,
}

impl<M: Machine> std::fmt::Debug for Nodes<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Nodes").field("seats", &self.seats).finish_non_exhaustive()
    }
}

impl<M: Machine> Nodes<M> {
    /// `n` seats with empty disks, addresses 1 to `n`; nothing runs.
    #[must_use]
    pub fn new(world: &World, n: u8, constants: GroupConstants) -> Self {
        let seats: Vec<_> = (1..=n).map(|n| Seat::new(world, n)).collect();
        let running = seats.iter().map(|_| None).collect();
        Self { world: world.clone(), rng: world.rng(), seats, running, constants, fatal: Arc::default() }
    }

    /// How many seats there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.seats.len()
    }

    /// A seat.
    #[must_use]
    pub fn seat(&self, at: usize) -> &Seat {
        &self.seats[at]
    }

    /// The address of a seat.
    #[must_use]
    pub fn ip(&self, at: usize) -> IpAddr {
        self.seats[at].host().ip()
    }

    /// Takes note of a node that says why it must end: no scenario passes with one, unless its seat was doomed.
    #[must_use]
    pub fn on_fatal(&self, at: usize) -> OnFatal {
        let (fatal, ip, seat) = (Arc::clone(&self.fatal), self.ip(at), self.seats[at].clone());
        Arc::new(move |why| {
            if seat.is_doomed() {
                return;
            }
            tracing::error!(%ip, "{why}");
            fatal.lock().unwrap_or_else(PoisonError::into_inner).push((at, why));
        })
    }

    /// What the node on a seat said first of why it must end, if it did. It is taken for expected then.
    #[must_use]
    pub fn take_fatal(&self, at: usize) -> Option<String> {
        let mut fatal = self.fatal.lock().unwrap_or_else(PoisonError::into_inner);
        let said = fatal.extract_if(.., |(seat, _)| *seat == at).map(|(_, why)| why);
        // All of it is taken, not only the first.
        said.collect::<Vec<_>>().into_iter().next()
    }

    /// The node on a seat was stopped: ends its process.
    pub fn stopped(&mut self, at: usize) {
        self.kill(at, Death::Crash);
    }

    /// The node on a seat has started.
    pub fn set_running(&mut self, at: usize, member: Member<M>) {
        self.running[at] = Some(member);
    }

    /// The node on a seat, if it runs.
    #[must_use]
    pub fn member(&self, at: usize) -> Option<&Member<M>> {
        self.running[at].as_ref()
    }

    /// Nodes that run.
    pub fn alive(&self) -> impl Iterator<Item = (usize, &Member<M>)> {
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

    /// A running node that does not lead, any of them.
    ///
    /// # Errors
    /// There is none.
    pub fn draw_follower(&mut self, leader: usize) -> Result<usize, String> {
        let followers: Vec<_> = self.alive().map(|(at, _)| at).filter(|at| *at != leader).collect();
        if followers.is_empty() {
            return Err("no follower runs".to_owned());
        }
        Ok(followers[self.rng.random_range(0..followers.len())])
    }

    /// Cuts a seat off from all others, both ways.
    pub fn isolate(&self, at: usize) {
        let others: Vec<_> = (0..self.count()).filter(|other| *other != at).map(|other| self.ip(other)).collect();
        self.world.partition(&[self.ip(at)], &others);
    }

    /// Asks the node on a seat to hand leadership over; does not wait for it.
    pub fn transfer(&self, at: usize) {
        if let Some(member) = self.member(at).cloned() {
            let limit = Duration::from_secs(2);
            drop(self.seats[at].host().spawn(async move { member.transfer_leadership(None, limit).await }));
        }
    }

    /// Resets every connection between two seats.
    pub fn cut_all(&self) {
        for one in 0..self.count() {
            for other in one + 1..self.count() {
                self.world.cut(self.ip(one), self.ip(other));
            }
        }
    }

    /// Waits until all running nodes have applied and synced the same entries; then their digests and their
    /// CommitLogs have to be equal, and none may have said that it cannot go on. How many bytes were compared.
    ///
    /// # Errors
    /// What does not hold.
    pub async fn agree(&self) -> Result<u64, String> {
        let state = |member: &Member<M>| {
            let positions = member.positions();
            let next = |id: Option<quorumq_store::LogId>| id.map_or(0, |id| id.index.0 + 1);
            [next(positions.last), next(positions.synced), member.shared().applied_next()]
        };
        let settled = || {
            let states: Vec<_> = self.alive().map(|(_, member)| state(member)).collect();
            states.iter().all(|state| *state == [states[0][0]; 3]).then_some(())
        };
        until("every node has applied and synced the same entries", SOON, settled).await.map_err(|e| {
            let states: Vec<_> = self.alive().map(|(at, member)| (at, state(member), member.leadership())).collect();
            format!("{e}; (seat, [last, synced, applied], (term, leader)): {states:?}")
        })?;
        self.no_fatal()?;
        let digests: Vec<_> = self.alive().map(|(at, member)| (at, member.machine().digest())).collect();
        if digests.iter().any(|(_, digest)| *digest != digests[0].1) {
            return Err(format!("digests differ at equal applied index (seat, digest): {digests:x?}"));
        }
        let ranges: Vec<_> = self
            .alive()
            .map(|(at, member)| (member.positions(), at))
            .map(|(positions, at)| (self.seat(at), positions.first.0, positions.end.0))
            .collect();
        compare_commit_logs(&ranges, self.constants.segment_size)
    }

    /// Whether no node has said that it cannot go on.
    ///
    /// # Errors
    /// What they said.
    pub fn no_fatal(&self) -> Verdict {
        let fatal = self.fatal.lock().unwrap_or_else(PoisonError::into_inner);
        let said: Vec<_> = fatal.iter().map(|(at, why)| format!("{}: {why}", self.ip(*at))).collect();
        if said.is_empty() { Ok(()) } else { Err(said.join("; ")) }
    }
}
