//! The whole system under one seed: NameServers, groups of brokers, clients, and all that can go wrong.
//!
//! Two phases: faults of the plan while clients work; then faults off, and everything has to come to rest, to work, and
//! to hold what was acknowledged.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use quorumq_store::mutant::{self, Mutant};

use crate::disk::atlas::Atlas;
use crate::history::History;
use crate::invariant::{RouteView, View};
use crate::report::{Moment, Report, Violation, What};
use crate::runtime::SimRng;
use crate::scenario::weather;
use crate::workload::{Kind, Topic};
use crate::world::{self, ClockFault, Config, NetConfig, World};
use crate::{checker, tally};

mod calm;
mod crew;
mod errand;
mod group;
mod keeper;
mod minority;
mod nameservers;
mod nemesis;
pub mod plan;
mod seat;
mod watch;

use crew::Crew;
use errand::Errands;
use group::Group;
use nameservers::NameServers;
use nemesis::Nemesis;
use plan::Plan;
use watch::Watch;

/// How often the groups are looked at and faults go on.
const TICK: Duration = Duration::from_millis(5);
/// The clients of a run.
const CREW: &[Kind] = &[
    Kind::Producer,
    Kind::AsyncProducer,
    Kind::OneWayProducer,
    Kind::BatchProducer,
    Kind::OrderedProducer,
    Kind::FollowerProducer,
    Kind::PullConsumer,
    Kind::PushConsumer,
    Kind::PushConsumer,
    Kind::PushConsumer,
    Kind::Committer,
    Kind::TopicChanger,
    Kind::EndsWatcher,
    Kind::KeyReader,
];
/// Virtual time that a run may take beyond its length.
const GRACE: Duration = Duration::from_secs(1_200);

/// What a run is told besides its seed.
#[derive(Clone, Debug)]
pub struct Options {
    /// Virtual time during which clients work and faults strike.
    pub length: Duration,
    /// The bug to plant, by name.
    pub mutant: Option<String>,
    /// Prints every event of the trace to stderr.
    pub print_trace: bool,
    /// Flips one bit of the n-th run of bytes that a connection carries: shows that the hash covers it.
    pub flip_bit_of: Option<u64>,
}

/// What a run leaves behind, however it ends.
#[derive(Debug, Default)]
struct Left {
    plan: String,
    history: History,
    counts: tally::Counts,
    moments: Vec<Moment>,
    sending: Duration,
}

/// Runs a seed to its end.
#[must_use]
pub fn run(seed: u64, options: &Options) -> Report {
    let began = Instant::now();
    if let Some(mutant) = options.mutant.as_deref().and_then(Mutant::parse) {
        mutant::plant(mutant);
    }
    let time_limit = options.length + GRACE;
    let config =
        Config { print_trace: options.print_trace, flip_bit_of: options.flip_bit_of, time_limit, ..Config::default() };
    let left = Arc::<Mutex<Left>>::default();
    let (leaving, length) = (Arc::clone(&left), options.length);
    let ended = world::run(seed, config, move |world| play(world, length, leaving));
    let Left { plan, history, counts, moments, sending } =
        std::mem::take(&mut *left.lock().unwrap_or_else(PoisonError::into_inner));
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let mut report = Report {
        seed,
        outcomes: history.outcomes(),
        acknowledged: history.acknowledged(),
        sending_ms: millis(sending),
        counts,
        plan,
        moments,
        ..Report::default()
    };
    match ended {
        Ok(outcome) => {
            report.hash = format!("{:016x}", outcome.hash);
            (report.events, report.virtual_ms) = (outcome.events, millis(outcome.elapsed));
            report.violation = outcome.value.err();
        }
        Err(failure) => {
            report.hash = format!("{:016x}", failure.hash);
            report.violation = Some(Violation { rule: "panic".to_owned(), what: failure.message, at_ms: 0 });
        }
    }
    report.wall_ms = millis(began.elapsed());
    report
}

/// Everything that a run is made of.
#[derive(Debug)]
struct System {
    world: World,
    rng: SimRng,
    plan: Plan,
    nameservers: NameServers,
    groups: Vec<Group>,
    crew: Crew,
    errands: Errands,
    watch: Watch,
    /// Nodes that the fault which begins now has struck.
    struck: Vec<IpAddr>,
    /// Damage that each group bears.
    atlases: Vec<Atlas>,
    /// Members whose store is damaged, to be replaced: group and seat.
    condemned: Vec<(usize, usize)>,
    /// How slow networks and disks are, apart from faults.
    weather: NetConfig,
    /// When faults and clients began.
    began: Duration,
}

