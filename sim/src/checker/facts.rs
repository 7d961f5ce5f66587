//! A history sorted by queue and by message: made once, read by every checker.
//!
//! A topic that is deleted and created again begins anew at offset 0. What clients saw is therefore sorted by a queue's
//! *lives*, and left out where it may belong to either of two: while a deletion was under way, for ever after one of
//! unknown outcome, and, for reads that a follower may have answered from what it had applied, after any.

use std::collections::BTreeMap;

use crate::history::{Action, Ended, History, Op, Place, Read, Sent};

/// A message that was sent.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Its send.
    pub op: &'a Op,
    /// The message.
    pub sent: &'a Sent,
    /// The topic it was sent to.
    pub topic: &'a str,
}

/// A message that was acknowledged.
#[derive(Clone, Copy, Debug)]
pub struct Ack<'a> {
    /// Its send.
    pub op: &'a Op,
    /// The message.
    pub sent: &'a Sent,
    /// The offset it was acknowledged at.
    pub offset: u64,
}

/// A message that was read.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    /// By what.
    pub op: &'a Op,
    /// The message.
    pub read: &'a Read,
}

/// The last look at a queue.
#[derive(Clone, Copy, Debug)]
pub struct Scan<'a> {
    /// All messages in it.
    pub messages: &'a [Read],
    /// Its first offset: what is below was purged.
    pub min: u64,
    /// The offset of its next message.
    pub max: u64,
}

/// One life of a queue.
#[derive(Debug, Default)]
pub struct Queue<'a> {
    /// Acknowledged messages.
    pub acks: Vec<Ack<'a>>,
    /// Messages read, by whomever.
    pub looks: Vec<Look<'a>>,
    /// Every other operation on the queue, in the order of their beginnings: pulls, queries, commits, listeners' calls.
    pub ops: Vec<&'a Op>,
    /// The last look at it.
    pub scan: Option<Scan<'a>>,
    /// Whether it lives on: neither deleted nor perhaps deleted.
    pub lives_on: bool,
    /// Ascending: from when on somebody knew that offsets below this one were taken.
    known: Vec<(u64, u64)>,
}

impl<'a> Queue<'a> {
    /// The first offset that nobody had heard of before `at_ns`.
    #[must_use]
    pub fn known_before(&self, at_ns: u64) -> u64 {
        let before = self.known.partition_point(|(known_ns, _)| *known_ns < at_ns);
        before.checked_sub(1).map_or(0, |last| self.known[last].1)
    }

    /// The first offset held in the end; 0 without a scan. Whatever is below may have been purged at any time.
    #[must_use]
    pub fn min(&self) -> u64 {
        self.scan.map_or(0, |scan| scan.min)
    }

    /// Offsets that commits of a group named, each with the time of its beginning: where its consumers may go on.
    /// Those of resets alone, if `resets`.
    pub fn moves(&self, group: &'a str, resets: bool) -> impl Iterator<Item = (u64, u64)> {
        self.ops.iter().filter_map(move |op| match (&op.action, &op.ended) {
            (_, Ended::Refused(_)) => None,
            (Action::Commit { group: of, offset, reset, .. }, _) if **of == *group && (*reset || !resets) => {
                Some((op.begun_ns, *offset))
            }
            _ => None,
        })
    }

    /// Sorts what was learned by when, and keeps the highest so far.
    fn sort_known(&mut self) {
        self.known.sort_unstable();
        let mut highest = 0;
        for (_, end) in &mut self.known {
            highest = highest.max(*end);
            *end = highest;
        }
    }
}

/// A queue's place, and which of its lives.
pub type Life<'a> = (&'a Place, usize);

/// A sorted history.
#[derive(Debug)]
pub struct Facts<'a> {
    /// Queues by life.
    pub queues: BTreeMap<Life<'a>, Queue<'a>>,
    /// Messages sent, by key.
    pub sent: BTreeMap<&'a str, Message<'a>>,
    /// From when until when a topic may have been deleted, in the order of their beginnings.
    deletions: BTreeMap<&'a str, Vec<(u64, u64)>>,
}

impl<'a> Facts<'a> {
    /// Sorts a history.
    #[must_use]
    pub fn of(history: &'a History) -> Self {
        let mut facts = Self { queues: BTreeMap::new(), sent: BTreeMap::new(), deletions: BTreeMap::new() };
        history.ops.iter().for_each(|op| facts.note_deletion(op));
        history.ops.iter().for_each(|op| facts.note(op));
        let deletions = &facts.deletions;
        for ((place, life), queue) in &mut facts.queues {
            queue.sort_known();
            queue.lives_on = deletions.get(&*place.topic).map_or(0, Vec::len) == *life;
        }
        facts
    }

