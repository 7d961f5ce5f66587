//! What clients sent and what they read, and what must be true of the two.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::Verdict;

/// Queue and offset of a message.
pub type Slot = (u32, u64);

/// How a send ended, as the client said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Stored; perhaps more than once, if an attempt before had an unknown outcome.
    Stored {
        /// Where it was acknowledged.
        slot: Slot,
        /// Whether it may also be elsewhere.
        maybe_duplicate: bool,
    },
    /// Not stored and never will be.
    Refused(String),
    /// It may be stored, once or more often.
    Unknown(String),
}

/// A send.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Tells it from every other.
    pub key: String,
    /// What was sent.
    pub body: Bytes,
    /// How it ended.
    pub ended: Ended,
    /// When, by the client's wall clock.
    pub ended_ms: i64,
}

/// The sends of all clients, written down before they begin: what a client that died had under way is unknown.
#[derive(Clone, Debug, Default)]
pub struct Ledger(Arc<Mutex<Vec<Sent>>>);

/// A send in a [`Ledger`].
#[derive(Clone, Copy, Debug)]
pub struct Line(usize);

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, Vec<Sent>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A send begins.
    #[must_use]
    pub fn begin(&self, key: String, body: Bytes) -> Line {
        let mut sends = self.lock();
        sends.push(Sent { key, body, ended: Ended::Unknown("its client died".to_owned()), ended_ms: 0 });
        Line(sends.len() - 1)
    }

    /// A send has ended, at `ended_ms` by its client's wall clock.
    pub fn end(&self, line: Line, ended: Ended, ended_ms: i64) {
        let sent = &mut self.lock()[line.0];
        (sent.ended, sent.ended_ms) = (ended, ended_ms);
    }

    /// All sends so far.
    #[must_use]
    pub fn sent(&self) -> Vec<Sent> {
        self.lock().clone()
    }
}

/// A message as it was read.
#[derive(Clone, Debug)]
pub struct Read {
    /// Where it was.
    pub slot: Slot,
    /// Its place in the CommitLog.
    pub physical: u64,
    /// Which send it is of.
    pub key: String,
    /// What was read.
    pub body: Bytes,
}

/// Everything one topic was sent, and everything that was read from it once all sends had ended.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Sends.
    pub sent: Vec<Sent>,
    /// Reads of every queue from its first offset to its last, in order within a queue.
    pub read: Vec<Read>,
    /// The first offset of each queue that was purged; it is 0 in the others.
    pub begins: BTreeMap<u32, u64>,
    /// Reads of consumers that followed the queues while they grew, in any order.
    pub followed: Vec<Read>,
}

impl History {
    /// How many sends were stored for certain, refused, and of unknown outcome.
    #[must_use]
    pub fn outcomes(&self) -> (usize, usize, usize) {
        let count = |wanted: fn(&Ended) -> bool| self.sent.iter().filter(|sent| wanted(&sent.ended)).count();
        (
            count(|ended| matches!(ended, Ended::Stored { .. })),
            count(|ended| matches!(ended, Ended::Refused(_))),
            count(|ended| matches!(ended, Ended::Unknown(_))),
        )
    }

    /// Checks it.
    ///
    /// # Errors
    /// The first rule that does not hold, and where.
    pub fn check(&self) -> Verdict {
        self.dense()?;
        self.consistent()?;
        let mut found: BTreeMap<&str, Vec<&Read>> = BTreeMap::new();
        for read in &self.read {
            found.entry(&read.key).or_default().push(read);
        }
        let mut acknowledged = BTreeSet::new();
        for sent in &self.sent {
            if let Ended::Stored { slot, .. } = sent.ended
                && !acknowledged.insert(slot)
            {
                return Err(format!("two sends were acknowledged at {slot:?}, one is {}", sent.key));
            }
            let reads = found.remove(&*sent.key).unwrap_or_default();
            self.check_send(sent, &reads)?;
        }
        match found.into_iter().next() {
            Some((key, reads)) => Err(format!("nobody sent {key}, read at {:?}", reads[0].slot)),
            None => Ok(()),
        }
    }

    fn begin(&self, queue: u32) -> u64 {
        self.begins.get(&queue).copied().unwrap_or_default()
    }

    /// Offsets of a queue have no gap, and lie in the CommitLog in their order.
    fn dense(&self) -> Verdict {
        let mut ends: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
        for Read { slot: (queue, offset), physical, key, .. } in &self.read {
            let (next, above) = ends.entry(*queue).or_insert_with(|| (self.begin(*queue), 0));
            if *offset != *next {
                return Err(format!("queue {queue}: {key} at offset {offset} where {next} was due"));
            }
            if *physical < *above {
                return Err(format!("queue {queue} offset {offset}: at {physical} in the log, before its predecessor"));
            }
            (*next, *above) = (offset + 1, physical + 1);
        }
        Ok(())
    }

    /// What was ever read at an offset is there in the end.
    fn consistent(&self) -> Verdict {
        let last: BTreeMap<Slot, &Read> = self.read.iter().map(|read| (read.slot, read)).collect();
        for read in &self.followed {
            let Read { slot, physical, key, body } = read;
            match last.get(slot) {
                Some(now) if (&now.key, &now.body, now.physical) == (key, body, *physical) => {}
                Some(now) => {
                    return Err(format!("{slot:?} was {key} at {physical}, now {} at {}", now.key, now.physical));
                }
                None if slot.1 < self.begin(slot.0) => {}
                None => return Err(format!("{key} was read at {slot:?}, where nothing is in the end")),
            }
        }
        Ok(())
    }

