//! The captured frames, asked of our brokers.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use quorumq::protocol::code::request;
use quorumq::protocol::command::{Command, Encoding};
use quorumq::protocol::{ExtFields, frame};
use quorumq_store::record::Record;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::LeftOut;
use crate::capture::{Capture, Frame};
use crate::compare;
use crate::group::Group;

/// Far longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(30);
/// A pull that Apache held until its time was over is to wait for so long with us.
const HELD_MS: i64 = 50;
/// One that it held to the end: the longest that ours hold one, and longer than the test.
const HELD_ON_MS: i64 = 60_000;

/// Replays frame by frame.
///
/// Messages that Apache stored in a way this version refuses (delayed, as a retry, at a transaction's end) are sent by us
/// as plain ones: before a pull that found them together with others, or, where the pull was held for them, when it was
/// answered. So all queue offsets are the captured ones, and held pulls are woken as in the capture.
pub struct Replay<'a> {
    capture: &'a Capture,
    group: &'a Group,
    open: BTreeMap<(String, String), Client>,
    /// For the messages that stand in for Apache's own.
    own: Option<Client>,
    /// Messages stored, by topic and queue.
    stored: BTreeMap<(String, u32), u64>,
    /// What the captured clients committed last, by group, topic and queue.
    committed: BTreeMap<(String, String, String), String>,
    done: Done,
}

/// What was replayed.
#[derive(Debug, Default)]
pub struct Done {
    /// Requests by code.
    pub replayed: BTreeMap<i32, usize>,
    /// Answers by the code of their request.
    pub compared: BTreeMap<i32, usize>,
    /// Lines of the requests that were rightly not answered.
    pub never_answered: Vec<usize>,
    /// Notices (40) that came where Apache sent one.
    pub notices: usize,
}

impl<'a> Replay<'a> {
    pub fn new(capture: &'a Capture, group: &'a Group) -> Self {
        let (open, own) = (BTreeMap::new(), None);
        let (stored, committed) = (BTreeMap::new(), BTreeMap::new());
        Self { capture, group, open, own, stored, committed, done: Done::default() }
    }

    async fn client(&mut self, frame: &Frame) -> &mut Client {
        let connection = frame.connection();
        if !self.open.contains_key(&connection) {
            let client = Client::connect(self.group.addr(&connection.1)).await;
            self.open.insert(connection.clone(), client);
        }
        self.open.get_mut(&connection).expect("just made")
    }

    /// Sends a request.
    pub async fn ask(&mut self, asked: &Frame, left_out: Option<&LeftOut>) {
        match left_out {
            Some(left_out) => self.refused(asked, left_out).await,
            None => self.replay(asked).await,
        }
        self.close_after(asked).await;
    }

    async fn replay(&mut self, asked: &Frame) {
        let answer = self.capture.answer_to(asked);
        assert_eq!(answer.is_none(), asked.command.is_oneway() || is_held(asked), "line {}", asked.line);
        if let Some(found) = answer.filter(|_| asked.command.code == request::PULL_MESSAGE) {
            let (place, offset) = pulled(&asked.command);
            // What a pull was held for comes when it is answered.
            if self.stored.get(&place).is_some_and(|stored| offset < *stored) {
                self.stand_in(found).await;
            }
        }
        *self.done.replayed.entry(asked.command.code).or_default() += 1;
        let command = self.substituted(asked, answer);
        self.client(asked).await.write(&command).await;
        self.note(asked);
        if answer.is_none() && !asked.command.is_oneway() {
            self.done.never_answered.push(asked.line);
        }
    }

    /// The request as our brokers are to be asked.
    fn substituted(&self, asked: &Frame, answer: Option<&Frame>) -> Command {
        let mut command = asked.command.clone();
        if command.code == request::PULL_MESSAGE {
            let found_nothing = answer.is_some_and(|answer| answer.command.body.is_empty());
            command.ext.set("suspendTimeoutMillis", if found_nothing { HELD_MS } else { HELD_ON_MS });
        }
        command
    }

