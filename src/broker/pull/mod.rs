//! Pulls: 11 and 361. Served by any node from what it has applied; only "nothing new" needs a read barrier.
//!
//! ```text
//! request → subscription → look (under the machine's lock) ─┬─ units: fetch, answer 0 (or 20, all filtered)
//!                                     ▲                     ├─ tail, may wait: held → woken by apply, or its time is over
//!                                     └───── barrier ◀──────┴─ tail, moved, refused: answered only once it is proven
//! ```

use std::sync::Arc;
use std::time::Duration;

use openraft_rt::Instant;
use quorumq_raft::repair::is_damage;
use quorumq_raft::runtime::Runtime;
use quorumq_store::consume_queue::UnitRead;
use quorumq_store::{QueueOffset, StoreError};

use super::Broker;
use super::answer;
use super::reply::Origin;
use crate::machine::OffsetCommit;
use crate::protocol::code::response;
use crate::protocol::command::Command;
use crate::protocol::header::pull::{PullMessageRequest, sys_flag};

mod fetch;
pub mod known;
mod look;
mod request;
mod status;
#[cfg(test)]
pub mod tests;

pub use request::{BoxedPull, Pull};

use fetch::{Chosen, Fetched};
use look::{Bounds, Looked, look};
use status::Status;

/// Units looked at for one answer before it says "try again from here": bounds the work of a pull whose filter takes
/// little.
const MAX_SCAN: u64 = 16 * 1024;
/// Pause before a pull whose messages are damaged here is looked at again: another member's copy is mostly there by then.
const DAMAGED: Duration = Duration::from_millis(50);
/// Looks after which such a pull is refused: 3 s, below what a client waits for its answer.
const MAX_DAMAGED: u32 = 60;
/// Pause before a pull whose connection does not take its answers is looked at again.
const CONGESTED: Duration = Duration::from_millis(10);

/// Whether this node is known to have applied everything committed before the pull was to be answered.
#[derive(Clone, Debug)]
pub enum Proof {
    /// Nobody has asked yet.
    None,
    Given,
    /// No leader confirmed it.
    Denied(String),
}

/// What is left to do for a pull that cannot be answered at once.
#[derive(Debug)]
pub enum Next<I> {
    /// Answered, or held.
    Done,
    /// Only a read barrier tells whether there is nothing.
    Prove(BoxedPull<I>),
    /// Units or records have to be read from disk.
    Read(BoxedPull<I>, UnitRead, Bounds),
    /// Too much waits for the client already.
    Congested(BoxedPull<I>),
    /// What it wants is damaged here, and is being repaired.
    Damaged(BoxedPull<I>),
}

/// What came of an attempt to answer with messages.
enum Attempt<I> {
    Answered,
    /// To be looked at again at once.
    Again(BoxedPull<I>),
    Damaged(BoxedPull<I>),
}

impl<R: Runtime> Broker<R> {
    /// Answers a pull, or holds it. `None` if it answered by itself or will.
    pub async fn pull(self: &Arc<Self>, origin: &Origin, command: &Command) -> Option<Command> {
        if command.is_oneway() {
            return None; // Nobody waits for its messages.
        }
        let header = match PullMessageRequest::decode(command) {
            Ok(header) => header,
            Err(e) => return Some(answer::error(command, e)),
        };
        if let Err(answer) = self.admit(command, &header).await {
            return Some(answer);
        }
        let filter = match self.filter_of(&header).await {
            Ok(filter) => filter,
            Err(refused) => return Some(command.reply(refused.code, Some(refused.remark))),
        };
        self.note_commit(&header);
        let mut pull = Box::new(Pull::new(&header, filter, command, origin));
        if header.sys_flag & sys_flag::SUSPEND != 0 && !origin.is_forwarded() {
            pull.until =
                request::hold_time(header.suspend_timeout_millis).map(|time| <R::Instant as Instant>::now() + time);
        }
        let next = self.attend(pull, &Proof::None);
        self.finish(next).await;
        None
    }

