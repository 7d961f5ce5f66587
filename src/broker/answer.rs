//! Answers that many handlers give.

use std::fmt::Display;

use crate::protocol::code::response;
use crate::protocol::command::Command;

/// RocketMQ's region id where none is configured (BrokerConfig.regionId).
pub const REGION: &str = "DefaultRegion";

/// Adds what every answer to a send carries.
pub fn with_region(mut answer: Command) -> Command {
    answer.ext.push("TRACE_ON", true);
    answer.ext.push("MSG_REGION", REGION);
    answer
}

/// Code 1 for an outcome that nobody knows: the request may have been carried out, or may yet be.
pub fn unknown(request: &Command, why: impl Display) -> Command {
    let mut answer = request.reply(response::SYSTEM_ERROR, Some(format!("outcome unknown: {why}")));
    answer.ext.push("outcome", "unknown");
    answer
}

/// Code 1 with a reason.
pub fn error(request: &Command, why: impl Display) -> Command {
    request.reply(response::SYSTEM_ERROR, Some(why.to_string()))
}

/// Code 3, in Apache's words.
pub fn not_supported(request: &Command) -> Command {
    let remark = format!(" request type {} not supported", request.code);
    request.reply(response::REQUEST_CODE_NOT_SUPPORTED, Some(remark))
}