    /// What a request changes.
    fn note(&mut self, asked: &Frame) {
        let field = |key: &str| asked.command.ext.get(key).expect("a field of the request").to_owned();
        match asked.command.code {
            request::SEND_MESSAGE_V2 | request::SEND_BATCH_MESSAGE => {
                let place = (field("b"), field("e").parse().expect("a queue id"));
                let count = quorumq::protocol::batch::messages(&asked.command.body).count() as u64;
                let count = if asked.command.code == request::SEND_BATCH_MESSAGE { count } else { 1 };
                *self.stored.entry(place).or_default() += count;
            }
            request::UPDATE_CONSUMER_OFFSET => {
                let queue = (field("consumerGroup"), field("topic"), field("queueId"));
                self.committed.insert(queue, field("commitOffset"));
            }
            _ => {}
        }
    }

    /// A request that this version refuses: it says so.
    async fn refused(&mut self, asked: &Frame, left_out: &LeftOut) {
        assert_eq!(asked.command.code, left_out.code, "line {}", asked.line);
        let client = self.client(asked).await;
        client.write(&asked.command).await;
        if asked.command.is_oneway() {
            return;
        }
        let answer = client.answer(asked.command.opaque).await;
        let (code, remark) = left_out.refused;
        assert_eq!(answer.code, code, "line {}: {answer:?}", asked.line);
        assert!(answer.remark.as_deref().unwrap_or_default().contains(remark), "line {}: {answer:?}", asked.line);
    }

    /// Sends the messages of a captured answer that Apache stored in its own way and that are not there yet.
    async fn stand_in(&mut self, found: &Frame) {
        for record in compare::messages(&found.command) {
            let place = (record.topic().to_owned(), record.queue_id());
            let next = self.stored.entry(place).or_default();
            if record.queue_offset().0 < *next {
                continue;
            }
            assert!(record.queue_offset().0 == *next && compare::is_of_another_way(&record), "line {}", found.line);
            *next += 1;
            if self.own.is_none() {
                self.own = Some(Client::connect(self.group.addr("n0")).await);
            }
            self.own.as_mut().expect("just made").send(&record).await;
        }
    }

    /// Waits for the answer that Apache gave now, and compares.
    pub async fn answered(&mut self, captured: &Frame) {
        let asked = self.capture.frames().find(|frame| {
            self.capture.answer_to(frame).is_some_and(|answer| answer.line == captured.line) && !frame.is_answer()
        });
        let asked = asked.unwrap_or_else(|| panic!("line {} answers nothing", captured.line));
        if crate::left_out(asked.line).is_none() {
            if asked.command.code == request::PULL_MESSAGE {
                self.stand_in(captured).await;
            }
            let ours = self.client(captured).await.answer(captured.command.opaque).await;
            compare::same(asked, &ours, captured);
            *self.done.compared.entry(asked.command.code).or_default() += 1;
        }
        self.close_after(captured).await;
    }

    /// Waits for what a broker was to say of itself now: a notice that a group changed.
    pub async fn pushed(&mut self, captured: &Frame, is_left_out: bool) {
        if !is_left_out {
            self.compare_notice(captured).await;
        }
        self.close_after(captured).await;
    }

    async fn compare_notice(&mut self, captured: &Frame) {
        let line = captured.line;
        let theirs = &captured.command;
        let push = self.client(captured).await.pushed().await;
        let push = push.unwrap_or_else(|| panic!("line {line}: nothing was pushed"));
        assert_eq!((push.code, push.flag, &push.remark), (theirs.code, theirs.flag, &theirs.remark), "line {line}");
        assert!(push.ext.iter().eq(theirs.ext.iter()), "line {line}: {push:?}");
        self.done.notices += 1;
    }

    /// Ends a connection after its last frame. Nothing was answered on it that Apache did not answer.
    async fn close_after(&mut self, frame: &Frame) {
        if self.capture.is_last(frame) {
            let mut client = self.open.remove(&frame.connection()).expect("it is open");
            let opaque = client.write_question().await;
            client.answer(opaque).await;
            assert!(client.early.is_empty(), "line {}: not answered by Apache: {:?}", frame.line, client.early);
        }
    }

    /// The end: what the clients committed is kept.
    pub async fn finish(mut self) -> Done {
        assert!(self.open.is_empty());
        let mut client = Client::connect(self.group.addr("n1")).await;
        for ((group, topic, queue), offset) in std::mem::take(&mut self.committed) {
            let ext = [("consumerGroup", &*group), ("topic", &*topic), ("queueId", &*queue)];
            let opaque = client.ask(request::QUERY_CONSUMER_OFFSET, &ext, b"").await;
            let answer = client.answer(opaque).await;
            let kept = (answer.code, answer.ext.get("offset"));
            assert_eq!(kept, (0, Some(&*offset)), "the offset of {group} in queue {queue} of {topic}");
        }
        self.done
    }
}

