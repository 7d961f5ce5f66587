//! From the commands of one read to their handlers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use quorumq_raft::runtime::Runtime;

use super::Broker;
use super::answer;
use super::forward::is_send;
use super::leadership::Leader;
use super::reply::Origin;
use super::send::{self, Chunk, Verdict};
use crate::protocol::code::{request, response};
use crate::protocol::command::Command;
use crate::server::{Conn, Service};

/// Requests of one connection, sends and held pulls aside, that are handled at a time.
const MAX_HANDLING: usize = 4096;

/// The service behind the broker's ports.
#[derive(Debug)]
pub struct Front<R: Runtime>(pub Arc<Broker<R>>);

/// What is kept per client connection.
#[derive(Debug, Default)]
pub struct ClientSession {
    handling: Arc<AtomicUsize>,
}

/// Where a request is handled.
enum Place {
    /// A send: by the leader, batched.
    Send,
    /// By the leader.
    Leader,
    /// On this node.
    Here,
}

fn place(code: i32) -> Place {
    match code {
        code if is_send(code) => Place::Send,
        request::UPDATE_CONSUMER_OFFSET
        | request::UPDATE_AND_CREATE_TOPIC
        | request::DELETE_TOPIC_IN_BROKER
        | request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP
        | request::GET_CONSUMER_LIST_BY_GROUP
        | request::GROUP_STATUS
        | request::GROUP_ADD_MEMBER
        | request::GROUP_REMOVE_MEMBER
        | request::GROUP_TRANSFER
        | request::PURGE_LOG => Place::Leader,
        _ => Place::Here,
    }
}

impl<R: Runtime> Service for Front<R> {
    type Session = ClientSession;

    fn connected(&self, _conn: &Conn) -> ClientSession {
        ClientSession::default()
    }

    fn commands(&self, session: &mut ClientSession, conn: &Conn, commands: &mut Vec<Command>) {
        let origin = Origin::client(conn);
        let mut sends = Vec::new();
        for command in commands.drain(..) {
            if command.is_response() {
                continue;
            }
            if command.knows_go_away() && self.0.leaving.load(Ordering::Acquire) {
                if !command.is_oneway() {
                    let remark = "this broker is stopping: go on with another".to_owned();
                    origin.reply_to.send(&command.reply(response::GO_AWAY, Some(remark)));
                }
                continue;
            }
            match place(command.code) {
                Place::Send => sends.push(command),
                _ if session.handling.load(Ordering::Acquire) >= MAX_HANDLING => {
                    let remark =
                        format!("{MAX_HANDLING} requests of this connection are being handled; wait for answers");
                    origin.reply_to.send(&command.reply(response::SYSTEM_BUSY, Some(remark)));
                }
                Place::Leader => self.spawn(session, Arc::clone(&self.0).by_leader(origin.clone(), vec![command])),
                Place::Here => self.spawn(session, Arc::clone(&self.0).serve(origin.clone(), command)),
            }
        }
        if sends.is_empty() {
            return;
        }
        match self.0.leadership.now(self.0.node.id()) {
            Leader::Here => self.0.lead(origin, sends),
            _ => self.spawn_counted(Arc::clone(&self.0).by_leader(origin, sends)),
        }
    }

    fn in_flight(&self) -> usize {
        // Held pulls are not among them: what they wait for may never come.
        self.0.handling.load(Ordering::Acquire) + usize::from(self.0.proposer.pending_bytes() > 0)
    }

    fn closed(&self, _session: ClientSession, conn: &Conn) {
        self.0.holds.connection_closed();
        self.0.client_lost(conn);
    }
}

impl<R: Runtime> Front<R> {
    fn spawn(&self, session: &ClientSession, task: impl Future<Output = ()> + Send + 'static) {
        let handling = Arc::clone(&session.handling);
        handling.fetch_add(1, Ordering::AcqRel);
        self.spawn_counted(async move {
            task.await;
            handling.fetch_sub(1, Ordering::AcqRel);
        });
    }

    fn spawn_counted(&self, task: impl Future<Output = ()> + Send + 'static) {
        let handling = Arc::clone(&self.0.handling);
        handling.fetch_add(1, Ordering::AcqRel);
        drop(R::spawn(async move {
            task.await;
            handling.fetch_sub(1, Ordering::AcqRel);
        }));
    }
}

