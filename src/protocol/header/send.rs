//! Sending: 10, 310, 320 (and 324, 325 in the same two forms), 36 send-back, 37 end of a transaction.

use super::{Field, HeaderError, header};
use crate::protocol::code::request;
use crate::protocol::value::Value;
use crate::protocol::{Command, ExtFields};

/// SEND_MESSAGE (10), SEND_MESSAGE_V2 (310), SEND_BATCH_MESSAGE (320): the same fields under long names or, in the
/// V2 form, under single letters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendMessageRequest<'a> {
    pub producer_group: &'a str,
    pub topic: &'a str,
    /// The topic whose queues and permission a topic created on the fly takes over, TBW102 as a rule.
    pub default_topic: &'a str,
    pub default_topic_queue_nums: i32,
    /// A negative one leaves the choice to the broker.
    pub queue_id: i32,
    /// formats.md section 4: bit 0 compressed, bits 2 and 3 transaction state.
    pub sys_flag: i32,
    /// Milliseconds since 1970 by the producer's clock.
    pub born_timestamp: i64,
    /// The application's own flag, stored as it is.
    pub flag: i32,
    /// `key \x01 value` joined by `\x02`, see `protocol::properties`.
    pub properties: Option<&'a str>,
    pub reconsume_times: Option<i32>,
    pub unit_mode: Option<bool>,
    pub max_reconsume_times: Option<i32>,
    /// The body holds several client-encoded messages.
    pub batch: Option<bool>,
    pub broker_name: Option<&'a str>,
}

/// Position of each field in the name tables, in the order of the V2 letters a..n.
const FIELDS: usize = 14;

/// Names of the V1 form (SendMessageRequestHeader.java; bname is every topic header's).
const LONG_NAMES: [&str; FIELDS] = [
    "producerGroup",
    "topic",
    "defaultTopic",
    "defaultTopicQueueNums",
    "queueId",
    "sysFlag",
    "bornTimestamp",
    "flag",
    "properties",
    "reconsumeTimes",
    "unitMode",
    "maxReconsumeTimes",
    "batch",
    "bname",
];

/// Names of the V2 form (SendMessageRequestHeaderV2.java).
const LETTERS: [&str; FIELDS] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n"];

impl<'a> SendMessageRequest<'a> {
    /// Reads the ext fields of `command`; its code says in which form.
    ///
    /// # Errors
    /// When a required field (the first eight) is missing or a value is not of its type.
    pub fn decode(command: &'a Command) -> Result<Self, HeaderError> {
        let code = command.code;
        let mut header = Self::default();
        let mut seen = 0u32;
        let v2 = is_v2(code);
        for (key, value) in command.ext.iter_bytes() {
            let at = match (v2, key) {
                (true, [letter @ b'a'..=b'n']) => usize::from(letter - b'a'),
                (true, _) => continue,
                (false, name) => match LONG_NAMES.iter().position(|known| known.as_bytes() == name) {
                    Some(at) => at,
                    None => continue,
                },
            };
            header.put(at, value).map_err(|expected| HeaderError::invalid(code, LONG_NAMES[at], value, expected))?;
            seen |= 1 << at;
        }
        // a..h are required: the lowest eight bits.
        match (!seen & 0xFF).trailing_zeros() as usize {
            at @ 0..8 => Err(HeaderError::Missing { code, field: LONG_NAMES[at] }),
            _ => Ok(header),
        }
    }

