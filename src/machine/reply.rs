//! What an entry's proposer is told.
#![expect(missing_docs, reason = "fields are RocketMQ's own, or named in their variant's text")]

use quorumq_store::{PhysicalOffset, QueueOffset};

use super::digest::Digest;

/// The result of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Of a blank entry or a membership.
    Nothing,
    /// Of an entry of records.
    Appended(Appended),
    /// Of an entry of commands: one outcome each, in order.
    Commands(Vec<Outcome>),
}

impl Reply {
    /// Adds the reply to the digest chain. Offsets of records are added one by one as they are assigned.
    pub(super) fn digest(&self, digest: &mut Digest) {
        match self {
            Self::Nothing => digest.word(0),
            Self::Appended(appended) => digest.word(appended.offsets.len() as u64),
            Self::Commands(outcomes) => {
                digest.word(outcomes.len() as u64);
                outcomes.iter().for_each(|outcome| outcome.digest(digest));
            }
        }
    }
}

/// The queue offsets of an entry's records, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Where the entry's body starts: the physical offset of its first record.
    pub position: PhysicalOffset,
    /// An offset, or one of the values from [`FIRST_REFUSED`] on.
    offsets: Vec<u64>,
}

/// Offsets from here on stand for refusals: no queue grows that long.
const FIRST_REFUSED: u64 = u64::MAX - 255;

impl Appended {
    /// With room for about as many offsets as there will be.
    pub(crate) fn new(position: PhysicalOffset, records: usize) -> Self {
        Self { position, offsets: Vec::with_capacity(records) }
    }

    /// Notes the next record's result; answers the word that stands for it.
    pub(crate) fn push(&mut self, result: Result<QueueOffset, Refusal>) -> u64 {
        let word = match result {
            Ok(offset) => {
                assert!(offset.0 < FIRST_REFUSED, "queue offset {offset}");
                offset.0
            }
            Err(refusal) => FIRST_REFUSED + u64::from(refusal.code()),
        };
        self.offsets.push(word);
        word
    }

    /// Records of the entry.
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Whether the entry held no record.
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// The queue offset of the entry's record number `i`. A refused record is in the log and in no queue: no consumer
    /// ever sees it.
    ///
    /// # Errors
    /// `TopicNotExist` or `QueueNotExist`: topic or queue were removed between the broker's check and this entry.
    ///
    /// # Panics
    /// If the entry has no such record.
    pub fn offset(&self, i: usize) -> Result<QueueOffset, Refusal> {
        match self.offsets[i].checked_sub(FIRST_REFUSED) {
            None => Ok(QueueOffset(self.offsets[i])),
            Some(code) if code == u64::from(Refusal::QueueNotExist.code()) => Err(Refusal::QueueNotExist),
            Some(_) => Err(Refusal::TopicNotExist),
        }
    }
}

/// The result of one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It changed what it was to change.
    Done,
    /// All was already as asked.
    Unchanged,
    /// Offsets taken, and those of topics or queues that do not exist, which were not.
    Committed { taken: u32, refused: u32 },
    /// The node id that was given out.
    NodeId(u64),
    /// It changed nothing.
    Refused(Refusal),
}

impl Outcome {
    fn digest(&self, digest: &mut Digest) {
        match self {
            Self::Done => digest.word(1),
            Self::Unchanged => digest.word(2),
            Self::Committed { taken, refused } => {
                digest.word(3);
                digest.word(u64::from(*taken) << 32 | u64::from(*refused));
            }
            Self::NodeId(id) => {
                digest.word(4);
                digest.word(*id);
            }
            Self::Refused(refusal) => {
                digest.word(5);
                digest.word(u64::from(refusal.code()));
            }
        }
    }
}

/// Why an entry or command did not do what it says. Its number is part of the digest: never reuse one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the topic does not exist")]
    TopicNotExist,
    #[error("the topic has no such queue")]
    QueueNotExist,
    #[error("a topic's name has 1 to 127 of the characters a-z A-Z 0-9 % | _ -")]
    BadTopicName,
    #[error("a group's name has 1 to 120 of the characters a-z A-Z 0-9 % | _ -")]
    BadGroupName,
    #[error("a topic has 1 to {} queues", super::topics::MAX_QUEUES)]
    BadQueueCount,
    #[error("perm is a sum of 1 (inherit), 2 (write), 4 (read) and 8 (priority)")]
    BadPerm,
    #[error("attributes take more than {} bytes", super::topics::MAX_ATTRIBUTES_LEN)]
    AttributesTooLong,
    #[error("there are {} topics, the most a group can have", super::topics::MAX_TOPICS)]
    TooManyTopics,
    #[error("there are {} subscription groups, the most a group of brokers can have", super::groups::MAX_GROUPS)]
    TooManyGroups,
    #[error("there are {} consumer offsets, the most a group of brokers can have", super::offsets::MAX_OFFSETS)]
    TooManyOffsets,
    #[error("a system topic cannot be deleted")]
    SystemTopic,
    #[error("the subscription group does not exist")]
    GroupNotExist,
    #[error("the log can only be purged up to the start of a segment before the last one")]
    BadPurge,
}

impl Refusal {
    /// The number that stands for it in the digest.
    pub(super) fn code(self) -> u8 {
        match self {
            Self::TopicNotExist => 0,
            Self::QueueNotExist => 1,
            Self::BadTopicName => 2,
            Self::BadGroupName => 3,
            Self::BadQueueCount => 4,
            Self::BadPerm => 5,
            Self::AttributesTooLong => 6,
            Self::TooManyTopics => 7,
            Self::TooManyGroups => 8,
            Self::TooManyOffsets => 9,
            Self::SystemTopic => 10,
            Self::GroupNotExist => 11,
            Self::BadPurge => 12,
        }
    }
}