impl<R: Runtime> Broker<R> {
    /// Handles requests on the leader.
    pub fn lead(self: &Arc<Self>, origin: Origin, commands: Vec<Command>) {
        let mut chunk = Chunk::new(origin.clone());
        let mut creating = Vec::new();
        {
            let machine = self.node.machine();
            for command in commands {
                if !is_send(command.code) {
                    drop(R::spawn(Arc::clone(self).serve(origin.clone(), command)));
                    continue;
                }
                match chunk.take(self, &machine, &command) {
                    Verdict::Taken => {}
                    Verdict::NeedsTopic => creating.push(command),
                    Verdict::Refused(_) if command.is_oneway() => origin.reply_to.skip(1),
                    Verdict::Refused(refused) => origin.reply_to.send(&send::refusal(&command, refused)),
                }
            }
        }
        self.proposer.submit(chunk);
        for command in creating {
            drop(R::spawn(Arc::clone(self).create_and_send(origin.clone(), command)));
        }
    }

    async fn create_and_send(self: Arc<Self>, origin: Origin, command: Command) {
        if let Err(refused) = self.create_for_send(&command).await {
            origin.reply_to.send(&send::refusal(&command, refused));
            return;
        }
        let mut chunk = Chunk::new(origin.clone());
        let verdict = chunk.take(&self, &self.node.machine(), &command);
        match verdict {
            Verdict::Taken => self.proposer.submit(chunk),
            Verdict::Refused(refused) => origin.reply_to.send(&send::refusal(&command, refused)),
            Verdict::NeedsTopic => {
                let remark = "the topic was deleted while it was being created".to_owned();
                let refused = send::Refused { code: response::TOPIC_NOT_EXIST, remark };
                origin.reply_to.send(&send::refusal(&command, refused));
            }
        }
    }

    /// Handles one request that is no send, and answers it. What a client says of itself is noted before this returns:
    /// it holds for the requests behind it on its connection.
    pub fn serve(self: Arc<Self>, origin: Origin, command: Command) -> impl Future<Output = ()> + Send + 'static {
        let noted = self.note_client(&origin, &command);
        async move {
            let answer = match noted {
                Some(noted) => Some(self.client_noted(noted, &command).await),
                None => self.handle(&origin, &command).await,
            };
            match answer {
                Some(answer) if !command.is_oneway() => origin.reply_to.send(&answer),
                // The handler answered by itself (a pull), or nobody wants an answer.
                _ if command.is_oneway() => origin.reply_to.skip(1),
                _ => {}
            }
        }
    }

    /// One file per family of request codes.
    async fn handle(self: &Arc<Self>, origin: &Origin, command: &Command) -> Option<Command> {
        Some(match command.code {
            request::PULL_MESSAGE | request::LITE_PULL_MESSAGE => return self.pull(origin, command).await,
            request::QUERY_CONSUMER_OFFSET => self.query_consumer_offset(command).await,
            request::UPDATE_CONSUMER_OFFSET => self.update_consumer_offset(command).await,
            request::GET_MAX_OFFSET => self.get_max_offset(command).await,
            request::GET_MIN_OFFSET => self.get_min_offset(command).await,
            request::SEARCH_OFFSET_BY_TIMESTAMP => self.search_offset(command).await,
            request::GET_EARLIEST_MSG_STORETIME => self.earliest_store_time(command).await,
            request::QUERY_MESSAGE => self.query_message(command).await,
            request::VIEW_MESSAGE_BY_ID => self.view_message(command).await,
            request::GET_CONSUMER_LIST_BY_GROUP => self.consumer_list(command).await,
            request::UPDATE_AND_CREATE_TOPIC => self.create_topic(command).await,
            request::DELETE_TOPIC_IN_BROKER => self.delete_topic(command).await,
            request::GET_ALL_TOPIC_CONFIG => self.all_topic_config(command).await,
            request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP => self.create_group(command).await,
            request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG => self.all_group_config(command).await,
            request::GET_BROKER_RUNTIME_INFO => self.runtime_info(command),
            request::GROUP_STATUS => self.group_status(command).await,
            request::GROUP_CATCH_UP => self.group_catch_up(command),
            request::GROUP_ADD_MEMBER => self.group_add(command).await,
            request::GROUP_REMOVE_MEMBER => self.group_remove(command).await,
            request::GROUP_TRANSFER => self.group_transfer(command).await,
            request::DELETE_EXPIRED_COMMITLOG => self.delete_expired(command).await,
            // ConsumeQueue files that a purge has left behind go with the next flush, unasked.
            request::CLEAN_EXPIRED_CONSUMEQUEUE => command.reply(response::SUCCESS, None),
            request::PURGE_LOG => self.purge_log(command).await,
            request::CONSUMER_SEND_MSG_BACK => not_yet(command, "sending messages back for a retry"),
            request::END_TRANSACTION => not_yet(command, "ending transactions"),
            _ => answer::not_supported(command),
        })
    }
}

/// Code 3 for a code that RocketMQ has and this version does not serve.
fn not_yet(command: &Command, what: &str) -> Command {
    let remark = format!(" request type {} not supported: {what} is not implemented yet", command.code);
    command.reply(response::REQUEST_CODE_NOT_SUPPORTED, Some(remark))
}
