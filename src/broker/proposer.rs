//! The proposer: concurrent sends become one entry, replies go back in runs.
//!
//! Its gate counts bytes that are queued, unsynced or unapplied; when full, sends get SYSTEM_BUSY. A send is refused
//! before it is proposed, or its outcome is unknown: never call an unknown a failure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use bytes::{Buf, Bytes, BytesMut};
use quorumq_raft::node::Node;
use quorumq_raft::outcome::{Outcome, Refusal};
use quorumq_raft::runtime::Runtime;
use quorumq_raft::types::Proposal;
use quorumq_store::frame::Kind;
use quorumq_store::log_store::Promise;
use quorumq_store::mutant::{Mutant, planted};
use quorumq_store::record::{self, set_store_timestamp};
use quorumq_store::{PhysicalOffset, QueueOffset};
use tokio::sync::mpsc;

use super::answer::REGION;
use super::leadership::Leadership;
use super::send::{Chunk, Pending};
use crate::machine::Machine;
use crate::machine::reply::{Appended, Reply};
use crate::protocol::code::response;
use crate::protocol::frame::{self, Head};
use crate::protocol::message_id::OffsetMsgId;

/// Chunks that may wait for the proposer; the gate counts their bytes, this bounds their number.
const QUEUE: usize = 16 * 1024;
/// Bytes at which an entry takes no further chunk: replication and sync work in pieces of this order.
const ENTRY_BYTES: usize = 1024 * 1024;

/// Takes chunks of sends from connections.
#[derive(Debug)]
pub struct Proposer {
    queue: mpsc::Sender<Chunk>,
    gate: Arc<Gate>,
}

/// Bytes between a connection and its answer, and what came of them.
#[derive(Debug)]
struct Gate {
    bytes: AtomicU64,
    limit: u64,
    /// Messages stored since the start.
    put: AtomicU64,
}

/// What the proposer's task works with.
pub struct Work<R: Runtime> {
    queue: mpsc::Receiver<Chunk>,
    gate: Arc<Gate>,
    node: Arc<Node<R, Machine>>,
    leadership: Arc<Leadership>,
    store_host: std::net::SocketAddrV4,
    last_stamp_ms: AtomicI64,
}

impl Proposer {
    /// A proposer and the work of its task.
    pub fn new<R: Runtime>(
        node: &Arc<Node<R, Machine>>,
        leadership: &Arc<Leadership>,
        store_host: std::net::SocketAddrV4,
        max_pending_bytes: u64,
    ) -> (Self, Work<R>) {
        let (tx, queue) = mpsc::channel(QUEUE);
        let gate = Arc::new(Gate { bytes: AtomicU64::new(0), limit: max_pending_bytes, put: AtomicU64::new(0) });
        let work = Work {
            queue,
            gate: Arc::clone(&gate),
            node: Arc::clone(node),
            leadership: Arc::clone(leadership),
            store_host,
            last_stamp_ms: AtomicI64::new(0),
        };
        (Self { queue: tx, gate }, work)
    }

    /// Queues a chunk, or answers every send in it with SYSTEM_BUSY.
    pub fn submit(&self, chunk: Chunk) {
        if chunk.sends.is_empty() {
            return;
        }
        let len = chunk.records.len() as u64;
        let before = self.gate.bytes.fetch_add(len, Ordering::AcqRel);
        if before + len > self.gate.limit && before > 0 {
            self.gate.bytes.fetch_sub(len, Ordering::AcqRel);
            let remark = format!(
                "[REPLICATION]broker busy: {before} bytes of messages wait to be synced and applied, maxPendingBytes is {}",
                self.gate.limit
            );
            refuse(&chunk, response::SYSTEM_BUSY, &remark, None);
            return;
        }
        if let Err(e) = self.queue.try_send(chunk) {
            self.gate.bytes.fetch_sub(len, Ordering::AcqRel);
            let (chunk, remark) = match e {
                mpsc::error::TrySendError::Full(chunk) => {
                    (chunk, "[PROPOSER]broker busy: too many sends wait to be proposed")
                }
                mpsc::error::TrySendError::Closed(chunk) => (chunk, "the broker is stopping"),
            };
            refuse(&chunk, response::SYSTEM_BUSY, remark, None);
        }
    }

    /// Messages stored since the start.
    pub fn messages_put(&self) -> u64 {
        self.gate.put.load(Ordering::Relaxed)
    }

    /// Bytes between connections and their answers.
    pub fn pending_bytes(&self) -> u64 {
        self.gate.bytes.load(Ordering::Acquire)
    }
}

