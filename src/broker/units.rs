//! One queue's units, read without holding the machine's lock over a file.

use std::sync::Arc;

use quorumq_raft::node::Node;
use quorumq_raft::runtime::Runtime;
use quorumq_store::consume_queue::Unit;
use quorumq_store::{PhysicalOffset, QueueOffset, StoreError};

use crate::machine::Machine;

/// Reads begun anew because the queue was purged meanwhile.
const ATTEMPTS: usize = 3;

/// The units of one queue. Reads block: they run off the runtime's threads.
pub struct Units<R: Runtime> {
    pub node: Arc<Node<R, Machine>>,
    topic: String,
    queue_id: u32,
}

/// Why units cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum UnitsError {
    #[error("the messages cannot be read: {0}")]
    Store(#[from] StoreError),
    #[error("the topic was deleted meanwhile, or has no such queue")]
    NoQueue,
}

impl<R: Runtime> Units<R> {
    /// Of a queue.
    pub fn new(node: Arc<Node<R, Machine>>, topic: &str, queue_id: u32) -> Self {
        Self { node, topic: topic.to_owned(), queue_id }
    }

    /// The queue's min and max.
    ///
    /// # Errors
    /// `NoQueue`.
    pub fn bounds(&self) -> Result<(u64, u64), UnitsError> {
        let machine = self.node.machine();
        let queue = machine.queue(&self.topic, self.queue_id).ok_or(UnitsError::NoQueue)?;
        Ok((queue.min_offset().0, queue.max_offset().0))
    }

    /// The unit at an offset between min and max.
    ///
    /// # Errors
    /// `NoQueue`, or what reading answers: the offset may have been purged.
    pub fn at(&self, offset: u64) -> Result<Unit, UnitsError> {
        let read = {
            let machine = self.node.machine();
            let queue = machine.queue(&self.topic, self.queue_id).ok_or(UnitsError::NoQueue)?;
            queue.plan_read(QueueOffset(offset), 1)?
        };
        let mut units = Vec::with_capacity(1);
        if let Some(read) = read {
            read.run(&mut units)?;
        }
        units.first().copied().ok_or(UnitsError::NoQueue)
    }

    /// The offset of the message at a position of the log, if there is one.
    ///
    /// # Errors
    /// As [`Self::at`].
    pub fn offset_of(&self, position: PhysicalOffset) -> Result<Option<(QueueOffset, Unit)>, UnitsError> {
        self.attempt(|(min, max)| {
            let first = partition_point((min, max), |offset| self.at(offset).map(|unit| unit.position < position))?;
            if first == max {
                return Ok(None);
            }
            let unit = self.at(first)?;
            Ok((unit.position == position).then_some((QueueOffset(first), unit)))
        })
    }

    /// Does `job` with the queue's bounds; begins anew where a purge has taken the ground away.
    ///
    /// # Errors
    /// `job`'s, or `NoQueue`.
    pub fn attempt<T, E: From<UnitsError>>(&self, job: impl Fn((u64, u64)) -> Result<T, E>) -> Result<T, E> {
        let mut bounds = self.bounds()?;
        for _ in 1..ATTEMPTS {
            let outcome = job(bounds);
            let now = self.bounds()?;
            if outcome.is_ok() || now.0 == bounds.0 {
                return outcome;
            }
            bounds = now;
        }
        job(bounds)
    }
}

/// The first offset from `low` on for which `is_before` no longer holds, `high` if there is none.
///
/// # Errors
/// The first that `is_before` answers.
pub fn partition_point<E>(
    (mut low, mut high): (u64, u64),
    is_before: impl Fn(u64) -> Result<bool, E>,
) -> Result<u64, E> {
    while low < high {
        let middle = low + (high - low) / 2;
        if is_before(middle)? {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}
