//! Looks after processes: starts those that are due, and asks why the others ended.

use super::System;
use super::errand::Errand;
use super::nemesis::RESTART_AFTER;
use super::nemesis::members::replace;
use super::seat::End;
use crate::disk::SimDisk;
use crate::report::{Violation, What};
use crate::tally::{Effect, Fault};
use crate::world::Death;

impl System {
    /// Starts what is due, ends what is sentenced, and follows up on errands.
    ///
    /// # Errors
    /// A process ended by itself without a fault that explains it.
    pub(super) async fn keep(&mut self) -> Result<(), Violation> {
        let now = self.world.elapsed();
        for group in 0..self.groups.len() {
            for at in 0..self.groups[group].count() {
                let seat = self.groups[group].seat(at).clone();
                seat.look_what_it_holds();
                if let Some((fault, death)) = seat.take_sentence(now) {
                    seat.kill(fault, self.bearable(group, at, death));
                }
                if let Some(end) = seat.take_end() {
                    self.ended(group, at, end)?;
                }
                if self.groups[group].is_retired(at) {
                    if seat.member().is_some() {
                        let what = format!("{} lost its store, and serves again under its old id", seat.ip());
                        return Err(self.watch.violation("wiped-serves", what));
                    }
                } else if seat.is_due(now) {
                    self.groups[group].start(at);
                }
            }
        }
        self.note_repairs();
        for (group, at) in std::mem::take(&mut self.condemned) {
            if !replace(Fault::BitRot, group, at, self) {
                self.condemned.push((group, at));
            }
        }
        for (group, errand) in self.errands.done().await.map_err(|e| self.watch.violation("operator", e))? {
            self.follow_up(group, &errand);
        }
        Ok(())
    }

    /// Where nothing is wrong on a member's disk any more, or another one is in its place, its group can bear damage anew.
    fn note_repairs(&mut self) {
        for (at, (group, atlas)) in self.groups.iter().zip(&mut self.atlases).enumerate() {
            for ip in atlas.damaged().collect::<Vec<_>>() {
                let is_whole = |disk: &SimDisk| disk.damage().is_empty() && !disk.has_rotten_hard_state();
                match group.seats().find(|(_, seat)| seat.ip() == ip) {
                    Some((_, seat)) if is_whole(seat.machine().disk()) => {
                        self.world.tally().effect(Effect::Healed, atlas.made_good(ip) as u64);
                    }
                    None if !self.errands.is_busy(at) => {
                        atlas.made_good(ip);
                    }
                    _ => {}
                }
            }
        }
    }

    /// A process has ended by itself.
    fn ended(&mut self, group: usize, at: usize, end: End) -> Result<(), Violation> {
        let seat = self.groups[group].seat(at).clone();
        self.watch.note(seat.ip(), What::Note(format!("ended: {end:?}")));
        if self.groups[group].is_retired(at) {
            if matches!(end, End::Refused(_)) {
                self.world.tally().felt(Fault::WipedReturns, 1);
            }
            return Ok(());
        }
        let disk = seat.machine().disk();
        // Only damage of the hard state cannot be made good from other members' copies.
        let is_lost = disk.has_rotten_hard_state();
        if !seat.is_doomed() && !is_lost {
            let what = format!("{} ended although its disk did nothing that it could not bear: {end:?}", seat.ip());
            return Err(self.watch.violation("needless-end", what));
        }
        if is_lost {
            self.condemned.push((group, at));
        } else {
            seat.start_at(Some(self.world.elapsed() + RESTART_AFTER));
        }
        Ok(())
    }

    /// A change of membership was carried out.
    fn follow_up(&mut self, group: usize, errand: &Errand) {
        if let Errand::Remove { seat, .. } = errand {
            self.groups[group].seat(*seat).kill(Fault::Remove, Death::Crash);
            self.groups[group].retire(*seat);
        }
        self.watch.note("", What::Note(format!("done: {errand:?}")));
    }
}
