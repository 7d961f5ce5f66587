//! Hosts: what the network knows of a machine.

use std::time::Instant;

use super::clock::WallClock;
use super::disk_pace::DiskPace;
use crate::tally::Fault;

/// Ports the network itself hands out.
pub(super) const EPHEMERAL_PORTS: std::ops::Range<u16> = 32_768..61_000;

/// Whether a host's system and process run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Power {
    On,
    Off,
}

#[derive(Debug)]
pub(super) struct Host {
    pub(super) power: Power,
    pub(super) next_port: u16,
    pub(super) clock: WallClock,
    pub(super) disk: DiskPace,
    /// The fault that ended its process, until it is up again.
    pub(super) down_by: Option<Fault>,
    /// Since when its process is stopped where it was.
    pub(super) paused_since: Option<Instant>,
}

impl Default for Host {
    fn default() -> Self {
        Self {
            power: Power::On,
            next_port: EPHEMERAL_PORTS.start,
            clock: WallClock::default(),
            disk: DiskPace::default(),
            down_by: None,
            paused_since: None,
        }
    }
}
