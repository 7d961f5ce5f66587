//! A place where a broker may run: a host, its disk, and the process that is on it now.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quorumq::broker::Running;
use quorumq_raft::state_machine::OnFatal;

use crate::invariant::Member;
use crate::runtime::SimRuntime;
use crate::scenario::launch::{Launch, PEER_PORT};
use crate::scenario::seat::Seat as Machine;
use crate::tally::Fault;
use crate::world::{Death, Node as Host, World};

/// What is on a seat.
enum Process {
    Down,
    /// Started, and not yet serving: it recovers, or waits for its peers.
    Starting,
    Up(Box<Running<SimRuntime>>),
    /// Told to stop in good order.
    Stopping,
}

/// Why a process ended by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It would not start.
    Refused(String),
    /// It had to end.
    Fatal(String),
}

struct State {
    process: Process,
    /// Processes started so far.
    life: u64,
    /// The node's id in its group, once it has served.
    node_id: Option<u64>,
    /// The process of this life meets this fault: it may end for it.
    doomed: Option<Fault>,
    /// Its disk was lost.
    wiped: bool,
    /// Its host lost power, and no process since has said that it holds what it had acknowledged.
    lacking: bool,
    /// When it is started again; `None`: not by itself.
    start_at: Option<Duration>,
    /// Why the last process ended, if by itself and not looked at yet.
    end: Option<End>,
    /// Ends the process at this time.
    kill_at: Option<(Duration, Fault, Death)>,
}

/// A seat. Cheap to clone: all clones are the same seat.
#[derive(Clone)]
pub struct Seat {
    world: World,
    machine: Machine,
    state: Arc<Mutex<State>>,
}

impl std::fmt::Debug for Seat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seat").field("ip", &self.ip()).finish_non_exhaustive()
    }
}

