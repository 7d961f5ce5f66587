//! What the consensus node asks of the replicated state machine.

use std::fmt::Debug;
use std::sync::Arc;

use bytes::Bytes;
use quorumq_store::PhysicalOffset;
use quorumq_store::derived::DerivedFlush;
use quorumq_store::log_store::Entry;

/// A replicated state machine. A pure function of the log: no clock, no rand, no hash order, no I/O but what
/// its ConsumeQueues read.
///
/// ### To ensure correctness:
///
/// - `apply` depends on the entry and the state alone: equal at equal index on every member.
/// - `encode` → `restore` gives a machine that applies the rest of the log to the same results.
pub trait Machine: Debug + Send + Sync + 'static {
    /// What an entry's proposer is told.
    type Reply: Debug + Send + Sync + 'static;
    /// What the world is asked to do after an entry was applied: hints, each derivable from state.
    type Effect: Debug + Send + 'static;

    /// Applies one committed entry: every kind but fillers, in log order. Effects are pushed to `effects`.
    ///
    /// # Errors
    /// An entry this build does not understand: the node stops, nothing is ever skipped.
    fn apply(&mut self, entry: &Entry, effects: &mut Vec<Self::Effect>) -> Result<Self::Reply, MachineError>;

    /// The state after the entries applied so far, for a checkpoint or snapshot.
    fn encode(&self) -> Bytes;

    /// Replaces the state by an encoded one, derived files cut to it.
    ///
    /// # Errors
    /// The bytes are not a state this build knows.
    fn restore(&mut self, state: &[u8]) -> Result<(), MachineError>;

    /// Before the first entry is applied, and after a snapshot was installed: the log is held from `log_first` on and will
    /// be applied from `replay_from` on, both segment starts. What derived files hold of it is made again; what they lack
    /// of the log before is none of this: it is made again while the node runs.
    ///
    /// # Errors
    /// Derived files that cannot be opened.
    fn start(&mut self, log_first: PhysicalOffset, replay_from: PhysicalOffset) -> Result<(), MachineError> {
        let _ = (log_first, replay_from);
        Ok(())
    }

    /// The entries to be applied from now on lie in that segment or later: what is derived from those before is complete.
    fn enter(&mut self, segment: PhysicalOffset) {
        let _ = segment;
    }

    /// Digest chain value over every (entry, reply) applied so far.
    fn digest(&self) -> u64;

    /// Segment start below which the log may be dropped: the last purge command, 0 without one.
    fn retained_from(&self) -> PhysicalOffset;

    /// Derived units (of ConsumeQueues and the key index) waiting in memory, to decide when to flush.
    fn unflushed(&self) -> usize;

    /// Plans a flush of derived files, `whole` at a clean stop; see [`DerivedFlush::plan`].
    fn plan_flush(&mut self, whole: bool) -> Option<DerivedFlush>;

    /// A planned flush was written.
    fn flushed(&mut self, plan: DerivedFlush);
}

/// Receives the effects of applied entries, after the machine's lock is released, in log order. Never called for
/// entries replayed at start.
pub type EffectSink<E> = Arc<dyn Fn(Vec<E>) + Send + Sync>;

/// Why the machine cannot go on. Ends the node.
#[derive(Debug, thiserror::Error)]
#[error("state machine: {0}")]
pub struct MachineError(pub String);