    fn put(&mut self, at: usize, value: &'a [u8]) -> Result<(), &'static str> {
        match at {
            0 => self.producer_group = Field::parse(value)?,
            1 => self.topic = Field::parse(value)?,
            2 => self.default_topic = Field::parse(value)?,
            3 => self.default_topic_queue_nums = Field::parse(value)?,
            4 => self.queue_id = Field::parse(value)?,
            5 => self.sys_flag = Field::parse(value)?,
            6 => self.born_timestamp = Field::parse(value)?,
            7 => self.flag = Field::parse(value)?,
            8 => self.properties = Field::parse(value)?,
            9 => self.reconsume_times = Field::parse(value)?,
            10 => self.unit_mode = Field::parse(value)?,
            11 => self.max_reconsume_times = Field::parse(value)?,
            12 => self.batch = Field::parse(value)?,
            13 => self.broker_name = Field::parse(value)?,
            _ => unreachable!("the name tables have {FIELDS} entries"),
        }
        Ok(())
    }

    /// The fields that are set, named in the form of `code`.
    pub fn fields(&self, code: i32) -> impl Iterator<Item = (&'static str, Value<'_>)> {
        let names = if is_v2(code) { LETTERS } else { LONG_NAMES };
        let values: [Option<Value<'_>>; FIELDS] = [
            self.producer_group.value(),
            self.topic.value(),
            self.default_topic.value(),
            self.default_topic_queue_nums.value(),
            self.queue_id.value(),
            self.sys_flag.value(),
            self.born_timestamp.value(),
            self.flag.value(),
            self.properties.value(),
            self.reconsume_times.value(),
            self.unit_mode.value(),
            self.max_reconsume_times.value(),
            self.batch.value(),
            self.broker_name.value(),
        ];
        names.into_iter().zip(values).filter_map(|(name, value)| Some((name, value?)))
    }

    /// The fields that are set, as a list in the form of `code`.
    pub fn encode(&self, code: i32) -> ExtFields {
        self.fields(code).collect()
    }
}

/// Whether a send code uses the letters.
fn is_v2(code: i32) -> bool {
    matches!(code, request::SEND_MESSAGE_V2 | request::SEND_BATCH_MESSAGE | request::SEND_REPLY_MESSAGE_V2)
}

header! {
    /// The answer to every send and, with its codes 10, 11 and 12 as well as 0, the proof that the message is stored.
    pub struct SendMessageResponse<'a> {
        /// The offsetMsgId; of a batch, all of them joined by commas.
        msg_id: &'a str = "msgId",
        queue_id: i32 = "queueId",
        /// Of a batch, the first message's.
        queue_offset: i64 = "queueOffset",
        transaction_id: Option<&'a str> = "transactionId",
        batch_uniq_id: Option<&'a str> = "batchUniqId",
        recall_handle: Option<&'a str> = "recallHandle",
        /// Clients record the region with each trace; Apache sends "DefaultRegion".
        msg_region: Option<&'a str> = "MSG_REGION",
        trace_on: Option<bool> = "TRACE_ON",
    }
}

header! {
    /// CONSUMER_SEND_MSG_BACK (36).
    pub struct ConsumerSendMsgBackRequest<'a> {
        /// PhysicalOffset of the message.
        offset: i64 = "offset",
        group: &'a str = "group",
        delay_level: i32 = "delayLevel",
        origin_msg_id: Option<&'a str> = "originMsgId",
        origin_topic: Option<&'a str> = "originTopic",
        unit_mode: Option<bool> = "unitMode",
        max_reconsume_times: Option<i32> = "maxReconsumeTimes",
        broker_name: Option<&'a str> = "bname",
    }
}

header! {
    /// END_TRANSACTION (37).
    pub struct EndTransactionRequest<'a> {
        producer_group: &'a str = "producerGroup",
        /// QueueOffset of the half message.
        tran_state_table_offset: i64 = "tranStateTableOffset",
        /// PhysicalOffset of the half message.
        commit_log_offset: i64 = "commitLogOffset",
        /// 8 commit, 12 rollback, 0 unknown: the sysFlag's transaction bits.
        commit_or_rollback: i32 = "commitOrRollback",
        msg_id: &'a str = "msgId",
        topic: Option<&'a str> = "topic",
        from_transaction_check: Option<bool> = "fromTransactionCheck",
        transaction_id: Option<&'a str> = "transactionId",
        broker_name: Option<&'a str> = "bname",
    }
}