    /// One send against every message read under its key.
    fn check_send(&self, sent: &Sent, reads: &[&Read]) -> Verdict {
        let Sent { key, body, ended, .. } = sent;
        if let Some(changed) = reads.iter().find(|read| read.body != *body) {
            return Err(format!("{key} was changed, read at {:?}", changed.slot));
        }
        match ended {
            Ended::Stored { slot: (queue, offset), .. } if *offset < self.begin(*queue) => Ok(()),
            Ended::Stored { slot, .. } if !reads.iter().any(|read| read.slot == *slot) => {
                let elsewhere: Vec<_> = reads.iter().map(|read| read.slot).collect();
                Err(format!("{key} was acknowledged at {slot:?} and is not there; it is at {elsewhere:?}"))
            }
            Ended::Stored { maybe_duplicate: false, .. } if reads.len() > 1 => {
                Err(format!("{key} is stored {} times after one attempt", reads.len()))
            }
            Ended::Refused(why) if !reads.is_empty() => {
                Err(format!("{key} was refused ({why}) and is stored at {:?}", reads[0].slot))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(key: &str, ended: Ended) -> Sent {
        Sent { key: key.to_owned(), body: Bytes::from(key.to_owned()), ended, ended_ms: 0 }
    }

    fn stored(slot: Slot) -> Ended {
        Ended::Stored { slot, maybe_duplicate: false }
    }

    fn read(key: &str, slot: Slot) -> Read {
        Read { slot, physical: slot.1 * 100, key: key.to_owned(), body: Bytes::from(key.to_owned()) }
    }

    fn check(sent: &[Sent], read: &[Read]) -> Verdict {
        History { sent: sent.to_vec(), read: read.to_vec(), ..History::default() }.check()
    }

    fn broken(sent: &[Sent], read: &[Read], rule: &str) {
        let error = check(sent, read).unwrap_err();
        assert!(error.contains(rule), "{error}");
    }

    #[test]
    fn good_histories_pass() {
        let unknown = Ended::Unknown("lost".to_owned());
        let twice = Ended::Stored { slot: (0, 2), maybe_duplicate: true };
        let sends = [
            sent("a", stored((0, 0))),
            sent("b", twice),
            sent("c", unknown.clone()),
            sent("d", unknown),
            sent("e", Ended::Refused("busy".to_owned())),
        ];
        let reads = [read("a", (0, 0)), read("b", (0, 1)), read("b", (0, 2)), read("c", (1, 0)), read("c", (1, 1))];
        assert_eq!(check(&sends, &reads), Ok(()));
        assert_eq!(History { sent: sends.to_vec(), ..History::default() }.outcomes(), (2, 1, 2));
    }

    #[test]
    fn bad_histories_do_not() {
        let a = sent("a", stored((0, 0)));
        broken(std::slice::from_ref(&a), &[], "is not there");
        broken(std::slice::from_ref(&a), &[read("a", (1, 0))], "is not there; it is at [(1, 0)]");
        broken(std::slice::from_ref(&a), &[read("a", (0, 0)), read("a", (0, 1))], "stored 2 times");
        broken(std::slice::from_ref(&a), &[Read { body: Bytes::from("A"), ..read("a", (0, 0)) }], "was changed");
        broken(std::slice::from_ref(&a), &[read("a", (0, 0)), read("z", (0, 1))], "nobody sent z");
        broken(&[a.clone(), a.clone()], &[read("a", (0, 0))], "two sends were acknowledged");
        broken(&[sent("a", Ended::Refused("full".to_owned()))], &[read("a", (0, 0))], "was refused (full)");
        let unknown = sent("b", Ended::Unknown("lost".to_owned()));
        broken(std::slice::from_ref(&unknown), &[read("b", (0, 1))], "where 0 was due");
        let before = Read { physical: 0, ..read("b", (0, 1)) };
        broken(&[unknown], &[read("b", (0, 0)), before], "before its predecessor");
    }

    #[test]
    fn what_was_purged_need_not_be_there_and_what_was_followed_must_be() {
        let begins = BTreeMap::from([(0, 2)]);
        let purged = |followed: &[Read]| {
            let sent = vec![sent("a", stored((0, 0))), sent("c", stored((0, 2)))];
            let (read, followed) = (vec![read("c", (0, 2))], followed.to_vec());
            History { sent, read, begins: begins.clone(), followed }.check()
        };
        assert_eq!(purged(&[read("a", (0, 0)), read("c", (0, 2))]), Ok(()));
        assert!(purged(&[read("a", (0, 2))]).unwrap_err().contains("(0, 2) was a at 200, now c at 200"));
        assert!(purged(&[read("a", (0, 3))]).unwrap_err().contains("nothing is in the end"));
    }

    #[test]
    fn a_send_that_never_ended_is_unknown() {
        let ledger = Ledger::default();
        let (one, _two) = (ledger.begin("a".to_owned(), Bytes::new()), ledger.begin("b".to_owned(), Bytes::new()));
        ledger.end(one, stored((0, 0)), 7);
        let sent = ledger.sent();
        assert_eq!((&sent[0].ended, sent[0].ended_ms), (&stored((0, 0)), 7));
        assert!(matches!(sent[1].ended, Ended::Unknown(_)));
    }
}
