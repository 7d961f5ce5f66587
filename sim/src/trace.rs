//! The trace hash: what a run did, in 64 bits.
//!
//! Every event goes in with its virtual time and its node: bytes as they are read from a stream, connections
//! made and lost, writes and syncs of a disk, faults. Two runs of one seed that differ anywhere differ in the
//! hash from there on. Printed with `--trace`, two runs can be compared line by line to find the first
//! difference.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Odd, with bits well spread: 2^64 divided by the golden ratio.
const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;

/// Running hash over the events of one run. Shared by every part of the simulated world.
#[derive(Debug)]
pub struct Trace {
    so_far: Mutex<SoFar>,
    print: bool,
}

#[derive(Debug, Default)]
struct SoFar {
    hash: u64,
    events: u64,
}

impl Trace {
    /// An empty trace. With `print`, each event is also one line on stderr.
    #[must_use]
    pub fn new(print: bool) -> Self {
        Self { so_far: Mutex::default(), print }
    }

    /// Takes in one event: when (since the run's start), on which node, what, a number that belongs to it
    /// (a connection, an offset) and its bytes.
    pub fn record(&self, at: Duration, node: IpAddr, what: &str, number: u64, bytes: &[u8]) {
        self.record_parts(at, node, what, &[number], &[bytes]);
    }

    /// Takes in one event with several numbers and runs of bytes.
    pub fn record_parts(&self, at: Duration, node: IpAddr, what: &str, numbers: &[u64], parts: &[&[u8]]) {
        let at_ns = u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
        let mut so_far = self.so_far.lock().unwrap_or_else(PoisonError::into_inner);
        let mut hash = so_far.hash;
        hash = mix(hash, at_ns);
        hash = match node {
            IpAddr::V4(ip) => mix(hash, u64::from(ip.to_bits())),
            IpAddr::V6(ip) => mix_bytes(hash, &ip.octets()),
        };
        hash = mix_bytes(hash, what.as_bytes());
        hash = numbers.iter().fold(hash, |hash, number| mix(hash, *number));
        hash = parts.iter().fold(hash, |hash, bytes| mix_bytes(hash, bytes));
        so_far.hash = hash;
        so_far.events += 1;
        if self.print {
            let (event, len) = (so_far.events, parts.iter().map(|part| part.len()).sum::<usize>());
            eprintln!("{event:>8} {at_ns:>14} ns {node} {what} {numbers:?} {len} bytes -> {hash:016x}");
        }
    }

    /// The hash of all events so far.
    #[must_use]
    pub fn hash(&self) -> u64 {
        let so_far = self.so_far.lock().unwrap_or_else(PoisonError::into_inner);
        finish(mix(so_far.hash, so_far.events))
    }

    /// How many events there were.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.so_far.lock().unwrap_or_else(PoisonError::into_inner).events
    }
}

/// Takes one word in. A bijection of the hash for a given word: a difference, once in, stays.
fn mix(hash: u64, word: u64) -> u64 {
    (hash.rotate_left(5) ^ word).wrapping_mul(MULTIPLIER)
}

/// Takes bytes in, eight at a time, length first so that neighbours cannot trade bytes.
fn mix_bytes(hash: u64, bytes: &[u8]) -> u64 {
    let hash = mix(hash, bytes.len() as u64);
    let (words, rest) = bytes.as_chunks::<8>();
    let hash = words.iter().fold(hash, |hash, word| mix(hash, u64::from_le_bytes(*word)));
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    mix(hash, u64::from_le_bytes(last))
}

/// The hash of some bytes alone.
#[must_use]
pub fn hash_of_bytes(bytes: &[u8]) -> u64 {
    finish(mix_bytes(0, bytes))
}

/// Spreads the last words over all bits.
fn finish(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 32)).wrapping_mul(MULTIPLIER);
    hash ^ (hash >> 29)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const NODE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

    fn hash_of(events: &[(u64, &str, u64, &[u8])]) -> u64 {
        let trace = Trace::new(false);
        for &(at_ns, what, number, bytes) in events {
            trace.record(Duration::from_nanos(at_ns), NODE, what, number, bytes);
        }
        trace.hash()
    }

    #[test]
    fn every_part_of_an_event_counts() {
        let base = hash_of(&[(1, "read", 2, b"abc")]);
        assert_eq!(base, hash_of(&[(1, "read", 2, b"abc")]));
        for other in [
            hash_of(&[(2, "read", 2, b"abc")]),
            hash_of(&[(1, "lost", 2, b"abc")]),
            hash_of(&[(1, "read", 3, b"abc")]),
            hash_of(&[(1, "read", 2, b"abd")]),
            hash_of(&[(1, "read", 2, b"abc\0")]),
            hash_of(&[(1, "read", 2, b"abc"), (1, "read", 2, b"")]),
        ] {
            assert_ne!(base, other);
        }
        let elsewhere = Trace::new(false);
        elsewhere.record(Duration::from_nanos(1), IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)), "read", 2, b"abc");
        assert_ne!(base, elsewhere.hash());
    }

    #[test]
    fn the_order_of_events_counts() {
        let (one, two) = ((5, "read", 1, &b"left"[..]), (5, "read", 1, &b"right"[..]));
        assert_ne!(hash_of(&[one, two]), hash_of(&[two, one]));
    }

    #[test]
    fn a_late_flip_of_one_bit_shows() {
        let mut bytes = vec![7; 10_000];
        let before = hash_of(&[(1, "read", 1, &bytes)]);
        bytes[9_999] ^= 0x80;
        assert_ne!(before, hash_of(&[(1, "read", 1, &bytes)]));
    }

    /// The hash is part of what a bug report quotes: it must not depend on the build or the day.
    #[test]
    fn the_hash_of_known_events_is_fixed() {
        assert_eq!(hash_of(&[(1_000, "read", 4, b"QuoruMQ over madsim")]), FIXED);
    }

    const FIXED: u64 = 0xF934_B6E3_5535_8902;
}
