//! What a setting may be: one rule type per kind of value, each with the words for what it allows.

use std::fmt::Display;
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use super::address::HostPort;
use super::flush::FlushDiskType;
use super::peer::{Peer, PeerId};

/// Reads and writes the values of one setting.
pub(super) trait Rule {
    type Value;

    /// Whether the flag may stand alone and then means `true`.
    const SWITCH: bool = false;

    /// The value, or what is allowed, to follow "must be".
    fn parse(&self, text: &str) -> Result<Self::Value, String>;

    /// The text that [`Rule::parse`] reads as this value.
    fn render(&self, value: &Self::Value) -> String;
}

/// Whether the flag of a rule for values of type `T` may stand alone.
pub(super) const fn is_switch<T, R: Rule<Value = T>>(_: &R) -> bool {
    R::SWITCH
}

/// A whole number in a range, optionally a multiple of something.
pub(super) struct Whole<T> {
    min: u64,
    max: u64,
    multiple_of: u64,
    kind: PhantomData<T>,
}

/// A whole number from `min` to `max`, both included.
pub(super) const fn whole<T>(min: u64, max: u64) -> Whole<T> {
    Whole { min, max, multiple_of: 1, kind: PhantomData }
}

impl<T> Whole<T> {
    pub(super) const fn multiple_of(mut self, step: u64) -> Self {
        self.multiple_of = step;
        self
    }
}

impl<T: TryFrom<u64> + Display> Rule for Whole<T> {
    type Value = T;

    fn parse(&self, text: &str) -> Result<T, String> {
        let fits = |n: &u64| (self.min..=self.max).contains(n) && n.is_multiple_of(self.multiple_of);
        let value = text.parse::<u64>().ok().filter(fits).and_then(|n| T::try_from(n).ok());
        value.ok_or_else(|| {
            let step = match self.multiple_of {
                1 => String::new(),
                step => format!(", a multiple of {step}"),
            };
            format!("a whole number from {} to {}{step}", self.min, self.max)
        })
    }

    fn render(&self, value: &T) -> String {
        value.to_string()
    }
}

/// `true` or `false`. Java reads anything else as false, which hides mistakes.
pub(super) struct Switch;

impl Rule for Switch {
    type Value = bool;
    const SWITCH: bool = true;

    fn parse(&self, text: &str) -> Result<bool, String> {
        match text.to_ascii_lowercase().as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err("true or false".to_owned()),
        }
    }

    fn render(&self, value: &bool) -> String {
        value.to_string()
    }
}

/// A name of a cluster or group: it becomes part of keys, file names and log lines.
pub(super) struct Name;

/// Longest name, in bytes: RocketMQ's limit for topics.
const MAX_NAME: usize = 127;

impl Rule for Name {
    type Value = String;

    fn parse(&self, text: &str) -> Result<String, String> {
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '%' | '|');
        if (1..=MAX_NAME).contains(&text.len()) && text.chars().all(good) {
            return Ok(text.to_owned());
        }
        Err(format!("1 to {MAX_NAME} letters, digits, '_', '-', '.', '%' or '|'"))
    }

    fn render(&self, value: &String) -> String {
        value.clone()
    }
}

/// A file or directory.
pub(super) struct Location;

impl Rule for Location {
    type Value = PathBuf;

    fn parse(&self, text: &str) -> Result<PathBuf, String> {
        if text.is_empty() {
            return Err("a path".to_owned());
        }
        Ok(PathBuf::from(text))
    }

    fn render(&self, value: &PathBuf) -> String {
        value.display().to_string()
    }
}

/// An IPv4 address that clients can dial.
pub(super) struct Reachable;

impl Rule for Reachable {
    type Value = Ipv4Addr;

    fn parse(&self, text: &str) -> Result<Ipv4Addr, String> {
        let good = |ip: &Ipv4Addr| !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast();
        let allowed = || "an IPv4 address that clients can reach, e.g. 192.168.1.10".to_owned();
        text.parse().ok().filter(good).ok_or_else(allowed)
    }

