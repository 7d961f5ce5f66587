//! A small broker with a NameServer in one: queues, offsets, members and held pulls, enough for consumers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV4;
use std::sync::{Arc, Mutex};

use bytes::BytesMut;
use quorumq::client::{ClientOptions, SYS_FLAG_ZLIB};
use quorumq::protocol::body::consumer::GetConsumerListByGroupResponseBody;
use quorumq::protocol::body::heartbeat::HeartbeatData;
use quorumq::protocol::code::{request, response};
use quorumq::protocol::header::consumer::UnregisterClientRequest;
use quorumq::protocol::header::offset::{QueryConsumerOffsetRequest, UpdateConsumerOffsetRequest};
use quorumq::protocol::header::pull::{PullMessageRequest, sys_flag};
use quorumq::protocol::{Command, Encoding, ExtFields, body};
use quorumq::server::Conn;
use quorumq_store::record::{Draft, patch};
use quorumq_store::{PhysicalOffset, QueueOffset};

use super::fake::{Act, Fake, options, route};

#[derive(Default)]
struct State {
    /// Stored messages by (topic, queue).
    queues: BTreeMap<(String, i32), Vec<Vec<u8>>>,
    /// By (group, topic, queue).
    offsets: BTreeMap<(String, String, i32), i64>,
    members: BTreeSet<String>,
    held: Vec<(Conn, Command)>,
    /// Answers to the next pulls, before anything else.
    refuse_pulls: Vec<i32>,
}

/// A broker of one group "g" that answers consumers, and its NameServer.
pub struct Model {
    pub broker: Fake,
    pub namesrv: Fake,
    state: Arc<Mutex<State>>,
}

impl Model {
    /// Topics have `queues` queues; the retry topic exists not.
    pub async fn start(queues: i32) -> Self {
        let state: Arc<Mutex<State>> = Arc::default();
        let answering = Arc::clone(&state);
        let broker = Fake::start(move |conn, command| answer(&answering, conn, command)).await;
        let addr = broker.addr;
        let namesrv =
            Fake::namesrv(move |topic| (!topic.starts_with('%')).then(|| route(queues, &[("g", &[addr])]))).await;
        Self { broker, namesrv, state }
    }

    pub fn options(&self) -> ClientOptions {
        options(&self.namesrv)
    }

    /// Stores a message and answers pulls that wait for it.
    pub fn store(&self, topic: &str, queue: i32, text: &str, tag: &str) {
        let mut state = self.state.lock().expect("state");
        let messages = state.queues.entry((topic.to_owned(), queue)).or_default();
        messages.push(record(topic, queue, messages.len(), text, tag));
        let (woken, held) =
            std::mem::take(&mut state.held).into_iter().partition(|(_, command)| waits_for(command, topic, queue));
        state.held = held;
        let woken: Vec<_> = woken;
        for (conn, command) in woken {
            let reply = pull(&state, &command).expect("something new");
            drop(conn.send_command(&reply));
        }
    }

    /// The offset `group` has committed.
    pub fn committed(&self, group: &str, topic: &str, queue: i32) -> Option<i64> {
        let key = (group.to_owned(), topic.to_owned(), queue);
        self.state.lock().expect("state").offsets.get(&key).copied()
    }

    /// Pulls that wait for something new.
    pub fn held(&self) -> usize {
        self.state.lock().expect("state").held.len()
    }

    /// Ids of the clients it has heard of.
    pub fn members(&self) -> BTreeSet<String> {
        self.state.lock().expect("state").members.clone()
    }

    /// Forgets every client, as a new leader that was told of none.
    pub fn forget_members(&self) {
        self.state.lock().expect("state").members.clear();
    }

    /// Adds a member that never pulls.
    pub fn add_member(&self, id: &str) {
        self.state.lock().expect("state").members.insert(id.to_owned());
    }

    /// Answers the next pulls with these codes.
    pub fn refuse_pulls(&self, codes: &[i32]) {
        self.state.lock().expect("state").refuse_pulls.extend(codes);
    }

    /// Tells all clients that the members of `group` have changed.
    pub fn notify(&self, group: &str) {
        let ext: ExtFields = [("consumerGroup", group)].into_iter().collect();
        let push = Command::oneway(Encoding::Binary, request::NOTIFY_CONSUMER_IDS_CHANGED, ext, bytes::Bytes::new());
        self.broker.push(&push);
    }
}

fn waits_for(command: &Command, topic: &str, queue: i32) -> bool {
    let header = PullMessageRequest::decode(command).expect("a pull");
    header.topic == topic && header.queue_id == queue
}