impl<R: Runtime> Work<R> {
    /// Proposes until every sender is gone.
    pub async fn run(mut self) {
        let max_entry = self.node.identity().constants.max_entry as usize;
        let entry_bytes = ENTRY_BYTES.min(max_entry);
        let mut held: Option<Chunk> = None;
        loop {
            let first = match held.take() {
                Some(chunk) => chunk,
                None => match self.queue.recv().await {
                    Some(chunk) => chunk,
                    None => return,
                },
            };
            let mut len = first.records.len();
            let mut chunks = vec![first];
            while len < entry_bytes {
                let Ok(next) = self.queue.try_recv() else { break };
                if len + next.records.len() > entry_bytes {
                    held = Some(next);
                    break;
                }
                len += next.records.len();
                chunks.push(next);
            }
            self.propose(chunks, len, max_entry).await;
        }
    }

    async fn propose(&self, mut chunks: Vec<Chunk>, len: usize, max_entry: usize) {
        if len > max_entry {
            let remark =
                format!("the request's messages take {len} bytes in the log, an entry holds at most {max_entry}");
            self.refuse(&chunks, len, response::MESSAGE_ILLEGAL, &remark);
            return;
        }
        let room = match self.node.room(len as u64) {
            Ok(room) => room,
            Err(why) => {
                self.refuse(&chunks, len, response::SERVICE_NOT_AVAILABLE, &why);
                return;
            }
        };
        let mut body = match chunks.as_mut_slice() {
            [only] => std::mem::take(&mut only.records),
            many => {
                let mut body = BytesMut::with_capacity(len);
                many.iter().for_each(|chunk| body.extend_from_slice(&chunk.records));
                body
            }
        };
        set_store_timestamp(&mut body, self.stamp());
        if planted(Mutant::QueueOffsetByLeader) {
            expect_offsets(&mut body, &self.node.machine());
        }
        let body = body.freeze();
        let done = Done {
            chunks,
            body: body.clone(),
            gate: Arc::clone(&self.gate),
            leadership: Arc::clone(&self.leadership),
            leader_addr: Arc::clone(&self.node),
            store_host: self.store_host,
            _room: room,
        };
        self.node.propose(Proposal { kind: Kind::Records, body }, move |outcome| done.complete(outcome)).await;
    }

    fn refuse(&self, chunks: &[Chunk], len: usize, code: i32, remark: &str) {
        self.gate.bytes.fetch_sub(len as u64, Ordering::AcqRel);
        chunks.iter().for_each(|chunk| refuse(chunk, code, remark, None));
    }

    /// The store time of the next entry: never before the machine's time, never going back.
    fn stamp(&self) -> i64 {
        let floor = self.last_stamp_ms.load(Ordering::Relaxed).max(self.node.machine().time_ms());
        let now = R::wall_clock_ms().max(floor);
        self.last_stamp_ms.store(now, Ordering::Relaxed);
        now
    }
}

/// Writes into records the queue offsets they get if nothing comes between: the bug RocketMQ's DLedger mode had.
fn expect_offsets(body: &mut [u8], machine: &Machine) {
    let mut expected = BTreeMap::new();
    let mut offsets = Vec::new();
    for (at, record) in record::records(body).map_while(|(at, record)| Some((at, record.ok()?))) {
        let queue = (record.topic().to_owned(), record.queue_id());
        let next = || machine.queue(&queue.0, queue.1).map_or(QueueOffset(0), |queue| queue.max_offset());
        let offset = expected.get(&queue).copied().unwrap_or_else(next);
        offsets.push((at..at + record.len(), offset));
        expected.insert(queue, offset.next());
    }
    for (record, offset) in offsets {
        record::patch(&mut body[record], offset, PhysicalOffset(0));
    }
}

/// The sends of one entry, waiting for its outcome.
struct Done<R: Runtime> {
    chunks: Vec<Chunk>,
    body: Bytes,
    gate: Arc<Gate>,
    leadership: Arc<Leadership>,
    leader_addr: Arc<Node<R, Machine>>,
    store_host: std::net::SocketAddrV4,
    _room: Promise,
}

impl<R: Runtime> Done<R> {
    fn complete(self, outcome: Outcome<Reply>) {
        self.gate.bytes.fetch_sub(self.body.len() as u64, Ordering::AcqRel);
        match outcome {
            Outcome::Applied { reply: Reply::Appended(appended), .. } => self.stored(&appended),
            Outcome::Applied { reply, .. } => self.unknown(&format!("the machine answered {reply:?} to records")),
            Outcome::Refused(Refusal::NotLeader { leader }) => {
                let hint =
                    leader.and_then(|id| self.leader_addr.member(id)).map(|m| (m.client_addr, self.leadership.term()));
                self.refused("this node no longer leads", hint);
            }
            Outcome::Refused(refusal) => self.refused(&refusal.to_string(), None),
            Outcome::Unknown(why) if planted(Mutant::UnknownCalledRefused) => self.refused(&why, None),
            Outcome::Unknown(why) => self.unknown(&why),
        }
    }

