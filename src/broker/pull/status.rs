//! What came of a pull, by RocketMQ's names (GetMessageStatus.java): the remark of the answer.

use crate::protocol::code::response;

/// What came of a pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Found,
    /// Messages were there, the subscription wants none of them.
    NoMatchedMessage,
    /// The offset lies below the queue's min.
    OffsetTooSmall,
    /// The offset is the queue's max: the next message will get it.
    OffsetOverflowOne,
    /// The offset lies above the queue's max.
    OffsetOverflowBadly,
    /// The queue never had a message, and offset 0 was asked.
    NoMessageInQueue,
    /// The queue never had a message, and another offset was asked.
    NoMessageInQueueAt,
}

impl Status {
    /// RocketMQ's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Found => "FOUND",
            Self::NoMatchedMessage => "NO_MATCHED_MESSAGE",
            Self::OffsetTooSmall => "OFFSET_TOO_SMALL",
            Self::OffsetOverflowOne => "OFFSET_OVERFLOW_ONE",
            Self::OffsetOverflowBadly => "OFFSET_OVERFLOW_BADLY",
            Self::NoMessageInQueue | Self::NoMessageInQueueAt => "NO_MESSAGE_IN_QUEUE",
        }
    }

    /// The response code it becomes (remoting-codes.md 5: GetMessage → pull).
    pub const fn code(self) -> i32 {
        match self {
            Self::Found => response::SUCCESS,
            Self::NoMatchedMessage => response::PULL_RETRY_IMMEDIATELY,
            Self::OffsetOverflowOne | Self::NoMessageInQueue => response::PULL_NOT_FOUND,
            Self::OffsetTooSmall | Self::OffsetOverflowBadly | Self::NoMessageInQueueAt => response::PULL_OFFSET_MOVED,
        }
    }
}
