//! The broker: one file per family of request codes. Handlers propose and read; they never write the store.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use bytes::Bytes;
use quorumq_raft::form::Start;
use quorumq_raft::node::{Node, Parts, Settings, StartError};
use quorumq_raft::runtime::Runtime;
use quorumq_raft::state_machine::{OnFatal, Place};
use rand::RngExt;
use tokio_util::sync::CancellationToken;

use crate::machine::{Effect, Machine, Refusal};
use crate::server::{BindError, Server};

mod answer;
mod attributes;
mod call;
pub mod catch_up;
mod clock;
mod commander;
mod commit;
mod dispatch;
mod export;
mod forward;
mod group;
mod hold;
mod leadership;
pub mod members;
mod offset;
mod options;
mod proposer;
mod pull;
mod query;
mod rebuild;
mod register;
mod reply;
pub mod retention;
mod runtime_info;
pub mod scrub;
mod send;
mod sessions;
mod subscription;
mod topic;
mod units;
mod view;

pub use dispatch::Front;
pub use options::BrokerOptions;

/// How long a broker that stops sends clients elsewhere before it takes no more requests: a busy one asks by then.
const GO_AWAY_TIME: Duration = Duration::from_millis(200);
/// Longest it then waits for answers under way, and for their bytes to leave.
const DRAIN_TIME: Duration = Duration::from_millis(500);

/// One broker: a member of a group, serving clients.
pub struct Broker<R: Runtime> {
    node: Arc<Node<R, Machine>>,
    options: BrokerOptions,
    leadership: Arc<leadership::Leadership>,
    proposer: proposer::Proposer,
    commits: commit::Commits,
    holds: hold::Holds<R::Instant>,
    known: pull::known::Known<R::Instant>,
    sessions: sessions::Sessions,
    registrar: register::Registrar,
    exports: export::Exports,
    /// Held from the look at a topic's settings until their change is applied.
    changing_topic: tokio::sync::Mutex<()>,
    started_ms: i64,
    /// Requests of clients that are being handled, sends that this node stores aside.
    handling: Arc<AtomicUsize>,
    /// Set once this node has handed leadership over, to stop: clients are sent elsewhere.
    leaving: AtomicBool,
    stop: CancellationToken,
}

impl<R: Runtime> std::fmt::Debug for Broker<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker").field("options", &self.options).finish_non_exhaustive()
    }
}

