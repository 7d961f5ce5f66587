//! What was read, as it is written down.

use quorumq::client::consumer::PullResult;
use quorumq::client::{ClientError, MessageExt};

use crate::history::{Ended, Read, body_hash};

/// A message as a consumer got it.
pub fn read(message: &MessageExt) -> Read {
    Read {
        offset: message.queue_offset.0,
        physical: message.physical_offset.0,
        key: message.property("KEYS").unwrap_or_default().into(),
        body: body_hash(&message.body),
    }
}

/// How a pull ended. An offset outside of what the queue holds is an answer without messages.
pub fn pulled(result: &PullResult) -> Ended {
    Ended::Read {
        messages: result.messages.iter().map(read).collect(),
        next: result.next_offset.0,
        min: result.min_offset.0,
        max: result.max_offset.0,
    }
}

/// How a query ended that got no good answer.
pub fn failed(error: &ClientError) -> Ended {
    match error {
        ClientError::Refused { .. } | ClientError::Invalid { .. } => Ended::Refused(error.to_string()),
        _ => Ended::Unknown(error.to_string()),
    }
}