    /// First looks at every offset of every queue: each message that was ever seen, once per copy.
    pub fn copies(&self) -> impl Iterator<Item = (Life<'a>, Look<'a>)> {
        self.queues.iter().flat_map(|(life, queue)| {
            let by_offset: BTreeMap<u64, Look<'a>> =
                queue.looks.iter().rev().map(|look| (look.read.offset, *look)).collect();
            by_offset.into_values().map(|look| (*life, look))
        })
    }

    fn note_deletion(&mut self, op: &'a Op) {
        if let Action::Topic { topic, queues: 0 } = &op.action {
            // A topic lies on several groups: one may refuse what another has done, and what is unknown may come yet.
            let until = if op.ended == Ended::Done { op.ended_ns } else { u64::MAX };
            self.deletions.entry(topic).or_default().push((op.begun_ns, until));
        }
    }

    /// The life of a topic in which an operation fell, if that is certain.
    fn life(&self, topic: &str, op: &Op) -> Option<usize> {
        let Some(deletions) = self.deletions.get(topic) else { return Some(0) };
        let overlaps = |(begun, ended): &(u64, u64)| *begun <= op.ended_ns && op.begun_ns <= *ended;
        let before = deletions.iter().filter(|(_, ended)| *ended < op.begun_ns).count();
        let may_lag = matches!(op.action, Action::Pull { .. } | Action::Consume { .. });
        let certain = !deletions.iter().any(overlaps) && (before == 0 || !may_lag);
        certain.then_some(before)
    }

    fn queue(&mut self, place: &'a Place, op: &'a Op) -> Option<&mut Queue<'a>> {
        let life = self.life(&place.topic, op)?;
        Some(self.queues.entry((place, life)).or_default())
    }

    fn note(&mut self, op: &'a Op) {
        match &op.action {
            Action::Send { topic, messages, .. } => self.note_send(op, topic, messages),
            Action::Pull { place, .. }
            | Action::Consume { place, .. }
            | Action::Commit { place, .. }
            | Action::Committed { place, .. }
            | Action::Ends { place }
            | Action::Query { place, .. }
            | Action::Scan { place } => {
                if let Some(queue) = self.queue(place, op) {
                    note_read(queue, op);
                }
            }
            Action::Topic { .. } => {}
        }
    }

    fn note_send(&mut self, op: &'a Op, topic: &'a str, messages: &'a [Sent]) {
        for sent in messages {
            self.sent.insert(&sent.key, Message { op, sent, topic });
        }
        let Ended::Stored { place, offset, .. } = &op.ended else { return };
        let Some(queue) = self.queue(place, op) else { return };
        queue.known.push((op.ended_ns, offset + messages.len() as u64));
        queue.acks.extend(messages.iter().zip(*offset..).map(|(sent, offset)| Ack { op, sent, offset }));
    }
}

fn note_read<'a>(queue: &mut Queue<'a>, op: &'a Op) {
    match (&op.action, &op.ended) {
        (action, Ended::Read { messages, min, max, .. }) => {
            queue.looks.extend(messages.iter().map(|read| Look { op, read }));
            if let Some(last) = messages.last() {
                queue.known.push((op.ended_ns, last.offset + 1));
            }
            if !matches!(action, Action::Consume { .. } | Action::Query { .. }) {
                queue.known.push((op.ended_ns, *max));
            }
            if matches!(action, Action::Scan { .. }) {
                queue.scan = Some(Scan { messages, min: *min, max: *max });
            }
        }
        (_, Ended::Ends { max, .. }) => queue.known.push((op.ended_ns, *max)),
        _ => {}
    }
    if !matches!(op.action, Action::Scan { .. }) {
        queue.ops.push(op);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Story, place};
    use super::*;

    #[test]
    fn what_a_deletion_may_have_changed_belongs_to_no_life() {
        let story = Story::default()
            .stored("a", 0, 0)
            .delete_topic()
            .stored("b", 0, 0)
            .pull("c", 0, 0, &["b"])
            .stored("under way", 0, 1)
            .delete_topic()
            .during(45, 60);
        let facts = Facts::of(&story.history);
        let (place, acks) =
            (place(0), |queue: &Queue<'_>| queue.acks.iter().map(|ack| ack.sent.key.to_string()).collect());
        let of = |life| facts.queues.get(&(&place, life)).map(acks);
        assert_eq!(of(0), Some(vec!["a".to_owned()]));
        assert_eq!(of(1), Some(vec!["b".to_owned()]), "the last one overlaps with a deletion");
        assert_eq!(of(2), None);
        assert!(facts.queues[&(&place, 1)].looks.is_empty(), "a follower may have answered the pull from before");
        assert!(!facts.queues[&(&place, 1)].lives_on);
    }

    #[test]
    fn what_is_known_rises_when_operations_end() {
        let story = Story::default().stored("a", 0, 4).during(10, 20).ends(0, 0, 9).during(12, 30);
        let facts = Facts::of(&story.history);
        let queue = facts.queues.values().next().unwrap();
        assert_eq!([20, 21, 30, 31].map(|at| queue.known_before(at)), [0, 5, 5, 9]);
    }
}
