//! What clients ask: 34, 35, 38. And what is pushed to them: 40.

use std::time::Duration;

use bytes::Bytes;
use openraft_rt::Instant;
use quorumq_raft::runtime::Runtime;

use super::limits::{HeartbeatRefused, MAX_HEARTBEAT};
use crate::broker::Broker;
use crate::broker::answer;
use crate::broker::leadership::Leader;
use crate::broker::reply::Origin;
use crate::protocol::body;
use crate::protocol::body::consumer::GetConsumerListByGroupResponseBody;
use crate::protocol::body::heartbeat::HeartbeatData;
use crate::protocol::code::{request, response};
use crate::protocol::command::Command;
use crate::protocol::header::consumer::{ConsumerGroupRequest, UnregisterClientRequest};
use crate::protocol::language;
use crate::server::Conn;

/// Longest the answer to a heartbeat waits until the leader knows the client and its groups exist. A client's
/// heartbeat has 3 s, and one that is not answered is not repeated for 30.
const HEARTBEAT_WAIT: Duration = Duration::from_secs(1);
/// Longest a list of members waits for a new leader to hear from the other nodes: what it waits itself, and some.
const LIST_WAIT: Duration = Duration::from_millis(super::union::SETTLE_MS + 500);

/// What came of a client's word of itself.
#[derive(Debug)]
pub enum Noted {
    /// Its answer.
    Done(Command),
    /// A change with this number, which the leader is to hear of.
    Change(u64),
}

impl<R: Runtime> Broker<R> {
    /// Notes what a client says of itself (34, 35); nothing for other requests. Without a wait: a pull that comes right
    /// behind the heartbeat with its subscription must find it.
    pub fn note_client(&self, origin: &Origin, command: &Command) -> Option<Noted> {
        match command.code {
            request::HEART_BEAT => Some(match self.take_heartbeat(origin, command) {
                Ok(Some(change)) => Noted::Change(change),
                Ok(None) => Noted::Done(command.reply(response::SUCCESS, None)),
                Err(refused) => {
                    tracing::info!(client = %origin.client, "heartbeat refused: {refused}");
                    Noted::Done(answer::error(command, refused))
                }
            }),
            request::UNREGISTER_CLIENT => Some(Noted::Done(self.unregister_client(origin, command))),
            _ => None,
        }
    }

    /// The answer to a client. One that brought news has it when the leader knows the client, so that it finds itself in
    /// the list of its group's members, and when its groups and their retry topics exist; at the latest after 1 s.
    pub async fn client_noted(&self, noted: Noted, command: &Command) -> Command {
        match noted {
            Noted::Done(answer) => answer,
            Noted::Change(change) => {
                // If the leader does not hear of it in time, it will later: the heartbeat counts all the same.
                let _ = R::timeout(HEARTBEAT_WAIT, self.leader_knows(change)).await;
                command.reply(response::SUCCESS, None)
            }
        }
    }

    /// Notes the client; the number of the change that the leader has to hear of.
    fn take_heartbeat(&self, origin: &Origin, command: &Command) -> Result<Option<u64>, HeartbeatRefused> {
        let conn = origin.conn().ok_or(HeartbeatRefused::Forwarded)?;
        if command.body.len() > MAX_HEARTBEAT {
            return Err(HeartbeatRefused::TooLong { len: command.body.len() });
        }
        let data: HeartbeatData = body::decode(&command.body)?;
        let sessions = &self.sessions;
        let mut change = sessions.local().heartbeat(conn, command.encoding, &data, sessions.now_ms())?;
        let consumers = data.consumer_data_set.iter().map(|consumer| consumer.group_name.as_str());
        if change.is_none() && !self.missing_groups(consumers).is_empty() {
            // Its retry topic was deleted, or could not be created the last time.
            change = Some(sessions.local().report_again(&data.client_id));
        }
        if change.is_some() {
            sessions.report.notify_one();
        }
        if conn.is_closed() {
            // Its end may have been noted before its heartbeat was.
            self.client_lost(conn);
        }
        Ok(change)
    }

