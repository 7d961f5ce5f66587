//! What a broker says of itself: 28.

use quorumq_raft::runtime::Runtime;

use super::Broker;
use crate::protocol::command::Command;

impl<R: Runtime> Broker<R> {
    pub fn runtime_info(&self, command: &Command) -> Command {
        let _ = command;
        todo!()
    }
}
