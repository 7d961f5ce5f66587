//! What a pull finds in the machine's state. Asked under the machine's read lock: no I/O.

use quorumq_store::consume_queue::UnitRead;
use quorumq_store::{QueueOffset, StoreError};

use super::request::Pull;
use super::status::Status;
use crate::broker::options::BrokerOptions;
use crate::broker::send::Refused;
use crate::machine::Machine;
use crate::machine::topics::perm;
use crate::protocol::code::response;

/// Units read at a time by a pull that filters, per message it wants.
const FILTER_WINDOW: usize = 4;
/// Least units read at a time by a pull that filters.
const MIN_FILTER_WINDOW: usize = 256;

/// A queue's offsets at the time of the look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The first offset that can be read.
    pub min: u64,
    /// The offset the next message will get.
    pub max: u64,
}

/// What a pull finds. All but units and an offset below the min can be news that this node has not heard yet: they are
/// answered after a read barrier.
#[derive(Debug)]
pub enum Looked {
    /// Messages, to be filtered.
    Units(UnitRead, Bounds),
    /// The queue ends where the client wants to go on.
    Nothing(Status, Bounds),
    /// The offset was purged.
    Below(Bounds),
    /// No message has had the offset.
    Above(Status, Bounds),
    Refused(Refused),
    Failed(StoreError),
}

fn refused(code: i32, remark: String) -> Refused {
    Refused { code, remark }
}

/// Looks for what a pull wants.
pub fn look<I>(machine: &Machine, pull: &Pull<I>, options: &BrokerOptions) -> Looked {
    let asked = (&*pull.group, &*pull.topic, i32::try_from(pull.queue_id).unwrap_or(-1));
    if let Err(refused) = check(machine, asked, options) {
        return Looked::Refused(refused);
    }
    let Some(queue) = machine.queue(&pull.topic, pull.queue_id) else {
        unreachable!("the queue id was checked against the topic's number of queues")
    };
    let bounds = Bounds { min: queue.min_offset().0, max: queue.max_offset().0 };
    let offset = pull.offset;
    if bounds.max == 0 {
        return if offset == 0 && !pull.is_negative() {
            Looked::Nothing(Status::NoMessageInQueue, bounds)
        } else {
            Looked::Above(Status::NoMessageInQueueAt, bounds)
        };
    }
    if offset < bounds.min || pull.is_negative() {
        return Looked::Below(bounds);
    }
    if offset == bounds.max {
        return Looked::Nothing(Status::OffsetOverflowOne, bounds);
    }
    if offset > bounds.max {
        return Looked::Above(Status::OffsetOverflowBadly, bounds);
    }
    let window = if pull.filter.is_everything() {
        pull.max_messages
    } else {
        (pull.max_messages * FILTER_WINDOW).max(MIN_FILTER_WINDOW)
    };
    match queue.plan_read(QueueOffset(offset), window) {
        Ok(Some(read)) => Looked::Units(read, bounds),
        Ok(None) => unreachable!("a queue with messages has units"),
        Err(e) => Looked::Failed(e),
    }
}

/// Whether `(group, topic, queue id)` may be pulled from.
///
/// # Errors
/// Code and remark of the refusal, in RocketMQ's order of checks.
pub fn check(
    machine: &Machine,
    (group, topic, queue_id): (&str, &str, i32),
    options: &BrokerOptions,
) -> Result<(), Refused> {
    match machine.group(group) {
        Some(config) if !config.consume_enable => {
            let remark = format!("subscription group no permission, {group}");
            return Err(refused(response::NO_PERMISSION, remark));
        }
        None if !options.auto_create_group && !is_system_group(group) => {
            let remark = format!(
                "subscription group [{group}] does not exist, and autoCreateSubscriptionGroup is off: create it first"
            );
            return Err(refused(response::SUBSCRIPTION_GROUP_NOT_EXIST, remark));
        }
        _ => {}
    }
    let Some(config) = machine.topic(topic) else {
        let remark = format!("topic[{topic}] not exist, apply first please!");
        return Err(refused(response::TOPIC_NOT_EXIST, remark));
    };
    if config.perm & perm::READ == 0 {
        let remark = format!("the topic[{topic}] pulling message is forbidden");
        return Err(refused(response::NO_PERMISSION, remark));
    }
    let queues = config.read_queue_nums;
    if u32::try_from(queue_id).is_ok_and(|id| id < queues) {
        return Ok(());
    }
    let remark = format!(
        "queueId[{queue_id}] is illegal, topic:[{topic}] topicConfig.readQueueNums:[{queues}] consumer:[{group}]"
    );
    Err(refused(response::SYSTEM_ERROR, remark))
}

/// Groups of RocketMQ's own tools and services need not be created.
fn is_system_group(group: &str) -> bool {
    group.starts_with("CID_RMQ_SYS_") || ["TOOLS_CONSUMER", "SCHEDULE_CONSUMER", "SELF_TEST_C_GROUP"].contains(&group)
}
