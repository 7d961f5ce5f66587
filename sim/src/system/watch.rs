//! Looks at the groups every few milliseconds: who leads, what was installed and cut, whether the invariants hold.

use std::collections::BTreeMap;
use std::net::IpAddr;

use quorumq_store::LogId;

use crate::invariant::{self, GroupView, Invariant, SeatView, View};
use crate::report::{Moment, Violation, What};
use crate::tally::Effect;
use crate::world::World;

/// What is known of a seat since its process began to serve.
#[derive(Debug, Default)]
struct Seen {
    life: u64,
    serves: bool,
    leads: Option<u64>,
    snapshots: u64,
    truncations: u64,
    unproven: bool,
    /// Entries appended and not committed when it last led.
    uncommitted: u64,
}

/// The watch of a run.
pub struct Watch {
    world: World,
    invariants: Vec<Box<dyn Invariant>>,
    seen: BTreeMap<IpAddr, Seen>,
    moments: Vec<Moment>,
    /// Messages acknowledged up to the last full second, and that second.
    acked: (u64, u64),
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("seen", &self.seen).finish_non_exhaustive()
    }
}

impl Watch {
    /// A watch that has seen nothing.
    #[must_use]
    pub fn new(world: &World) -> Self {
        Self {
            world: world.clone(),
            invariants: invariant::all(),
            seen: BTreeMap::new(),
            moments: Vec::new(),
            acked: (0, 0),
        }
    }

    /// Something worth a line in the report.
    pub fn note(&mut self, node: impl ToString, what: What) {
        let at_ms = self.now_ms();
        tracing::info!(node = %node.to_string(), ?what, "moment");
        self.moments.push(Moment { at_ms, node: node.to_string(), what });
    }

    /// Takes note, once a second, of how many more messages than before are acknowledged.
    pub fn count_acks(&mut self, acked: u64) {
        let (before, second) = self.acked;
        let now = self.world.elapsed().as_secs();
        if now > second {
            self.moments.push(Moment { at_ms: now * 1000, node: String::new(), what: What::Acks(acked - before) });
            self.acked = (acked, now);
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.world.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// What it noted.
    #[must_use]
    pub fn take_moments(&mut self) -> Vec<Moment> {
        std::mem::take(&mut self.moments)
    }

    /// A rule that does not hold now.
    #[must_use]
    pub fn violation(&self, rule: &str, what: String) -> Violation {
        Violation { rule: rule.to_owned(), what, at_ms: self.now_ms() }
    }

    /// Looks once.
    ///
    /// # Errors
    /// The first invariant that does not hold.
    pub fn look(&mut self, view: &View) -> Result<(), Violation> {
        for (at, group) in view.groups.iter().enumerate() {
            for (seat, seen) in group.seats.iter().enumerate() {
                if self.look_at(group, seen) {
                    self.judge(|rule| rule.restarted(view, at, seat))?;
                }
            }
        }
        self.judge(|rule| rule.step(view))
    }

    /// Looks as soon as a member has applied entries.
    ///
    /// # Errors
    /// The first invariant that does not hold.
    pub fn look_at_apply(&mut self, view: &View) -> Result<(), Violation> {
        self.judge(|rule| if rule.looks_at_applies() { rule.step(view) } else { Ok(()) })
    }

    /// All faults are over and the groups have come to rest.
    ///
    /// # Errors
    /// The first invariant that does not hold.
    pub fn at_rest(&mut self, view: &View) -> Result<(), Violation> {
        self.judge(|rule| rule.at_rest(view))
    }

    fn judge(&mut self, mut look: impl FnMut(&mut dyn Invariant) -> Result<(), String>) -> Result<(), Violation> {
        let at_ms = self.now_ms();
        for rule in &mut self.invariants {
            look(&mut **rule).map_err(|what| Violation { rule: rule.name().to_owned(), what, at_ms })?;
        }
        Ok(())
    }

    /// Looks at a seat; whether its process has begun to serve since the last look.
    fn look_at(&mut self, group: &GroupView, seat: &SeatView) -> bool {
        let seen = self.seen.entry(seat.ip).or_default();
        let Some(member) = seat.member.as_ref() else {
            let was = std::mem::take(&mut seen.serves);
            if seen.leads.take().is_some() {
                self.world.tally().effect(Effect::ProposalCut, std::mem::take(&mut seen.uncommitted));
                self.note(seat.ip, What::LeadsNoMore);
            }
            if was {
                self.note(seat.ip, What::Down);
            }
            return false;
        };
        let mut news = Vec::new();
        let begun = seen.life != seat.life;
        if begun {
            *seen = Seen { life: seat.life, ..Seen::default() };
            self.world.tally().effect(Effect::FrameTorn, u64::from(member.had_torn_tail()));
        }
        if !std::mem::replace(&mut seen.serves, true) {
            news.push(What::Up);
        }
        let unproven = member.is_unproven();
        if std::mem::replace(&mut seen.unproven, unproven) != unproven {
            let (effect, note) =
                if unproven { (Effect::Unproven, "is unproven") } else { (Effect::Proven, "is proven again") };
            self.world.tally().effect(effect, 1);
            news.push(What::Note(note.to_owned()));
        }
        let leads = member.is_leader().then(|| member.leadership().0);
        if leads != seen.leads {
            seen.leads = leads;
            news.push(match leads {
                Some(term) => What::Leads { group: group.name.to_string(), term },
                None => What::LeadsNoMore,
            });
            self.world.tally().effect(Effect::Election, u64::from(leads.is_some()));
            self.world.tally().effect(Effect::ProposalCut, std::mem::take(&mut seen.uncommitted));
        }
        if leads.is_some() {
            let positions = member.positions();
            let next = |id: Option<LogId>| id.map_or(0, |id| id.index.0 + 1);
            seen.uncommitted = next(positions.last).saturating_sub(next(positions.committed));
        }
        let (snapshots, truncations) = (member.shared().snapshots_installed(), member.truncations());
        self.world.tally().effect(Effect::SnapshotInstalled, snapshots - seen.snapshots);
        if truncations > seen.truncations {
            self.world.tally().effect(Effect::Truncation, truncations - seen.truncations);
            news.push(What::Note("cut a tail off its log".to_owned()));
        }
        if snapshots > seen.snapshots {
            news.push(What::Note("installed a snapshot".to_owned()));
        }
        (seen.snapshots, seen.truncations) = (snapshots, truncations);
        news.into_iter().for_each(|what| self.note(seat.ip, what));
        begun
    }
}
