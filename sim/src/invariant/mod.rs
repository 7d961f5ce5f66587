//! What must be true inside the groups at every moment, looked at from outside: one rule a file.
//!
//! A rule may keep what it saw before: most compare now with then. What it keeps belongs to one run.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use quorumq::machine::Machine;
use quorumq_raft::node::Node;
use quorumq_raft::types::NodeId;
use quorumq_store::disk::MemoryDisk;
use quorumq_store::log_store::FlushMode;

use crate::runtime::SimRuntime;

mod bounds;
mod commit_logs;
mod committed_log;
mod consume_queues;
mod consumer_offsets;
mod digest;
mod durable_quorum;
mod hard_state;
mod kept_log;
mod leader_completeness;
mod log_matching;
mod membership;
mod one_leader_per_term;
mod positions;
mod queue_ends;
pub mod restart;
mod route;
mod unproven_vote;

use committed_log::CommittedLogs;

/// A running broker's consensus node.
pub type Member = Arc<Node<SimRuntime, Machine>>;

/// A place where a broker may run.
pub struct SeatView {
    /// Its host's address.
    pub ip: IpAddr,
    /// Its disk, as the medium holds it.
    pub disk: MemoryDisk,
    /// How often a process was started on it.
    pub life: u64,
    /// The broker, if one runs and has joined its group.
    pub member: Option<Member>,
    /// Whether the disk of this life was made to fail: what the process says of it is no news.
    pub doomed: bool,
    /// Whether its disk was lost: what was on it cannot be told any more.
    pub wiped: bool,
}

/// A broker group.
pub struct GroupView {
    /// RocketMQ's brokerName.
    pub name: Arc<str>,
    /// When its members acknowledge.
    pub flush: FlushMode,
    /// Bytes of a CommitLog segment.
    pub segment_size: u64,
    /// Seats, those of former members included.
    pub seats: Vec<SeatView>,
}

/// Where a NameServer sends clients of a broker group.
pub struct RouteView {
    /// The NameServer.
    pub nameserver: IpAddr,
    /// RocketMQ's brokerName.
    pub group: Arc<str>,
    /// The broker with id 0, if one is registered.
    pub leader: Option<SocketAddr>,
}

/// All groups at one moment.
pub struct View {
    /// Virtual time.
    pub now: Duration,
    /// Groups.
    pub groups: Vec<GroupView>,
    /// One for each running NameServer and group; none at looks in between.
    pub routes: Vec<RouteView>,
}

/// A running member: its group's number, its group, its seat, itself.
type Running<'a> = (usize, &'a GroupView, &'a SeatView, &'a Member);

/// A member by its group's number and its id, which the group gives out once: whatever seat it runs on.
type MemberKey = (usize, NodeId);

impl View {
    /// Every member that runs.
    fn running(&self) -> impl Iterator<Item = Running<'_>> {
        self.groups.iter().enumerate().flat_map(|(at, group)| {
            group.seats.iter().filter_map(move |seat| Some((at, group, seat, seat.member.as_ref()?)))
        })
    }
}

impl GroupView {
    /// Members that run, with their seats.
    fn running(&self) -> impl Iterator<Item = (&SeatView, &Member)> {
        self.seats.iter().filter_map(|seat| Some((seat, seat.member.as_ref()?)))
    }

    /// Those of them that belong to the group by the word of its leader: one that was removed need not know.
    fn members(&self) -> Vec<(&SeatView, &Member)> {
        let leading = self.running().filter(|(_, member)| member.is_leader());
        let leader = leading.max_by_key(|(_, member)| member.leadership().0).map(|(_, leader)| leader);
        self.running().filter(|(_, member)| leader.is_none_or(|leader| leader.member(member.id()).is_some())).collect()
    }
}

/// A rule of the inside.
pub trait Invariant: Send {
    /// Its name, as failures and the table of mutants print it.
    fn name(&self) -> &'static str;

    /// Looks at a moment of the run; called every few virtual milliseconds.
    ///
    /// # Errors
    /// What does not hold.
    fn step(&mut self, view: &View) -> Result<(), String> {
        let _ = view;
        Ok(())
    }

    /// Whether it has to look as soon as any member has applied entries: what it looks for may be over a moment later.
    fn looks_at_applies(&self) -> bool {
        false
    }

    /// A broker has just started again at `view.groups[group].seats[seat]`.
    ///
    /// # Errors
    /// What does not hold.
    fn restarted(&mut self, view: &View, group: usize, seat: usize) -> Result<(), String> {
        let _ = (view, group, seat);
        Ok(())
    }

    /// All faults are over, every member runs, all have applied and synced the same.
    ///
    /// # Errors
    /// What does not hold.
    fn at_rest(&mut self, view: &View) -> Result<(), String> {
        let _ = view;
        Ok(())
    }
}

/// Every invariant, fresh for one run, in the order in which they are to look.
#[must_use]
pub fn all() -> Vec<Box<dyn Invariant>> {
    let committed = CommittedLogs::default();
    vec![
        Box::<one_leader_per_term::OneLeaderPerTerm>::default(),
        Box::<hard_state::HardStateMonotonic>::default(),
        Box::<unproven_vote::UnprovenVote>::default(),
        Box::<positions::PositionsOrdered>::default(),
        Box::<kept_log::KeptLog>::default(),
        Box::new(log_matching::LogMatching::new(committed.clone())),
        Box::new(leader_completeness::LeaderCompleteness::new(committed.clone())),
        Box::new(durable_quorum::DurableQuorum::new(committed)),
        Box::<digest::Digest>::default(),
        Box::<consumer_offsets::ConsumerOffsets>::default(),
        Box::<queue_ends::QueueEnds>::default(),
        Box::<bounds::Bounds>::default(),
        Box::<membership::MembershipUniform>::default(),
        Box::<commit_logs::CommitLogsEqual>::default(),
        Box::<consume_queues::ConsumeQueuesEqual>::default(),
        Box::<route::RouteReachesLeader>::default(),
    ]
}
