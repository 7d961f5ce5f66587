//! What a broker says of itself: 28.

use std::collections::BTreeMap;

use quorumq_raft::runtime::Runtime;

use super::Broker;
use super::leadership::Leader;
use crate::protocol::body::{self, table::KvTable};
use crate::protocol::code::response;
use crate::protocol::command::{Command, VERSION};

impl<R: Runtime> Broker<R> {
    /// Apache's keys where we have a value, and our own.
    pub fn runtime_info(&self, command: &Command) -> Command {
        command.reply(response::SUCCESS, None).with_body(body::encode(&KvTable { table: self.runtime_table() }))
    }

    fn runtime_table(&self) -> BTreeMap<String, String> {
        let now_ms = R::wall_clock_ms();
        let positions = self.node.positions();
        let counts = self.node.machine().counts();
        let leads = self.leadership.now(self.node.id()) == Leader::Here;
        let text = |value: &str| value.to_owned();
        let own = [
            ("brokerVersionDesc", format!("QuoruMQ {}", env!("CARGO_PKG_VERSION"))),
            ("brokerVersion", VERSION.to_string()),
            ("brokerRole", text(if leads { "SYNC_MASTER" } else { "SLAVE" })),
            ("brokerActive", text("true")),
            ("bootTimestamp", self.started_ms.to_string()),
            ("startAcceptSendRequestTimeStamp", self.started_ms.to_string()),
            ("runtime", runtime_text(now_ms - self.started_ms)),
            ("commitLogMinOffset", positions.first.to_string()),
            ("commitLogMaxOffset", positions.end.to_string()),
            ("msgPutTotalTodayNow", self.messages_put().to_string()),
            ("dispatchBehindBytes", text("0")),
            ("dispatchMaxBuffer", text("0")),
            ("pageCacheLockTimeMills", text("0")),
            ("remainTransientStoreBufferNumbs", text("0")),
            ("remainHowManyDataToCommit", text("0")),
            ("remainHowManyDataToFlush", positions.pending_bytes.to_string()),
            ("sendThreadPoolQueueSize", self.proposer.pending_bytes().to_string()),
            ("topics", counts.topics.to_string()),
            ("messages", counts.messages.to_string()),
            ("nodeId", self.node.id().to_string()),
            ("term", self.leadership.term().to_string()),
            ("leader", self.leadership.leader_id().map(|id| id.to_string()).unwrap_or_default()),
        ];
        own.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }
}

/// As Apache writes it: `[ 1 days, 2 hours, 3 minutes, 4 seconds ]`.
fn runtime_text(ms: i64) -> String {
    let seconds = ms.max(0) / 1000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    format!("[ {days} days, {hours} hours, {minutes} minutes, {} seconds ]", seconds % 60)
}
