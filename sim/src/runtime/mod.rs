//! The runtime seam over madsim: one thread, virtual time, one seed.
//!
//! madsim gives tasks on nodes, the clock and the generator. Byte streams are ours: madsim's own have no
//! back-pressure, no half-close, and heal late. So are sleeps, the watch channel and disk threads.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use madsim::task::{JoinError, JoinHandle};
use openraft_rt::{AsyncRuntime, OptionalSend};
use quorumq_raft::runtime::Runtime;

mod channels;
mod clock;
mod config;
mod connection;
mod disk_pace;
mod disk_task;
mod fault;
mod host;
mod link;
mod listener;
pub mod net;
mod rng;
mod stream;
mod time;
mod watch;

pub use channels::{
    SimMpsc, SimMpscReceiver, SimMpscSender, SimMpscWeakSender, SimMutex, SimOneshot, SimOneshotSender,
};
pub use clock::ClockFault;
pub use disk_task::DiskTask;
pub use link::{Harm, LinkId};
pub use listener::SimListener;
pub use rng::{Delay, SimRng};
pub use stream::SimStream;
pub use time::{Elapsed, SimInstant, SimSleep, SimTimeout};
pub use watch::{SimWatch, SimWatchReceiver, SimWatchSender};

use net::Net;

/// The simulator as the product's runtime: a type parameter, rarely a value.
pub struct SimRuntime {
    madsim: madsim::runtime::Runtime,
}

impl std::fmt::Debug for SimRuntime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SimRuntime")
    }
}

impl SimRuntime {
    /// A world of its own for the current thread. One per thread keeps hash maps deterministic; see
    /// [`crate::world::run`], which gives each run a thread.
    pub(crate) fn with_seed(seed: u64, time_limit: Option<Duration>) -> Self {
        let mut madsim = madsim::runtime::Runtime::with_seed_and_config(seed, madsim::Config::default());
        madsim.add_simulator::<Net>();
        if let Some(limit) = time_limit {
            madsim.set_time_limit(limit);
        }
        Self { madsim }
    }

    pub(crate) fn run_until<F: Future>(&self, future: F) -> F::Output {
        self.madsim.block_on(future)
    }
}

impl AsyncRuntime for SimRuntime {
    type JoinError = JoinError;
    type JoinHandle<T: OptionalSend + 'static> = JoinHandle<T>;
    type Sleep = SimSleep;
    type Instant = SimInstant;
    type TimeoutError = Elapsed;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = SimTimeout<T>;
    type ThreadLocalRng = SimRng;
    type Mpsc = SimMpsc;
    type Watch = SimWatch;
    type Oneshot = SimOneshot;
    type Mutex<T: OptionalSend + 'static> = SimMutex<T>;

    /// The task belongs to the node of the task that spawns it, and dies with it.
    fn spawn<T>(future: T) -> JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        madsim::task::spawn(future)
    }

    fn sleep(duration: Duration) -> SimSleep {
        SimSleep::of(duration)
    }

    fn sleep_until(deadline: SimInstant) -> SimSleep {
        SimSleep::until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(duration: Duration, future: F) -> SimTimeout<F> {
        SimTimeout::new(future, SimSleep::of(duration))
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(deadline: SimInstant, future: F) -> SimTimeout<F> {
        SimTimeout::new(future, SimSleep::until(deadline))
    }

    fn is_panic(error: &JoinError) -> bool {
        error.is_panic()
    }

    fn thread_rng() -> SimRng {
        SimRng::current()
    }

    fn new(_threads: usize) -> Self {
        Self::with_seed(0, None)
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.run_until(future)
    }

    /// Inline: an operating system's thread would run in real time.
    async fn spawn_blocking<F, T>(f: F) -> Result<T, io::Error>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        Ok(f())
    }
}

impl Runtime for SimRuntime {
    type Stream = SimStream;
    type Listener = SimListener;
    type Serial = DiskTask;

    async fn bind(addr: SocketAddr) -> io::Result<SimListener> {
        listener::bind(addr)
    }

    async fn connect(addr: SocketAddr) -> io::Result<SimStream> {
        listener::connect(addr).await
    }

    fn wall_clock_ms() -> i64 {
        Net::current().wall_clock_ms()
    }

    fn serial(_name: &str) -> DiskTask {
        DiskTask::start()
    }

    /// A task of its own, so that the job runs also if the caller gives up: as on a pool of threads.
    async fn offload<T, F>(job: F) -> io::Result<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let net = Net::current();
        let host = net.current_host();
        let task = madsim::task::spawn(async move {
            disk_task::disk_delay(&net, host).await;
            job()
        });
        task.await.map_err(io::Error::from)
    }

    /// The digest is a chain over every entry and its reply: one event a run of entries covers them all.
    fn applied(upto: u64, digest: u64) {
        let net = Net::current();
        net.record(net.current_host(), "apply", upto, &digest.to_le_bytes());
        net.applied.notify_waiters();
    }
}