    fn render(&self, value: &Ipv4Addr) -> String {
        value.to_string()
    }
}

/// An address to listen on.
pub(super) struct Bind;

impl Rule for Bind {
    type Value = IpAddr;

    fn parse(&self, text: &str) -> Result<IpAddr, String> {
        text.parse().map_err(|_| "an IP address of this machine, or 0.0.0.0 for all".to_owned())
    }

    fn render(&self, value: &IpAddr) -> String {
        value.to_string()
    }
}

/// Addresses joined by `;`. May be empty.
pub(super) struct Addresses;

impl Rule for Addresses {
    type Value = Vec<HostPort>;

    fn parse(&self, text: &str) -> Result<Vec<HostPort>, String> {
        let all: Option<Vec<_>> = parts(text).map(HostPort::parse).collect();
        all.ok_or_else(|| "host:port, several joined by ';', e.g. 127.0.0.1:9876;127.0.0.1:9877".to_owned())
    }

    fn render(&self, value: &Vec<HostPort>) -> String {
        join(value)
    }
}

/// DLedger's peer list.
pub(super) struct Peers;

impl Rule for Peers {
    type Value = Vec<Peer>;

    fn parse(&self, text: &str) -> Result<Vec<Peer>, String> {
        let all: Option<Vec<_>> = parts(text).map(Peer::parse).collect();
        all.filter(|peers| !peers.is_empty())
            .ok_or_else(|| "id-host:port, several joined by ';', e.g. n0-10.0.0.1:40911;n1-10.0.0.2:40911".to_owned())
    }

    fn render(&self, value: &Vec<Peer>) -> String {
        join(value)
    }
}

/// One member's id.
pub(super) struct SelfId;

impl Rule for SelfId {
    type Value = PeerId;

    fn parse(&self, text: &str) -> Result<PeerId, String> {
        PeerId::parse(text).ok_or_else(|| "a letter and a number, e.g. n0".to_owned())
    }

    fn render(&self, value: &PeerId) -> String {
        value.to_string()
    }
}

/// SYNC_FLUSH or ASYNC_FLUSH.
pub(super) struct Flush;

impl Rule for Flush {
    type Value = FlushDiskType;

    fn parse(&self, text: &str) -> Result<FlushDiskType, String> {
        let found = FlushDiskType::ALL.iter().find(|(name, _)| *name == text);
        found.map(|(_, value)| *value).ok_or_else(|| "SYNC_FLUSH or ASYNC_FLUSH".to_owned())
    }

    fn render(&self, value: &FlushDiskType) -> String {
        value.to_string()
    }
}

/// Hours of the day joined by `;`, as in RocketMQ's `deleteWhen`.
pub(super) struct Hours;

impl Rule for Hours {
    type Value = Vec<u8>;

    fn parse(&self, text: &str) -> Result<Vec<u8>, String> {
        let hour = |part: &str| part.parse().ok().filter(|hour: &u8| *hour < 24 && part.len() <= 2);
        let all: Option<Vec<_>> = parts(text).map(hour).collect();
        all.filter(|hours| !hours.is_empty())
            .ok_or_else(|| "hours of the day from 00 to 23, several joined by ';', e.g. 04".to_owned())
    }

    fn render(&self, value: &Vec<u8>) -> String {
        value.iter().map(|hour| format!("{hour:02}")).collect::<Vec<_>>().join(";")
    }
}

/// A switch that a RocketMQ user may set and that can only be one way here.
pub(super) struct AlwaysTrue(pub &'static str);

impl Rule for AlwaysTrue {
    type Value = ();
    const SWITCH: bool = true;

    fn parse(&self, text: &str) -> Result<(), String> {
        if text.eq_ignore_ascii_case("true") { Ok(()) } else { Err(format!("true: {}", self.0)) }
    }

    fn render(&self, (): &()) -> String {
        "true".to_owned()
    }
}

fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(';').map(str::trim).filter(|part| !part.is_empty())
}

fn join<T: Display>(values: &[T]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(";")
}
