//! One lane: a connection with a fixed number of sends in flight. Each answer makes room for the next send.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use hdrhistogram::Histogram;
use openraft_rt::{Instant, Select2};
use quorumq_raft::runtime::Runtime;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::frame::{Born, Template};
use super::wire::Wire;
use crate::protocol::code::response;
use crate::protocol::frame;

/// Pause after a refusal or a lost connection: an election takes tens of milliseconds.
const PAUSE: Duration = Duration::from_millis(20);
/// A leader that answers nothing for so long is left. RocketMQ's `sendMsgTimeout`.
const SEND_TIMEOUT: Duration = Duration::from_secs(3);
/// Slot numbers take the lower half of an opaque.
pub(super) const MAX_WINDOW: usize = 1 << 16;
/// Codes that are sent only for a message that is not and never will be stored.
const REFUSALS: [i32; 6] = [
    response::SYSTEM_BUSY,
    response::MESSAGE_ILLEGAL,
    response::SERVICE_NOT_AVAILABLE,
    response::NO_PERMISSION,
    response::TOPIC_NOT_EXIST,
    response::FLOW_CONTROL,
];
/// Refusals of an election: the message is sent again, to whoever leads.
const NO_LEADER: i32 = response::SERVICE_NOT_AVAILABLE;

/// Warm-up, then measuring, then no more sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    WarmUp = 0,
    Measure = 1,
    Drain = 2,
}

/// What the lanes of a run share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    phase: AtomicU8,
    /// Acknowledged so far, warm-up included.
    pub acked: AtomicU64,
    /// Number of the next message.
    next: AtomicU64,
    /// Leader of each group, as far as is known.
    leaders: Mutex<BTreeMap<String, SocketAddr>>,
    /// Asks for the leaders to be looked up again.
    pub lost_leader: Notify,
    /// Ends lanes that still wait for answers.
    pub cut: CancellationToken,
}

impl Shared {
    pub(super) fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    fn is(&self, phase: Phase) -> bool {
        self.phase.load(Ordering::Relaxed) == phase as u8
    }

    pub(super) fn set_leaders(&self, leaders: BTreeMap<String, SocketAddr>) {
        *self.leaders.lock().unwrap_or_else(PoisonError::into_inner) = leaders;
    }

    fn leader(&self, group: &str) -> Option<SocketAddr> {
        self.leaders.lock().unwrap_or_else(PoisonError::into_inner).get(group).copied()
    }
}

/// What came of a lane's sends.
#[derive(Debug)]
pub(super) struct Stats {
    /// Microseconds from the making of a frame to its answer, of sends answered while measuring.
    pub latency: Histogram<u64>,
    /// Acknowledged while measuring.
    pub measured: u64,
    /// Acknowledged in all.
    pub acked: u64,
    /// Answers by code that mean the message is not stored.
    pub refused: BTreeMap<i32, u64>,
    /// Sends whose outcome is unknown: no answer, or one that says so.
    pub unknown: u64,
    /// Connections opened after the first.
    pub reconnects: u64,
    /// Longest time between two acknowledgements.
    pub longest_gap: Duration,
    /// The first refusal's words.
    pub remark: Option<String>,
}

impl Stats {
    /// Latencies from 1 µs to 1 min, to three digits.
    pub(super) fn new() -> Self {
        let Ok(latency) = Histogram::new_with_bounds(1, 60_000_000, 3) else {
            unreachable!("the bounds are constant and valid")
        };
        Self {
            latency,
            measured: 0,
            acked: 0,
            refused: BTreeMap::new(),
            unknown: 0,
            reconnects: 0,
            longest_gap: Duration::ZERO,
            remark: None,
        }
    }
}

/// A lane's part of the plan.
#[derive(Debug)]
pub(super) struct Part {
    /// Group to send to.
    pub group: String,
    /// A send for each of its queues, used in turn.
    pub templates: Arc<Vec<Template>>,
    /// Sends in flight.
    pub window: usize,
    /// Print each acknowledgement.
    pub print_acks: bool,
}

