//! What one attempt to send came to. The table of outcomes is here and nowhere else.

use crate::client::remoting::{CallError, CallResult};
use crate::protocol::Command;
use crate::protocol::code::response;
use crate::protocol::header::send::SendMessageResponse;

/// Ext field of a broker's answer whose value `unknown` says that the outcome is. QuoruMQ's own.
pub const EXT_OUTCOME: &str = "outcome";

/// The value of [`EXT_OUTCOME`].
pub const OUTCOME_UNKNOWN: &str = "unknown";

/// How a message was stored. RocketMQ's SendStatus; all four mean that it is stored on the leader. A QuoruMQ broker
/// answers only the first, the others come from Apache's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendStatus {
    /// As the broker promises.
    SendOk,
    /// Not flushed in time.
    FlushDiskTimeout,
    /// Not replicated in time.
    FlushSlaveTimeout,
    /// There was no replica.
    SlaveNotAvailable,
}

/// A message is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// How.
    pub status: SendStatus,
    /// Of a batch, all joined by commas.
    pub offset_msg_id: String,
    /// Where; the broker may have chosen.
    pub queue_id: u32,
    /// Of a batch, the first message's.
    pub queue_offset: u64,
    /// Of a half message.
    pub transaction_id: Option<String>,
}

/// What one attempt came to.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// The message is stored.
    Stored(Stored),
    /// This attempt did not store it and never will: codes 2, 3, 13, 14, 16, 17 and 215.
    Refused(Command),
    /// This attempt was not sent.
    NotSent(CallError),
    /// Nobody knows, and why.
    Unknown(String),
}

/// Judges one attempt by its answer, or by the lack of one.
pub fn judge(result: CallResult) -> Verdict {
    let answer = match result {
        Ok(answer) => answer,
        Err(error) if error.is_unknown() => return Verdict::Unknown(error.to_string()),
        Err(error) => return Verdict::NotSent(error),
    };
    if answer.ext.get(EXT_OUTCOME) == Some(OUTCOME_UNKNOWN) {
        return Verdict::Unknown(describe(&answer));
    }
    match answer.code {
        response::SUCCESS => stored(SendStatus::SendOk, &answer),
        response::FLUSH_DISK_TIMEOUT => stored(SendStatus::FlushDiskTimeout, &answer),
        response::FLUSH_SLAVE_TIMEOUT => stored(SendStatus::FlushSlaveTimeout, &answer),
        response::SLAVE_NOT_AVAILABLE => stored(SendStatus::SlaveNotAvailable, &answer),
        response::SYSTEM_BUSY
        | response::REQUEST_CODE_NOT_SUPPORTED
        | response::MESSAGE_ILLEGAL
        | response::SERVICE_NOT_AVAILABLE
        | response::NO_PERMISSION
        | response::TOPIC_NOT_EXIST
        | response::FLOW_CONTROL => Verdict::Refused(answer),
        // Code 1 and whatever else: a broker of Apache's answers 1 while the message may still commit.
        _ => Verdict::Unknown(describe(&answer)),
    }
}

fn stored(status: SendStatus, answer: &Command) -> Verdict {
    match SendMessageResponse::decode(answer) {
        Ok(header) => Verdict::Stored(Stored {
            status,
            offset_msg_id: header.msg_id.to_owned(),
            queue_id: header.queue_id.cast_unsigned(),
            queue_offset: header.queue_offset.cast_unsigned(),
            transaction_id: header.transaction_id.map(str::to_owned),
        }),
        Err(error) => Verdict::Unknown(format!("stored, but the answer cannot be read: {error}")),
    }
}

fn describe(answer: &Command) -> String {
    format!("code {}: {}", answer.code, answer.remark.as_deref().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::remoting::NotSent;
    use crate::protocol::{Encoding, ExtFields};
    use crate::server::CloseReason;

    fn answer(code: i32, ext: &[(&str, &str)]) -> CallResult {
        let ext = ext.iter().copied().collect();
        Ok(Command::request(Encoding::Binary, 310, ExtFields::default(), bytes::Bytes::new())
            .reply(code, None)
            .with_ext(ext))
    }

    #[test]
    fn only_codes_that_mean_never_stored_are_refusals() {
        let addr = "127.0.0.1:1".parse().expect("an address");
        let stored = [("msgId", "X"), ("queueId", "3"), ("queueOffset", "7")];
        for code in 0..1600 {
            let verdict = judge(answer(code, &stored));
            match code {
                0 | 10 | 11 | 12 => assert!(matches!(verdict, Verdict::Stored(_)), "{code}"),
                2 | 3 | 13 | 14 | 16 | 17 | 215 => assert!(matches!(verdict, Verdict::Refused(_)), "{code}"),
                _ => assert!(matches!(verdict, Verdict::Unknown(_)), "{code}"),
            }
        }
        let unknown = judge(answer(14, &[("outcome", "unknown")]));
        assert!(matches!(unknown, Verdict::Unknown(_)), "the ext field outweighs the code");
        let not_sent = NotSent::Connect { kind: std::io::ErrorKind::ConnectionRefused, detail: String::new() };
        assert!(matches!(judge(Err(CallError::NotSent { addr, reason: not_sent })), Verdict::NotSent(_)));
        let lost = CallError::Lost { addr, reason: CloseReason::PeerClosed };
        assert!(matches!(judge(Err(lost)), Verdict::Unknown(_)));
        assert!(matches!(judge(Err(CallError::TimedOut { addr, timeout_ms: 1 })), Verdict::Unknown(_)));
        assert!(matches!(judge(answer(0, &[])), Verdict::Unknown(_)), "stored where?");
    }

    #[test]
    fn a_stored_message_tells_where() {
        let Verdict::Stored(stored) = judge(answer(0, &[("msgId", "7F"), ("queueId", "3"), ("queueOffset", "7")]))
        else {
            panic!("stored");
        };
        assert_eq!((stored.status, stored.queue_id, stored.queue_offset), (SendStatus::SendOk, 3, 7));
        assert_eq!(stored.offset_msg_id, "7F");
    }
}
