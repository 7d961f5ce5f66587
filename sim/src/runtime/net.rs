//! The network of a run: hosts, links, listening sockets and connections.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;
use std::time::Duration;

use madsim::Config;
use madsim::plugin::Simulator;
use madsim::rand::GlobalRng;
use madsim::task::NodeId;
use madsim::time::TimeHandle;

use super::connection::{Connection, Side};
use super::link::{LinkId, Links};
use super::rng::Delay;
use crate::tally::Tally;
use crate::trace::Trace;

/// Where tasks live that run on no node: the scenario itself.
pub const SUPERVISOR: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 255, 255, 254));

/// 2026-01-01T00:00:00Z in Unix milliseconds: when every run starts.
pub const START_OF_TIME_MS: i64 = 1_767_225_600_000;

/// Ports the network itself hands out.
const EPHEMERAL_PORTS: std::ops::Range<u16> = 32_768..61_000;

/// How slow the network and the disks are.
#[derive(Clone, Debug)]
pub struct NetConfig {
    /// One way between two hosts, of each run of bytes.
    pub latency: Delay,
    /// One way from a host to itself.
    pub loopback: Delay,
    /// One job of a disk thread, or one cold read.
    pub disk: Delay,
    /// Bytes that may be under way or unread in one direction of a connection.
    pub window_bytes: usize,
    /// One write in this many takes only a part of its bytes. 0: none.
    pub short_write_one_in: u32,
}

impl Default for NetConfig {
    fn default() -> Self {
        let (us, ms) = (Duration::from_micros, Duration::from_millis);
        Self {
            latency: Delay { usual: us(50)..us(400), slow: ms(1)..ms(8), slow_one_in: 200 },
            loopback: Delay { usual: us(5)..us(30), slow: us(30)..us(300), slow_one_in: 200 },
            disk: Delay { usual: us(30)..us(300), slow: ms(1)..ms(20), slow_one_in: 100 },
            window_bytes: 64 << 10,
            short_write_one_in: 16,
        }
    }
}

/// How a node ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// The process is killed, its host lives: peers see their connections end and new ones refused.
    Crash,
    /// The host loses power: peers see nothing at all until it is back.
    PowerLoss,
}

/// Whether a host's system and process run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Power {
    On,
    Off,
}

#[derive(Debug)]
struct Host {
    power: Power,
    next_port: u16,
    /// Added to the wall clock this host reads.
    clock_skew_ms: i64,
}

impl Default for Host {
    fn default() -> Self {
        Self { power: Power::On, next_port: EPHEMERAL_PORTS.start, clock_skew_ms: 0 }
    }
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
    hosts: BTreeMap<IpAddr, Host>,
    nodes: BTreeMap<NodeId, IpAddr>,
    next_id: u64,
    trace: Arc<Trace>,
}

/// The network of a run, registered with madsim as one of its simulators.
pub struct Net {
    state: Mutex<State>,
    tally: Tally,
    pub(super) time: TimeHandle,
}

impl Simulator for Net {
    fn new(rand: &GlobalRng, time: &TimeHandle, _config: &Config) -> Self {
        Self {
            state: Mutex::new(State {
                links: Links::new(time.clone(), rand.clone()),
                connections: BTreeMap::new(),
                sockets: BTreeMap::new(),
                hosts: BTreeMap::from([(SUPERVISOR, Host::default())]),
                nodes: BTreeMap::new(),
                next_id: 0,
                trace: Arc::new(Trace::new(false)),
            }),
            tally: Tally::default(),
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
    pub(crate) fn configure(&self, config: NetConfig, trace: Arc<Trace>) {
        self.with(|state, _| {
            state.links.config = config;
            state.trace = trace;
        });
    }

    pub(crate) fn set_config(&self, config: NetConfig) {
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
        self.with(|state, _| state.trace.clone()).record(at, node, what, number, bytes);
    }

    pub(crate) fn draw_disk_delay(&self) -> Duration {
        self.with(|state, _| state.links.draw_disk_delay())
    }

    pub(crate) fn wall_clock_ms(&self) -> i64 {
        let host = self.current_host();
        let skew_ms = self.with(|state, _| state.hosts.get(&host).map_or(0, |host| host.clock_skew_ms));
        let elapsed_ms = i64::try_from(self.time.elapsed().as_millis()).unwrap_or(i64::MAX);
        START_OF_TIME_MS.saturating_add(elapsed_ms).saturating_add(skew_ms)
    }

    pub(crate) fn set_clock_skew_ms(&self, ip: IpAddr, skew_ms: i64) {
        self.record(ip, "skew", skew_ms.unsigned_abs(), &skew_ms.to_be_bytes());
        self.with(|state, _| state.host(ip).clock_skew_ms = skew_ms);
    }

    /// Ends all sockets of a host. Its tasks are still there; what they do with their streams has no effect.
    pub(crate) fn down(&self, ip: IpAddr, death: Death) {
        self.record(ip, "down", u64::from(death == Death::PowerLoss), &[]);
        self.with(|state, wakes| {
            if death == Death::PowerLoss {
                state.host(ip).power = Power::Off;
            }
            for (_, socket) in state.sockets.extract_if(.., |(host, _), _| *host == ip) {
                // Nobody will ever hold these: let go of them as the system does.
                for (id, _) in socket.backlog {
                    state.connections.get_mut(&id).into_iter().for_each(|connection| connection.release(1));
                }
            }
            for connection in state.connections.values_mut() {
                for side in [0, 1] {
                    if connection.host(side) == ip {
                        match death {
                            Death::Crash => connection.close(side, &mut state.links, wakes),
                            Death::PowerLoss => connection.silence(side),
                        }
                    }
                }
            }
            state.connections.retain(|_, connection| !connection.is_forgotten());
        });
    }

    /// A host has power again, or its process is about to start again.
    pub(crate) fn up(&self, ip: IpAddr) {
        self.record(ip, "up", 0, &[]);
        self.with(|state, wakes| {
            state.host(ip).power = Power::On;
            for connection in state.connections.values_mut() {
                for side in [0, 1] {
                    if connection.host(side) == ip {
                        connection.unsilence(side, &mut state.links, wakes);
                    }
                }
            }
        });
    }

    /// Resets every connection between two hosts.
    pub(crate) fn cut(&self, one: IpAddr, other: IpAddr) {
        self.record(one, "cut", 0, other.to_string().as_bytes());
        self.with(|state, wakes| {
            for connection in state.connections.values_mut() {
                let ends = (connection.host(0), connection.host(1));
                if ends == (one, other) || ends == (other, one) {
                    connection.cut(&mut state.links, wakes);
                }
            }
        });
    }

    pub(crate) fn clog(&self, link: LinkId) {
        self.record(link.0, "clog", 0, link.1.to_string().as_bytes());
        self.with(|state, _| state.links.clog(link));
    }

    pub(crate) fn hold_connects(&self, link: LinkId) {
        self.record(link.0, "hold", 0, link.1.to_string().as_bytes());
        self.with(|state, _| state.links.hold_connects(link));
    }

    pub(crate) fn heal(&self, link: LinkId) {
        self.record(link.0, "heal", 0, link.1.to_string().as_bytes());
        self.with(|state, wakes| state.links.heal(link, wakes));
    }

    pub(crate) fn heal_all(&self) {
        for link in self.with(|state, _| state.links.all()) {
            self.heal(link);
        }
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
    fn host(&mut self, ip: IpAddr) -> &mut Host {
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
        match self.hosts.get(&link.1) {
            Some(host) if host.power == Power::On => {}
            _ => return Knock::NoAnswer,
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
