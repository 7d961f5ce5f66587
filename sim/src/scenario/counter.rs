//! A state machine that remembers what it was given: to run the consensus node without a broker.

use bytes::Bytes;
use quorumq_raft::machine::{Machine, MachineError};
use quorumq_store::PhysicalOffset;
use quorumq_store::derived::DerivedFlush;
use quorumq_store::frame::Kind;
use quorumq_store::log_store::Entry;

/// Keeps (index, checksum of the body) of every entry. A command's body says from where on the log is retained.
#[derive(Debug, Default)]
pub struct Counter {
    entries: Vec<(u64, u64)>,
    digest: u64,
    retained: u64,
}

/// The log's retained part may have become smaller.
#[derive(Clone, Copy, Debug)]
pub struct Retained;

/// A checksum in which every byte and its place counts.
#[must_use]
pub fn checksum(body: &[u8]) -> u64 {
    body.iter().fold(body.len() as u64, |sum, byte| (sum.rotate_left(9) ^ u64::from(*byte)).wrapping_mul(MULTIPLIER))
}

const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;

impl Counter {
    /// (index, checksum of the body) of every entry so far.
    #[must_use]
    pub fn entries(&self) -> &[(u64, u64)] {
        &self.entries
    }

    fn take(&mut self, index: u64, sum: u64, position: u64) {
        self.entries.push((index, sum));
        self.digest = (self.digest.rotate_left(7) ^ sum ^ index ^ position).wrapping_mul(MULTIPLIER);
    }
}

impl Machine for Counter {
    type Reply = u64;
    type Effect = Retained;

    fn apply(&mut self, entry: &Entry, effects: &mut Vec<Retained>) -> Result<u64, MachineError> {
        self.take(entry.id.index.0, checksum(&entry.body), entry.position.0);
        if let (Kind::Command, Some(retained)) = (entry.kind, entry.body.first_chunk()) {
            self.retained = self.retained.max(u64::from_be_bytes(*retained));
            effects.push(Retained);
        }
        Ok(self.entries.len() as u64)
    }

    fn encode(&self) -> Bytes {
        let pairs = self.entries.iter().flat_map(|(index, sum)| [*index, *sum]);
        [self.digest, self.retained].into_iter().chain(pairs).flat_map(u64::to_be_bytes).collect::<Vec<_>>().into()
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), MachineError> {
        let (words, rest) = state.as_chunks::<8>();
        let mut words = words.iter().map(|word| u64::from_be_bytes(*word));
        let (Some(digest), Some(retained), []) = (words.next(), words.next(), rest) else {
            return Err(MachineError("not a counter's state".to_owned()));
        };
        (self.digest, self.retained) = (digest, retained);
        self.entries.clear();
        while let (Some(index), Some(sum)) = (words.next(), words.next()) {
            self.entries.push((index, sum));
        }
        Ok(())
    }

    fn digest(&self) -> u64 {
        self.digest
    }

    fn retained_from(&self) -> PhysicalOffset {
        PhysicalOffset(self.retained)
    }

    fn unflushed(&self) -> usize {
        0
    }

    fn plan_flush(&mut self, _whole: bool) -> Option<DerivedFlush> {
        None
    }

    fn flushed(&mut self, _plan: DerivedFlush) {}
}
