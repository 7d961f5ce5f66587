//! Links that do not carry what they should.

use std::net::IpAddr;
use std::ops::Range;
use std::time::Duration;

use rand::RngExt;

use super::{Going, Over, noted};
use crate::runtime::SimRng;
use crate::system::System;
use crate::tally::Fault;
use crate::world::{Block, Harm, NetConfig};

/// How long a flapping link stays closed, and open.
const FLAP: (Range<Duration>, Range<Duration>) =
    (Duration::from_millis(20)..Duration::from_millis(900), Duration::from_millis(20)..Duration::from_millis(600));

/// Begins one.
pub fn begin(fault: Fault, group: usize, system: &mut System) -> Option<Box<dyn Going>> {
    let one = system.groups[group].draw_member(&mut system.rng)?;
    let ip = system.groups[group].seat(one).ip();
    let others: Vec<IpAddr> =
        system.groups[group].seats().map(|(_, seat)| seat.ip()).filter(|other| *other != ip).collect();
    let other = others[system.rng.random_range(0..others.len())];
    noted(system, fault, ip);
    let world = system.world.clone();
    let block = match fault {
        // From everybody, or from its peers alone: then clients go on sending to it.
        Fault::Isolation if system.rng.random() => world.isolate(ip),
        Fault::Isolation => {
            let both_ways = others.iter().flat_map(|other| [(ip, *other), (*other, ip)]).collect();
            world.block(fault, Harm::Closed, both_ways)
        }
        // What a member sends, or what it is sent.
        Fault::OneWay if system.rng.random() => world.one_way(ip, other),
        Fault::OneWay => world.one_way(other, ip),
        Fault::Bridge => world.bridge(&[ip], &[other]),
        Fault::Flapping => world.flap(&[ip], &others, FLAP.0, FLAP.1),
        Fault::Loss => world.lose(&[ip], &anybody(system, others), draw_rate(&mut system.rng)),
        Fault::LongDelay => world.delay(&[ip], &anybody(system, others), draw_rate(&mut system.rng)),
        Fault::HangingConnect => {
            world.cut(ip, other);
            world.hang_connects(other, ip)
        }
        Fault::Reset => {
            others.iter().for_each(|other| world.cut_in_use(ip, *other));
            return Some(Box::new(Over));
        }
        Fault::Truncation => {
            anybody(system, others).iter().for_each(|other| world.truncate(ip, *other));
            return Some(Box::new(Over));
        }
        _ => return Some(short_writes(system)),
    };
    Some(Box::new(Blocked(block)))
}

/// Other members, and now and then clients too.
fn anybody(system: &mut System, mut members: Vec<IpAddr>) -> Vec<IpAddr> {
    if system.rng.random() {
        members.extend((0..system.crew.count()).map(|at| system.crew.host(at).ip()));
    }
    members
}

/// One in so many runs of bytes is struck.
fn draw_rate(rng: &mut SimRng) -> u32 {
    [3, 10, 40][rng.random_range(0..3)]
}

#[derive(Debug)]
struct Blocked(Block);

impl Going for Blocked {
    fn end(self: Box<Self>, _: &mut System) {
        self.0.heal();
    }
}

/// Writes take a few bytes at a time, and windows are narrow.
fn short_writes(system: &mut System) -> Box<dyn Going> {
    let narrow = NetConfig { short_write_one_in: 2, window_bytes: 4 << 10, ..system.weather.clone() };
    system.world.set_weather(narrow);
    Box::new(Narrow)
}

#[derive(Debug)]
struct Narrow;

impl Going for Narrow {
    fn end(self: Box<Self>, system: &mut System) {
        system.world.set_weather(system.weather.clone());
    }
}
