//! The clients of a run: each has a host, and lives that end and begin again.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use madsim::task::JoinHandle;
use quorumq::client::{ClientError, ClientOptions};
use tokio_util::sync::CancellationToken;

use super::nameservers::NameServers;
use crate::history::Ledger;
use crate::tally::Fault;
use crate::workload::{Client, Kind, Topic};
use crate::world::{Death, Node as Host, World};

/// A client, whichever life it is in.
#[derive(Debug)]
struct Hand {
    kind: Kind,
    number: usize,
    host: Host,
    lives: u32,
    stop: CancellationToken,
    working: Option<JoinHandle<Result<(), ClientError>>>,
}

/// All clients.
#[derive(Debug)]
pub struct Crew {
    world: World,
    hands: Vec<Hand>,
    ledger: Ledger,
    topics: Arc<[Topic]>,
    options: ClientOptions,
    visitors: Host,
}

impl Crew {
    /// Hosts for one client of each of `kinds`; none works yet.
    #[must_use]
    pub fn new(world: &World, kinds: &[Kind], topics: &[Topic], namesrv: &NameServers) -> Self {
        let hand = |(number, kind): (usize, &Kind)| Hand {
            kind: *kind,
            number,
            host: world.add_node(Ipv4Addr::new(10, 0, 100, u8::try_from(number + 1).unwrap_or(u8::MAX)).into()),
            lives: 0,
            stop: CancellationToken::new(),
            working: None,
        };
        Self {
            world: world.clone(),
            hands: kinds.iter().enumerate().map(hand).collect(),
            ledger: Ledger::default(),
            topics: topics.into(),
            options: ClientOptions::new(namesrv.addrs()),
            visitors: world.add_node(Ipv4Addr::new(10, 0, 200, 2).into()),
        }
    }

    /// How many clients there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.hands.len()
    }

    /// Where they write down what they do.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The host of one.
    #[must_use]
    pub fn host(&self, at: usize) -> &Host {
        &self.hands[at].host
    }

    /// Begins the first life of each.
    pub fn begin(&mut self) {
        (0..self.count()).for_each(|at| self.start(at));
    }

    fn start(&mut self, at: usize) {
        let hand = &mut self.hands[at];
        hand.lives += 1;
        hand.stop = CancellationToken::new();
        let client = Client {
            world: self.world.clone(),
            host: hand.host.clone(),
            name: life_name(hand.kind, hand.number, hand.lives),
            options: ClientOptions { client_ip: hand.host.ip(), ..self.options.clone() },
            ledger: self.ledger.clone(),
            topics: Arc::clone(&self.topics),
            pause: hand.kind.usual_pause(),
            stop: hand.stop.clone(),
        };
        hand.working = Some(hand.kind.start(client));
    }

    /// A client on a host on which nothing goes wrong.
    #[must_use]
    pub fn visitor(&self, name: &str) -> Client {
        Client {
            world: self.world.clone(),
            host: self.visitors.clone(),
            name: name.into(),
            options: ClientOptions { client_ip: self.visitors.ip(), ..self.options.clone() },
            ledger: self.ledger.clone(),
            topics: Arc::clone(&self.topics),
            pause: Duration::ZERO,
            stop: CancellationToken::new(),
        }
    }

    /// Ends a client's process; how many operations it had under way.
    pub fn kill(&mut self, at: usize, death: Death) -> u64 {
        let hand = &mut self.hands[at];
        if hand.working.take().is_none() {
            return 0;
        }
        hand.host.kill_for(Fault::ClientCrash, death);
        let name = life_name(hand.kind, hand.number, hand.lives);
        self.ledger.look(|history| {
            let open = history.ops.iter().filter(|op| op.ended_ns == u64::MAX && op.client == name);
            open.count() as u64
        })
    }

    /// Begins another life of a client that was killed, unless one has begun.
    pub fn restart(&mut self, at: usize) {
        if self.hands[at].working.is_none() {
            self.hands[at].host.restart();
            self.start(at);
        }
    }

    /// Tells those of whom `which` is true to come to an end in good order.
    pub fn dismiss(&self, which: impl Fn(Kind) -> bool) {
        self.hands.iter().filter(|hand| which(hand.kind)).for_each(|hand| hand.stop.cancel());
    }

    /// Names of those of whom `which` is true who still work.
    pub fn working(&self, which: impl Fn(Kind) -> bool) -> Vec<&'static str> {
        let at_work = |hand: &&Hand| which(hand.kind) && hand.working.as_ref().is_some_and(|task| !task.is_finished());
        self.hands.iter().filter(at_work).map(|hand| hand.kind.name()).collect()
    }
}

fn life_name(kind: Kind, number: usize, life: u32) -> Arc<str> {
    format!("{}-{number}-{life}", kind.name()).into()
}
