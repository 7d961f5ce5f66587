//! What goes wrong with hosts, links and connections. Each call is in the trace; what comes of it is counted where it
//! is felt.

use std::net::IpAddr;

use super::clock::ClockFault;
use super::host::Power;
use super::link::{Harm, LinkId};
use super::net::{Death, Net, State};
use crate::tally::Fault;

impl Net {
    /// Ends all sockets of a host. Its tasks are still there; what they do with their streams has no effect. Counts the
    /// connections that end for `fault`; from now until the host is [`up`](Net::up), those that it refuses as well.
    pub(crate) fn down(&self, ip: IpAddr, fault: Fault, death: Death) {
        self.record(ip, "down", u64::from(death == Death::PowerLoss), fault.name().as_bytes());
        self.with(|state, wakes| {
            state.waited(ip);
            let host = state.host(ip);
            (host.down_by, host.paused_since) = (Some(fault), None);
            if death == Death::PowerLoss {
                host.power = Power::Off;
            }
            for (_, socket) in state.sockets.extract_if(.., |(host, _), _| *host == ip) {
                // Nobody will ever hold these: let go of them as the system does.
                for (id, _) in socket.backlog {
                    state.connections.get_mut(&id).into_iter().for_each(|connection| connection.release(1));
                }
            }
            let links = &mut state.links;
            for connection in state.connections.values_mut() {
                let sides = [0, 1].into_iter().filter(|side| connection.host(*side) == ip && connection.is_open(*side));
                let sides: Vec<_> = sides.collect();
                links.tally.felt(fault, u64::from(!sides.is_empty()));
                for side in sides {
                    match death {
                        Death::Crash => connection.close(side, links, wakes),
                        Death::PowerLoss => connection.silence(side),
                    }
                }
            }
            state.connections.retain(|_, connection| !connection.is_forgotten());
        });
    }

    /// A host has power again, or its process is about to start again.
    pub(crate) fn up(&self, ip: IpAddr) {
        self.record(ip, "up", 0, &[]);
        self.with(|state, wakes| {
            let host = state.host(ip);
            (host.power, host.down_by) = (Power::On, None);
            for connection in state.connections.values_mut() {
                for side in [0, 1] {
                    if connection.host(side) == ip {
                        connection.unsilence(side, &mut state.links, wakes);
                    }
                }
            }
        });
    }

    /// A host's process stops where it is.
    pub(crate) fn pause(&self, ip: IpAddr) {
        self.record(ip, "pause", 0, &[]);
        self.tally().begun(Fault::Pause);
        self.with(|state, _| {
            let now = state.links.now();
            state.host(ip).paused_since.get_or_insert(now);
        });
    }

    /// A paused process goes on. Counts the runs of bytes and the connections that waited for it.
    pub(crate) fn resume(&self, ip: IpAddr) {
        self.record(ip, "resume", 0, &[]);
        self.with(|state, _| {
            state.waited(ip);
            state.host(ip).paused_since = None;
        });
    }

    /// Something happens to a host's wall clock.
    pub(crate) fn strike_clock(&self, ip: IpAddr, fault: ClockFault) {
        self.record(ip, "clock", 0, format!("{fault:?}").as_bytes());
        self.tally().begun(match fault {
            ClockFault::Skew(_) => Fault::ClockSkew,
            ClockFault::Jump(_) => Fault::ClockJump,
            ClockFault::Freeze => Fault::ClockFreeze,
        });
        let now_ms = self.true_time_ms();
        self.with(|state, _| state.host(ip).clock.strike(fault, now_ms));
    }

    /// A host's wall clock is right again.
    pub(crate) fn mend_clock(&self, ip: IpAddr) {
        self.record(ip, "clock", 1, &[]);
        self.with(|state, _| state.host(ip).clock = Default::default());
    }

    /// Resets every connection between two hosts.
    pub(crate) fn cut(&self, one: IpAddr, other: IpAddr) {
        self.record(one, "cut", 0, other.to_string().as_bytes());
        self.tally().begun(Fault::Reset);
        self.with(|state, wakes| {
            let between = state.connections.values_mut().filter(|connection| connection.joins(one, other));
            between.for_each(|connection| connection.cut(&mut state.links, wakes));
        });
    }

    /// The next run of bytes of every connection between two hosts ends it.
    pub(crate) fn break_by(&self, fault: Fault, one: IpAddr, other: IpAddr) {
        self.record(one, fault.name(), 0, other.to_string().as_bytes());
        self.tally().begun(fault);
        self.with(|state, _| {
            let between = state.connections.values_mut().filter(|connection| connection.joins(one, other));
            between.for_each(|connection| connection.break_by(fault));
        });
    }

    /// A number for a fault of links.
    pub(crate) fn next_fault(&self) -> u64 {
        self.with(|state, _| state.next_id())
    }

    /// Fault number `id` begins to harm `links`.
    pub(crate) fn harm(&self, id: u64, links: &[LinkId], fault: Fault, harm: Harm) {
        for link in links {
            self.record(link.0, fault.name(), id, format!("{} {harm:?}", link.1).as_bytes());
        }
        self.with(|state, _| links.iter().for_each(|link| state.links.harm(*link, id, fault, harm)));
    }

    /// Fault number `id` harms `links` no longer.
    pub(crate) fn lift(&self, id: u64, links: &[LinkId]) {
        for link in links {
            self.record(link.0, "lift", id, link.1.to_string().as_bytes());
        }
        self.with(|state, wakes| {
            for link in links {
                let held = state.connections.values().map(|connection| connection.held_on(*link, &state.links)).sum();
                state.links.lift(*link, id, held, wakes);
            }
        });
    }

    /// Lifts everything that harms a link.
    pub(crate) fn heal(&self, link: LinkId) {
        for id in self.with(|state, _| state.links.harms_of(link)) {
            self.lift(id, &[link]);
        }
    }

    /// Lifts everything that harms any link.
    pub(crate) fn heal_all(&self) {
        self.with(|state, _| state.flapping.clear());
        for link in self.with(|state, _| state.links.harmed()) {
            self.heal(link);
        }
    }

    /// Fault number `id` opens and closes links until told that it does no longer.
    pub(crate) fn set_flapping(&self, id: u64, flaps: bool) {
        self.with(|state, _| if flaps { state.flapping.insert(id) } else { state.flapping.remove(&id) });
    }

    /// Whether it still does.
    pub(crate) fn is_flapping(&self, id: u64) -> bool {
        self.with(|state, _| state.flapping.contains(&id))
    }
}

impl State {
    /// Counts what has come for a paused host's process and waits for it.
    fn waited(&mut self, ip: IpAddr) {
        let Some(since) = self.host(ip).paused_since else { return };
        let ends = self.connections.values().flat_map(|connection| [(connection, 0), (connection, 1)]);
        let its = ends.filter(|(connection, side)| connection.host(*side) == ip);
        let runs: u64 = its.map(|(connection, side)| connection.unread_since(side, since, &self.links)).sum();
        self.links.tally.felt(Fault::Pause, runs);
    }
}