    /// Waits until the leader has taken a change of this node's clients, and this node has applied what followed.
    async fn leader_knows(&self, change: u64) {
        loop {
            let told = self.sessions.told.notified();
            let mut told = std::pin::pin!(told);
            // Registered before the look, so that no report falls between the two.
            told.as_mut().enable();
            if self.sessions.local().told() >= change {
                break;
            }
            told.await;
        }
        // Whoever asks this node next finds the groups the leader created. Without a leader it is late at worst.
        let _ = self.node.read_barrier().await;
    }

    /// A client leaves (35).
    fn unregister_client(&self, origin: &Origin, command: &Command) -> Command {
        let header = match UnregisterClientRequest::decode(command) {
            Ok(header) => header,
            Err(e) => return answer::error(command, e),
        };
        let Some(conn) = origin.conn() else { return answer::error(command, HeartbeatRefused::Forwarded) };
        let named = |group: Option<&'_ str>| group.filter(|group| !group.is_empty()).map(str::to_owned);
        let (consumer, producer) = (named(header.consumer_group), named(header.producer_group));
        let left = self.sessions.local().leave(conn.id(), header.client_id, consumer.as_deref(), producer.as_deref());
        if left {
            self.sessions.report.notify_one();
        }
        command.reply(response::SUCCESS, None)
    }

    /// A group's members (38), over all nodes. Leader only.
    pub async fn consumer_list(&self, command: &Command) -> Command {
        let group = match ConsumerGroupRequest::decode(command) {
            Ok(header) => header.consumer_group,
            Err(e) => return answer::error(command, e),
        };
        self.settled().await;
        if let Err(e) = self.node.read_barrier().await {
            return self.not_leading(command, &e.to_string());
        }
        let members = {
            let union = self.sessions.union();
            let leads = self.leadership.now(self.node.id()) == Leader::Here;
            if !leads || union.term() != Some(self.leadership.term()) {
                return self.not_leading(command, "this node no longer leads");
            }
            union.members(group)
        };
        if members.is_empty() {
            return answer::error(command, format!("no consumer for this group, {group}"));
        }
        let list = GetConsumerListByGroupResponseBody { consumer_id_list: members };
        command.reply(response::SUCCESS, None).with_body(body::encode(&list))
    }

    /// Waits until this leader has heard from every living node.
    async fn settled(&self) {
        let deadline = R::Instant::now() + LIST_WAIT;
        loop {
            let settled = self.sessions.settled.notified();
            let mut settled = std::pin::pin!(settled);
            settled.as_mut().enable();
            let is_settled = {
                let union = self.sessions.union();
                union.is_settled() && union.term() == Some(self.leadership.term())
            };
            let leads = self.leadership.leader_id() == Some(self.node.id());
            if is_settled || !leads || R::timeout_at(deadline, settled).await.is_err() {
                return;
            }
        }
    }

    /// A client's connection has ended.
    pub fn client_lost(&self, conn: &Conn) {
        let had_clients = self.sessions.local().lost(conn.id());
        if had_clients {
            self.sessions.report.notify_one();
        }
    }

    /// The leader tells which groups changed: notifies this node's members of them (40).
    pub fn notify_members(&self, groups: &[String]) -> Bytes {
        for group in groups {
            let wanted = self.node.machine().group(group).is_none_or(|g| g.notify_consumer_ids_changed_enable);
            let consumers = if wanted { self.sessions.local().consumers(group) } else { Vec::new() };
            for (conn, encoding) in consumers {
                let header = ConsumerGroupRequest { consumer_group: group };
                let code = request::NOTIFY_CONSUMER_IDS_CHANGED;
                let push = Command::oneway(encoding, code, header.encode(), Bytes::new());
                // As Apache's brokers call themselves: old clients know few languages.
                let push = Command { language: language::JAVA, opaque: self.sessions.next_opaque(), ..push };
                // A connection that has ended takes its member with it, which the others are told of.
                let _ = conn.send_command(&push);
            }
        }
        Bytes::new()
    }

    /// What the leader knows of a group's subscriptions: a JSON list of SubscriptionData, one a topic.
    pub fn subscriptions_of(&self, group: &str) -> Bytes {
        body::encode(&self.sessions.union().subscriptions(group))
    }
}
