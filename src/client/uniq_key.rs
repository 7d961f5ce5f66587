//! UNIQ_KEY: the id a producer gives each message, 32 hex digits, RocketMQ's `msgId`.
//!
//! RocketMQ builds it of ip, process id, class-loader hash, milliseconds since the start of the month and a counter.
//! Tools read the time back, so the last six bytes keep that form; the first ten are drawn at random, which is as
//! unique between processes and needs no address.

use std::sync::{Mutex, PoisonError};

use quorumq_raft::runtime::Runtime;
use rand::Rng;

/// Length of a key in bytes of text.
pub const UNIQ_KEY_LEN: usize = 32;

const PREFIX_LEN: usize = 10;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Draws the keys of one producer. No two keys of a generator are equal, whatever the clock does.
#[derive(Debug)]
pub struct UniqKeys {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    prefix: [u8; PREFIX_LEN],
    month_start_ms: i64,
    /// Milliseconds since `month_start_ms` (32 bits) and a counter (16 bits) of the next key.
    next: u64,
}

impl UniqKeys {
    /// A generator of its own random prefix.
    pub fn new<R: Runtime>() -> Self {
        let state = State { prefix: draw_prefix::<R>(), month_start_ms: month_start_ms(R::wall_clock_ms()), next: 0 };
        Self { state: Mutex::new(state) }
    }

    /// The next key.
    pub fn next<R: Runtime>(&self) -> String {
        let now_ms = R::wall_clock_ms();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let month = month_start_ms(now_ms);
        if month > state.month_start_ms {
            // The time part starts again: only another prefix keeps it from meeting last month's keys.
            *state = State { prefix: draw_prefix::<R>(), month_start_ms: month, next: 0 };
        }
        // Behind the month's start only if the clock went back: the counter alone then keeps keys apart.
        let since_ms = u32::try_from(now_ms - state.month_start_ms).unwrap_or(0);
        let low = state.next.max(u64::from(since_ms) << 16);
        state.next = low + 1;
        let prefix = state.prefix;
        drop(state);
        hex(&prefix, low)
    }
}

fn draw_prefix<R: Runtime>() -> [u8; PREFIX_LEN] {
    let mut prefix = [0; PREFIX_LEN];
    R::thread_rng().fill_bytes(&mut prefix);
    prefix
}

fn hex(prefix: &[u8; PREFIX_LEN], low: u64) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut key = String::with_capacity(UNIQ_KEY_LEN);
    let low = low.to_be_bytes();
    for byte in prefix.iter().chain(&low[2..]) {
        key.push(char::from(DIGITS[usize::from(byte >> 4)]));
        key.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    key
}

/// When the month of `at_ms` began, in UTC. (RocketMQ uses the local time zone; a reader allows for a day.)
fn month_start_ms(at_ms: i64) -> i64 {
    let days = at_ms.div_euclid(DAY_MS);
    (days - i64::from(day_of_month(days))) * DAY_MS
}

/// Day of the month, from 0, of a day counted from 1970-01-01. In the Gregorian calendar years that begin in March
/// have their leap day last, and their months repeat the lengths 31 30 31 30 31 every 153 days.
fn day_of_month(days: i64) -> u16 {
    // Days from 0000-03-01, a day on which a 400-year cycle begins, to 1970-01-01.
    let of_cycle = (days + 719_468).rem_euclid(146_097);
    let year = (of_cycle - of_cycle / 1_460 + of_cycle / 36_524 - of_cycle / 146_096) / 365;
    let of_year = of_cycle - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * month + 2) / 5;
    u16::try_from(of_month).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use quorumq_raft::runtime::tokio::Tokio;

    use super::*;

    #[test]
    fn keys_are_32_upper_hex_digits_and_never_repeat() {
        let keys = UniqKeys::new::<Tokio>();
        let drawn: BTreeSet<String> = (0..100_000).map(|_| keys.next::<Tokio>()).collect();
        assert_eq!(drawn.len(), 100_000);
        for key in drawn.iter().take(100) {
            assert_eq!(key.len(), UNIQ_KEY_LEN);
            assert!(key.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b)), "{key}");
        }
    }

    #[test]
    fn a_key_tells_when_it_was_drawn() {
        let keys = UniqKeys::new::<Tokio>();
        let before = Tokio::wall_clock_ms();
        let key = keys.next::<Tokio>();
        let after = Tokio::wall_clock_ms();
        let since = i64::from_str_radix(&key[20..28], 16).expect("hex");
        let at = month_start_ms(before) + since;
        assert!((before..=after).contains(&at), "{before} {at} {after}");
    }

    #[test]
    fn months_start_where_the_calendar_says() {
        for (date, day, first) in [
            ("1970-01-01", 0, 0),
            ("1970-01-31", 30, 0),
            ("1970-02-01", 31, 31),
            ("2000-02-29", 11_016, 10_988),
            ("2000-03-01", 11_017, 11_017),
            ("2024-12-31", 20_088, 20_058),
            ("2026-11-20", 20_777, 20_758),
            ("2100-02-28", 47_540, 47_513),
            ("2100-03-01", 47_541, 47_541),
        ] {
            assert_eq!(month_start_ms(day * DAY_MS), first * DAY_MS, "{date}");
            assert_eq!(month_start_ms((day + 1) * DAY_MS - 1), first * DAY_MS, "{date}, last millisecond");
        }
    }
}
