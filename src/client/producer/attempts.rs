//! When a send is tried again, and what it is called when it is not.
//!
//! Three attempts, as in RocketMQ, each with its share of the time (a first attempt that eats the whole timeout leaves
//! nothing for the others). An attempt that was turned away because there is no leader, or that was never sent, costs
//! none of the three: failover takes tens of milliseconds, and the send goes on until its deadline.

use std::time::Duration;

use super::verdict::{Stored, Verdict};
use crate::client::error::ClientError;
use crate::client::remoting::{CallError, NotSent};
use crate::client::route::gate::PROBE_INTERVAL;
use crate::protocol::code::response;

/// First pause after a broker said that it is busy, doubled each time (RocketMQ's gRPC producers: 10 ms, factor 2).
const FIRST_BACKOFF: Duration = Duration::from_millis(10);

/// Longest such pause (1 s there).
const MAX_BACKOFF: Duration = Duration::from_secs(1);

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Done.
    Stored(Stored),
    /// Ask another member of the group, or wait for a leader.
    OtherMember,
    /// Try another queue, in another group if there is one, at once.
    OtherQueue,
    /// Try another group; give up if there is none.
    OtherGroup,
    /// Try the same again after a pause.
    Pause(Duration),
    /// No more attempts.
    GiveUp,
}

/// The attempts of one send.
#[derive(Debug)]
pub(super) struct Attempts {
    max: u32,
    /// Of `max`.
    used: u32,
    /// All.
    made: u32,
    backoff: Duration,
    /// What the last attempt of unknown outcome came to.
    unknown: Option<String>,
    last: ClientError,
}

impl Attempts {
    /// None made so far. `earlier` is what an earlier attempt of unknown outcome, made elsewhere, came to.
    pub(super) fn new(max: u32, earlier: Option<String>) -> Self {
        let made = u32::from(earlier.is_some());
        let last = ClientError::Timeout("no broker was asked in time");
        Self { max: max.max(1), used: made, made, backoff: FIRST_BACKOFF, unknown: earlier, last }
    }

    /// The time the next attempt gets of what is `left`.
    pub(super) fn share(&self, left: Duration) -> Duration {
        left / (self.max - self.used).max(1)
    }

    /// Takes note of an attempt.
    pub(super) fn note(&mut self, verdict: Verdict) -> Next {
        self.made += 1;
        match verdict {
            Verdict::Stored(stored) => Next::Stored(stored),
            Verdict::NotSent(error) => {
                // Our own limit: the connection drains or fails soon.
                let full = matches!(error, CallError::NotSent { reason: NotSent::Full { .. }, .. });
                self.last = ClientError::NotSent(error);
                if full { Next::Pause(PROBE_INTERVAL) } else { Next::OtherMember }
            }
            Verdict::Unknown(detail) => {
                self.unknown = Some(detail);
                self.used_one(Next::OtherQueue)
            }
            Verdict::Refused(answer) => {
                self.last = ClientError::refused(&answer);
                match answer.code {
                    response::SERVICE_NOT_AVAILABLE => Next::OtherMember,
                    response::SYSTEM_BUSY | response::FLOW_CONTROL => {
                        let pause = self.backoff;
                        self.backoff = (pause * 2).min(MAX_BACKOFF);
                        self.used_one(Next::Pause(pause))
                    }
                    response::NO_PERMISSION | response::TOPIC_NOT_EXIST => self.used_one(Next::OtherGroup),
                    _ => Next::GiveUp,
                }
            }
        }
    }

    fn used_one(&mut self, next: Next) -> Next {
        self.used += 1;
        if self.used >= self.max { Next::GiveUp } else { next }
    }

    /// Whether an attempt before the last may have stored the message as well.
    pub(super) fn maybe_duplicate(&self) -> bool {
        self.unknown.is_some()
    }

    /// Notes why the next attempt could not even be made.
    pub(super) fn blocked(&mut self, error: ClientError) {
        self.last = error;
    }

    /// What the send is called if no attempt stored the message for certain.
    pub(super) fn give_up(self, msg_id: &str) -> ClientError {
        match self.unknown {
            Some(detail) => ClientError::Unknown { msg_id: msg_id.to_owned(), attempts: self.made, detail },
            None => self.last,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Command, Encoding, ExtFields};

    fn refused(code: i32) -> Verdict {
        let request = Command::request(Encoding::Binary, 310, ExtFields::default(), bytes::Bytes::new());
        Verdict::Refused(request.reply(code, None))
    }

    fn not_sent(reason: NotSent) -> Verdict {
        Verdict::NotSent(CallError::NotSent { addr: "127.0.0.1:1".parse().expect("an address"), reason })
    }

    fn unknown() -> Verdict {
        Verdict::Unknown("lost".to_owned())
    }

    #[test]
    fn a_missing_leader_costs_no_attempt() {
        let mut attempts = Attempts::new(3, None);
        for _ in 0..100 {
            assert_eq!(attempts.note(refused(14)), Next::OtherMember);
            assert_eq!(attempts.note(not_sent(NotSent::ConnectTimeout { timeout_ms: 1 })), Next::OtherMember);
        }
        assert_eq!(attempts.share(Duration::from_secs(3)), Duration::from_secs(1));
        assert!(matches!(attempts.give_up("id"), ClientError::NotSent(_)));
    }

    #[test]
    fn unknown_attempts_are_made_three_times_and_stay_unknown_whatever_follows() {
        let mut attempts = Attempts::new(3, None);
        assert_eq!(attempts.note(unknown()), Next::OtherQueue);
        assert_eq!(attempts.share(Duration::from_secs(2)), Duration::from_secs(1));
        assert_eq!(attempts.note(refused(14)), Next::OtherMember);
        assert_eq!(attempts.note(unknown()), Next::OtherQueue);
        assert_eq!(attempts.share(Duration::from_secs(2)), Duration::from_secs(2));
        assert_eq!(attempts.note(unknown()), Next::GiveUp);
        let mut attempts = Attempts::new(3, None);
        attempts.note(unknown());
        assert_eq!(attempts.note(refused(13)), Next::GiveUp);
        match attempts.give_up("id") {
            ClientError::Unknown { msg_id, attempts, detail } => {
                assert_eq!((&*msg_id, attempts, &*detail), ("id", 2, "lost"))
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_busy_brokers_make_a_send_pause() {
        let mut attempts = Attempts::new(5, None);
        assert_eq!(attempts.note(refused(2)), Next::Pause(Duration::from_millis(10)));
        assert_eq!(attempts.note(refused(215)), Next::Pause(Duration::from_millis(20)));
        assert_eq!(attempts.note(refused(2)), Next::Pause(Duration::from_millis(40)));
        assert_eq!(attempts.note(unknown()), Next::OtherQueue);
        assert_eq!(attempts.note(refused(2)), Next::GiveUp);
    }

    #[test]
    fn what_another_group_may_take_is_tried_there_and_what_none_takes_is_not() {
        for code in [16, 17] {
            assert_eq!(Attempts::new(3, None).note(refused(code)), Next::OtherGroup);
        }
        for code in [3, 13] {
            let mut attempts = Attempts::new(3, None);
            assert_eq!(attempts.note(refused(code)), Next::GiveUp);
            assert!(matches!(attempts.give_up("id"), ClientError::Refused { code: found, .. } if found == code));
        }
    }

    #[test]
    fn retries_set_to_none_are_none() {
        assert_eq!(Attempts::new(1, None).note(unknown()), Next::GiveUp);
        assert_eq!(Attempts::new(0, None).note(refused(2)), Next::GiveUp);
    }
}
