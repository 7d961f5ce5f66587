//! Retention: the leader looks regularly which segments are to go, and proposes it. All members drop them alike.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use quorumq_raft::machine::Machine as _;
use quorumq_raft::runtime::Runtime;
use quorumq_store::disk::Space;

use super::Broker;
use super::commander::CommandError;
use super::leadership::Leader;
use crate::machine::{Command as MachineCommand, Outcome};
use crate::protocol::code::response;
use crate::protocol::command::Command;

pub mod policy;

use policy::{Moment, Verdict, boundary};

/// The settings of retention, and where the broker's day begins.
#[derive(Clone, Debug)]
pub struct RetentionOptions {
    /// What goes when.
    pub policy: policy::Policy,
    /// Pause between sweeps (RocketMQ's cleanResourceInterval, 10 s).
    pub interval: Duration,
    /// The hour of the day, 0 to 23, at a time in milliseconds since the epoch, where the broker is.
    pub hour_of: fn(i64) -> u8,
}

impl Default for RetentionOptions {
    fn default() -> Self {
        Self { policy: policy::Policy::default(), interval: Duration::from_secs(10), hour_of: utc_hour }
    }
}

/// The hour of the day by UTC.
pub fn utc_hour(ms: i64) -> u8 {
    (ms.div_euclid(3_600_000).rem_euclid(24)) as u8
}

/// Sweeps as long as the broker runs.
pub(super) async fn run<R: Runtime>(broker: Arc<Broker<R>>) {
    loop {
        R::sleep(broker.options.retention.interval).await;
        if broker.leadership.now(broker.node.id()) == Leader::Here {
            // Refused or unknown: the next sweep, here or at another leader, looks again.
            if let Err(e) = broker.sweep(false).await {
                tracing::info!("retention: {e}");
            }
        }
    }
}

impl<R: Runtime> Broker<R> {
    /// Drops what is to go. `is_asked` lets expired segments go at any hour. Whether any went.
    async fn sweep(&self, is_asked: bool) -> Result<bool, CommandError> {
        let Some(ahead) = self.clock_ahead_ms().await else {
            return Err(CommandError::Refused("no majority tells what time it is".to_owned()));
        };
        // What goes is gone: one clock that is wrong must not decide, not even until this node has handed over for it.
        let now_ms = R::wall_clock_ms() - ahead.max(0);
        let hour = (self.options.retention.hour_of)(now_ms);
        let (space, is_pending) = self.least_space().await;
        let segments = self.node.machine().segments();
        let moment = Moment { now_ms, hour, space, is_asked, is_pending };
        let verdicts = self.options.retention.policy.judge(&segments, &moment);
        let Some(to) = boundary(&verdicts) else { return Ok(false) };
        for Verdict { start, reason } in verdicts.iter().take_while(|verdict| verdict.reason.goes()) {
            tracing::info!(segment = %start, "retention drops a segment of the CommitLog: {reason}");
        }
        self.command_one(MachineCommand::purge_to(to)).await.map(|outcome| outcome == Outcome::Done)
    }

    /// The volume with the least room of all members that answer, as a purge makes room on all of them; and whether an
    /// earlier purge has not done so yet, there or here. A learner that is being caught up with holds purges up.
    async fn least_space(&self) -> (Space, bool) {
        let retained_from = self.node.machine().retained_from().0;
        let members = self.node.members();
        let answers = join_all(members.iter().map(|(id, ..)| self.node.status_of(*id))).await;
        let spaces = answers.into_iter().flatten().filter_map(|status| Some((status.space?, status.first_offset)));
        let least =
            spaces.min_by_key(|((available, total), _)| u128::from(*available) * 1_000_000 / u128::from(*total).max(1));
        let is_pending = |first: u64| first < retained_from;
        let is_pending_here = is_pending(self.node.positions().first.0);
        least
            .map_or((Space { available: u64::MAX, total: u64::MAX }, is_pending_here), |((available, total), first)| {
                (Space { available, total }, is_pending(first) || is_pending_here)
            })
    }

    /// DELETE_EXPIRED_COMMITLOG: what is expired goes now, whatever the hour.
    pub(super) async fn delete_expired(&self, command: &Command) -> Command {
        match self.sweep(true).await {
            Ok(_) => command.reply(response::SUCCESS, None),
            Err(e) => e.answer(self, command),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hour_by_utc() {
        assert_eq!(utc_hour(0), 0);
        assert_eq!(utc_hour(4 * 3_600_000 + 1), 4);
        assert_eq!(utc_hour(-1), 23);
        assert_eq!(utc_hour(25 * 3_600_000), 1);
    }
}
