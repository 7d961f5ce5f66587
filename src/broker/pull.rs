//! Pulls: 11 and 361.

use std::sync::Arc;

use quorumq_raft::runtime::Runtime;

use super::Broker;
use super::reply::Origin;
use crate::protocol::command::Command;

impl<R: Runtime> Broker<R> {
    /// Answers a pull, or holds it. `None` if it answered by itself or will.
    pub async fn pull(self: &Arc<Self>, origin: &Origin, command: &Command) -> Option<Command> {
        let _ = (origin, command);
        todo!()
    }
}