    /// Whether topic, queue and group allow the pull. A node that lags may not know them yet: it makes sure first.
    async fn admit(&self, command: &Command, header: &PullMessageRequest<'_>) -> Result<(), Command> {
        let asked = (header.consumer_group, header.topic, header.queue_id);
        if look::check(&self.node.machine(), asked, &self.options).is_ok() {
            return Ok(());
        }
        if let Err(e) = self.confirm().await {
            return Err(self.not_leading(command, &e.to_string()));
        }
        look::check(&self.node.machine(), asked, &self.options)
            .map_err(|refused| command.reply(refused.code, Some(refused.remark)))
    }

    /// Stores the offset a pull carries along. Nobody waits for it: the client commits it again every few seconds.
    fn note_commit(&self, header: &PullMessageRequest<'_>) {
        let (Ok(queue_id), Ok(offset)) = (u32::try_from(header.queue_id), u64::try_from(header.commit_offset)) else {
            return;
        };
        let (group, topic, offset) = (header.consumer_group, header.topic, QueueOffset(offset));
        if header.sys_flag & sys_flag::COMMIT_OFFSET == 0
            || self.node.machine().consumer_offset(group, topic, queue_id) == Some(offset)
        {
            return;
        }
        self.commits.note(OffsetCommit::new(group, topic, queue_id, offset));
    }

    /// Answers or holds a pull if that needs no wait.
    pub fn attend(&self, mut pull: BoxedPull<R::Instant>, proof: &Proof) -> Next<R::Instant> {
        loop {
            if pull.is_abandoned() {
                return Next::Done;
            }
            if pull.waiting() > self.options.limits.outbound_limit / 2 {
                return Next::Congested(pull);
            }
            let looked = {
                let machine = self.node.machine();
                match look(&machine, &pull, &self.options) {
                    // Held under the machine's lock: no message can arrive between the look and the hold.
                    Looked::Nothing(..) if pull.may_wait() => match self.holds.hold(pull) {
                        Ok(()) => return Next::Done,
                        Err((full, refused)) => {
                            drop(machine);
                            refused.refuse(response::SYSTEM_BUSY, &full.to_string());
                            return Next::Done;
                        }
                    },
                    looked => looked,
                }
            };
            let (read, bounds) = match looked {
                Looked::Units(read, bounds) => (read, bounds),
                other => return self.answer_none(pull, other, proof),
            };
            if !read.is_in_memory() {
                return Next::Read(pull, read, bounds);
            }
            let fetched = fetch::choose(&read, &pull).and_then(|chosen| match chosen.first_position() {
                Some(first) if !self.node.is_hot(first) => Ok(None),
                _ => self.fetch(chosen).map(Some),
            });
            let Some(fetched) = fetched.transpose() else {
                return Next::Read(pull, read, bounds);
            };
            match self.answer_fetched(pull, fetched, bounds) {
                Attempt::Again(again) => pull = again,
                Attempt::Damaged(pull) => return Next::Damaged(pull),
                Attempt::Answered => return Next::Done,
            }
        }
    }

    fn fetch(&self, chosen: Chosen) -> Result<Fetched, StoreError> {
        chosen.fetch(|at, len| self.node.bytes(at, len))
    }

