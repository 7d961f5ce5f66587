//! Looks at a group of brokers all the time while a scenario runs, by the rules of the inside.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Verdict;
use super::seat::Seat;
use crate::invariant::{self, GroupView, Invariant, Member, RouteView, SeatView, View};
use crate::world::World;

/// Time between two looks.
const STEP: Duration = Duration::from_millis(5);

/// The watch over one group.
#[derive(Clone)]
pub struct Watch {
    state: Arc<Mutex<State>>,
    world: World,
}

struct State {
    view: View,
    rules: Vec<Box<dyn Invariant>>,
    /// The first rule that did not hold.
    broken: Option<String>,
}

impl State {
    /// Looks by every rule, unless one is broken already.
    fn look(&mut self, now: Duration, by: impl Fn(&mut dyn Invariant, &View) -> Verdict) {
        let Self { view, rules, broken } = self;
        view.now = now;
        if broken.is_none() {
            let look = |rule: &mut Box<dyn Invariant>| by(&mut **rule, view).err().map(|what| (rule.name(), what));
            *broken = rules.iter_mut().find_map(look).map(|(rule, what)| format!("{rule}: {what} (at {now:?})"));
        }
    }
}

impl Watch {
    /// Begins to watch a group that has no seats yet.
    #[must_use]
    pub fn begin(world: &World, group: GroupView) -> Self {
        let view = View { now: Duration::ZERO, groups: vec![group], routes: Vec::new() };
        let state = State { view, rules: invariant::all(), broken: None };
        let watch = Self { state: Arc::new(Mutex::new(state)), world: world.clone() };
        drop(madsim::task::spawn(watch.clone().run()));
        watch
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(self) {
        loop {
            madsim::time::sleep(STEP).await;
            self.lock().look(self.world.elapsed(), |rule, view| rule.step(view));
        }
    }

    /// There is one more seat.
    pub fn add_seat(&self, seat: &Seat) {
        let view = SeatView {
            ip: seat.host().ip(),
            disk: seat.disk().medium().clone(),
            life: 0,
            member: None,
            doomed: false,
            wiped: false,
        };
        self.lock().view.groups[0].seats.push(view);
    }

    /// The broker on a seat runs.
    pub fn up(&self, at: usize, member: Member) {
        let mut state = self.lock();
        let seat = &mut state.view.groups[0].seats[at];
        (seat.life, seat.member) = (seat.life + 1, Some(member));
        if seat.life > 1 {
            state.look(self.world.elapsed(), |rule, view| rule.restarted(view, 0, at));
        }
    }

    /// The broker on a seat is about to end.
    pub fn down(&self, at: usize) {
        self.lock().view.groups[0].seats[at].member = None;
    }

    /// All is over, and clients are sent to these leaders: what did not hold, now or ever.
    ///
    /// # Errors
    /// The first rule that did not hold.
    pub fn rest(&self, routes: Vec<RouteView>) -> Verdict {
        let mut state = self.lock();
        state.view.routes = routes;
        let now = self.world.elapsed();
        state.look(now, |rule, view| rule.step(view));
        state.look(now, |rule, view| rule.at_rest(view));
        state.broken.clone().map_or(Ok(()), Err)
    }
}
