//! A broker group: its seats, who may be a member, and how its processes are started.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use quorumq::broker::retention::RetentionOptions;
use quorumq::broker::retention::policy::{Force, Policy};
use quorumq_raft::form::Start;
use quorumq_store::consume_queue::UNIT_LEN;
use quorumq_store::log_store::FlushMode;
use rand::RngExt;

use super::plan::GroupPlan;
use super::seat::Seat;
use crate::invariant::{GroupView, Member, SeatView};
use crate::runtime::SimRng;
use crate::scenario::launch::{CONSTANTS, Launch};
use crate::scenario::seat::RESERVE;
use crate::world::World;

/// Brokers register so often: more often than the product's usual 30 s, as much happens in a short run.
const REGISTER: Duration = Duration::from_secs(5);
/// Pause between sweeps of retention.
const SWEEP: Duration = Duration::from_secs(5);

/// Units of a ConsumeQueue that have one sum, and the bytes of that.
const CHUNK: u64 = 204;
const SUM: u64 = 8;

/// A broker group.
#[derive(Debug)]
pub struct Group {
    /// RocketMQ's brokerName.
    pub name: Arc<str>,
    /// When members acknowledge.
    pub flush: FlushMode,
    plan: GroupPlan,
    world: World,
    /// Third byte of its seats' addresses.
    net: u8,
    namesrv: Vec<SocketAddr>,
    /// Those who formed the group first. One whose disk was lost, or that was removed, is retired: out for good.
    seats: Vec<(Seat, bool)>,
}

impl Group {
    /// A group of seats with empty disks; nothing runs.
    #[must_use]
    pub fn new(world: &World, number: u8, plan: GroupPlan, namesrv: &[SocketAddr]) -> Self {
        let name = format!("broker-{}", char::from(b'a' + number));
        let mut group = Self {
            name: name.into(),
            flush: plan.flush,
            plan,
            world: world.clone(),
            net: number + 1,
            namesrv: namesrv.to_vec(),
            seats: Vec::new(),
        };
        for _ in 0..plan.founders {
            group.add_seat();
        }
        group
    }

    fn ip_of(&self, at: usize) -> IpAddr {
        Ipv4Addr::new(10, 0, self.net, u8::try_from(at + 1).unwrap_or(u8::MAX)).into()
    }

    /// A new seat. Unless it founds the group, its broker will wait to be added.
    pub fn add_seat(&mut self) -> usize {
        let at = self.seats.len();
        self.seats.push((Seat::new(&self.world, self.ip_of(at)), false));
        at
    }

    /// A seat.
    #[must_use]
    pub fn seat(&self, at: usize) -> &Seat {
        &self.seats[at].0
    }

    /// Every seat that is not retired.
    pub fn seats(&self) -> impl Iterator<Item = (usize, &Seat)> {
        let active = self.seats.iter().enumerate().filter(|(_, (_, retired))| !retired);
        active.map(|(at, (seat, _))| (at, seat))
    }

    /// Whether a seat is out of the group for good.
    #[must_use]
    pub fn is_retired(&self, at: usize) -> bool {
        self.seats[at].1
    }

    /// Takes a seat out for good. Its process has been ended.
    pub fn retire(&mut self, at: usize) {
        self.seats[at].0.start_at(None);
        self.seats[at].1 = true;
    }

    /// Seats whose broker serves.
    pub fn members(&self) -> impl Iterator<Item = (usize, Member)> {
        self.seats().filter_map(|(at, seat)| Some((at, seat.member()?)))
    }

    /// The member that leads the highest term.
    #[must_use]
    pub fn leader(&self) -> Option<(usize, Member)> {
        self.members().filter(|(_, member)| member.is_leader()).max_by_key(|(_, member)| member.leadership().0)
    }

    /// A serving member that does not lead, any of them.
    pub fn draw_follower(&self, rng: &mut SimRng) -> Option<usize> {
        let leader = self.leader().map(|(at, _)| at);
        let followers: Vec<_> = self.members().map(|(at, _)| at).filter(|at| Some(*at) != leader).collect();
        (!followers.is_empty()).then(|| followers[rng.random_range(0..followers.len())])
    }

    /// The leader in two of three draws, else any follower.
    pub fn draw_member(&self, rng: &mut SimRng) -> Option<usize> {
        let leader = self.leader().map(|(at, _)| at);
        let follower = self.draw_follower(rng);
        if rng.random_range(0..3) < 2 { leader.or(follower) } else { follower.or(leader) }
    }

