//! Groups that heartbeats name, and their retry topics: created by the leader when they are missing.

use std::collections::BTreeSet;

use quorumq_raft::runtime::Runtime;

use crate::broker::Broker;
use crate::broker::commander::CommandError;
use crate::broker::send::Refused;
use crate::machine::command::Command as MachineCommand;
use crate::machine::{Outcome, SubscriptionGroupConfig};
use crate::protocol::names::retry_topic;

/// Commands of one entry: far below its limit of bytes.
const BATCH: usize = 1000;

impl<R: Runtime> Broker<R> {
    /// Which of these consumer groups lack their settings or their `%RETRY%` topic. A group without settings that may
    /// not be created lacks nothing; nor does one whose settings say that it has no retries.
    pub(super) fn missing_groups<'a>(&self, groups: impl IntoIterator<Item = &'a str>) -> BTreeSet<&'a str> {
        let machine = self.node.machine();
        let missing = |group: &&str| match machine.group(group) {
            None => self.options.auto_create_group,
            Some(config) => config.retry_queue_nums > 0 && machine.topic(&retry_topic(group)).is_none(),
        };
        groups.into_iter().filter(missing).collect()
    }

    /// Creates what [`Self::missing_groups`] found: the settings, by RocketMQ's defaults, and the retry topics. Leader
    /// only.
    ///
    /// # Errors
    /// This node does not lead, a limit of the machine is reached, or nobody knows whether they were created.
    pub(super) async fn create_groups(&self, groups: &BTreeSet<&str>) -> Result<(), Refused> {
        let mut commands: Vec<MachineCommand> = Vec::new();
        for group in groups {
            commands.extend(self.new_group(group));
            commands.push(MachineCommand::EnsureRetryTopic { group: (*group).to_owned() });
        }
        let mut commands = commands.into_iter().peekable();
        let mut refused = None;
        while commands.peek().is_some() {
            let batch = commands.by_ref().take(BATCH).collect();
            for outcome in self.command(batch).await.map_err(CommandError::refuse_send)? {
                if let Outcome::Refused(refusal) = outcome {
                    refused.get_or_insert(refusal);
                }
            }
        }
        refused.map_or(Ok(()), |refusal| Err(refusal.into()))
    }

    /// The command that creates a group's settings, if they are missing and may be created.
    fn new_group(&self, group: &str) -> Option<MachineCommand> {
        let is_new = self.options.auto_create_group && self.node.machine().group(group).is_none();
        let config = || SubscriptionGroupConfig::new(group);
        is_new.then(|| MachineCommand::UpdateGroup { config: config(), if_absent: true })
    }

    /// Creates `%RETRY%group` if it is missing, and the group's settings if they may be created. Leader only.
    ///
    /// # Errors
    /// This node does not lead, a limit of the machine is reached, or nobody knows whether they were created.
    pub async fn ensure_retry_topic(&self, group: &str) -> Result<(), Refused> {
        if self.node.machine().topic(&retry_topic(group)).is_some() {
            return Ok(());
        }
        self.create_groups(&BTreeSet::from([group])).await
    }
}
