//! Topics: 17, 21, 215.

use std::sync::Arc;

use quorumq_raft::runtime::Runtime;

use super::Broker;
use super::send::Refused;
use crate::machine::TopicConfig;
use crate::protocol::command::Command;

impl<R: Runtime> Broker<R> {
    pub async fn create_topic(&self, command: &Command) -> Command {
        let _ = command;
        todo!()
    }
    pub async fn delete_topic(&self, command: &Command) -> Command {
        let _ = command;
        todo!()
    }
    pub async fn all_topic_config(&self, command: &Command) -> Command {
        let _ = command;
        todo!()
    }
    /// Creates or updates a topic. Leader only.
    pub async fn update_topic(&self, config: TopicConfig, if_absent: bool) -> Result<(), Refused> {
        let _ = (config, if_absent);
        todo!()
    }
}

/// Creates the topics every RocketMQ broker has, once the new group has a leader.
pub async fn create_system_topics<R: Runtime>(broker: Arc<Broker<R>>) {
    let _ = broker;
    todo!()
}
