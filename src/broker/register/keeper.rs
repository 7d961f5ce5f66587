//! Keeps a broker registered with one NameServer.

use std::time::Duration;

use openraft_rt::{Instant, Select2};
use quorumq_raft::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::Desk;
use super::announcement::{self, Announcer, Identity, Standing};
use super::link::{self, Link, LinkLost};
use crate::protocol::code::response;
use crate::protocol::header::registration::QueryDataVersionResponse;

/// Longest a request may take. RocketMQ's brokers wait 24 s; a NameServer that needs more than this is better dialled
/// again.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Longest the goodbye may take, within what a stop takes in all.
const LEAVE_TIMEOUT: Duration = Duration::from_millis(200);
/// Pause after a registration, in which changes gather.
const GATHER: Duration = Duration::from_millis(15);
/// A leader that steps down keeps its place for so long, passing requests on: in this time the new leader takes it, and no
/// client finds a group without a leader.
const STEP_DOWN: Duration = Duration::from_millis(300);
/// The same when it stops.
const STOP_DOWN: Duration = Duration::from_millis(40);
/// Pause before a refused registration is tried again: a newer leader may have stepped back, an old group may go.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);
/// Pause before a lost connection is made again; it doubles with each failure.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// A connection is closed after so many periods without traffic, at the least after the idle time of all connections.
const IDLE_PERIODS: u32 = 4;

/// What the NameServer says.
enum Outcome {
    Registered,
    Refused { code: i32, remark: String },
}

/// Keeps the broker registered until it leaves.
pub async fn keep<R: Runtime, A: Announcer>(desk: &Desk, announcer: &A, period: Duration, leaving: &CancellationToken) {
    let identity = announcer.identity();
    let mut keeper = Keeper { desk, announcer, identity, period, registered: None, complaint: None };
    let idle = crate::server::Limits::SERVER.idle.max(period * IDLE_PERIODS);
    let mut pause = FIRST_PAUSE;
    loop {
        let lost = match R::select2(leaving.cancelled(), link::connect::<R>(desk.addr)).await {
            Select2::First(()) => return,
            Select2::Second(Err(lost)) => lost,
            Select2::Second(Ok(stream)) => {
                let (link, moving) = link::open::<R>(stream, desk.addr, idle);
                match R::select2(keeper.hold::<R>(&link, leaving), moving).await {
                    Select2::First(Ok(())) => return,
                    Select2::First(Err(lost)) => lost,
                    Select2::Second(reason) => reason.into(),
                }
            }
        };
        if keeper.registered.take().is_some() {
            pause = FIRST_PAUSE;
        }
        keeper.complain(format!("not registered with this NameServer: {lost}"));
        if let Select2::First(()) = R::select2(leaving.cancelled(), R::sleep(pause)).await {
            return;
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

struct Keeper<'a, A> {
    desk: &'a Desk,
    announcer: &'a A,
    identity: Identity,
    period: Duration,
    /// What the NameServer holds on the connection there is now.
    registered: Option<Standing>,
    /// The trouble that was logged last: it is logged once.
    complaint: Option<String>,
}

impl<A: Announcer> Keeper<'_, A> {
    /// Stays registered on one connection, until it is lost or the broker leaves.
    async fn hold<R: Runtime>(&mut self, link: &Link, leaving: &CancellationToken) -> Result<(), LinkLost> {
        match R::select2(leaving.cancelled(), self.stay::<R>(link)).await {
            Select2::Second(lost) => Err(lost),
            Select2::First(()) => {
                let standing = self.announcer.standing();
                if self.stepped_down(standing) {
                    R::sleep(STOP_DOWN).await;
                }
                let goodbye = announcement::unregister(&self.identity, &standing);
                // Without an answer the NameServer forgets us as soon as the connection closes.
                if link.call::<R>(goodbye, LEAVE_TIMEOUT).await.is_ok() {
                    tracing::info!(namesrv = %self.desk.addr, "unregistered from the NameServer");
                }
                Ok(())
            }
        }
    }

    /// Registers, again on every change and every period; ends when the connection is lost.
    async fn stay<R: Runtime>(&mut self, link: &Link) -> LinkLost {
        let mut due = true;
        loop {
            let standing = self.settled_standing::<R>().await;
            let mut pause = self.period;
            if due || self.registered != Some(standing) {
                match self.refresh::<R>(link, standing).await {
                    Ok(Outcome::Registered) => self.succeeded(standing),
                    Ok(Outcome::Refused { code, remark }) => {
                        self.registered = None;
                        self.complain(format!("the NameServer refuses this broker with code {code}: {remark}"));
                        pause = pause.min(REFUSED_PAUSE);
                    }
                    Err(lost) => return lost,
                }
                R::sleep(GATHER).await;
            }
            due = R::timeout(pause, self.desk.changed.notified()).await.is_err();
        }
    }

    /// How the broker stands, given time for another leader to register if it was one.
    async fn settled_standing<R: Runtime>(&self) -> Standing {
        let deadline = R::Instant::now() + STEP_DOWN;
        loop {
            let standing = self.announcer.standing();
            let settled = !self.stepped_down(standing);
            if settled || R::timeout_at(deadline, self.desk.changed.notified()).await.is_err() {
                return standing;
            }
        }
    }

    /// Whether the NameServer knows a leader in this broker that is none any more.
    fn stepped_down(&self, standing: Standing) -> bool {
        self.registered.is_some_and(|registered| registered.broker_id == 0) && standing.broker_id != 0
    }

    /// Has the NameServer hold `standing` for another period.
    async fn refresh<R: Runtime>(&self, link: &Link, standing: Standing) -> Result<Outcome, LinkLost> {
        if self.registered == Some(standing) {
            let query = announcement::query(&self.identity, &standing);
            let answer = link.call::<R>(query, TIMEOUT).await?;
            let header = QueryDataVersionResponse::decode(&answer);
            if answer.code == response::SUCCESS && header.is_ok_and(|header| !header.changed) {
                return Ok(Outcome::Registered);
            }
        }
        let register = announcement::register(&self.identity, &standing, self.announcer.topics());
        let answer = link.call::<R>(register, TIMEOUT).await?;
        Ok(match answer.code {
            response::SUCCESS => Outcome::Registered,
            code => Outcome::Refused { code, remark: answer.remark.unwrap_or_default() },
        })
    }

    fn succeeded(&mut self, standing: Standing) {
        let Standing { broker_id, term, .. } = standing;
        let role = |standing: Standing| (standing.broker_id, standing.term);
        if self.registered.replace(standing).map(role) != Some((broker_id, term)) {
            tracing::info!(namesrv = %self.desk.addr, broker_id, term, "registered with the NameServer");
        }
        self.complaint = None;
    }

    fn complain(&mut self, what: String) {
        if self.complaint.as_ref() != Some(&what) {
            tracing::warn!(namesrv = %self.desk.addr, "{what}");
            self.complaint = Some(what);
        }
    }
}