/// A pull that Apache held until the connection's end.
fn is_held(asked: &Frame) -> bool {
    crate::NEVER_ANSWERED.contains(&asked.line)
}

/// The queue and the offset of a pull.
fn pulled(pull: &Command) -> ((String, u32), u64) {
    let field = |key: &str| pull.ext.get(key).expect("a field of the pull");
    let queue_id = field("queueId").parse().expect("a queue id");
    ((field("topic").to_owned(), queue_id), field("queueOffset").parse().expect("an offset"))
}

/// One connection.
struct Client {
    stream: TcpStream,
    buf: BytesMut,
    /// Opaque of our own requests: the captured ones are small.
    opaque: i32,
    /// Answers read while another was waited for.
    early: BTreeMap<i32, Command>,
    pushes: VecDeque<Command>,
}

impl Client {
    async fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).await.unwrap_or_else(|e| panic!("{addr}: {e}"));
        Self { stream, buf: BytesMut::new(), opaque: 1_000_000, early: BTreeMap::new(), pushes: VecDeque::new() }
    }

    async fn write(&mut self, command: &Command) {
        let mut out = BytesMut::new();
        frame::encode(command, &mut out);
        self.stream.write_all(&out).await.expect("the broker reads");
    }

    /// Sends a request of our own; its opaque.
    async fn ask(&mut self, code: i32, ext: &[(&str, &str)], body: &[u8]) -> i32 {
        self.opaque += 1;
        let ext: ExtFields = ext.iter().copied().collect();
        let request = Command::request(Encoding::Binary, code, ext, Bytes::copy_from_slice(body));
        self.write(&Command { opaque: self.opaque, ..request }).await;
        self.opaque
    }

    /// Asks something whose answer comes after all that was sent before.
    async fn write_question(&mut self) -> i32 {
        self.ask(request::GET_CONSUMER_LIST_BY_GROUP, &[("consumerGroup", "nobody")], b"").await
    }

    async fn next(&mut self) -> Command {
        loop {
            if let Some(command) = frame::decode(&mut self.buf).expect("a frame") {
                return command;
            }
            let read = self.stream.read_buf(&mut self.buf).await.expect("the broker writes");
            assert!(read > 0, "the broker closed the connection");
        }
    }

    async fn take(&mut self) {
        let command = self.next().await;
        if command.is_response() {
            let doubled = self.early.insert(command.opaque, command);
            assert!(doubled.is_none(), "answered twice: {doubled:?}");
        } else {
            self.pushes.push_back(command);
        }
    }

    async fn answer(&mut self, opaque: i32) -> Command {
        let answered = tokio::time::timeout(PATIENCE, async {
            loop {
                match self.early.remove(&opaque) {
                    Some(answer) => return answer,
                    None => self.take().await,
                }
            }
        });
        answered.await.unwrap_or_else(|_| panic!("no answer to {opaque} within {PATIENCE:?}"))
    }

    /// What the broker says next of itself.
    async fn pushed(&mut self) -> Option<Command> {
        let pushed = tokio::time::timeout(PATIENCE, async {
            loop {
                match self.pushes.pop_front() {
                    Some(push) => return push,
                    None => self.take().await,
                }
            }
        });
        pushed.await.ok()
    }

    /// Stores a plain message with what a captured one says.
    async fn send(&mut self, record: &Record<'_>) {
        let (queue, born) = (record.queue_id().to_string(), record.born_timestamp_ms().to_string());
        let (flag, properties) = (record.flag().to_string(), compare::plain_properties(record));
        let ext = [
            ("a", "stand-in"),
            ("b", record.topic()),
            ("c", "TBW102"),
            ("d", "4"),
            ("e", &*queue),
            ("f", "0"),
            ("g", &*born),
            ("h", &*flag),
            ("i", &*properties),
            ("m", "false"),
        ];
        let opaque = self.ask(request::SEND_MESSAGE_V2, &ext, record.body()).await;
        let answer = self.answer(opaque).await;
        let offset = record.queue_offset().to_string();
        assert_eq!((answer.code, answer.ext.get("queueOffset")), (0, Some(&*offset)), "{answer:?}");
    }
}