#[derive(Clone, Copy, Debug)]
struct Slot<I> {
    /// When its send was made; `None` while it is free.
    sent: Option<I>,
    /// Tells an answer to this use of the slot from a late one to an earlier use.
    generation: u16,
    /// The message's number.
    number: u64,
}

/// A lane, generic over the runtime.
pub(super) struct Lane<R: Runtime> {
    part: Part,
    shared: Arc<Shared>,
    slots: Vec<Slot<R::Instant>>,
    free: Vec<u16>,
    next_queue: usize,
    last_ack: Option<R::Instant>,
    /// Refused since the last pause.
    refused_now: bool,
    stats: Stats,
}

/// Why a connection was left.
enum Left {
    /// Nothing more to send, everything answered.
    Drained,
    /// The connection broke.
    Broken,
    /// The group has another leader.
    Moved,
    /// Time is up.
    Cut,
}

impl<R: Runtime> Lane<R> {
    /// # Panics
    /// If the window is 0 or over [`MAX_WINDOW`], or there is no template.
    pub(super) fn new(part: Part, shared: Arc<Shared>, first_queue: usize) -> Self {
        let window = u16::try_from(part.window - 1).map(|last| 0..=last);
        assert!(!part.templates.is_empty(), "a lane needs a queue to send to");
        let Ok(slots) = window else { panic!("a window of {} is over {MAX_WINDOW}", part.window) };
        let free: Vec<u16> = slots.rev().collect();
        let slot = Slot { sent: None, generation: 0, number: 0 };
        Self {
            slots: vec![slot; part.window],
            free,
            next_queue: first_queue,
            last_ack: None,
            refused_now: false,
            stats: Stats::new(),
            part,
            shared,
        }
    }

    /// Sends until the phase is [`Phase::Drain`] and everything is answered, or until cut.
    pub(super) async fn run(mut self) -> Stats {
        let mut connections = 0u64;
        while !self.shared.is(Phase::Drain) {
            let addr = self.shared.leader(&self.part.group);
            let dialled = match addr {
                Some(addr) => R::connect(addr).await.ok(),
                None => None,
            };
            if let (Some(addr), Some(stream)) = (addr, dialled) {
                connections += 1;
                let left = self.exchange(Wire::new(stream), addr).await;
                self.forget_in_flight();
                if matches!(left, Left::Drained | Left::Cut) {
                    break;
                }
                if matches!(left, Left::Moved) {
                    continue;
                }
            }
            if self.pause().await {
                break;
            }
        }
        self.stats.reconnects = connections.saturating_sub(1);
        self.stats
    }

    async fn exchange(&mut self, mut wire: Wire<R::Stream>, addr: SocketAddr) -> Left {
        let cut = self.shared.cut.clone();
        let mut moved = false;
        loop {
            let drain = self.shared.is(Phase::Drain);
            if !drain && !moved {
                self.fill(&mut wire.out);
            } else if self.free.len() == self.slots.len() {
                return if drain { Left::Drained } else { Left::Moved };
            }
            match R::timeout(SEND_TIMEOUT, R::select2(wire.exchange(), cut.cancelled())).await {
                Ok(Select2::First(Ok(()))) => {}
                Ok(Select2::First(Err(_))) | Err(_) => return Left::Broken,
                Ok(Select2::Second(())) => return Left::Cut,
            }
            if self.settle_all(&mut wire).is_err() {
                return Left::Broken;
            }
            if std::mem::take(&mut self.refused_now) {
                if self.pause().await {
                    return Left::Cut;
                }
                // Answers still under way come from the old leader: it is left when all are in.
                moved = self.shared.leader(&self.part.group).is_some_and(|leader| leader != addr);
            }
        }
    }

