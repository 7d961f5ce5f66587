//! One message by its physical offset: 33.

use quorumq_raft::runtime::Runtime;

use super::Broker;
use crate::protocol::command::Command;

impl<R: Runtime> Broker<R> {
    pub async fn view_message(&self, command: &Command) -> Command {
        let _ = command;
        todo!()
    }
}
