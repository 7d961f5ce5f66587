//! Subscription groups: 200, 201.

use quorumq_raft::runtime::Runtime;

use super::Broker;
use super::answer;
use super::send::Refused;
use super::topic::to_wire_version;
use crate::machine::command::Command as MachineCommand;
use crate::machine::{Outcome, SubscriptionGroupConfig};
use crate::protocol::body::{self, subscription as wire};
use crate::protocol::code::response;
use crate::protocol::command::Command;

impl<R: Runtime> Broker<R> {
    /// Creates a subscription group or replaces its settings (200). Leader only.
    pub async fn create_group(&self, command: &Command) -> Command {
        let config: wire::SubscriptionGroupConfig = match body::decode(&command.body) {
            Ok(config) => config,
            Err(e) => return answer::error(command, e),
        };
        let config = from_wire(&config);
        let refuse = |refused: Refused| command.reply(refused.code, Some(refused.remark));
        if let Err(refusal) = config.check() {
            return refuse(refusal.into());
        }
        match self.command_one(MachineCommand::UpdateGroup { config, if_absent: false }).await {
            Ok(Outcome::Refused(refusal)) => refuse(refusal.into()),
            Ok(_) => command.reply(response::SUCCESS, None),
            Err(e) => e.answer(self, command),
        }
    }

    /// Every subscription group's settings (201).
    pub async fn all_group_config(&self, command: &Command) -> Command {
        if let Err(e) = self.node.read_barrier().await {
            return self.not_leading(command, &e.to_string());
        }
        command.reply(response::SUCCESS, None).with_body(body::encode(&self.group_table()))
    }

    /// Every subscription group's settings as 201 carries them.
    pub fn group_table(&self) -> wire::SubscriptionGroupWrapper {
        let machine = self.node.machine();
        wire::SubscriptionGroupWrapper {
            data_version: to_wire_version(machine.group_version()),
            subscription_group_table: machine.groups().map(|g| (g.group_name.clone(), to_wire(g))).collect(),
        }
    }
}

fn from_wire(wire: &wire::SubscriptionGroupConfig) -> SubscriptionGroupConfig {
    let unsigned = |n: i64| u64::try_from(n).unwrap_or(0);
    SubscriptionGroupConfig {
        consume_enable: wire.consume_enable,
        consume_from_min_enable: wire.consume_from_min_enable,
        consume_broadcast_enable: wire.consume_broadcast_enable,
        retry_queue_nums: u32::try_from(wire.retry_queue_nums).unwrap_or(0),
        retry_max_times: wire.retry_max_times,
        broker_id: unsigned(wire.broker_id),
        which_broker_when_consume_slowly: unsigned(wire.which_broker_when_consume_slowly),
        notify_consumer_ids_changed_enable: wire.notify_consumer_ids_changed_enable,
        ..SubscriptionGroupConfig::new(&wire.group_name)
    }
}

fn to_wire(config: &SubscriptionGroupConfig) -> wire::SubscriptionGroupConfig {
    wire::SubscriptionGroupConfig {
        broker_id: config.broker_id.cast_signed(),
        consume_broadcast_enable: config.consume_broadcast_enable,
        consume_enable: config.consume_enable,
        consume_from_min_enable: config.consume_from_min_enable,
        group_name: config.group_name.clone(),
        notify_consumer_ids_changed_enable: config.notify_consumer_ids_changed_enable,
        retry_max_times: config.retry_max_times,
        retry_queue_nums: config.retry_queue_nums.cast_signed(),
        which_broker_when_consume_slowly: config.which_broker_when_consume_slowly.cast_signed(),
    }
}
