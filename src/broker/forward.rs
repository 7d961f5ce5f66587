//! Any node takes any request: one forward hop, only to the leader, never repeated.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use openraft_rt::Select2;
use quorumq_raft::peer::mux::CallError;
use quorumq_raft::runtime::Runtime;
use quorumq_raft::types::NodeId;
use quorumq_store::mutant::{Mutant, planted};

use super::Broker;
use super::answer;
use super::call::{self, Call};
use super::leadership::Leader;
use super::reply::{Collector, Origin, ReplyTo};
use crate::protocol::code::{request, response};
use crate::protocol::command::Command;
use crate::protocol::frame;

/// Longest a request waits for a leader before it is refused: an election after a crash takes tens of milliseconds,
/// after a freeze up to about two seconds, and a client's whole send has 3 s.
const LEADER_WAIT: Duration = Duration::from_millis(1000);
/// Longest a forwarded request may take. Above the client's 3 s, below what piles up.
const FORWARD_TIMEOUT: Duration = Duration::from_secs(5);
/// The same for a group's status, which any node can collect: below the time a command line gives one attempt.
const STATUS_TIMEOUT: Duration = Duration::from_secs(2);
/// How long an answer of a leader that was replaced is still waited for. One that lives answers at once; one that is
/// frozen would use up the time of a client that could go on with its successor.
const REPLACED_TIMEOUT: Duration = Duration::from_millis(100);

/// Whether `code` is a send, whose outcome must not be misstated.
pub fn is_send(code: i32) -> bool {
    matches!(code, request::SEND_MESSAGE | request::SEND_MESSAGE_V2 | request::SEND_BATCH_MESSAGE)
}

/// Whether a request becomes an entry, which would wait in the log, and the request with it, while no majority has room. A
/// purge becomes one too and is tried all the same: it is what makes room.
fn needs_room(code: i32) -> bool {
    is_send(code)
        || matches!(
            code,
            request::UPDATE_CONSUMER_OFFSET
                | request::UPDATE_AND_CREATE_TOPIC
                | request::DELETE_TOPIC_IN_BROKER
                | request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP
                | request::GROUP_ADD_MEMBER
                | request::GROUP_REMOVE_MEMBER
        )
}

/// Whether any node can answer these where nobody leads.
fn need_no_leader(commands: &[Command]) -> bool {
    commands.iter().all(|command| command.code == request::GROUP_STATUS)
}

impl<R: Runtime> Broker<R> {
    /// Handles requests that the leader is to: here, or by forwarding them.
    pub async fn by_leader(self: Arc<Self>, origin: Origin, mut commands: Vec<Command>) {
        if let Some(why) = self.node.no_majority() {
            let refused: Vec<_> = commands.extract_if(.., |command| needs_room(command.code)).collect();
            self.refuse_all(&origin, &refused, &why);
            if commands.is_empty() {
                return;
            }
        }
        let leader = self.leadership.settled::<R>(self.node.id(), LEADER_WAIT).await;
        match leader {
            Leader::Here => self.lead(origin, commands),
            Leader::There(id) if !origin.is_forwarded() => self.forward(id, origin, commands).await,
            _ if need_no_leader(&commands) => self.lead(origin, commands),
            _ => {
                // Without room on a majority, who was elected does not get ready to lead.
                let why = self.node.no_majority();
                let why =
                    why.as_deref().unwrap_or("no node of the group leads at the moment, or this one no longer does");
                self.refuse_all(&origin, &commands, why);
            }
        }
    }

    async fn forward(self: &Arc<Self>, leader: NodeId, origin: Origin, commands: Vec<Command>) {
        let limit = if need_no_leader(&commands) { STATUS_TIMEOUT } else { FORWARD_TIMEOUT };
        let mut raw = BytesMut::new();
        commands.iter().for_each(|command| frame::encode(command, &mut raw));
        let header = Call::Forward { client: origin.client, count: u32::try_from(commands.len()).unwrap_or(u32::MAX) };
        let answered = match call::encode(&header, &raw) {
            Ok(bytes) => self.call_leader(leader, bytes, limit).await,
            Err(e) => Err(CallError::NotSent(e.to_string())),
        };
        match answered {
            Ok(answers) => origin.reply_to.send_with(commands.len(), |out| out.extend_from_slice(&answers)),
            // Whoever was taken for the leader does not answer.
            Err(_) if need_no_leader(&commands) => self.lead(origin, commands),
            // It never left this node: it is not and never will be stored.
            Err(CallError::NotSent(why)) => {
                self.refuse_all(&origin, &commands, &format!("the leader cannot be reached: {why}"));
            }
            Err(CallError::Unknown(why)) if planted(Mutant::UnknownCalledRefused) => {
                self.refuse_all(&origin, &commands, &why);
            }
            Err(CallError::Unknown(why)) => {
                for command in commands.iter().filter(|command| !command.is_oneway()) {
                    origin.reply_to.send(&answer::unknown(command, format!("the leader was lost: {why}")));
                }
            }
        }
    }

    /// Calls the leader for as long as it leads, at most `limit`.
    async fn call_leader(&self, leader: NodeId, bytes: Bytes, limit: Duration) -> Result<Bytes, CallError> {
        let mut call = std::pin::pin!(self.node.call(leader, bytes.clone(), limit));
        let answered = match R::select2(call.as_mut(), self.leadership.lost(leader)).await {
            Select2::First(answered) => answered,
            Select2::Second(()) => R::timeout(REPLACED_TIMEOUT, call)
                .await
                .unwrap_or_else(|_| Err(CallError::Unknown(format!("node {leader} no longer leads")))),
        };
        if planted(Mutant::ForwardedSendRepeated)
            && matches!(answered, Err(CallError::Unknown(_)))
            && let Leader::There(next) = self.leadership.settled::<R>(self.node.id(), LEADER_WAIT).await
        {
            return self.node.call(next, bytes, limit).await;
        }
        answered
    }

    /// Refuses requests for want of a leader, with a hint who leads.
    pub fn refuse_all(&self, origin: &Origin, commands: &[Command], why: &str) {
        for command in commands {
            if command.is_oneway() {
                origin.reply_to.skip(1);
            } else {
                origin.reply_to.send(&self.not_leading(command, why));
            }
        }
    }

    /// Code 14 with the leader's address, if one is known.
    pub fn not_leading(&self, command: &Command, why: &str) -> Command {
        let mut answer = command.reply(response::SERVICE_NOT_AVAILABLE, Some(why.to_owned()));
        let leader = self.leadership.leader_id().filter(|id| *id != self.node.id());
        if let Some(member) = leader.and_then(|id| self.node.member(id)) {
            answer.ext.push("leader", member.client_addr);
            answer.ext.push("term", self.leadership.term());
        }
        if is_send(command.code) { answer::with_region(answer) } else { answer }
    }

    /// Handles requests that another member forwarded; resolves with their answers.
    pub async fn forwarded(self: Arc<Self>, client: std::net::SocketAddr, count: u32, raw: Bytes) -> Bytes {
        let mut commands = Vec::with_capacity(count.min(1024) as usize);
        let mut buf = BytesMut::from(raw);
        while let Ok(Some(command)) = frame::decode(&mut buf) {
            commands.push(command);
        }
        let (collector, answers) = Collector::new(commands.len());
        if commands.is_empty() {
            return Bytes::new();
        }
        let origin = Origin { client, reply_to: ReplyTo::Collector(collector) };
        match self.leadership.now(self.node.id()) {
            Leader::Here => self.lead(origin, commands),
            _ => drop(R::spawn(self.by_leader(origin, commands))),
        }
        answers.await.unwrap_or_default()
    }
}