    /// Answers with what was fetched, if it can.
    fn answer_fetched(
        &self,
        mut pull: BoxedPull<R::Instant>,
        fetched: Result<Fetched, StoreError>,
        bounds: Bounds,
    ) -> Attempt<R::Instant> {
        let fetched = match fetched {
            Ok(fetched) => fetched,
            // Purged or deleted since the look: the next one says so.
            Err(_) if !std::mem::replace(&mut pull.is_retried, true) => return Attempt::Again(pull),
            Err(e) if is_damage(&e) && pull.repairs_awaited < MAX_DAMAGED => {
                pull.repairs_awaited += 1;
                return Attempt::Damaged(pull);
            }
            Err(e @ StoreError::Corrupt { .. }) => {
                // Told by whoever makes it good.
                tracing::debug!(topic = %pull.topic, queue = pull.queue_id, offset = pull.offset, "a pull meets damage: {e}");
                pull.refuse(response::SYSTEM_ERROR, &format!("the messages cannot be read yet: {e}"));
                return Attempt::Answered;
            }
            Err(e) => {
                tracing::warn!(topic = %pull.topic, queue = pull.queue_id, offset = pull.offset, "a pull cannot be read: {e}");
                pull.refuse(response::SYSTEM_ERROR, &format!("the messages cannot be read: {e}"));
                return Attempt::Answered;
            }
        };
        if !fetched.is_empty() {
            pull.found(&fetched, bounds);
            return Attempt::Answered;
        }
        pull.scanned += fetched.next.saturating_sub(pull.offset);
        pull.offset = fetched.next;
        let is_at_tail = pull.offset >= bounds.max;
        let goes_on = if is_at_tail { pull.was_held && pull.may_wait() } else { pull.scanned < MAX_SCAN };
        if goes_on {
            return Attempt::Again(pull);
        }
        pull.answer(Status::NoMatchedMessage, pull.offset, bounds);
        Attempt::Answered
    }

    /// Answers that there is nothing, or no such queue, once that is proven.
    fn answer_none(&self, pull: BoxedPull<R::Instant>, looked: Looked, proof: &Proof) -> Next<R::Instant> {
        match (looked, proof) {
            (Looked::Nothing(_, bounds), _) if pull.has_advanced() => {
                pull.answer(Status::NoMatchedMessage, pull.offset, bounds);
            }
            (Looked::Below(bounds), _) => pull.answer(Status::OffsetTooSmall, bounds.min, bounds),
            (_, Proof::None) => return Next::Prove(pull),
            (_, Proof::Denied(why)) => {
                let answer = self.not_leading(&pull.request(), why);
                pull.reply_to.send(&answer);
            }
            (Looked::Nothing(status, bounds), Proof::Given) => pull.answer(status, pull.offset, bounds),
            (Looked::Above(status, bounds), Proof::Given) => pull.answer(status, bounds.max, bounds),
            (Looked::Refused(refused), Proof::Given) => pull.refuse(refused.code, &refused.remark),
            (Looked::Failed(e), Proof::Given) => pull.refuse(response::SYSTEM_ERROR, &e.to_string()),
            (Looked::Units(..), Proof::Given) => unreachable!("units are fetched, not answered as nothing"),
        }
        Next::Done
    }

    /// Does what a pull still needs, until it is answered or held.
    pub async fn finish(self: &Arc<Self>, mut next: Next<R::Instant>) {
        let mut proof = Proof::None;
        loop {
            next = match next {
                Next::Done => return,
                Next::Prove(pull) => {
                    proof = self.prove().await;
                    self.attend(pull, &proof)
                }
                Next::Congested(pull) => {
                    R::sleep(CONGESTED).await;
                    self.attend(pull, &proof)
                }
                Next::Damaged(pull) => {
                    R::sleep(DAMAGED).await;
                    self.attend(pull, &proof)
                }
                Next::Read(pull, read, bounds) => {
                    let node = Arc::clone(&self.node);
                    let job = move || {
                        let fetched =
                            fetch::choose(&read, &pull).and_then(|chosen| chosen.fetch(|at, len| node.bytes(at, len)));
                        (pull, fetched)
                    };
                    let Ok((pull, fetched)) = R::offload(job).await else {
                        return; // The process is ending.
                    };
                    match self.answer_fetched(pull, fetched, bounds) {
                        Attempt::Again(again) => self.attend(again, &proof),
                        Attempt::Damaged(pull) => Next::Damaged(pull),
                        Attempt::Answered => Next::Done,
                    }
                }
            };
        }
    }

    /// A read barrier as proof.
    pub async fn prove(&self) -> Proof {
        match self.confirm().await {
            Ok(()) => Proof::Given,
            Err(e) => Proof::Denied(e.to_string()),
        }
    }
}