/// Why a broker did not start.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The node did not start.
    #[error(transparent)]
    Node(#[from] StartError),
    /// A port is not to be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("a listening socket is gone: {0}")]
    /// A socket was closed under us.
    Listener(#[from] std::io::Error),
}

/// A running broker: its node, its ports, its tasks.
#[derive(Debug)]
pub struct Running<R: Runtime> {
    /// The broker.
    pub broker: Arc<Broker<R>>,
    server: Server,
}

/// Effects find their broker once it exists: a node applies entries before there is one.
type Cell<R> = Arc<OnceLock<Weak<Broker<R>>>>;

impl<R: Runtime> Running<R> {
    /// Starts the node and, once it is a member of its group, serves clients.
    ///
    /// # Errors
    /// A port is taken, the store cannot be opened, or the group will not have this node.
    pub async fn start(
        settings: Settings,
        options: BrokerOptions,
        place: Place,
        on_fatal: OnFatal,
    ) -> Result<Self, BrokerError> {
        let mut listeners = Vec::new();
        for addr in options.listen_addrs() {
            let setting = if addr == options.listen { "listenPort" } else { "listenPort - 2 (vipChannelEnabled)" };
            listeners.push(crate::server::bind::<R>(addr, setting).await?);
        }
        let cell: Cell<R> = Arc::default();
        let effects = Arc::clone(&cell);
        let (machine_place, exported, index_sizes) = (place.clone(), place.clone(), options.index);
        let bootstrapping = matches!(settings.start, Start::Bootstrap { .. });
        let parts = Parts::<Machine> {
            place,
            machine: Box::new(move |identity| {
                let (disk, size) = (Arc::clone(&machine_place.disk), identity.constants.segment_size);
                Machine::new(disk, &machine_place.dir, size).map(|machine| machine.with_index(index_sizes))
            }),
            sink: Arc::new(move |applied| {
                if let Some(broker) = effects.get().and_then(Weak::upgrade) {
                    broker.effects(applied);
                }
            }),
            on_fatal,
            process: R::thread_rng().random(),
        };
        let node = Node::start(settings, parts).await?;
        let broker = Broker::assemble(node, options, exported);
        // The cell is set once; entries applied before had nobody waiting on them.
        let _ = cell.set(Arc::downgrade(&broker));
        broker.spawn_tasks(bootstrapping);
        let front = Arc::new(Front(Arc::clone(&broker)));
        let limits = broker.options.limits;
        let server = crate::server::serve::<R, _, _>(listeners, front, limits, broker.stop.clone())?;
        Ok(Self { broker, server })
    }

    /// The address of the main port.
    pub fn local_addr(&self) -> std::net::SocketAddr {
        self.server.local_addrs()[0]
    }

    /// Stops: hands leadership over, sends clients elsewhere (code 1500 to those who know it), answers what is in flight,
    /// tells NameServers, flushes, closes.
    pub async fn shutdown(self) {
        let node = Arc::clone(&self.broker.node);
        node.hand_over().await;
        self.broker.leaving.store(true, Ordering::Release);
        // After the handover, so that NameServers always know a leader: until now this node passed requests on.
        self.broker.registrar.leave::<R>(&self.broker).await;
        if self.server.connections() > 0 {
            R::sleep(GO_AWAY_TIME).await;
        }
        self.server.drain::<R>(DRAIN_TIME).await;
        self.broker.leave_sessions().await;
        self.broker.stop.cancel();
        self.broker.export().await;
        node.stop().await;
    }
}

impl<R: Runtime> Broker<R> {
    fn assemble(node: Arc<Node<R, Machine>>, options: BrokerOptions, place: Place) -> Arc<Self> {
        let leadership = Arc::<leadership::Leadership>::default();
        let (proposer, work) =
            proposer::Proposer::new(&node, &leadership, options.advertised, options.max_pending_bytes);
        let stop = CancellationToken::new();
        let (commits, committing) = commit::Commits::new();
        let broker = Arc::new(Self {
            node,
            leadership,
            proposer,
            commits,
            holds: hold::Holds::default(),
            known: pull::known::Known::default(),
            sessions: sessions::Sessions::new::<R>(),
            registrar: register::Registrar::new(&options),
            exports: export::Exports::new(place),
            changing_topic: tokio::sync::Mutex::default(),
            options,
            started_ms: R::wall_clock_ms(),
            handling: Arc::default(),
            leaving: AtomicBool::new(false),
            stop,
        });
        broker.spawn(work.run());
        broker.spawn(committing.run(Arc::downgrade(&broker)));
        broker
    }

    /// Starts a task that ends with the broker.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        drop(R::spawn(async move {
            let _ = R::select2(stop.cancelled(), task).await;
        }));
    }

    fn spawn_tasks(self: &Arc<Self>, bootstrapping: bool) {
        let handler = Arc::downgrade(self);
        self.node.set_handler(Arc::new(move |from, bytes| {
            let broker = handler.upgrade();
            Box::pin(async move {
                match broker {
                    Some(broker) => broker.answer_call(from, bytes).await,
                    None => Bytes::new(),
                }
            })
        }));
        let leading = Arc::downgrade(self);
        let on_change = move |leader| {
            if let Some(broker) = leading.upgrade() {
                broker.leader_changed(leader);
            }
        };
        self.spawn(Arc::clone(&self.leadership).follow(Arc::clone(&self.node), on_change));
        self.spawn(register::run(Arc::clone(self)));
        self.spawn(sessions::run(Arc::clone(self)));
        self.spawn(hold::run(Arc::clone(self)));
        self.spawn(clock::run(Arc::clone(self)));
        self.spawn(retention::run(Arc::clone(self)));
        self.spawn(rebuild::run(Arc::clone(self)));
        self.spawn(scrub::run(Arc::clone(self)));
        self.spawn(export::run(Arc::clone(self)));
        if bootstrapping {
            self.spawn(topic::create_system_topics(Arc::clone(self)));
        }
    }

    /// The world's part of applied entries: hints, each derivable from state.
    fn effects(self: &Arc<Self>, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::MessagesArrived(arrivals) => self.holds.arrived(&arrivals),
                Effect::TopicsChanged(topics) => {
                    self.holds.topics_changed(&topics);
                    self.registrar.changed();
                }
                Effect::GroupsChanged(_) => {}
                Effect::Purged { .. } => self.node.retain(),
            }
        }
    }

    fn leader_changed(self: &Arc<Self>, leader: leadership::Leader) {
        tracing::debug!(?leader, "leadership as this broker sees it");
        self.registrar.changed();
        self.sessions.leader_changed();
    }

    /// Answers another broker of the group.
    async fn answer_call(self: Arc<Self>, from: u64, bytes: Bytes) -> Bytes {
        match call::decode(bytes) {
            Ok((call::Call::Forward { client, count }, raw)) => self.forwarded(client, count, raw).await,
            Ok((call::Call::Sessions(report), _)) => self.sessions_reported(from, report).await,
            Ok((call::Call::Notify(groups), _)) => self.notify_members(&groups),
            Ok((call::Call::Subscriptions { group }, _)) => self.subscriptions_of(&group),
            Err(e) => {
                tracing::warn!(from, "a call of another broker is not understood: {e}");
                Bytes::new()
            }
        }
    }

    /// The node behind the broker.
    pub fn node(&self) -> &Arc<Node<R, Machine>> {
        &self.node
    }

    /// Messages this node stored as leader since it started.
    pub fn messages_put(&self) -> u64 {
        self.proposer.messages_put()
    }
}

impl From<Refusal> for send::Refused {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal {
            Refusal::TopicNotExist => crate::protocol::code::response::TOPIC_NOT_EXIST,
            _ => crate::protocol::code::response::SYSTEM_ERROR,
        };
        Self { code, remark: refusal.to_string() }
    }
}
