//! Subscription groups: what consumer groups may do, and how their retries go.
#![expect(missing_docs, reason = "fields are RocketMQ's own, or named in their variant's text")]

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::names::is_group_name;
use super::reply::Refusal;
use super::topics::{DataVersion, MAX_QUEUES, check_attributes};

/// Most subscription groups a group of brokers can have.
pub const MAX_GROUPS: usize = 100_000;

/// A subscription group's settings, by RocketMQ's names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscriptionGroupConfig {
    pub group_name: String,
    pub consume_enable: bool,
    pub consume_from_min_enable: bool,
    pub consume_broadcast_enable: bool,
    pub consume_message_orderly: bool,
    /// Queues of the group's retry topic.
    pub retry_queue_nums: u32,
    pub retry_max_times: i32,
    pub broker_id: u64,
    pub which_broker_when_consume_slowly: u64,
    pub notify_consumer_ids_changed_enable: bool,
    pub group_sys_flag: i32,
    pub consume_timeout_minute: i32,
    pub attributes: BTreeMap<String, String>,
}

impl SubscriptionGroupConfig {
    /// A group with RocketMQ's defaults.
    pub fn new(group_name: &str) -> Self {
        Self {
            group_name: group_name.to_owned(),
            consume_enable: true,
            consume_from_min_enable: true,
            consume_broadcast_enable: true,
            consume_message_orderly: false,
            retry_queue_nums: 1,
            retry_max_times: 16,
            broker_id: 0,
            which_broker_when_consume_slowly: 1,
            notify_consumer_ids_changed_enable: true,
            group_sys_flag: 0,
            consume_timeout_minute: 15,
            attributes: BTreeMap::new(),
        }
    }

    /// Whether the group can be created or changed like this.
    ///
    /// # Errors
    /// The first setting that is out of its range.
    pub fn check(&self) -> Result<(), Refusal> {
        if !is_group_name(&self.group_name) {
            return Err(Refusal::BadGroupName);
        }
        if self.retry_queue_nums > MAX_QUEUES {
            return Err(Refusal::BadQueueCount);
        }
        check_attributes(&self.attributes)
    }
}

/// Every subscription group.
#[derive(Debug, Default)]
pub(super) struct Groups {
    pub by_name: BTreeMap<Arc<str>, SubscriptionGroupConfig>,
    pub version: DataVersion,
}

impl Groups {
    pub fn get(&self, name: &str) -> Option<&SubscriptionGroupConfig> {
        self.by_name.get(name)
    }

    /// Creates a group or changes its settings. `None` if that changes nothing.
    pub fn update(
        &mut self,
        config: SubscriptionGroupConfig,
        if_absent: bool,
        time_ms: i64,
    ) -> Result<Option<Arc<str>>, Refusal> {
        config.check()?;
        let name: Arc<str> = config.group_name.as_str().into();
        let is_full = self.by_name.len() >= MAX_GROUPS;
        match self.by_name.get_mut(&name) {
            Some(group) if if_absent || *group == config => return Ok(None),
            Some(group) => *group = config,
            None if is_full => return Err(Refusal::TooManyGroups),
            None => drop(self.by_name.insert(name.clone(), config)),
        }
        self.version.bump(time_ms);
        Ok(Some(name))
    }

    /// Deletes a group's settings.
    pub fn delete(&mut self, name: &str, time_ms: i64) -> Result<Arc<str>, Refusal> {
        let (name, _) = self.by_name.remove_entry(name).ok_or(Refusal::GroupNotExist)?;
        self.version.bump(time_ms);
        Ok(name)
    }
}
