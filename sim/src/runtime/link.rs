//! Links: what the network does to bytes on their way from one host to another.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use madsim::rand::{GlobalRng, Rng};
use madsim::time::TimeHandle;

use super::net::NetConfig;
use crate::tally::{Fault, Tally};
use crate::trace::Trace;

/// One direction between two hosts: from, to.
pub type LinkId = (IpAddr, IpAddr);

/// Who waits for a link to heal: connection and side, or a number of its own. Wakes come in this order.
pub(super) type Ticket = (u64, u8);

/// How long TCP waits before it sends a lost run of bytes again; twice as long each time it is lost once more.
const RETRANSMIT: Duration = Duration::from_millis(200);
/// The same for a request for a connection.
const RETRANSMIT_CONNECT: Duration = Duration::from_secs(1);
/// A long delay is at least this.
const LONG: Duration = Duration::from_millis(10);
/// And less than twice this.
const LONGEST: Duration = Duration::from_secs(8);

/// What a fault does to a link while it lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// Nothing arrives.
    Closed,
    /// Requests for connections do not arrive; established connections work.
    ConnectsHang,
    /// One run of bytes in this many is lost and sent again.
    Loss(u32),
    /// One run of bytes in this many takes far longer than usual.
    LongDelay(u32),
}

/// When something under way is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It is there.
    Here,
    /// At this moment, if nothing happens to the link.
    At(Instant),
    /// Soon after the link heals.
    OnceHealed,
}

/// A link that something is wrong with.
#[derive(Debug, Default)]
struct Link {
    /// Faults that harm it now. Each is lifted on its own.
    harms: BTreeMap<u64, (Fault, Harm)>,
    /// Nothing that would have arrived after this moment arrives: since when there has always been one fault that
    /// closes the link.
    closed_since: Option<Instant>,
    waiting: BTreeMap<Ticket, Waker>,
}

impl Link {
    fn has(&self, wanted: Harm) -> bool {
        self.harms.values().any(|(_, harm)| *harm == wanted)
    }

    /// Counts what met those faults of the link that do `harm`.
    fn felt(&self, harm: Harm, times: u64, tally: &Tally) {
        let faults = self.harms.values().filter(|(_, has)| *has == harm);
        faults.for_each(|(fault, _)| tally.felt(*fault, times));
    }
}

/// All links, and the draws that decide how slow they are.
pub(super) struct Links {
    pub(super) time: TimeHandle,
    pub(super) rng: GlobalRng,
    pub(super) config: NetConfig,
    pub(super) tally: Tally,
    pub(super) trace: Arc<Trace>,
    /// Only those that something is wrong with: in fair weather the map is empty.
    links: BTreeMap<LinkId, Link>,
    /// Runs of bytes that connections have carried.
    runs: u64,
    /// Of which run one bit is to be flipped.
    pub(super) flip_bit_of: Option<u64>,
}

impl Links {
    pub(super) fn new(time: TimeHandle, rng: GlobalRng, tally: Tally) -> Self {
        Self {
            time,
            rng,
            config: NetConfig::default(),
            tally,
            trace: Arc::new(Trace::new(false)),
            links: BTreeMap::new(),
            runs: 0,
            flip_bit_of: None,
        }
    }

    pub(super) fn now(&self) -> Instant {
        self.time.now_instant()
    }

    /// Takes a run of bytes onto the wire. From here on they are in the trace.
    pub(super) fn carry(&mut self, from: IpAddr, connection: u64, bytes: &[u8]) -> Vec<u8> {
        let mut run = bytes.to_vec();
        self.runs += 1;
        if self.flip_bit_of == Some(self.runs) {
            run[bytes.len() / 2] ^= 1;
        }
        self.trace.record(self.time.elapsed(), from, "write", connection, &run);
        run
    }

    /// When something sent now over `link` arrives, if the link is open.
    pub(super) fn draw_arrival(&mut self, link: LinkId) -> Instant {
        self.draw_arrival_from(self.now(), link)
    }

    /// When something sent at `start` over `link` arrives, if the link is open.
    pub(super) fn draw_arrival_from(&mut self, start: Instant, link: LinkId) -> Instant {
        start + self.draw_latency(link) + self.draw_mishap(link, RETRANSMIT)
    }

    /// As [`Links::draw_arrival`], for a request for a new connection.
    pub(super) fn draw_connect_arrival(&mut self, link: LinkId) -> Instant {
        self.now() + self.draw_latency(link) + self.draw_mishap(link, RETRANSMIT_CONNECT)
    }

    /// When a writer learns that there is room again. A notice that is lost does no harm: the next says the same.
    pub(super) fn draw_notice(&mut self, link: LinkId) -> Instant {
        self.now() + self.draw_latency(link)
    }

    fn draw_latency(&mut self, link: LinkId) -> Duration {
        let delay = if link.0 == link.1 { &self.config.loopback } else { &self.config.latency };
        delay.draw(&mut self.rng)
    }

