//! The Raft group behind a broker, for its operator: status, add, remove, purge. Codes of our own.

use quorumq_raft::runtime::Runtime;

use super::Broker;
use crate::protocol::command::Command;

impl<R: Runtime> Broker<R> {
    pub async fn group_status(&self, command: &Command) -> Command {
        let _ = command;
        todo!()
    }
    pub async fn group_add(&self, command: &Command) -> Command {
        let _ = command;
        todo!()
    }
    pub async fn group_remove(&self, command: &Command) -> Command {
        let _ = command;
        todo!()
    }
    pub async fn purge_log(&self, command: &Command) -> Command {
        let _ = command;
        todo!()
    }
}