    fn refused(&self, why: &str, hint: Option<(String, u64)>) {
        for chunk in &self.chunks {
            refuse(chunk, response::SERVICE_NOT_AVAILABLE, why, hint.as_ref());
        }
    }

    fn unknown(&self, why: &str) {
        let remark = format!("outcome unknown: {why}");
        for chunk in &self.chunks {
            answer_all(chunk, |send, out| {
                let head = Head::reply(send.encoding, send.opaque, response::SYSTEM_ERROR).with_remark(&remark);
                let fields = [("outcome", "unknown".into()), ("TRACE_ON", true.into()), ("MSG_REGION", REGION.into())];
                frame::encode_parts(&head, fields, b"", out);
            });
        }
    }

    fn stored(&self, appended: &Appended) {
        self.gate.put.fetch_add(appended.len() as u64, Ordering::Relaxed);
        answer_stored(&self.chunks, &self.body, self.store_host, appended);
    }
}

/// Tells every send of an entry where its records are.
fn answer_stored(chunks: &[Chunk], body: &Bytes, store_host: std::net::SocketAddrV4, appended: &Appended) {
    let mut records = Records { rest: body.clone(), at: appended.position, index: 0 };
    let mut ids = String::new();
    for chunk in chunks {
        let next_chunk = records.index + chunk.sends.iter().map(|send| send.records as usize).sum::<usize>();
        answer_all_counted(chunk, |send, out| {
            ids.clear();
            let mut first = None;
            for i in 0..send.records {
                let (at, index) = records.next();
                if i > 0 {
                    ids.push(',');
                }
                ids.push_str(&OffsetMsgId { store_host, offset: at }.to_hex());
                first.get_or_insert(index);
            }
            if send.oneway {
                return false;
            }
            encode_stored(send, &ids, appended, first.unwrap_or_default(), out);
            true
        });
        // Where the connection is gone nobody was answered, and the chunk's records still lie before the next one's.
        while records.index < next_chunk {
            records.next();
        }
    }
}

/// Walks the records of an entry's body by their length fields.
struct Records {
    rest: Bytes,
    at: PhysicalOffset,
    index: usize,
}

impl Records {
    /// Position and number of the next record.
    fn next(&mut self) -> (PhysicalOffset, usize) {
        let (at, index) = (self.at, self.index);
        let len = self.rest.first_chunk::<4>().map_or(0, |len| u32::from_be_bytes(*len));
        self.rest.advance((len as usize).min(self.rest.len()));
        self.at = at + u64::from(len);
        self.index += 1;
        (at, index)
    }
}

fn encode_stored(send: &Pending, ids: &str, appended: &Appended, index: usize, out: &mut BytesMut) {
    match appended.offset(index) {
        Ok(offset) => {
            let head = Head::reply(send.encoding, send.opaque, response::SUCCESS);
            let fields = [
                ("msgId", ids.into()),
                ("queueId", i64::from(send.queue_id).into()),
                ("queueOffset", offset.to_i64().into()),
                ("TRACE_ON", true.into()),
                ("MSG_REGION", REGION.into()),
            ];
            frame::encode_parts(&head, fields, b"", out);
        }
        // The topic went between the check and the entry: the record is in no queue, nobody will ever see it.
        Err(refusal) => {
            let remark = refusal.to_string();
            let head = Head::reply(send.encoding, send.opaque, response::TOPIC_NOT_EXIST).with_remark(&remark);
            frame::encode_parts(&head, [("TRACE_ON", true.into()), ("MSG_REGION", REGION.into())], b"", out);
        }
    }
}

/// Answers every send of a chunk that wants an answer.
fn answer_all(chunk: &Chunk, mut encode: impl FnMut(&Pending, &mut BytesMut)) {
    answer_all_counted(chunk, |send, out| {
        if !send.oneway {
            encode(send, out);
        }
        !send.oneway
    });
}

fn answer_all_counted(chunk: &Chunk, mut encode: impl FnMut(&Pending, &mut BytesMut) -> bool) {
    chunk.origin.reply_to.send_with(chunk.sends.len(), |out| {
        for send in &chunk.sends {
            encode(send, out);
        }
    });
}

/// Refuses every send of a chunk; `hint` is the leader's client address and the term.
pub fn refuse(chunk: &Chunk, code: i32, remark: &str, hint: Option<&(String, u64)>) {
    answer_all(chunk, |send, out| {
        let head = Head::reply(send.encoding, send.opaque, code).with_remark(remark);
        let region = [("TRACE_ON", true.into()), ("MSG_REGION", REGION.into())];
        match hint {
            Some((leader, term)) => {
                let hint = [("leader", leader.as_str().into()), ("term", term.cast_signed().into())];
                frame::encode_parts(&head, region.into_iter().chain(hint), b"", out);
            }
            None => frame::encode_parts(&head, region, b"", out),
        }
    });
}

#[cfg(test)]
mod tests;
