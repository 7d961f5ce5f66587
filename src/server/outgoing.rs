//! Bytes on their way to a peer: small pieces gathered in one buffer, large ones kept as they are.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// From this size a piece is written by a call of its own: copying it would cost more than the call.
const OWN_WRITE: usize = 64 * 1024;

/// A gather buffer larger than this is given back once it is written.
const KEEP_CAPACITY: usize = 256 * 1024;

/// Bytes queued for one peer, in order.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// Large pieces and the runs of small ones before them.
    sealed: VecDeque<Bytes>,
    /// Bytes in `sealed`.
    sealed_len: usize,
    /// The run of small pieces after the last sealed one.
    tail: BytesMut,
    /// Bytes of the front piece already written.
    written: usize,
}

impl Outgoing {
    /// The gather buffer, to encode a frame straight into it. Only append.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.tail
    }

    /// Queues `bytes`; from 64 KiB on without a copy.
    pub fn push(&mut self, bytes: Bytes) {
        if bytes.len() < OWN_WRITE {
            self.tail.extend_from_slice(&bytes);
            return;
        }
        self.seal();
        self.sealed_len += bytes.len();
        self.sealed.push_back(bytes);
    }

    /// Bytes not yet written.
    pub fn len(&self) -> usize {
        self.sealed_len + self.tail.len() - self.written
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The next run to write; empty if there is none.
    pub(super) fn front(&self) -> &[u8] {
        let piece = self.sealed.front().map_or(&self.tail[..], |bytes| &bytes[..]);
        &piece[self.written..]
    }

    /// Notes that `n` bytes of [`Self::front`] are written.
    pub(super) fn advance(&mut self, n: usize) {
        self.written += n;
        if let Some(piece) = self.sealed.front() {
            if self.written == piece.len() {
                self.sealed_len -= self.written;
                self.sealed.pop_front();
                self.written = 0;
            }
        } else if self.written == self.tail.len() {
            self.clear_tail();
        }
    }

    /// Takes all of `queued` if `self` is empty, leaving it our spare buffers.
    pub(super) fn refill(&mut self, queued: &mut Self) {
        if self.is_empty() {
            std::mem::swap(self, queued);
        }
    }

    /// Drops all bytes and the memory that held them.
    pub(super) fn release(&mut self) {
        *self = Self::default();
    }

    fn seal(&mut self) {
        if self.tail.is_empty() {
            return;
        }
        let run = self.tail.split().freeze();
        self.sealed_len += run.len();
        self.sealed.push_back(run);
    }

    fn clear_tail(&mut self) {
        self.written = 0;
        if self.tail.capacity() > KEEP_CAPACITY {
            self.tail = BytesMut::new();
        } else {
            self.tail.clear();
        }
    }
}
