//! Commands: what an entry of kind `Command` asks of the machine.
//!
//! An entry's body is a version byte and a [`CommandBatch`] in bincode. A field of a command never changes; a new
//! command is a new variant at the end, and the feature level keeps it out of the log until every member knows it.
#![expect(missing_docs, reason = "fields are RocketMQ's own, or named in their variant's text")]

use bytes::Bytes;
use quorumq_raft::machine::MachineError;
use quorumq_store::{PhysicalOffset, QueueOffset};
use serde::{Deserialize, Serialize};

use super::groups::SubscriptionGroupConfig;
use super::topics::TopicConfig;

const VERSION: u8 = 1;
/// Largest encoded batch in bytes. A leader proposes several entries instead.
pub const MAX_BATCH_LEN: usize = 2 * 1024 * 1024;
/// Largest decoded batch: bounds what broken lengths in it can make us allocate. No batch of [`MAX_BATCH_LEN`] comes
/// near it: the smallest encoded element takes 4 bytes, the largest in memory less than 100.
const MAX_DECODED: usize = 64 * 1024 * 1024;

/// The commands of one entry, applied in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandBatch {
    /// The proposing leader's wall clock in milliseconds since the epoch; the machine's time never goes back.
    pub time_ms: i64,
    pub commands: Vec<Command>,
}

/// One change of replicated state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Creates a topic or replaces its settings; with `if_absent`, an existing one stays as it is (automatic creation).
    UpdateTopic { config: TopicConfig, if_absent: bool },
    /// Deletes a topic with its queues and every consumer offset in it. Created again, it starts at offset 0.
    DeleteTopic { topic: String },
    /// Creates a subscription group or replaces its settings; with `if_absent`, leaves an existing one as it is.
    UpdateGroup { config: SubscriptionGroupConfig, if_absent: bool },
    /// Deletes a subscription group; with `clean_offsets`, its consumer offsets as well.
    DeleteGroup { group: String, clean_offsets: bool },
    /// Sets consumer offsets, forward or back, as consumers committed them. One above the queue's next offset counts as
    /// the next offset.
    CommitOffsets { commits: Vec<OffsetCommit> },
    /// Sets a group's offsets in queues of one topic, as an operator asked.
    ResetOffsets { group: String, topic: String, offsets: Vec<(u32, u64)> },
    /// Creates a group's `%RETRY%` topic if it is missing: as many queues as the group's `retryQueueNums`, 1 for a
    /// group without settings; perm 6.
    EnsureRetryTopic { group: String },
    /// Gives out a node id, never given out before; the same `request` gets the same id again.
    AllocNodeId { request: u128 },
    /// Keeps node ids up to this one from being given out: those of the members a group was formed with.
    ReserveNodeIds { up_to: u64 },
    /// Lets the log be dropped below a segment start; messages below it can no longer be read.
    PurgeTo { segment: u64 },
}

/// One consumer offset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OffsetCommit {
    pub group: String,
    pub topic: String,
    pub queue_id: u32,
    /// The next offset the group will read.
    pub offset: u64,
}

impl OffsetCommit {
    /// A commit of `offset`.
    pub fn new(group: &str, topic: &str, queue_id: u32, offset: QueueOffset) -> Self {
        Self { group: group.to_owned(), topic: topic.to_owned(), queue_id, offset: offset.0 }
    }
}

impl Command {
    /// [`Command::PurgeTo`] of a segment start.
    pub fn purge_to(segment: PhysicalOffset) -> Self {
        Self::PurgeTo { segment: segment.0 }
    }

    /// The command as a batch of its own.
    pub fn at(self, time_ms: i64) -> CommandBatch {
        CommandBatch { time_ms, commands: vec![self] }
    }
}

impl CommandBatch {
    /// The body of an entry of kind `Command`.
    ///
    /// # Errors
    /// If it takes more than [`MAX_BATCH_LEN`].
    pub fn encode(&self) -> Result<Bytes, MachineError> {
        let mut out = vec![VERSION];
        bincode::serde::encode_into_std_write(self, &mut out, bincode::config::standard())
            .map_err(|e| MachineError(format!("encode command: {e}")))?;
        if out.len() > MAX_BATCH_LEN {
            return Err(MachineError(format!(
                "commands of {} bytes; at most {MAX_BATCH_LEN} go into one entry",
                out.len()
            )));
        }
        Ok(out.into())
    }

