//! Offsets: 14, 15, 29, 30, 31, 32.

use quorumq_raft::runtime::Runtime;

use super::Broker;
use crate::protocol::command::Command;

impl<R: Runtime> Broker<R> {
    pub async fn query_consumer_offset(&self, command: &Command) -> Command {
        let _ = command;
        todo!()
    }
    pub async fn update_consumer_offset(&self, command: &Command) -> Command {
        let _ = command;
        todo!()
    }
    pub async fn get_max_offset(&self, command: &Command) -> Command {
        let _ = command;
        todo!()
    }
    pub async fn get_min_offset(&self, command: &Command) -> Command {
        let _ = command;
        todo!()
    }
    pub async fn search_offset(&self, command: &Command) -> Command {
        let _ = command;
        todo!()
    }
    pub async fn earliest_store_time(&self, command: &Command) -> Command {
        let _ = command;
        todo!()
    }
}