async fn play(world: World, length: Duration, left: Arc<Mutex<Left>>) -> Result<(), Violation> {
    let mut system = System::new(&world, length);
    left.lock().unwrap_or_else(PoisonError::into_inner).plan = system.plan.to_string();
    let mut verdict = system.live().await;
    let history = system.crew.ledger().take();
    if verdict.is_ok() {
        verdict = judge(&system, &history);
    }
    if let Err(violation) = &verdict {
        let what = What::Note(violation.to_string());
        system.watch.note("", what);
    }
    let unknown = history.outcomes().values().map(|[_, _, unknown]| unknown).sum();
    world.tally().effect(tally::Effect::UnknownOutcome, unknown);
    let mut left = left.lock().unwrap_or_else(PoisonError::into_inner);
    (left.history, left.counts, left.moments) = (history, world.tally().counts(), system.watch.take_moments());
    left.sending = length;
    verdict
}

fn judge(system: &System, history: &History) -> Result<(), Violation> {
    checker::judge(history).map_err(|(rule, what)| system.watch.violation(rule, what))
}

impl System {
    fn new(world: &World, length: Duration) -> Self {
        let mut rng = world.rng();
        let plan = Plan::draw(&mut rng, length);
        world.record("plan", 0, plan.to_string().as_bytes());
        tracing::info!("{plan}");
        let nameservers = NameServers::start(world, plan.nameservers);
        let addrs = nameservers.addrs();
        let group = |(number, group): (usize, &plan::GroupPlan)| {
            let number = u8::try_from(number).unwrap_or(u8::MAX);
            Group::new(world, number, *group, &addrs)
        };
        let groups: Vec<_> = plan.groups.iter().enumerate().map(group).collect();
        let atlases = groups.iter().map(|_| Atlas::new()).collect();
        let topics: Vec<_> =
            ["orders", "payments"].iter().map(|name| Topic { name: (*name).into(), queues: plan.queues }).collect();
        let crew = Crew::new(world, CREW, &topics, &nameservers);
        let operator = world.add_node(Ipv4Addr::new(10, 0, 200, 1).into());
        let errands = Errands::new(world, operator, addrs);
        let watch = Watch::new(world);
        Self {
            world: world.clone(),
            rng,
            plan,
            nameservers,
            groups,
            crew,
            errands,
            watch,
            struck: Vec::new(),
            atlases,
            condemned: Vec::new(),
            weather: weather::draw(world),
            began: Duration::ZERO,
        }
    }

    /// Both phases.
    async fn live(&mut self) -> Result<(), Violation> {
        self.form().await?;
        self.began = self.world.elapsed();
        self.crew.begin();
        let mut nemesis = Nemesis::new(&self.plan.steps);
        while self.world.elapsed() - self.began < self.plan.length {
            nemesis.tick(self);
            self.tick().await?;
        }
        nemesis.stop(self);
        self.world.heal_all();
        self.come_to_rest().await
    }

    fn view(&self, routes: Vec<RouteView>) -> View {
        View { now: self.world.elapsed(), groups: self.groups.iter().map(Group::view).collect(), routes }
    }

    /// A few milliseconds: the groups are looked at whenever a member applies entries, and at the end, when processes that
    /// are due are started.
    async fn tick(&mut self) -> Result<(), Violation> {
        let end = self.world.elapsed() + TICK;
        while !self.world.until_applied(end).await {
            let view = self.view(Vec::new());
            self.watch.look_at_apply(&view)?;
        }
        self.keep().await?;
        self.watch.count_acks(self.crew.ledger().acked());
        let view = self.view(self.nameservers.routes(&self.groups));
        self.watch.look(&view)
    }

    /// Ticks until `done` is true.
    async fn until(
        &mut self,
        what: &str,
        limit: Duration,
        mut done: impl FnMut(&mut Self) -> Result<(), String>,
    ) -> Result<(), Violation> {
        let deadline = self.world.elapsed() + limit;
        loop {
            let Err(missing) = done(self) else { return Ok(()) };
            if self.world.elapsed() > deadline {
                return Err(self.watch.violation("liveness", format!("not within {limit:?}: {what}: {missing}")));
            }
            self.tick().await?;
        }
    }

    /// Every seat starts, groups form, topics are created.
    async fn form(&mut self) -> Result<(), Violation> {
        for at in 0..self.groups.len() {
            let founders: Vec<_> = self.groups[at].seats().map(|(at, _)| at).collect();
            for seat in founders {
                let skew_ms = self.plan.skew_ms;
                if skew_ms > 0 {
                    let skew_ms = rand::RngExt::random_range(&mut self.rng, -skew_ms..=skew_ms);
                    self.groups[at].seat(seat).host().strike_clock(ClockFault::Skew(skew_ms));
                }
            }
        }
        self.until("every group has a leader", Duration::from_secs(60), |system| {
            let without = system.groups.iter().find(|group| group.leader().is_none());
            without.map_or(Ok(()), |group| Err(format!("{} has none", group.name)))
        })
        .await?;
        self.create_topics().await
    }
}
