//! How fast a leader catches up members that are far behind, asked for or changed by an operator. A code of our own.

use quorumq_raft::pace::{CatchUp, MIN_BYTES_PER_SECOND};
use quorumq_raft::runtime::Runtime;

use super::Broker;
use super::answer;
use crate::protocol::code::response;
use crate::protocol::command::Command;

/// Ext `rate` of [`Broker::group_catch_up`] for no catch-up at all.
pub const PAUSED: &str = "paused";
/// For what the configuration says.
pub const CONFIGURED: &str = "configured";
/// The answer where there is no limit.
pub const UNLIMITED: &str = "unlimited";

impl<R: Runtime> Broker<R> {
    /// Sets this node's rate to ext `rate` (bytes a second, 0 for no limit, `paused` or `configured`), if there is one;
    /// answers the one that holds. It counts while this node leads, and is forgotten when the process ends.
    pub fn group_catch_up(&self, command: &Command) -> Command {
        if let Some(asked) = command.ext.get("rate") {
            let rate = match asked {
                PAUSED => CatchUp::Paused,
                CONFIGURED => self.node.configured_catch_up(),
                number => match number.parse::<u64>() {
                    Ok(rate) if rate == 0 || rate >= MIN_BYTES_PER_SECOND => CatchUp::from_setting(rate),
                    _ => {
                        let why = format!(
                            "rate {number:?} must be 0 for no limit, at least {MIN_BYTES_PER_SECOND} bytes a second, \
                             {PAUSED} or {CONFIGURED}"
                        );
                        return answer::error(command, why);
                    }
                },
            };
            self.node.set_catch_up(rate);
        }
        let mut answer = command.reply(response::SUCCESS, None);
        answer.ext.push("nodeId", self.node.id());
        answer.ext.push("rate", told(self.node.catch_up()));
        answer
    }
}

fn told(rate: CatchUp) -> String {
    match rate {
        CatchUp::Paused => PAUSED.to_owned(),
        CatchUp::Unlimited => UNLIMITED.to_owned(),
        CatchUp::BytesPerSecond(rate) => rate.to_string(),
    }
}
