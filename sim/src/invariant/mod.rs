//! What must be true inside the groups at every moment, looked at from outside: one rule a file.
//!
//! A rule may keep what it saw before: most compare now with then. What it keeps belongs to one run.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use quorumq::machine::Machine;
use quorumq_raft::node::Node;
use quorumq_store::disk::MemoryDisk;
use quorumq_store::log_store::FlushMode;

use crate::runtime::SimRuntime;

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

/// All groups at one moment.
pub struct View {
    /// Virtual time.
    pub now: Duration,
    /// Groups.
    pub groups: Vec<GroupView>,
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

/// Every rule, fresh for a run.
#[must_use]
pub fn all() -> Vec<Box<dyn Invariant>> {
    Vec::new()
}
