//! How a proposal ended.

use std::sync::{Mutex, PoisonError};

use quorumq_store::LogId;

use crate::types::NodeId;

/// How a proposal ended. **An unknown outcome is never called a failure.**
#[derive(Debug)]
#[expect(missing_docs, reason = "the variants' docs speak of their fields")]
pub enum Outcome<T> {
    /// Committed and applied.
    Applied { id: LogId, reply: T },
    /// Refused before it entered the log: it is not and never will be stored.
    Refused(Refusal),
    /// It entered, or may have entered, a log: it may be committed later, or never.
    Unknown(String),
}

/// Why a proposal was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's message names its fields")]
pub enum Refusal {
    /// Only the leader takes proposals.
    #[error("not the leader{}", leader.map(|id| format!("; node {id} is")).unwrap_or_default())]
    NotLeader { leader: Option<NodeId> },
    /// The node has stopped.
    #[error("the node has stopped: {0}")]
    Stopped(String),
}

/// Calls back exactly once: if it is dropped before, with an unknown outcome.
pub(crate) struct Once<T>(Mutex<Option<Callback<T>>>);

type Callback<T> = Box<dyn FnOnce(Outcome<T>) + Send>;

impl<T> Once<T> {
    pub fn new(f: impl FnOnce(Outcome<T>) + Send + 'static) -> Self {
        Self(Mutex::new(Some(Box::new(f))))
    }
    pub fn call(&self, outcome: Outcome<T>) {
        let f = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(f) = f {
            f(outcome);
        }
    }
}

impl<T> Drop for Once<T> {
    fn drop(&mut self) {
        self.call(Outcome::Unknown("the node dropped the proposal without an answer".to_owned()));
    }
}
