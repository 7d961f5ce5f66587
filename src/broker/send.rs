//! Sends: 10, 310 and 320. Validates on the connection's own task, encodes the record, hands whole reads to the
//! proposer.

use bytes::BytesMut;
use quorumq_raft::runtime::Runtime;
use quorumq_store::record::Draft;
use rand::RngExt;

use super::Broker;
use super::answer;
use super::reply::Origin;
use crate::machine::Machine;
use crate::machine::topics::{TopicConfig, perm};
use crate::protocol::code::response;
use crate::protocol::command::{Command, Encoding};
use crate::protocol::header::send::SendMessageRequest;
use crate::protocol::properties::{self, name};
use crate::protocol::{batch, code, limits, names};

/// Bits of sysFlag that mark a half message (prepared) or its end.
const TRANSACTION_BITS: i32 = 12;
/// Longest properties string of a stored message, the broker's own additions included.
const MAX_STORED_PROPERTIES: usize = limits::MAX_PROPERTIES;

/// Records of one read of one connection, to be proposed together.
#[derive(Debug)]
pub struct Chunk {
    /// Records back to back.
    pub records: BytesMut,
    /// One per request, in the order of their records.
    pub sends: Vec<Pending>,
    pub origin: Origin,
}

/// A send whose records wait to be stored.
#[derive(Clone, Copy, Debug)]
pub struct Pending {
    pub opaque: i32,
    pub encoding: Encoding,
    pub oneway: bool,
    pub queue_id: u32,
    /// Records of the request: 1, or as many as its batch holds.
    pub records: u32,
}

/// Why a send is refused: it is not and never will be stored.
#[derive(Debug)]
pub struct Refused {
    pub code: i32,
    pub remark: String,
}

impl Refused {
    fn new(code: i32, remark: impl Into<String>) -> Self {
        Self { code, remark: remark.into() }
    }
}

/// What to do with a send.
#[derive(Debug)]
pub enum Verdict {
    /// Its records were appended to the chunk.
    Taken,
    /// Its topic is to be created first.
    NeedsTopic,
    Refused(Refused),
}

impl Chunk {
    /// An empty chunk.
    pub fn new(origin: Origin) -> Self {
        Self { records: BytesMut::new(), sends: Vec::new(), origin }
    }

    /// Validates one send against the machine's state and appends its records.
    pub fn take<R: Runtime>(&mut self, broker: &Broker<R>, machine: &Machine, command: &Command) -> Verdict {
        let header = match SendMessageRequest::decode(command) {
            Ok(header) => header,
            Err(e) => return Verdict::Refused(Refused::new(response::MESSAGE_ILLEGAL, e.to_string())),
        };
        let max_body = broker.options.max_message_size;
        if let Err(refused) = check(&header, command, max_body) {
            return Verdict::Refused(refused);
        }
        let Some(topic) = machine.topic(header.topic) else {
            return match broker.may_create(machine, &header) {
                Ok(()) => Verdict::NeedsTopic,
                Err(refused) => Verdict::Refused(refused),
            };
        };
        let queue_id = match check_queue::<R>(topic, &header, &broker.options.name) {
            Ok(queue_id) => queue_id,
            Err(refused) => return Verdict::Refused(refused),
        };
        let before = self.records.len();
        let encoded = if is_batch(command, &header) {
            self.encode_batch(broker, &header, command, queue_id)
        } else {
            self.encode_one(broker, &header, command, queue_id)
        };
        match encoded {
            Ok(records) => {
                let (opaque, encoding, oneway) = (command.opaque, command.encoding, command.is_oneway());
                self.sends.push(Pending { opaque, encoding, oneway, queue_id, records });
                Verdict::Taken
            }
            Err(refused) => {
                self.records.truncate(before);
                Verdict::Refused(refused)
            }
        }
    }

    fn draft<'a, R: Runtime>(
        &self,
        broker: &'a Broker<R>,
        header: &SendMessageRequest<'a>,
        queue_id: u32,
    ) -> Draft<'a> {
        Draft {
            queue_id,
            flag: header.flag,
            sys_flag: header.sys_flag,
            born_timestamp_ms: header.born_timestamp,
            born_host: self.origin.born_host(),
            // The proposer stamps the store time: one clock reading an entry, never going back.
            store_timestamp_ms: 0,
            store_host: broker.options.advertised,
            reconsume_times: header.reconsume_times.unwrap_or(0),
            prepared_transaction_offset: 0,
            body: &[],
            topic: header.topic,
            properties: &[],
        }
    }

    /// One message: WAIT goes, CLUSTER comes, as RocketMQ does.
    fn encode_one<R: Runtime>(
        &mut self,
        broker: &Broker<R>,
        header: &SendMessageRequest<'_>,
        command: &Command,
        queue_id: u32,
    ) -> Result<u32, Refused> {
        let mut stored = properties_buffer();
        let mut writer = properties::Writer::new(&mut stored);
        writer.put_all_but(header.properties.unwrap_or_default(), &[name::WAIT, name::CLUSTER]);
        writer.put(name::CLUSTER, &broker.options.cluster);
        if stored.len() > MAX_STORED_PROPERTIES {
            return Err(Refused::new(
                response::MESSAGE_ILLEGAL,
                format!(
                    "the message's properties take {} bytes, at most {MAX_STORED_PROPERTIES} can be stored",
                    stored.len()
                ),
            ));
        }
        let draft = self.draft(broker, header, queue_id);
        Draft { body: &command.body, properties: &stored, ..draft }.encode(&mut self.records);
        Ok(1)
    }

    /// The messages of a batch, stored as their producer encoded them.
    fn encode_batch<R: Runtime>(
        &mut self,
        broker: &Broker<R>,
        header: &SendMessageRequest<'_>,
        command: &Command,
        queue_id: u32,
    ) -> Result<u32, Refused> {
        let draft = self.draft(broker, header, queue_id);
        let mut records = 0;
        for message in batch::messages(&command.body) {
            let message =
                message.map_err(|e| Refused::new(response::MESSAGE_ILLEGAL, format!("the batch's body: {e}")))?;
            check_properties(message.properties)?;
            Draft { flag: message.flag, body: message.body, properties: message.properties.as_bytes(), ..draft }
                .encode(&mut self.records);
            records += 1;
        }
        if records == 0 {
            return Err(Refused::new(response::MESSAGE_ILLEGAL, "the batch holds no message"));
        }
        Ok(records)
    }
}

