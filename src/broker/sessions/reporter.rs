//! Tells the leader of this node's clients; on the leader, takes what the nodes tell.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use quorumq_raft::runtime::Runtime;
use quorumq_raft::types::NodeId;

use crate::broker::Broker;
use crate::broker::call::{self, Call, Report, Verdict};
use crate::broker::leadership::Leader;

/// Pause after a report, in which changes gather.
const GATHER: Duration = Duration::from_millis(10);
/// Without a change, the leader hears so often that this node is there.
const REPORT_EVERY: Duration = Duration::from_secs(10);
/// Longest a report may take. It waits for the groups it names to be created.
const REPORT_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest the leader lets a report wait for the groups it names.
const CREATE_WAIT: Duration = Duration::from_secs(1);
/// Longest a broker that stops takes to tell the leader.
const LEAVE_WAIT: Duration = Duration::from_millis(200);
/// Pause after a report that was not taken; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Reports until the broker stops.
pub(super) async fn run<R: Runtime>(broker: &Broker<R>) {
    let sessions = &broker.sessions;
    // The leader that has been told of all clients, and its term.
    let mut follows: Option<(NodeId, u64)> = None;
    let mut pause = FIRST_PAUSE;
    loop {
        let Some(leader) = broker.leadership.leader_id() else {
            sessions.report.notified().await;
            continue;
        };
        let whom = (leader, broker.leadership.term());
        if follows != Some(whom) {
            sessions.local().begin_again();
        }
        let report = sessions.local().next_report();
        match broker.tell(leader, report).await {
            Ok(Verdict::Taken) => {
                follows = Some(whom);
                pause = FIRST_PAUSE;
                let more = sessions.local().taken();
                sessions.told.notify_waiters();
                if more {
                    continue;
                }
                R::sleep(GATHER).await;
                // Woken by changes, those during the pause included; or the time is up.
                let _ = R::timeout(REPORT_EVERY, sessions.report.notified()).await;
            }
            Ok(Verdict::BeginAgain) if follows == Some(whom) => follows = None,
            untaken => {
                tracing::debug!(leader, ?untaken, "the leader has not taken the report of this node's clients");
                follows = None;
                // Another leader is worth a try at once.
                let _ = R::timeout(pause, sessions.report.notified()).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

impl<R: Runtime> Broker<R> {
    /// This node has closed its clients' connections and stops: the leader is told at once.
    pub async fn leave_sessions(&self) {
        let Some(leader) = self.leadership.leader_id().filter(|id| *id != self.node.id()) else { return };
        let report = {
            let mut local = self.sessions.local();
            local.begin_again();
            local.next_report()
        };
        match R::timeout(LEAVE_WAIT, self.tell(leader, report)).await {
            Ok(Ok(Verdict::Taken)) => {}
            // It will notice by itself.
            untaken => tracing::debug!(leader, ?untaken, "the leader does not know that the clients are gone"),
        }
    }

    async fn tell(&self, leader: NodeId, report: Report) -> Result<Verdict, String> {
        let answer = if leader == self.node.id() {
            self.sessions_reported(leader, report).await
        } else {
            let bytes = call::encode(&Call::Sessions(report), &[]).map_err(|e| e.to_string())?;
            self.node.call(leader, bytes, REPORT_TIMEOUT).await.map_err(|e| e.to_string())?
        };
        Verdict::decode(&answer).ok_or_else(|| "no verdict".to_owned())
    }

    /// A member reports its clients. Answered when the groups they are in exist. Leader only.
    pub async fn sessions_reported(&self, from: NodeId, report: Report) -> Bytes {
        let consumers = report.clients.iter().flat_map(|client| &client.consumers);
        let groups: BTreeSet<String> = consumers.map(|(group, _)| group.clone()).collect();
        let verdict = self.take_report(from, report);
        if verdict == Verdict::Taken {
            self.sessions.lead.notify_one();
            if R::timeout(CREATE_WAIT, self.create_missing(&groups)).await.is_err() {
                tracing::info!(from, "groups of clients are not created yet; their next heartbeats try again");
            }
        }
        verdict.encode()
    }

    fn take_report(&self, from: NodeId, report: Report) -> Verdict {
        if self.leadership.leader_id() != Some(self.node.id()) {
            return Verdict::NotLeading;
        }
        let now_ms = self.sessions.now_ms();
        let mut union = self.sessions.union();
        union.begin(self.leadership.term(), now_ms);
        union.report(from, report, now_ms)
    }

    async fn create_missing(&self, groups: &BTreeSet<String>) {
        let names = || groups.iter().map(String::as_str);
        if self.missing_groups(names()).is_empty() {
            return;
        }
        // A new leader may propose only once it has applied what was before it.
        if self.leadership.settled::<R>(self.node.id(), CREATE_WAIT).await != Leader::Here {
            return;
        }
        let missing = self.missing_groups(names());
        if missing.is_empty() {
            return;
        }
        match self.create_groups(&missing).await {
            Ok(()) => tracing::debug!(?missing, "created the groups of clients and their retry topics"),
            Err(refused) => {
                tracing::warn!(groups = missing.len(), "cannot create groups of clients: {}", refused.remark);
            }
        }
    }
}
