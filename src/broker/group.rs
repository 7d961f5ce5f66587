//! Subscription groups: 200, 201.

use quorumq_raft::runtime::Runtime;

use super::Broker;
use crate::protocol::command::Command;

impl<R: Runtime> Broker<R> {
    pub async fn create_group(&self, command: &Command) -> Command {
        let _ = command;
        todo!()
    }
    pub async fn all_group_config(&self, command: &Command) -> Command {
        let _ = command;
        todo!()
    }
}
