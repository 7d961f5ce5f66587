//! The network of a run: hosts, links, listening sockets and connections.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use madsim::Config;
use madsim::plugin::Simulator;
use madsim::rand::GlobalRng;
use madsim::task::NodeId;
use madsim::time::TimeHandle;
use tokio::sync::Notify;

pub use super::config::NetConfig;
use super::connection::{Connection, Side};
use super::disk_pace::DiskPace;
use super::host::{EPHEMERAL_PORTS, Host, Power};
use super::link::{LinkId, Links};
use crate::tally::{Fault, Tally};
use crate::trace::Trace;

/// Where tasks live that run on no node: the scenario itself.
pub const SUPERVISOR: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 255, 255, 254));

/// 2026-01-01T00:00:00Z in Unix milliseconds: when every run starts.
pub const START_OF_TIME_MS: i64 = 1_767_225_600_000;

/// How a node ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// The process is killed, its host lives: peers see their connections end and new ones refused.
    Crash,
    /// The host loses power: peers see nothing at all until it is back.
    PowerLoss,
}

/// A listening socket and the connections it has not accepted yet.
#[derive(Debug)]
pub(super) struct Socket {
    /// Tells the socket from a later one on the same port.
    pub(super) id: u64,
    pub(super) bound: SocketAddr,
    pub(super) backlog: VecDeque<(u64, SocketAddr)>,
    pub(super) waker: Option<Waker>,
}

/// What a request for a connection meets.
pub(super) enum Knock {
    /// A connection, waiting to be accepted.
    Connected(u64),
    Refused,
    /// No answer: no such host, no power, or the backlog is full.
    NoAnswer,
}

pub(super) struct State {
    pub(super) links: Links,
    pub(super) connections: BTreeMap<u64, Connection>,
    pub(super) sockets: BTreeMap<(IpAddr, u16), Socket>,
    /// Faults that open and close links at this time.
    pub(super) flapping: BTreeSet<u64>,
    hosts: BTreeMap<IpAddr, Host>,
    nodes: BTreeMap<NodeId, IpAddr>,
    next_id: u64,
}

/// The network of a run, registered with madsim as one of its simulators.
pub struct Net {
    state: Mutex<State>,
    tally: Tally,
    /// Told whenever any node has applied entries.
    pub(crate) applied: Notify,
    pub(super) time: TimeHandle,
}

impl Simulator for Net {
    fn new(rand: &GlobalRng, time: &TimeHandle, _config: &Config) -> Self {
        let tally = Tally::default();
        Self {
            state: Mutex::new(State {
                links: Links::new(time.clone(), rand.clone(), tally.clone()),
                connections: BTreeMap::new(),
                sockets: BTreeMap::new(),
                hosts: BTreeMap::from([(SUPERVISOR, Host::default())]),
                nodes: BTreeMap::new(),
                next_id: 0,
                flapping: BTreeSet::new(),
            }),
            tally,
            applied: Notify::new(),
            time: time.clone(),
        }
    }
}

impl std::fmt::Debug for Net {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Net").finish_non_exhaustive()
    }
}

impl Net {
    /// The network of the current run.
    pub(crate) fn current() -> Arc<Self> {
        madsim::plugin::simulator::<Self>()
    }

    /// The run's counts.
    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Sets what `new` could not know.
    pub(crate) fn configure(&self, config: NetConfig, trace: Arc<Trace>, flip_bit_of: Option<u64>) {
        self.with(|state, _| {
            state.links.trace = trace;
            state.links.flip_bit_of = flip_bit_of;
        });
        self.set_config(config);
    }

    pub(crate) fn set_config(&self, config: NetConfig) {
        let weather = [
            (Fault::ShortWrite, config.short_write_one_in),
            (Fault::Loss, config.loss_one_in),
            (Fault::LongDelay, config.long_delay_one_in),
        ];
        weather.into_iter().filter(|(_, one_in)| *one_in > 0).for_each(|(fault, _)| self.tally.begun(fault));
        self.with(|state, _| state.links.config = config);
    }

