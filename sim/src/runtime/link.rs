//! Links: what the network does to bytes on their way from one host to another.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::task::Waker;
use std::time::{Duration, Instant};

use madsim::rand::{GlobalRng, Rng};
use madsim::time::TimeHandle;

use super::net::NetConfig;

/// One direction between two hosts: from, to.
pub(super) type LinkId = (IpAddr, IpAddr);

/// Who waits for a link to heal: connection and side, or a number of its own. Wakes come in this order.
pub(super) type Ticket = (u64, u8);

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

#[derive(Debug, Default)]
struct Link {
    /// Nothing that would have arrived after this moment arrives.
    clogged_since: Option<Instant>,
    /// New connections hang although established ones work.
    holds_connects: bool,
    waiting: BTreeMap<Ticket, Waker>,
}

/// All links, and the draws that decide how slow they are.
pub(super) struct Links {
    pub(super) time: TimeHandle,
    pub(super) rng: GlobalRng,
    pub(super) config: NetConfig,
    links: BTreeMap<LinkId, Link>,
}

impl Links {
    pub(super) fn new(time: TimeHandle, rng: GlobalRng) -> Self {
        Self { time, rng, config: NetConfig::default(), links: BTreeMap::new() }
    }

    pub(super) fn now(&self) -> Instant {
        self.time.now_instant()
    }

    /// When something sent now over `link` arrives, if the link is open.
    pub(super) fn draw_arrival(&mut self, link: LinkId) -> Instant {
        self.draw_arrival_from(self.now(), link)
    }

    /// When something sent at `start` over `link` arrives, if the link is open.
    pub(super) fn draw_arrival_from(&mut self, start: Instant, link: LinkId) -> Instant {
        let delay = if link.0 == link.1 { &self.config.loopback } else { &self.config.latency };
        start + delay.draw(&mut self.rng)
    }

    /// How much of `len` bytes one write takes: now and then only a part, as on a real socket.
    pub(super) fn draw_write_len(&mut self, len: usize) -> usize {
        let one_in = self.config.short_write_one_in;
        if len > 1 && one_in > 0 && self.rng.gen_range(0..one_in) == 0 { self.rng.gen_range(1..len) } else { len }
    }

    /// Whether something due at `due` has come through `link`.
    pub(super) fn arrival(&self, link: LinkId, due: Instant) -> Arrival {
        match self.links.get(&link).and_then(|link| link.clogged_since) {
            Some(since) if due > since => Arrival::OnceHealed,
            _ if due > self.now() => Arrival::At(due),
            _ => Arrival::Here,
        }
    }

    /// As [`Links::arrival`], for a request for a new connection.
    pub(super) fn connect_arrival(&self, link: LinkId, due: Instant) -> Arrival {
        if self.links.get(&link).is_some_and(|link| link.holds_connects) {
            Arrival::OnceHealed
        } else {
            self.arrival(link, due)
        }
    }

    /// Wakes `waker` once `link` heals.
    pub(super) fn wait(&mut self, link: LinkId, ticket: Ticket, waker: &Waker) {
        self.links.entry(link).or_default().waiting.insert(ticket, waker.clone());
    }

    /// Closes a link. What has arrived by now stays arrived.
    pub(super) fn clog(&mut self, link: LinkId) {
        let now = self.now();
        self.links.entry(link).or_default().clogged_since.get_or_insert(now);
    }

    /// Lets no new connection through.
    pub(super) fn hold_connects(&mut self, link: LinkId) {
        self.links.entry(link).or_default().holds_connects = true;
    }

    /// Opens a link. What waited on it is through at once.
    pub(super) fn heal(&mut self, link: LinkId, wakes: &mut Vec<Waker>) {
        if let Some(link) = self.links.get_mut(&link) {
            link.clogged_since = None;
            link.holds_connects = false;
            wakes.extend(std::mem::take(&mut link.waiting).into_values());
        }
    }

    /// Every link that was ever touched.
    pub(super) fn all(&self) -> Vec<LinkId> {
        self.links.keys().copied().collect()
    }

    pub(super) fn draw_disk_delay(&mut self) -> Duration {
        self.config.disk.draw(&mut self.rng)
    }
}
