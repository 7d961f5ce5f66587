//! The second phase: no faults any more. Everything has to come to rest, to work, and to hold what was acknowledged.

use std::time::Duration;

use super::group::Group;
use super::{System, judge};
use crate::invariant::Member;
use crate::report::Violation;
use crate::workload::{self, Kind};
use crate::world::NetConfig;

/// Time in which groups without faults elect, catch up and agree, and changes under way end.
const SOON: Duration = Duration::from_secs(120);
/// Time in which clients finish what they have under way.
const FAREWELL: Duration = Duration::from_secs(60);
/// Time in which consumers get to the end: a client that died is forgotten after two minutes.
const SETTLE: Duration = Duration::from_secs(400);
/// Fresh messages sent to each group, and the time they may take.
const FRESH: u32 = 20;
const FRESH_SOON: Duration = Duration::from_secs(20);
/// Time in which everything is read.
const SCAN: Duration = Duration::from_secs(300);
/// Clients work this long without faults.
const CALM: Duration = Duration::from_secs(5);

impl System {
    pub(super) async fn create_topics(&mut self) -> Result<(), Violation> {
        let visitor = self.crew.visitor("creator");
        let creating = visitor.host.clone().spawn(workload::topics::create(visitor, self.groups.len()));
        self.wait_for("topics are created", SOON, creating).await
    }

    /// Waits until everything is whole again, then has everything read and judged.
    pub(super) async fn come_to_rest(&mut self) -> Result<(), Violation> {
        let now = self.world.elapsed();
        self.world.set_weather(NetConfig::default());
        // Of the hard state there is no other copy: an operator brings one.
        self.condemned.clear();
        for group in &self.groups {
            group.seats().for_each(|(_, seat)| seat.machine().disk().heal());
            group.seats().for_each(|(_, seat)| seat.machine().disk().mend_what_starts_read());
        }
        for group in &self.groups {
            group.seats().filter(|(_, seat)| seat.is_down()).for_each(|(_, seat)| seat.start_at(Some(now)));
        }
        self.until("changes of membership end", SOON, |system| {
            let pending = system.errands.pending();
            if pending.is_empty() { Ok(()) } else { Err(format!("{pending:?}")) }
        })
        .await?;
        self.until("every member serves, and one leads", SOON, |system| {
            system.groups.iter().try_for_each(Group::is_whole)
        })
        .await?;
        self.until("every member is proven", SOON, |system| {
            let unproven = |(_, member): &(usize, Member)| member.is_unproven();
            let found: Vec<_> =
                system.groups.iter().flat_map(Group::members).filter(unproven).map(|(_, member)| member.id()).collect();
            if found.is_empty() { Ok(()) } else { Err(format!("unproven: {found:?}")) }
        })
        .await?;
        self.until("damage is made good", SOON, |system| {
            let damaged: Vec<_> = system.groups.iter().flat_map(Group::damage).collect();
            if damaged.is_empty() { Ok(()) } else { Err(format!("{damaged:?}")) }
        })
        .await?;
        let until = self.world.elapsed() + CALM;
        while self.world.elapsed() < until {
            self.tick().await?;
        }
        self.crew.dismiss(|kind| kind != Kind::PushConsumer);
        self.until("producers end", FAREWELL, |system| nobody(&system.crew.working(|kind| kind != Kind::PushConsumer)))
            .await?;
        let visitor = self.crew.visitor("fresh");
        let fresh = visitor.host.clone().spawn(workload::fresh::fresh(visitor, FRESH, FRESH_SOON));
        self.wait_for("fresh sends and reads succeed", SOON, fresh).await?;
        let visitor = self.crew.visitor("settler");
        let settling = visitor.host.clone().spawn(workload::settle::settle(visitor, SETTLE));
        let settled = self.wait_for("consumers get to the end", 2 * SETTLE, settling).await;
        self.crew.dismiss(|kind| kind == Kind::PushConsumer);
        self.until("consumers end", FAREWELL, |system| nobody(&system.crew.working(|kind| kind == Kind::PushConsumer)))
            .await?;
        let visitor = self.crew.visitor("scanner");
        let scanning = visitor.host.clone().spawn(workload::scan::scan(visitor));
        self.wait_for("everything is read", SCAN, scanning).await?;
        if settled.is_err() {
            // What consumers wait for in vain may be lost, or passed over: such a rule says more than that they wait.
            self.crew.ledger().look(|history| judge(self, history))?;
        }
        settled?;
        self.until("members have applied and synced the same", SOON, |system| {
            system.groups.iter().try_for_each(Group::is_level)
        })
        .await?;
        let view = self.view(self.nameservers.routes(&self.groups));
        self.watch.at_rest(&view)
    }

    /// Ticks until a client's task ends.
    async fn wait_for(
        &mut self,
        what: &str,
        limit: Duration,
        task: madsim::task::JoinHandle<Result<(), String>>,
    ) -> Result<(), Violation> {
        self.until(what, limit, |_| if task.is_finished() { Ok(()) } else { Err("not yet".to_owned()) }).await?;
        let done = task.await.map_err(|e| e.to_string()).and_then(|done| done);
        done.map_err(|e| self.watch.violation("liveness", format!("{what}: {e}")))
    }
}

fn nobody(working: &[&str]) -> Result<(), String> {
    if working.is_empty() { Ok(()) } else { Err(format!("still at work: {}", working.join(", "))) }
}