impl Seat {
    /// A seat with an empty disk, at an address of its own.
    #[must_use]
    pub fn new(world: &World, ip: IpAddr) -> Self {
        let state = State {
            process: Process::Down,
            life: 0,
            node_id: None,
            doomed: None,
            wiped: false,
            lacking: false,
            start_at: Some(Duration::ZERO),
            end: None,
            kill_at: None,
        };
        Self { world: world.clone(), machine: Machine::at(world, ip), state: Arc::new(Mutex::new(state)) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its address.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        self.machine.host().ip()
    }

    /// Where its broker listens for its peers.
    #[must_use]
    pub fn peer_addr(&self) -> SocketAddr {
        SocketAddr::new(self.ip(), PEER_PORT)
    }

    /// Its host.
    #[must_use]
    pub fn host(&self) -> &Host {
        self.machine.host()
    }

    /// Its host and disk.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// How many processes were started on it.
    #[must_use]
    pub fn life(&self) -> u64 {
        self.lock().life
    }

    /// Whether the process of this life meets faults of its disk.
    #[must_use]
    pub fn is_doomed(&self) -> bool {
        self.lock().doomed.is_some() || self.machine.is_doomed()
    }

    /// From now on the process may end for a fault that it meets.
    pub fn doom(&self, fault: Fault) {
        self.lock().doomed = Some(fault);
    }

    /// The node's id in its group, once it has served.
    #[must_use]
    pub fn node_id(&self) -> Option<u64> {
        self.lock().node_id
    }

    /// Whether no process is on it.
    #[must_use]
    pub fn is_down(&self) -> bool {
        matches!(self.lock().process, Process::Down)
    }

    /// The broker's node, if it serves.
    #[must_use]
    pub fn member(&self) -> Option<Member> {
        match &self.lock().process {
            Process::Up(running) => Some(running.broker.node().clone()),
            _ => None,
        }
    }

    /// Why the last process ended by itself; told once.
    #[must_use]
    pub fn take_end(&self) -> Option<End> {
        self.lock().end.take()
    }

    /// Has the process started at `at`.
    pub fn start_at(&self, at: Option<Duration>) {
        self.lock().start_at = at;
    }

    /// Has the process ended at `at`.
    pub fn kill_at(&self, at: Duration, fault: Fault, death: Death) {
        self.lock().kill_at = Some((at, fault, death));
    }

    /// Whether it is down and due to be started.
    #[must_use]
    pub fn is_due(&self, now: Duration) -> bool {
        let state = self.lock();
        matches!(state.process, Process::Down) && state.start_at.is_some_and(|at| at <= now)
    }

    /// How its process is to be ended now, if it is.
    #[must_use]
    pub fn take_sentence(&self, now: Duration) -> Option<(Fault, Death)> {
        let mut state = self.lock();
        let (at, fault, death) = state.kill_at?;
        if now < at && !self.machine.is_doomed() {
            return None;
        }
        state.kill_at = None;
        Some((fault, death))
    }

    /// Starts a process. What becomes of it is seen later: [`Seat::member`], [`Seat::take_end`].
    pub fn start(&self, launch: Launch) {
        let life = {
            let mut state = self.lock();
            (state.process, state.start_at, state.kill_at) = (Process::Starting, None, None);
            (state.doomed, state.life) = (None, state.life + 1);
            state.life
        };
        self.host().restart();
        self.world.record("start", life, self.ip().to_string().as_bytes());
        let (seat, place) = (self.clone(), self.machine.place());
        let (fatal, Launch { settings, options }) = (self.on_fatal(life), launch);
        drop(self.host().spawn(async move {
            match Running::start(settings, options, place, fatal).await {
                Ok(running) => seat.serves(life, running),
                Err(e) => seat.ended(life, End::Refused(e.to_string())),
            }
        }));
    }

    fn serves(&self, life: u64, running: Running<SimRuntime>) {
        let mut state = self.lock();
        if state.life == life && matches!(state.process, Process::Starting) {
            state.node_id = Some(running.broker.node().id());
            state.process = Process::Up(Box::new(running));
        }
    }

    /// A node that says why it cannot go on ends its process at this moment.
    fn on_fatal(&self, life: u64) -> OnFatal {
        let seat = self.clone();
        Arc::new(move |why| seat.ended(life, End::Fatal(why)))
    }

    fn ended(&self, life: u64, end: End) {
        let cause = {
            let mut state = self.lock();
            if state.life != life || matches!(state.process, Process::Down) {
                return;
            }
            state.end = Some(end);
            state.doomed.unwrap_or(Fault::Kill)
        };
        self.kill(cause, Death::Crash);
    }

    /// Ends the process or its host's power, as a part of `fault`. If no process runs, the host may still lose what the last
    /// one wrote.
    pub fn kill(&self, fault: Fault, death: Death) {
        let process = std::mem::replace(&mut self.lock().process, Process::Down);
        {
            let mut state = self.lock();
            // After a failed sync a member says of itself that it may lack what it had acknowledged.
            state.lacking |= death == Death::PowerLoss || state.doomed == Some(Fault::SyncError);
        }
        if !matches!(process, Process::Down) {
            self.machine.kill_for(fault, death, &mut self.world.rng());
        } else if death == Death::PowerLoss {
            self.machine.disk().lose_power(&mut self.world.rng());
        }
    }

    /// Whether it lost power or is to have a failed sync, and may lack since what it had acknowledged.
    #[must_use]
    pub fn is_lacking(&self) -> bool {
        let state = self.lock();
        state.lacking || state.doomed == Some(Fault::SyncError)
    }

    /// Asks its broker, if it serves, whether it holds again what it had acknowledged.
    pub fn look_what_it_holds(&self) {
        let is_lacking = self.lock().lacking;
        if is_lacking && self.member().is_some_and(|member| !member.is_unproven()) {
            self.lock().lacking = false;
        }
    }

    /// Its disk is lost with everything on it. The process has been ended.
    pub fn wipe(&self) {
        self.machine.wipe();
        self.lock().wiped = true;
    }

    /// Whether its disk was lost.
    #[must_use]
    pub fn is_wiped(&self) -> bool {
        self.lock().wiped
    }

    /// Stops the process in good order.
    pub fn stop(&self) {
        let running = {
            let mut state = self.lock();
            match std::mem::replace(&mut state.process, Process::Stopping) {
                Process::Up(running) => running,
                other => {
                    state.process = other;
                    return;
                }
            }
        };
        let (seat, life) = (self.clone(), self.life());
        drop(self.host().spawn(async move {
            running.shutdown().await;
            if seat.life() == life {
                seat.kill(Fault::Stop, Death::Crash);
            }
        }));
    }
}