    /// Starts the process of a seat.
    pub fn start(&self, at: usize) {
        let start = if self.is_founder(at) {
            let peers = self.seats.iter().take(self.plan.founders).map(|(seat, _)| seat.peer_addr()).collect();
            Start::Bootstrap { peers, me: at }
        } else {
            Start::Join
        };
        let seat = self.seat(at);
        let mut launch = Launch::new(seat.ip(), &self.name, self.flush, start, self.namesrv.clone());
        launch.options.register_period = REGISTER;
        if let Some(reserved) = self.plan.reserved {
            let force = Some(Force { used_percent: 100, reserve_bytes: RESERVE });
            let policy = Policy { reserved, delete_when: (0..24).collect(), force, ..Policy::default() };
            launch.options.retention = RetentionOptions { policy, interval: SWEEP, ..RetentionOptions::default() };
        }
        seat.start(launch);
    }

    /// The group as invariants see it.
    #[must_use]
    pub fn view(&self) -> GroupView {
        let seats = self.seats.iter().map(|(seat, _)| SeatView {
            ip: seat.ip(),
            disk: seat.machine().disk().medium().clone(),
            life: seat.life(),
            member: seat.member(),
            doomed: seat.is_doomed(),
            wiped: seat.is_wiped(),
        });
        GroupView {
            name: Arc::clone(&self.name),
            flush: self.flush,
            segment_size: CONSTANTS.segment_size,
            seats: seats.collect(),
        }
    }
}

impl Group {
    /// Whether one leads, and every member serves.
    ///
    /// # Errors
    /// What is missing.
    pub fn is_whole(&self) -> Result<(), String> {
        let Some((_, leader)) = self.leader() else { return Err(format!("{} has no leader", self.name)) };
        let serving: Vec<_> = self.members().map(|(_, member)| member.id()).collect();
        let missing: Vec<_> =
            leader.members().into_iter().map(|(id, ..)| id).filter(|id| !serving.contains(id)).collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("members {missing:?} of {} do not serve", self.name)) }
    }

    /// Whether all members have applied and synced the same entries.
    ///
    /// # Errors
    /// How they stand.
    pub fn is_level(&self) -> Result<(), String> {
        self.is_whole()?;
        let next = |id: Option<quorumq_store::LogId>| id.map_or(0, |id| id.index.0 + 1);
        let states: Vec<_> = self
            .members()
            .map(|(_, member)| (member.id(), member.positions(), member.shared().applied_next()))
            .map(|(id, positions, applied)| (id, [next(positions.last), next(positions.synced), applied]))
            .collect();
        if states.iter().all(|(_, state)| *state == [states[0].1[0]; 3]) {
            return Ok(());
        }
        Err(format!("{}: (node, [last, synced, applied]): {states:?}", self.name))
    }

    /// How many seats it has had.
    #[must_use]
    pub fn count(&self) -> usize {
        self.seats.len()
    }

    /// Whether a seat is one of those that formed the group.
    #[must_use]
    pub fn is_founder(&self, at: usize) -> bool {
        at < self.plan.founders
    }
}

impl Group {
    /// Flipped bits that its members have not made good though they should: path and byte, by address.
    #[must_use]
    pub fn damage(&self) -> Vec<(IpAddr, PathBuf, u64)> {
        let mut found = Vec::new();
        for (_, seat) in self.seats().filter(|(_, seat)| !seat.is_wiped()) {
            let Some(member) = seat.member() else { continue };
            let damage = seat.machine().disk().damage().into_iter();
            let damage = damage.filter(|(path, at)| !is_purged(&member, path, *at));
            found.extend(damage.map(|(path, at)| (seat.ip(), path, at)));
        }
        found
    }
}

/// Whether a byte of a ConsumeQueue's file, or of its sums, is of units whose messages were purged: nobody reads them any
/// more, and nothing could tell what they were.
fn is_purged(member: &Member, path: &Path, at: u64) -> bool {
    let names: Vec<_> = path.iter().rev().filter_map(|name| name.to_str()).collect();
    let [file, queue, topic, "consumequeue", ..] = names[..] else { return false };
    let (Some(start), Ok(queue)) = (file.get(..20).and_then(|name| name.parse::<u64>().ok()), queue.parse()) else {
        return false;
    };
    // A chunk is checked as a whole.
    let chunk = if file.len() > 20 { at / SUM } else { at / UNIT_LEN / CHUNK };
    let end = start / UNIT_LEN + (chunk + 1) * CHUNK;
    let is_below = |min: u64, max: u64| end.min(max) <= min;
    let machine = member.machine();
    machine.queue(topic, queue).is_none_or(|queue| is_below(queue.min_offset().0, queue.max_offset().0))
}