    /// What loss and long delays add to the time of a run of bytes.
    fn draw_mishap(&mut self, link: LinkId, retransmit: Duration) -> Duration {
        if link.0 == link.1 {
            return Duration::ZERO;
        }
        let (loss, long) = (self.config.loss_one_in, self.config.long_delay_one_in);
        let mut late = self.draw_loss(Fault::Loss, loss, retransmit) + self.draw_long_delay(Fault::LongDelay, long);
        let harms = self.links.get(&link).map(|link| link.harms.values().copied().collect());
        let harms: Vec<(Fault, Harm)> = harms.unwrap_or_default();
        for (fault, harm) in harms {
            match harm {
                Harm::Loss(one_in) => late += self.draw_loss(fault, one_in, retransmit),
                Harm::LongDelay(one_in) => late += self.draw_long_delay(fault, one_in),
                Harm::Closed | Harm::ConnectsHang => {}
            }
        }
        late
    }

    /// How long it takes until a run is sent so that it is not lost, if one in `one_in` is.
    fn draw_loss(&mut self, fault: Fault, one_in: u32, first: Duration) -> Duration {
        let (mut late, mut pause) = (Duration::ZERO, first);
        // After that much loss it gets through: a connection that TCP gives up is a fault of another kind.
        while one_in > 0 && late < Duration::from_secs(30) && self.rng.gen_range(0..one_in) == 0 {
            late += pause;
            pause *= 2;
        }
        self.tally.felt(fault, u64::from(late > Duration::ZERO));
        late
    }

    /// A delay without a typical length: twice as long is half as likely.
    fn draw_long_delay(&mut self, fault: Fault, one_in: u32) -> Duration {
        if one_in == 0 || self.rng.gen_range(0..one_in) != 0 {
            return Duration::ZERO;
        }
        let mut least = LONG;
        while least < LONGEST && self.rng.r#gen() {
            least *= 2;
        }
        self.tally.felt(fault, 1);
        self.rng.gen_range(least..2 * least).min(2 * LONGEST)
    }

    /// How much of `len` bytes one write takes: now and then only a part, as on a real socket.
    pub(super) fn draw_write_len(&mut self, len: usize) -> usize {
        let one_in = self.config.short_write_one_in;
        if len > 1 && one_in > 0 && self.rng.gen_range(0..one_in) == 0 {
            self.tally.felt(Fault::ShortWrite, 1);
            self.rng.gen_range(1..len)
        } else {
            len
        }
    }

    /// Whether something due at `due` has come through `link`.
    pub(super) fn arrival(&self, link: LinkId, due: Instant) -> Arrival {
        match self.links.get(&link).and_then(|link| link.closed_since) {
            Some(since) if due > since => Arrival::OnceHealed,
            _ if due > self.now() => Arrival::At(due),
            _ => Arrival::Here,
        }
    }

    /// As [`Links::arrival`], for a request for a new connection.
    pub(super) fn connect_arrival(&self, link: LinkId, due: Instant) -> Arrival {
        if self.links.get(&link).is_some_and(|link| link.has(Harm::ConnectsHang)) {
            Arrival::OnceHealed
        } else {
            self.arrival(link, due)
        }
    }

    /// Counts a request for a connection that `link` holds up.
    pub(super) fn felt_connect(&self, id: LinkId, due: Instant) {
        if let Some(link) = self.links.get(&id) {
            link.felt(Harm::ConnectsHang, 1, &self.tally);
            if self.arrival(id, due) == Arrival::OnceHealed {
                link.felt(Harm::Closed, 1, &self.tally);
            }
        }
    }

    /// Counts `runs` of bytes that were held up on `link` and that nobody will read any more.
    pub(super) fn felt_held(&self, link: LinkId, runs: u64) {
        if let Some(link) = self.links.get(&link) {
            link.felt(Harm::Closed, runs, &self.tally);
        }
    }

    /// Wakes `waker` once `link` heals, if there is anything to heal.
    pub(super) fn wait(&mut self, link: LinkId, ticket: Ticket, waker: &Waker) {
        if let Some(link) = self.links.get_mut(&link) {
            link.waiting.insert(ticket, waker.clone());
        }
    }

    /// Fault number `id` begins to harm a link. What has arrived by now stays arrived.
    pub(super) fn harm(&mut self, link: LinkId, id: u64, fault: Fault, harm: Harm) {
        let now = self.now();
        let link = self.links.entry(link).or_default();
        link.harms.insert(id, (fault, harm));
        if harm == Harm::Closed {
            link.closed_since.get_or_insert(now);
        }
    }

    /// Fault number `id` harms `at` no longer, where `held` runs of bytes wait now. If it was the last that closed the
    /// link, they are through.
    pub(super) fn lift(&mut self, at: LinkId, id: u64, held: u64, wakes: &mut Vec<Waker>) {
        let Some(link) = self.links.get_mut(&at) else { return };
        if let Some((fault, Harm::Closed)) = link.harms.remove(&id) {
            self.tally.felt(fault, held);
        }
        if !link.has(Harm::Closed) {
            link.closed_since = None;
        }
        wakes.extend(std::mem::take(&mut link.waiting).into_values());
        if link.harms.is_empty() {
            self.links.remove(&at);
        }
    }

    /// Faults that harm a link now.
    pub(super) fn harms_of(&self, link: LinkId) -> Vec<u64> {
        self.links.get(&link).map(|link| link.harms.keys().copied().collect()).unwrap_or_default()
    }

    /// Every link that something is wrong with.
    pub(super) fn harmed(&self) -> Vec<LinkId> {
        self.links.keys().copied().collect()
    }

    pub(super) fn draw_disk_delay(&mut self) -> Duration {
        self.config.disk.draw(&mut self.rng)
    }
}