    /// Runs `f` on the state; wakes what it collected only after the lock is released.
    pub(super) fn with<T>(&self, f: impl FnOnce(&mut State, &mut Vec<Waker>) -> T) -> T {
        let mut wakes = Vec::new();
        let result = f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner), &mut wakes);
        wakes.into_iter().for_each(Waker::wake);
        result
    }

    pub(crate) fn add_host(&self, node: NodeId, ip: IpAddr) {
        self.with(|state, _| {
            let known = state.hosts.insert(ip, Host::default());
            assert!(known.is_none(), "two nodes have the address {ip}");
            state.nodes.insert(node, ip);
        });
    }

    /// The address of the node whose task runs now.
    pub(crate) fn current_host(&self) -> IpAddr {
        let node = madsim::plugin::node();
        self.with(|state, _| state.nodes.get(&node).copied().unwrap_or(SUPERVISOR))
    }

    /// The same, for logs: `None` if somebody logs in the midst of a change to the network.
    fn try_current_host(&self) -> Option<IpAddr> {
        let node = madsim::plugin::node();
        let state = self.state.try_lock().ok()?;
        Some(state.nodes.get(&node).copied().unwrap_or(SUPERVISOR))
    }

    /// Virtual time since the run began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.time.elapsed()
    }

    pub(crate) fn record(&self, node: IpAddr, what: &str, number: u64, bytes: &[u8]) {
        let at = self.time.elapsed();
        self.with(|state, _| state.links.trace.record(at, node, what, number, bytes));
    }

    pub(crate) fn record_parts(&self, node: IpAddr, what: &str, numbers: &[u64], parts: &[&[u8]]) {
        let at = self.time.elapsed();
        self.with(|state, _| state.links.trace.record_parts(at, node, what, numbers, parts));
    }

    /// How long a job of the disk of `host` takes that begins now, if the disk does not stall meanwhile.
    pub(super) fn draw_disk_delay(&self, host: IpAddr) -> Duration {
        self.with(|state, _| {
            let delay = state.links.draw_disk_delay();
            state.hosts.get(&host).map_or(delay, |host| host.disk.delay(delay, &self.tally))
        })
    }

    /// When the disk of `host` works again, if it stalls now.
    pub(super) fn disk_stalls_until(&self, host: IpAddr) -> Option<Instant> {
        let now = self.time.now_instant();
        self.with(|state, _| state.hosts.get(&host).and_then(|host| host.disk.stalled_until(now)))
    }

    pub(crate) fn slow_disk(&self, ip: IpAddr, factor: u32) {
        self.with(|state, _| state.host(ip).disk.slow(factor));
    }

    pub(crate) fn stall_disk(&self, ip: IpAddr, time: Duration) {
        let until = self.time.now_instant() + time;
        self.with(|state, _| state.host(ip).disk.stall(until));
    }

    pub(crate) fn heal_disk(&self, ip: IpAddr) {
        self.with(|state, _| state.host(ip).disk = DiskPace::default());
    }

    /// Unix milliseconds as a right wall clock shows them.
    pub(super) fn true_time_ms(&self) -> i64 {
        START_OF_TIME_MS.saturating_add(i64::try_from(self.time.elapsed().as_millis()).unwrap_or(i64::MAX))
    }

    /// What the wall clock of the current node shows.
    pub(crate) fn wall_clock_ms(&self) -> i64 {
        let (node, now_ms) = (madsim::plugin::node(), self.true_time_ms());
        self.with(|state, _| {
            let host = state.nodes.get(&node).and_then(|ip| state.hosts.get(ip));
            host.map_or(now_ms, |host| host.clock.read(now_ms, &self.tally))
        })
    }

    /// Addresses of all nodes.
    pub(crate) fn hosts(&self) -> Vec<IpAddr> {
        self.with(|state, _| state.nodes.values().copied().collect())
    }

    /// Lets go of an end that a stream held.
    pub(super) fn release(&self, id: u64, side: Side) {
        self.with(|state, wakes| state.release(id, side, wakes));
    }
}

/// Virtual time; `None` outside of any run. For logs, as is [`here`].
#[must_use]
pub fn now() -> Option<Duration> {
    TimeHandle::try_current().map(|time| time.elapsed())
}

/// The node whose task runs now, if it can be told. Waits for no lock.
///
/// # Panics
/// In a run, but outside of all of its tasks: in the hook of a panic, say.
#[must_use]
pub fn here() -> Option<IpAddr> {
    now().and_then(|_| Net::current().try_current_host())
}

impl State {
    pub(super) fn host(&mut self, ip: IpAddr) -> &mut Host {
        let Some(host) = self.hosts.get_mut(&ip) else {
            panic!("no node has the address {ip}");
        };
        host
    }

    pub(super) fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    pub(super) fn release(&mut self, id: u64, side: Side, wakes: &mut Vec<Waker>) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.close(side, &mut self.links, wakes);
            connection.release(side);
            if connection.is_forgotten() {
                connection.forget(&self.links);
                self.connections.remove(&id);
            }
        }
    }

    /// A free port of `host`.
    ///
    /// # Errors
    /// `AddrNotAvailable` once all are taken.
    pub(super) fn free_port(&mut self, host: IpAddr) -> io::Result<u16> {
        for _ in EPHEMERAL_PORTS {
            let next = &mut self.host(host).next_port;
            let port = *next;
            *next = if port + 1 == EPHEMERAL_PORTS.end { EPHEMERAL_PORTS.start } else { port + 1 };
            if !self.sockets.contains_key(&(host, port)) {
                return Ok(port);
            }
        }
        Err(io::ErrorKind::AddrNotAvailable.into())
    }

    /// A request for a connection from `from` on host `link.0` has reached host `link.1`.
    pub(super) fn knock(&mut self, link: LinkId, from: SocketAddr, to: SocketAddr, wakes: &mut Vec<Waker>) -> Knock {
        let Some(host) = self.hosts.get(&link.1) else { return Knock::NoAnswer };
        if let Some(fault) = host.down_by {
            self.links.tally.felt(fault, 1);
        }
        if host.power == Power::Off {
            return Knock::NoAnswer;
        }
        let id = self.next_id();
        let now = self.links.now();
        let Some(socket) = self.sockets.get_mut(&(link.1, to.port())) else {
            return Knock::Refused;
        };
        if !(socket.bound.ip().is_unspecified() || socket.bound.ip() == to.ip()) {
            return Knock::Refused;
        }
        if socket.backlog.len() >= super::listener::BACKLOG {
            return Knock::NoAnswer;
        }
        socket.backlog.push_back((id, from));
        wakes.extend(socket.waker.take());
        self.connections.insert(id, Connection::new(id, link, now));
        Knock::Connected(id)
    }
}
