//! Sends over one connection that stays where it is, whatever happens at its other end; each answer is written down.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use quorumq::protocol::code::{request, response};
use quorumq::protocol::command::{Command, Encoding};
use quorumq::protocol::message_id::OffsetMsgId;
use quorumq::protocol::{ExtFields, frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::JoinHandle;

use super::load::{Ack, Outcomes, body};

/// Bytes of a body.
const BODY: usize = 100;

/// The header of a send to one queue, as SEND_MESSAGE_V2 has it.
pub fn send_header(topic: &str, queue: u32) -> ExtFields {
    let queue = queue.to_string();
    let fields = [
        ("a", "raw"),
        ("b", topic),
        ("c", "TBW102"),
        ("d", "4"),
        ("e", queue.as_str()),
        ("f", "0"),
        ("g", "1795147439899"),
        ("h", "0"),
        ("i", ""),
        ("j", "0"),
        ("k", "false"),
        ("l", "0"),
        ("m", "false"),
    ];
    fields.into_iter().collect()
}

/// A connection with `in_flight` sends on it, a new one for each answer.
pub struct Raw {
    shared: Arc<Mutex<State>>,
    reader: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    next: u64,
    /// By opaque, which is the message's number too.
    waiting: BTreeMap<u64, ()>,
    outcomes: Outcomes,
    last_answer: Option<Instant>,
    stopping: bool,
    ended: bool,
}

impl Raw {
    /// Connects to `addr` and begins to send to queue 0 of `topic` in `group`.
    pub async fn start(addr: SocketAddr, topic: &'static str, group: &'static str, in_flight: usize) -> Self {
        let stream = TcpStream::connect(addr).await.unwrap_or_else(|e| panic!("{addr}: {e}"));
        let (read, mut write) = stream.into_split();
        let shared = Arc::new(Mutex::new(State::default()));
        send(&shared, &mut write, topic, in_flight).await;
        let reader = tokio::spawn(answers(Arc::clone(&shared), read, write, topic, group));
        Self { shared, reader }
    }

    /// Messages acknowledged so far.
    pub fn acked(&self) -> usize {
        self.shared.lock().expect("no panic").outcomes.acks.len()
    }

    /// Sends nothing more; waits until every send is answered or the connection has ended.
    pub async fn stop(self, limit: Duration) -> Outcomes {
        self.shared.lock().expect("no panic").stopping = true;
        let begun = Instant::now();
        loop {
            {
                let state = self.shared.lock().expect("no panic");
                if state.waiting.is_empty() || state.ended {
                    break;
                }
                assert!(begun.elapsed() < limit, "{} sends are not answered", state.waiting.len());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.reader.abort();
        let mut state = self.shared.lock().expect("no panic");
        let mut outcomes = std::mem::take(&mut state.outcomes);
        // Without an answer an outcome is unknown.
        outcomes.unknown.extend(state.waiting.keys());
        outcomes
    }
}

async fn send(shared: &Mutex<State>, write: &mut OwnedWriteHalf, topic: &str, count: usize) {
    let mut out = BytesMut::new();
    {
        let mut state = shared.lock().expect("no panic");
        for _ in 0..count {
            let number = state.next;
            state.next += 1;
            state.waiting.insert(number, ());
            let header = send_header(topic, 0);
            let request =
                Command::request(Encoding::Binary, request::SEND_MESSAGE_V2, header, body(number, BODY).into());
            let opaque = i32::try_from(number).expect("fewer than 2^31 messages");
            frame::encode(&Command { opaque, ..request }, &mut out);
        }
    }
    // An end is seen by the reader.
    let _ = write.write_all(&out).await;
}

async fn answers(
    shared: Arc<Mutex<State>>,
    mut read: OwnedReadHalf,
    mut write: OwnedWriteHalf,
    topic: &'static str,
    group: &'static str,
) {
    let mut buf = BytesMut::new();
    loop {
        let mut answered = 0;
        while let Some(answer) = frame::decode(&mut buf).expect("a frame") {
            let mut state = shared.lock().expect("no panic");
            state.note(&answer, group);
            answered += usize::from(!state.stopping);
        }
        if answered > 0 {
            send(&shared, &mut write, topic, answered).await;
        }
        if read.read_buf(&mut buf).await.unwrap_or(0) == 0 {
            shared.lock().expect("no panic").ended = true;
            return;
        }
    }
}

impl State {
    fn note(&mut self, answer: &Command, group: &str) {
        let number = u64::try_from(answer.opaque).expect("our own opaque");
        assert!(self.waiting.remove(&number).is_some(), "{number} is answered twice: {answer:?}");
        let at = Instant::now();
        self.last_answer = Some(at);
        let ext = |name: &str| answer.ext.get(name).unwrap_or_else(|| panic!("no {name} in {answer:?}"));
        match answer.code {
            response::SUCCESS => {
                let msg_id = ext("msgId").to_owned();
                let stored = OffsetMsgId::parse(&msg_id).expect("an offsetMsgId");
                self.outcomes.acks.push(Ack {
                    number,
                    group: group.to_owned(),
                    queue: ext("queueId").parse().expect("a queue"),
                    offset: ext("queueOffset").parse().expect("an offset"),
                    leader: stored.store_host.port(),
                    msg_id,
                    maybe_duplicate: false,
                    at,
                });
            }
            response::SYSTEM_ERROR => self.outcomes.unknown.push(number),
            code => {
                let why = format!("{code}: {}", answer.remark.as_deref().unwrap_or_default());
                self.outcomes.refused.push((number, why));
            }
        }
    }
}