    /// Makes a send for each free slot.
    fn fill(&mut self, out: &mut Vec<u8>) {
        if self.free.is_empty() {
            return;
        }
        let now = R::Instant::now();
        let born = Born::at(R::wall_clock_ms());
        let mut number = self.shared.next.fetch_add(self.free.len() as u64, Ordering::Relaxed);
        while let Some(at) = self.free.pop() {
            let slot = &mut self.slots[usize::from(at)];
            slot.generation = slot.generation.wrapping_add(1);
            (slot.sent, slot.number) = (Some(now), number);
            let opaque = u32::from(slot.generation) << 16 | u32::from(at);
            let template = &self.part.templates[self.next_queue % self.part.templates.len()];
            self.next_queue = self.next_queue.wrapping_add(1);
            template.append(out, opaque, &born, number);
            number += 1;
        }
    }

    /// Takes in every answer that was read.
    fn settle_all(&mut self, wire: &mut Wire<R::Stream>) -> io::Result<()> {
        let now = R::Instant::now();
        let measuring = self.shared.is(Phase::Measure);
        let mut acked = 0;
        let mut printed = String::new();
        while let Some((reply, bytes)) = wire.reply()? {
            let at = (reply.opaque & 0xFFFF) as usize;
            let generation = (reply.opaque >> 16) as u16;
            let slot = self.slots.get_mut(at).filter(|slot| slot.generation == generation);
            let Some((slot, sent)) = slot.and_then(|slot| slot.sent.take().map(|sent| (slot, sent))) else {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "an answer to no request"));
            };
            self.free.push(at as u16);
            if reply.code == response::SUCCESS {
                acked += 1;
                if measuring {
                    let us = now.saturating_duration_since(sent).as_micros();
                    self.stats.latency.saturating_record(u64::try_from(us).unwrap_or(u64::MAX).max(1));
                }
                if self.part.print_acks {
                    printed.push_str(&ack_line(&self.part.group, slot.number, bytes));
                }
            } else {
                self.refused_now = true;
                refuse(&mut self.stats, reply.code, bytes);
            }
        }
        if !printed.is_empty() {
            // Whoever asked for the lines checks that all are there; without a reader there is nothing to do.
            let _ = io::stdout().lock().write_all(printed.as_bytes());
        }
        self.count(acked, measuring, now);
        Ok(())
    }

    fn count(&mut self, acked: u64, measuring: bool, now: R::Instant) {
        if acked == 0 {
            return;
        }
        self.stats.acked += acked;
        self.shared.acked.fetch_add(acked, Ordering::Relaxed);
        if measuring {
            self.stats.measured += acked;
            let gap = self.last_ack.map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
            self.stats.longest_gap = self.stats.longest_gap.max(gap);
        }
        self.last_ack = Some(now);
    }

    /// The connection is gone: what was in flight may be stored or not.
    fn forget_in_flight(&mut self) {
        for (at, slot) in self.slots.iter_mut().enumerate() {
            if slot.sent.take().is_some() {
                self.stats.unknown += 1;
                self.free.push(at as u16);
            }
        }
    }

    /// Asks for the leaders and waits a moment; whether time is up.
    async fn pause(&self) -> bool {
        self.shared.lost_leader.notify_one();
        matches!(R::select2(self.shared.cut.cancelled(), R::sleep(PAUSE)).await, Select2::First(()))
    }
}

fn refuse(stats: &mut Stats, code: i32, bytes: &[u8]) {
    if REFUSALS.contains(&code) {
        *stats.refused.entry(code).or_default() += 1;
    } else {
        stats.unknown += 1;
    }
    // Elections are part of the run; anything else is worth a word.
    if code != NO_LEADER && stats.remark.is_none() {
        let command = frame::decode(&mut BytesMut::from(bytes)).ok().flatten();
        stats.remark = command.and_then(|command| command.remark).map(|remark| format!("code {code}: {remark}"));
    }
}

/// `ack GROUP QUEUE OFFSET NUMBER`.
fn ack_line(group: &str, number: u64, bytes: &[u8]) -> String {
    let command = frame::decode(&mut BytesMut::from(bytes)).ok().flatten();
    let field = |name: &str| command.as_ref().and_then(|command| command.ext.get(name)).unwrap_or("?").to_owned();
    format!("ack {group} {} {} {number}\n", field("queueId"), field("queueOffset"))
}
