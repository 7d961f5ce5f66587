//! What is left of a run: one seed's result, as a program and as people read it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::history::Outcomes;
use crate::tally::Counts;

/// A rule that did not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// The checker or invariant, or `panic`, `liveness`, `time-limit`.
    pub rule: String,
    /// What was seen.
    pub what: String,
    /// Virtual milliseconds at which it was seen.
    pub at_ms: u64,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} (at {} ms)", self.rule, self.what, self.at_ms)
    }
}

/// A moment of a run, for its timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// Virtual milliseconds.
    pub at_ms: u64,
    /// The node it is about: an address; empty if it is about none.
    pub node: String,
    /// What it is.
    pub what: What,
}

/// What a [`Moment`] is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// The node leads its group from now on.
    Leads {
        /// Broker group.
        group: String,
        /// Term.
        term: u64,
    },
    /// The node leads no longer.
    LeadsNoMore,
    /// A fault begins.
    FaultBegins(String),
    /// A fault ends.
    FaultEnds(String),
    /// The node's process is up.
    Up,
    /// The node's process is gone.
    Down,
    /// Messages acknowledged in the second that ends here, over all clients.
    Acks(u64),
    /// Anything else worth a line.
    Note(String),
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leads { group, term } => write!(f, "leads {group} in term {term}"),
            Self::LeadsNoMore => f.write_str("leads no more"),
            Self::FaultBegins(fault) => write!(f, "{fault} begins"),
            Self::FaultEnds(fault) => write!(f, "{fault} ends"),
            Self::Up => f.write_str("up"),
            Self::Down => f.write_str("down"),
            Self::Acks(n) => write!(f, "{n} acknowledged in a second"),
            Self::Note(text) => f.write_str(text),
        }
    }
}

/// A line that the product logged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Virtual milliseconds.
    pub at_ms: u64,
    /// The node whose task logged it: an address; empty if none is known.
    pub node: String,
    /// Level, target, message and fields.
    pub text: String,
}

/// One seed's result.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Seed.
    pub seed: u64,
    /// Trace hash, 16 hex digits.
    pub hash: String,
    /// What did not hold; `None`: all did.
    pub violation: Option<Violation>,
    /// Virtual milliseconds.
    pub virtual_ms: u64,
    /// Wall milliseconds.
    pub wall_ms: u64,
    /// Events in the trace.
    pub events: u64,
    /// Operations by name: done, refused, unknown.
    pub outcomes: Outcomes,
    /// Messages acknowledged.
    pub acknowledged: u64,
    /// Virtual milliseconds in which clients sent.
    pub sending_ms: u64,
    /// Faults and effects.
    pub counts: Counts,
    /// The plan, in full.
    pub plan: String,
    /// The run's moments, in order. Only kept for failures and reports.
    pub moments: Vec<Moment>,
    /// The last lines that were logged before a failure.
    pub log: Vec<LogLine>,
}