    /// Decodes the body of an entry.
    ///
    /// # Errors
    /// An unknown version or command, or bytes that are none: the node stops.
    pub fn decode(body: &[u8]) -> Result<Self, MachineError> {
        let (&version, rest) =
            body.split_first().ok_or_else(|| MachineError("decode command: the entry is empty".to_owned()))?;
        if version != VERSION {
            return Err(MachineError(format!("commands have version {version}; this build knows version {VERSION}")));
        }
        let config = bincode::config::standard().with_limit::<MAX_DECODED>();
        let (batch, read) = bincode::serde::decode_from_slice(rest, config)
            .map_err(|e| MachineError(format!("decode command (a newer build may have written it): {e}")))?;
        if read != rest.len() {
            return Err(MachineError(format!("decode command: {} bytes are left over", rest.len() - read)));
        }
        Ok(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> CommandBatch {
        let config = TopicConfig::new("orders", 4, 8, 6);
        let group = SubscriptionGroupConfig::new("g");
        let commands = vec![
            Command::UpdateTopic { config, if_absent: true },
            Command::DeleteTopic { topic: "orders".to_owned() },
            Command::UpdateGroup { config: group, if_absent: false },
            Command::DeleteGroup { group: "g".to_owned(), clean_offsets: true },
            Command::CommitOffsets { commits: vec![OffsetCommit::new("g", "orders", 3, QueueOffset(7))] },
            Command::ResetOffsets { group: "g".to_owned(), topic: "orders".to_owned(), offsets: vec![(0, 1)] },
            Command::EnsureRetryTopic { group: "g".to_owned() },
            Command::AllocNodeId { request: u128::MAX },
            Command::ReserveNodeIds { up_to: 3 },
            Command::purge_to(PhysicalOffset(4096)),
        ];
        CommandBatch { time_ms: -1, commands }
    }

    #[test]
    fn every_command_is_read_back() {
        let encoded = all().encode().unwrap();
        assert_eq!(CommandBatch::decode(&encoded).unwrap(), all());
    }

    #[test]
    fn the_encoding_never_changes() {
        // Written out by hand: version, time (zigzag), count, variant numbers in order, lengths before strings.
        let batch = CommandBatch {
            time_ms: 5,
            commands: vec![
                Command::CommitOffsets { commits: vec![OffsetCommit::new("g", "t", 3, QueueOffset(300))] },
                Command::PurgeTo { segment: 4096 },
            ],
        };
        let expected = [1, 10, 2, 4, 1, 1, b'g', 1, b't', 3, 251, 0x2C, 0x01, 9, 251, 0x00, 0x10];
        assert_eq!(&batch.encode().unwrap()[..], expected);
    }

    #[test]
    fn the_largest_batch_that_is_encoded_can_be_decoded() {
        let commits = |n| {
            let commit = OffsetCommit::new("", "", 0, QueueOffset(0));
            Command::CommitOffsets { commits: vec![commit; n] }.at(0)
        };
        let largest = commits((MAX_BATCH_LEN - 9) / 4);
        let encoded = largest.encode().unwrap();
        assert!(encoded.len() > MAX_BATCH_LEN - 8);
        assert!(CommandBatch::decode(&encoded).unwrap() == largest);
        assert!(commits(MAX_BATCH_LEN / 4 + 1).encode().unwrap_err().to_string().contains("one entry"));
    }

    #[test]
    fn what_this_build_does_not_know_is_refused_never_skipped() {
        let encoded = all().encode().unwrap();
        for cut in 0..encoded.len() {
            assert!(CommandBatch::decode(&encoded[..cut]).is_err(), "cut at {cut}");
        }
        let with = |at: usize, value: u8| {
            let mut bytes = Command::AllocNodeId { request: 1 }.at(0).encode().unwrap().to_vec();
            bytes[at] = value;
            CommandBatch::decode(&bytes)
        };
        assert!(with(0, 1).is_ok());
        assert!(with(0, 2).unwrap_err().to_string().contains("version 2"));
        assert!(with(3, 10).is_err(), "an unknown variant");
        let mut longer = encoded.to_vec();
        longer.push(0);
        assert!(CommandBatch::decode(&longer).unwrap_err().to_string().contains("left over"));
        // A length of 2^62 in front of nothing.
        let huge = [1, 0, 253, 0, 0, 0, 0, 0, 0, 0, 0x40];
        assert!(CommandBatch::decode(&huge).is_err());
    }
}
