//! Topics: 17, 21, 215.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use quorumq_raft::runtime::Runtime;

use super::Broker;
use super::answer;
use super::attributes::AttributeChanges;
use super::leadership::Leader;
use super::send::Refused;
use crate::machine::command::Command as MachineCommand;
use crate::machine::names::is_system_topic;
use crate::machine::{Outcome, TopicConfig, TopicFilterType, bootstrap};
use crate::protocol::body::{self, table, topic as wire};
use crate::protocol::code::response;
use crate::protocol::command::Command;
use crate::protocol::header::topic::{CreateTopicRequest, DeleteTopicRequest};

/// Apache leaves this remark on a created topic; its clients never read it, captures show it.
const CREATED_REMARK: &str = "not set any response code";
/// Pause between attempts to create the system topics.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

impl<R: Runtime> Broker<R> {
    /// Creates a topic or replaces its settings (17); attributes that the request does not name stay. Leader only.
    pub async fn create_topic(&self, command: &Command) -> Command {
        let header = match CreateTopicRequest::decode(command) {
            Ok(header) => header,
            Err(e) => return answer::error(command, e),
        };
        if is_system_topic(header.topic) || header.topic == self.options.cluster {
            return answer::error(command, format!("The topic[{}] is conflict with system topic.", header.topic));
        }
        let changes = AttributeChanges::parse(header.attributes.unwrap_or_default());
        let (mut config, changes) = match from_header(&header).and_then(|config| Ok((config, changes?))) {
            Ok(asked) => asked,
            Err(why) => return answer::error(command, why),
        };
        // One change at a time, made to what all before it have left: none is lost.
        let _changing = self.changing_topic.lock().await;
        if let Err(e) = self.node.read_barrier().await {
            return self.not_leading(command, &e.to_string());
        }
        if let Some(topic) = self.node.machine().topic(header.topic) {
            config.attributes.clone_from(&topic.attributes);
        }
        changes.make(&mut config.attributes);
        let refuse = |refused: Refused| command.reply(refused.code, Some(refused.remark));
        if let Err(refusal) = config.check() {
            return refuse(refusal.into());
        }
        match self.command_one(MachineCommand::UpdateTopic { config, if_absent: false }).await {
            Ok(Outcome::Refused(refusal)) => refuse(refusal.into()),
            Ok(_) => command.reply(response::SUCCESS, Some(CREATED_REMARK.to_owned())),
            Err(e) => e.answer(self, command),
        }
    }

    /// Deletes a topic with its queues and offsets (215). Leader only.
    pub async fn delete_topic(&self, command: &Command) -> Command {
        let header = match DeleteTopicRequest::decode(command) {
            Ok(header) => header,
            Err(e) => return answer::error(command, e),
        };
        if is_system_topic(header.topic) || header.topic == self.options.cluster || header.topic == self.options.name {
            return answer::error(command, format!("The topic[{}] is conflict with system topic.", header.topic));
        }
        let _changing = self.changing_topic.lock().await;
        match self.command_one(MachineCommand::DeleteTopic { topic: header.topic.to_owned() }).await {
            Ok(Outcome::Refused(refusal)) => {
                let refused = Refused::from(refusal);
                command.reply(refused.code, Some(refused.remark))
            }
            Ok(_) => command.reply(response::SUCCESS, None),
            Err(e) => e.answer(self, command),
        }
    }

    /// Every topic's settings (21).
    pub async fn all_topic_config(&self, command: &Command) -> Command {
        if let Err(e) = self.node.read_barrier().await {
            return self.not_leading(command, &e.to_string());
        }
        command.reply(response::SUCCESS, None).with_body(body::encode(&self.topic_table()))
    }

    /// Every topic's settings as registrations and 21 carry them.
    pub fn topic_table(&self) -> wire::TopicConfigSerializeWrapper {
        let machine = self.node.machine();
        let version = machine.topic_version();
        let table: BTreeMap<String, wire::TopicConfig> =
            machine.topics().map(|config| (config.topic_name.clone(), to_wire(config))).collect();
        wire::TopicConfigSerializeWrapper { data_version: to_wire_version(version), topic_config_table: table }
    }

    /// Creates the topic of a send unless there is one. Leader only.
    ///
    /// # Errors
    /// The settings are out of range, this node does not lead, or nobody knows whether there is or will be the topic.
    pub async fn ensure_topic(&self, config: TopicConfig) -> Result<(), Refused> {
        config.check()?;
        match self.command_one(MachineCommand::UpdateTopic { config, if_absent: true }).await {
            Ok(Outcome::Refused(refusal)) => Err(refusal.into()),
            Ok(_) => Ok(()),
            Err(e) => Err(e.refuse_send()),
        }
    }
}

/// What the request says but for attributes.
fn from_header(header: &CreateTopicRequest<'_>) -> Result<TopicConfig, String> {
    let queues = |name: &str, n: i32| u32::try_from(n).map_err(|_| format!("{name} is {n}, which no topic can have"));
    let read = queues("readQueueNums", header.read_queue_nums)?;
    let write = queues("writeQueueNums", header.write_queue_nums)?;
    let perm = u32::try_from(header.perm).map_err(|_| format!("perm is {}, which is no sum of bits", header.perm))?;
    let mut config = TopicConfig::new(header.topic, read, write, perm);
    config.topic_filter_type = match header.topic_filter_type {
        "MULTI_TAG" => TopicFilterType::MultiTag,
        _ => TopicFilterType::SingleTag,
    };
    config.topic_sys_flag = header.topic_sys_flag.unwrap_or(0);
    config.order = header.order;
    Ok(config)
}

fn to_wire(config: &TopicConfig) -> wire::TopicConfig {
    wire::TopicConfig {
        attributes: config.attributes.clone(),
        order: config.order,
        perm: config.perm.cast_signed(),
        read_queue_nums: config.read_queue_nums.cast_signed(),
        topic_filter_type: match config.topic_filter_type {
            TopicFilterType::SingleTag => "SINGLE_TAG".to_owned(),
            TopicFilterType::MultiTag => "MULTI_TAG".to_owned(),
        },
        topic_name: config.topic_name.clone(),
        topic_sys_flag: config.topic_sys_flag,
        write_queue_nums: config.write_queue_nums.cast_signed(),
    }
}

/// The machine's data version as it goes over the wire.
pub fn to_wire_version(version: crate::machine::DataVersion) -> table::DataVersion {
    table::DataVersion { counter: version.counter.cast_signed(), state_version: 0, timestamp: version.timestamp_ms }
}

/// Creates the topics every RocketMQ broker has, once the new group has a leader. Every member tries; one succeeds,
/// for the others nothing changes.
pub async fn create_system_topics<R: Runtime>(broker: Arc<Broker<R>>) {
    loop {
        let leader = broker.leadership.settled::<R>(broker.node.id(), Duration::from_secs(3600)).await;
        if leader == Leader::Here {
            let last = broker.node.members().iter().map(|(id, ..)| *id).max().unwrap_or(1);
            let commands = bootstrap(&broker.options.cluster, &broker.options.name, last);
            if broker.command(commands).await.is_ok() {
                return;
            }
        } else if broker.node.machine().topic(crate::machine::names::SELF_TEST_TOPIC).is_some() {
            return;
        }
        R::sleep(RETRY_PAUSE).await;
    }
}