fn answer(state: &Mutex<State>, conn: &Conn, command: &Command) -> Act {
    let mut state = state.lock().expect("state");
    let reply = command.reply(response::SUCCESS, None);
    let offset = |offset: i64| Act::Reply(reply.clone().with_ext([("offset", offset)].into_iter().collect()));
    match command.code {
        request::PULL_MESSAGE => {
            if !state.refuse_pulls.is_empty() {
                return Act::Reply(command.reply(state.refuse_pulls.remove(0), None));
            }
            if let Some(reply) = pull(&state, command) {
                return Act::Reply(reply);
            }
            state.held.push((conn.clone(), command.clone()));
            Act::Silence
        }
        request::QUERY_CONSUMER_OFFSET => {
            let header = QueryConsumerOffsetRequest::decode(command).expect("a query");
            let key = (header.consumer_group.to_owned(), header.topic.to_owned(), header.queue_id);
            match state.offsets.get(&key) {
                Some(committed) => offset(*committed),
                None => Act::Reply(command.reply(response::QUERY_NOT_FOUND, None)),
            }
        }
        request::UPDATE_CONSUMER_OFFSET => {
            let header = UpdateConsumerOffsetRequest::decode(command).expect("an update");
            let key = (header.consumer_group.to_owned(), header.topic.to_owned(), header.queue_id);
            state.offsets.insert(key, header.commit_offset);
            Act::Reply(reply)
        }
        request::GET_MAX_OFFSET => offset(len(&state, command)),
        request::GET_MIN_OFFSET => offset(0),
        request::SEARCH_OFFSET_BY_TIMESTAMP => offset(1),
        request::HEART_BEAT => {
            let data: HeartbeatData = body::decode(&command.body).expect("a heartbeat");
            state.members.insert(data.client_id);
            Act::Reply(reply)
        }
        request::UNREGISTER_CLIENT => {
            let header = UnregisterClientRequest::decode(command).expect("a leave");
            state.members.remove(header.client_id);
            Act::Reply(reply)
        }
        request::GET_CONSUMER_LIST_BY_GROUP if state.members.is_empty() => Act::Reply(command.reply(1, None)),
        request::GET_CONSUMER_LIST_BY_GROUP => {
            let consumer_id_list = state.members.iter().cloned().collect();
            let list = GetConsumerListByGroupResponseBody { consumer_id_list };
            Act::Reply(reply.with_body(body::encode(&list)))
        }
        _ => Act::Reply(command.reply(response::REQUEST_CODE_NOT_SUPPORTED, None)),
    }
}

fn len(state: &State, command: &Command) -> i64 {
    let topic = command.ext.get("topic").expect("a topic").to_owned();
    let queue = command.ext.get("queueId").and_then(|id| id.parse().ok()).expect("a queue");
    state.queues.get(&(topic, queue)).map_or(0, Vec::len) as i64
}

/// `None` if there is nothing new and the request may be held.
fn pull(state: &State, command: &Command) -> Option<Command> {
    let header = PullMessageRequest::decode(command).expect("a pull");
    let empty = Vec::new();
    let messages = state.queues.get(&(header.topic.to_owned(), header.queue_id)).unwrap_or(&empty);
    let max = messages.len() as i64;
    let (code, next) = match header.queue_offset {
        from if !(0..=max).contains(&from) => (response::PULL_OFFSET_MOVED, 0),
        from if from < max => (response::SUCCESS, max.min(from + i64::from(header.max_msg_nums))),
        _ if header.sys_flag & sys_flag::SUSPEND != 0 => return None,
        from => (response::PULL_NOT_FOUND, from),
    };
    let fields = [("suggestWhichBrokerId", 0), ("nextBeginOffset", next), ("minOffset", 0), ("maxOffset", max)];
    let reply = command.reply(code, (code == response::SUCCESS).then(|| "FOUND".to_owned()));
    let found = if code == response::SUCCESS { header.queue_offset as usize..next as usize } else { 0..0 };
    Some(reply.with_ext(fields.into_iter().collect()).with_body(messages[found].concat()))
}

/// A stored message; a text of "z" times some number is stored compressed.
fn record(topic: &str, queue: i32, offset: usize, text: &str, tag: &str) -> Vec<u8> {
    let host = SocketAddrV4::new([127, 0, 0, 1].into(), 10_911);
    let properties = format!("TAGS\u{1}{tag}");
    let mut compressed = Vec::new();
    let is_compressed = text.starts_with('z');
    if is_compressed {
        let mut encoder = flate2::write::ZlibEncoder::new(&mut compressed, flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, text.as_bytes()).expect("memory");
        encoder.finish().expect("memory");
    }
    let draft = Draft {
        queue_id: queue.cast_unsigned(),
        flag: 0,
        sys_flag: if is_compressed { SYS_FLAG_ZLIB } else { 0 },
        born_timestamp_ms: 1,
        born_host: host,
        store_timestamp_ms: 2,
        store_host: host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: if is_compressed { &compressed } else { text.as_bytes() },
        topic,
        properties: properties.as_bytes(),
    };
    let mut bytes = BytesMut::new();
    draft.encode(&mut bytes);
    patch(&mut bytes, QueueOffset(offset as u64), PhysicalOffset(0x30 + offset as u64 * 1000));
    bytes.to_vec()
}
