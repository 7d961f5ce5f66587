//! Bytes of the hard state's records: fixed fields, big-endian.

use super::{Intent, Mark, MarkRecord, State};
use crate::log_store::{SnapshotPosition, Vote};
use crate::{LogId, LogIndex, PhysicalOffset, Term};

#[derive(Default)]
pub(super) struct Encoder(pub(super) Vec<u8>);

impl Encoder {
    fn u8(&mut self, v: u8) {
        self.0.push(v);
    }

    pub(super) fn u16(&mut self, v: u16) {
        self.0.extend_from_slice(&v.to_be_bytes());
    }

    pub(super) fn u32(&mut self, v: u32) {
        self.0.extend_from_slice(&v.to_be_bytes());
    }

    pub(super) fn u64(&mut self, v: u64) {
        self.0.extend_from_slice(&v.to_be_bytes());
    }

    fn log_id(&mut self, v: LogId) {
        self.u64(v.term.0);
        self.u64(v.index.0);
    }

    fn option<T: Default>(&mut self, v: Option<T>, encode: fn(&mut Self, T)) {
        self.u8(u8::from(v.is_some()));
        encode(self, v.unwrap_or_default());
    }

    fn mark(&mut self, v: Mark) {
        self.option(v.last, Self::log_id);
        self.u64(v.end.0);
    }
}

pub(super) struct Decoder<'a>(pub(super) &'a [u8]);

impl Decoder<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    fn flag(&mut self) -> Option<bool> {
        match self.take::<1>()? {
            [0] => Some(false),
            [1] => Some(true),
            _ => None,
        }
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    fn log_id(&mut self) -> Option<LogId> {
        Some(LogId { term: Term(self.u64()?), index: LogIndex(self.u64()?) })
    }

    fn option<T>(&mut self, decode: fn(&mut Self) -> Option<T>) -> Option<Option<T>> {
        let is_some = self.flag()?;
        let v = decode(self)?;
        Some(is_some.then_some(v))
    }

    fn mark(&mut self) -> Option<Mark> {
        Some(Mark { last: self.option(Self::log_id)?, end: PhysicalOffset(self.u64()?) })
    }

    fn vote(&mut self) -> Option<Vote> {
        Some(Vote { term: Term(self.u64()?), node: self.u64()?, committed: self.flag()? })
    }
}

impl State {
    pub(super) fn encode(&self, to: &mut Encoder) {
        to.u64(self.generation);
        let vote = self.vote.unwrap_or(Vote { term: Term(0), node: 0, committed: false });
        to.u8(u8::from(self.vote.is_some()));
        to.u64(vote.term.0);
        to.u64(vote.node);
        to.u8(u8::from(vote.committed));
        to.option(self.committed, Encoder::log_id);
        to.mark(self.mark);
        to.u64(self.first.0);
        to.option(self.purged, Encoder::log_id);
        to.u32(self.chain);
        to.0.extend_from_slice(&self.boot_id.to_be_bytes());
        to.u8(u8::from(self.unproven));
        match self.intent {
            None => to.u8(0),
            Some(Intent::Truncate { cut, end }) => {
                to.u8(1);
                to.mark(cut);
                to.u64(end.0);
            }
            Some(Intent::Install(at)) => {
                to.u8(2);
                to.log_id(at.last);
                to.u64(at.next.0);
                to.u32(at.chain);
            }
        }
        // Records without it end in zeroes.
        to.u8(u8::from(self.asynchronous));
    }

    pub(super) fn decode(from: &mut Decoder<'_>) -> Option<Self> {
        let generation = from.u64()?;
        let vote = from.option(Decoder::vote)?;
        let committed = from.option(Decoder::log_id)?;
        let mark = from.mark()?;
        let first = PhysicalOffset(from.u64()?);
        let purged = from.option(Decoder::log_id)?;
        let chain = from.u32()?;
        let boot_id = from.take().map(u128::from_be_bytes)?;
        let unproven = from.flag()?;
        let intent = match from.take()? {
            [0] => None,
            [1] => Some(Intent::Truncate { cut: from.mark()?, end: PhysicalOffset(from.u64()?) }),
            [2] => Some(Intent::Install(SnapshotPosition {
                last: from.log_id()?,
                next: PhysicalOffset(from.u64()?),
                chain: from.u32()?,
            })),
            _ => return None,
        };
        let asynchronous = from.flag()?;
        Some(Self { vote, committed, mark, first, purged, chain, intent, generation, boot_id, unproven, asynchronous })
    }
}

impl MarkRecord {
    pub(super) fn encode(&self, to: &mut Encoder) {
        to.u64(self.generation);
        to.mark(self.mark);
        to.option(self.committed, Encoder::log_id);
    }

    pub(super) fn decode(from: &mut Decoder<'_>) -> Option<Self> {
        Some(Self { generation: from.u64()?, mark: from.mark()?, committed: from.option(Decoder::log_id)? })
    }
}