/// Room for the usual properties without growing.
fn properties_buffer() -> Vec<u8> {
    Vec::with_capacity(256)
}

fn is_batch(command: &Command, header: &SendMessageRequest<'_>) -> bool {
    command.code == code::request::SEND_BATCH_MESSAGE || header.batch == Some(true)
}

/// Checks that need no state.
fn check(header: &SendMessageRequest<'_>, command: &Command, max_body: usize) -> Result<(), Refused> {
    let illegal = |remark: String| Refused::new(response::MESSAGE_ILLEGAL, remark);
    names::check_topic(header.topic).map_err(|e| illegal(e.to_string()))?;
    if names::is_send_forbidden(header.topic) {
        return Err(Refused::new(
            response::NO_PERMISSION,
            format!("Sending message to topic[{}] is forbidden.", header.topic),
        ));
    }
    let properties = header.properties.unwrap_or_default();
    limits::check_size(command.body.len(), properties.len(), max_body).map_err(|e| illegal(e.to_string()))?;
    if header.sys_flag & TRANSACTION_BITS != 0 {
        return Err(not_yet_transactions());
    }
    check_properties(properties)
}

fn not_yet_transactions() -> Refused {
    Refused::new(
        response::NO_PERMISSION,
        "transactional messages are not supported yet: the message was refused, not stored as an ordinary one",
    )
}

/// Refuses what this version cannot honour; it is never stored as something else.
fn check_properties(properties: &str) -> Result<(), Refused> {
    for (key, value) in properties::iter(properties) {
        if key == name::TRAN_MSG && value == "true" {
            return Err(not_yet_transactions());
        }
        if key == name::DELAY || key.starts_with(name::TIMER_PREFIX) {
            return Err(Refused::new(
                response::MESSAGE_ILLEGAL,
                format!(
                    "delayed messages are not supported yet (property {key}): the message was refused, not sent at once"
                ),
            ));
        }
    }
    Ok(())
}

/// The queue the message goes to; a negative queue id leaves the choice to the broker.
fn check_queue<R: Runtime>(topic: &TopicConfig, header: &SendMessageRequest<'_>, broker: &str) -> Result<u32, Refused> {
    if topic.perm & perm::WRITE == 0 {
        let remark =
            format!("the broker[{broker}] sending message is forbidden: topic[{}] is not writable", header.topic);
        return Err(Refused::new(response::NO_PERMISSION, remark));
    }
    let queues = topic.queue_count();
    match u32::try_from(header.queue_id) {
        Ok(queue_id) if queue_id < queues => Ok(queue_id),
        Ok(queue_id) => {
            let remark = format!("request queueId[{queue_id}] is illegal: topic[{}] has {queues} queues", header.topic);
            Err(Refused::new(response::MESSAGE_ILLEGAL, remark))
        }
        Err(_) => Ok(R::thread_rng().random_range(0..topic.write_queue_nums.max(1))),
    }
}

impl<R: Runtime> Broker<R> {
    /// Whether a send may create its topic.
    fn may_create(&self, machine: &Machine, header: &SendMessageRequest<'_>) -> Result<(), Refused> {
        let not_exist = || {
            let remark = format!("topic[{}] not exist, apply first please!", header.topic);
            Refused::new(response::TOPIC_NOT_EXIST, remark)
        };
        if header.topic.starts_with(names::RETRY_PREFIX) {
            return Ok(());
        }
        if !self.options.auto_create_topic {
            return Err(not_exist());
        }
        match machine.topic(header.default_topic) {
            Some(default) if default.perm & perm::INHERIT != 0 => Ok(()),
            _ => Err(not_exist()),
        }
    }

    /// Creates the topic of a send: as many queues as the producer asks, at most as many as its default topic has.
    pub async fn create_for_send(&self, command: &Command) -> Result<(), Refused> {
        let header = match SendMessageRequest::decode(command) {
            Ok(header) => header,
            Err(e) => return Err(Refused::new(response::MESSAGE_ILLEGAL, e.to_string())),
        };
        if let Some(group) = header.topic.strip_prefix(names::RETRY_PREFIX) {
            return self.ensure_retry_topic(group).await;
        }
        let config = {
            let machine = self.node.machine();
            self.may_create(&machine, &header)?;
            let Some(default) = machine.topic(header.default_topic) else {
                return Ok(());
            };
            let asked = u32::try_from(header.default_topic_queue_nums).unwrap_or(0).max(1);
            let queues = asked.min(default.write_queue_nums).min(self.options.default_topic_queues.max(1));
            let perm = default.perm & !perm::INHERIT;
            TopicConfig::new(header.topic, queues, queues, perm)
        };
        self.ensure_topic(config).await
    }
}

/// The answer to a refused send.
pub fn refusal(command: &Command, refused: Refused) -> Command {
    answer::with_region(command.reply(refused.code, Some(refused.remark)))
}
