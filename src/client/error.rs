//! What can go wrong for a user of the client.

use crate::protocol::command::Command;

use super::remoting::CallError;

/// Why an operation did not succeed.
///
/// For a send, only [`Self::Unknown`] leaves open whether the message is stored: every other error says that it is
/// not and never will be.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ClientError {
    /// The outcome of a send (or of another change) is unknown: an attempt may have been carried out, and none was
    /// answered. Not a failure: the message may be stored, once or more often, under `msg_id`.
    #[error("outcome unknown after {attempts} attempts: {detail}")]
    Unknown {
        /// The message's UNIQ_KEY (of a batch: all, joined by commas), to look it up. Empty for other operations.
        msg_id: String,
        /// Attempts made.
        attempts: u32,
        /// What the last attempt of unknown outcome came to.
        detail: String,
    },
    /// A broker or NameServer refused. It has not done, and will not do, what was asked.
    #[error("refused with code {code}{}: {remark}", named(*code))]
    Refused {
        /// RocketMQ's response code.
        code: i32,
        /// The server's words.
        remark: String,
    },
    /// No attempt was sent, or every attempt was turned away before anything was carried out.
    #[error("not sent: {0}")]
    NotSent(CallError),
    /// A query got no answer.
    #[error("no answer: {0}")]
    NoAnswer(CallError),
    /// No NameServer knows the topic, or none of its queues can be used.
    #[error("no route for topic {topic}: {detail}")]
    NoRoute {
        /// The topic.
        topic: String,
        /// What is missing.
        detail: String,
    },
    /// No member of the broker group is known.
    #[error("no member of broker group {group} is known")]
    NoMember {
        /// The group (RocketMQ's `brokerName`).
        group: String,
    },
    /// The time given was used up before anything could be tried.
    #[error("timed out: {0}")]
    Timeout(&'static str),
    /// The request cannot be made: the caller must change it.
    #[error("invalid {what}: {why}")]
    Invalid {
        /// Which part.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A server answered something this client cannot read.
    #[error("bad answer to request {request}: {why}")]
    BadAnswer {
        /// Request code.
        request: i32,
        /// What is wrong with it.
        why: String,
    },
    /// The client was closed.
    #[error("the client is closed")]
    Closed,
}

impl ClientError {
    /// Whether what was asked may have been carried out.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown { .. })
    }

    pub(super) fn invalid(what: &'static str, why: impl Into<String>) -> Self {
        Self::Invalid { what, why: why.into() }
    }

    /// The refusal an answer expresses.
    pub(super) fn refused(answer: &Command) -> Self {
        Self::Refused { code: answer.code, remark: answer.remark.clone().unwrap_or_default() }
    }

    /// Of a query, which changes nothing: lost and timed out are the same to its caller.
    pub(super) fn of_query(error: CallError) -> Self {
        if error.is_unknown() { Self::NoAnswer(error) } else { Self::NotSent(error) }
    }
}

fn named(code: i32) -> String {
    crate::protocol::code::response::name(code).map(|name| format!(" ({name})")).unwrap_or_default()
}
