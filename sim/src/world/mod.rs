//! Runs: one seed, one thread, one world of nodes that can be broken.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use madsim::runtime::Handle;

pub use crate::runtime::net::{Death, NetConfig};
use crate::runtime::net::{Net, SUPERVISOR};
pub use crate::runtime::{ClockFault, Harm};
use crate::runtime::{SimRng, SimRuntime};
use crate::tally::Tally;
use crate::trace::Trace;

mod network;
mod node;

pub use network::Block;
pub use node::Node;

/// Deep futures in a debug build do not fit into a thread's usual 2 MiB.
const STACK_BYTES: usize = 32 << 20;

/// What a run is like, apart from its seed.
#[derive(Clone, Debug)]
pub struct Config {
    /// How slow networks and disks are.
    pub net: NetConfig,
    /// Virtual time after which a run that has not ended has failed.
    pub time_limit: Duration,
    /// Whether to print each event of the trace to stderr.
    pub print_trace: bool,
    /// Flips one bit of the n-th run of bytes that a connection carries, from 1: shows that the trace covers it.
    pub flip_bit_of: Option<u64>,
}

impl Default for Config {
    fn default() -> Self {
        let time_limit = Duration::from_secs(3600);
        Self { net: NetConfig::default(), time_limit, print_trace: false, flip_bit_of: None }
    }
}

/// A run that came to its end.
#[derive(Clone, Debug)]
pub struct Outcome<T> {
    /// The seed it ran with.
    pub seed: u64,
    /// What the scenario returned.
    pub value: T,
    /// The trace hash over everything that happened.
    pub hash: u64,
    /// Events in the trace.
    pub events: u64,
    /// Virtual time that passed.
    pub elapsed: Duration,
}

/// A run that panicked, hung, or passed its time limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The seed it ran with.
    pub seed: u64,
    /// The panic's message.
    pub message: String,
    /// The trace hash up to then.
    pub hash: u64,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, message, hash } = self;
        write!(f, "seed {seed} failed with trace hash {hash:016x}: {message}")
    }
}

impl std::error::Error for Failure {}

/// Runs `scenario` with `seed` in a world of its own, on a thread of its own (hash maps are deterministic only on
/// a thread that has made none yet), and waits for its end.
///
/// # Errors
/// The scenario or any task of a node panicked; nothing was left that could happen; the time limit passed.
pub fn run<T, S, F>(seed: u64, config: Config, scenario: S) -> Result<Outcome<T>, Failure>
where
    S: FnOnce(World) -> F + Send + 'static,
    F: Future<Output = T>,
    T: Send + 'static,
{
    let trace = Arc::new(Trace::new(config.print_trace));
    let kept = trace.clone();
    let body = move || {
        let runtime = SimRuntime::with_seed(seed, Some(config.time_limit));
        let (value, elapsed) = runtime.run_until(async move {
            let net = Net::current();
            net.configure(config.net, trace, config.flip_bit_of);
            net.record(SUPERVISOR, "seed", seed, &[]);
            let world = World { net: net.clone(), handle: Handle::current() };
            let value = scenario(world).await;
            net.record(SUPERVISOR, "end", 0, &[]);
            (value, net.elapsed())
        });
        (value, elapsed)
    };
    let thread = std::thread::Builder::new().name(format!("seed-{seed}")).stack_size(STACK_BYTES);
    let joined = match thread.spawn(body) {
        Ok(thread) => thread.join(),
        Err(e) => Err(Box::new(format!("cannot start a thread for the run: {e}")) as Box<dyn Any + Send>),
    };
    let (hash, events) = (kept.hash(), kept.events());
    match joined {
        Ok((value, elapsed)) => Ok(Outcome { seed, value, hash, events, elapsed }),
        Err(panic) => Err(Failure { seed, message: panic_message(panic.as_ref()), hash }),
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(message), _) => (*message).to_owned(),
        (_, Some(message)) => message.clone(),
        _ => "panicked without a message".to_owned(),
    }
}

/// The world of a run, in the hands of its scenario: nodes by IP address, and what can happen to them.
///
/// The scenario itself runs outside of all nodes, at [`SUPERVISOR`]; nothing happens to it.
#[derive(Clone, Debug)]
pub struct World {
    net: Arc<Net>,
    handle: Handle,
}

impl World {
    /// Sets how slow networks and disks are from now on.
    pub fn set_weather(&self, weather: NetConfig) {
        self.record("weather", 0, format!("{weather:?}").as_bytes());
        self.net.set_config(weather);
    }

    /// Adds a node. It runs nothing yet.
    ///
    /// # Panics
    /// If another node has the address.
    pub fn add_node(&self, ip: IpAddr) -> Node {
        // madsim's own network is not used; the address is known to ours alone.
        let id = self.handle.create_node().name(ip.to_string()).build().id();
        self.net.add_host(id, ip);
        Node::new(self.clone(), ip, id)
    }

    /// Virtual time since the run began.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.net.elapsed()
    }

    /// The run's counts.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        self.net.tally()
    }

    /// Waits until `deadline`, or until a node applies entries, whichever comes first; whether it was the deadline.
    pub async fn until_applied(&self, deadline: Duration) -> bool {
        let left = deadline.saturating_sub(self.elapsed());
        let (applied, over) = (pin!(self.net.applied.notified()), pin!(madsim::time::sleep(left)));
        matches!(select(over, applied).await, Either::Left(_))
    }

    /// The seed's generator: scenarios draw from it what they do.
    #[must_use]
    pub fn rng(&self) -> SimRng {
        SimRng::current()
    }

    /// Puts an event of the scenario's own into the trace hash.
    pub fn record(&self, what: &str, number: u64, bytes: &[u8]) {
        self.net.record(SUPERVISOR, what, number, bytes);
    }
}
