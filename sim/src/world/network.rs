//! What a scenario does to links and connections.

use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;

use super::{Harm, World};
use crate::runtime::LinkId;
use crate::runtime::net::Net;
use crate::tally::Fault;

/// A fault of some links that lasts until it is healed. Several may harm one link: it is open again when all are healed.
/// Dropping it heals nothing; [`World::heal_all`] does.
#[derive(Debug)]
#[must_use = "it lasts until it is healed"]
pub struct Block {
    net: Arc<Net>,
    id: u64,
    links: Vec<LinkId>,
}

impl Block {
    /// Ends the fault. What waited for nothing else goes through at once.
    pub fn heal(self) {
        self.net.set_flapping(self.id, false);
        self.net.lift(self.id, &self.links);
    }
}

/// Both directions of every pair.
fn both_ways(one: &[IpAddr], other: &[IpAddr]) -> Vec<LinkId> {
    let pairs = one.iter().flat_map(|a| other.iter().map(|b| (*a, *b)));
    pairs.filter(|(a, b)| a != b).flat_map(|(a, b)| [(a, b), (b, a)]).collect()
}

impl World {
    /// `fault` begins: it does `harm` to `links`, each a pair of from and to.
    pub fn block(&self, fault: Fault, harm: Harm, links: Vec<LinkId>) -> Block {
        self.tally().begun(fault);
        let id = self.net.next_fault();
        self.net.harm(id, &links, fault, harm);
        Block { net: self.net.clone(), id, links }
    }

    /// Nothing passes between `host` and any other node of the world, both ways.
    pub fn isolate(&self, host: IpAddr) -> Block {
        self.block(Fault::Isolation, Harm::Closed, both_ways(&[host], &self.net.hosts()))
    }

    /// Nothing sent from `from` arrives at `to`; the other direction works.
    pub fn one_way(&self, from: IpAddr, to: IpAddr) -> Block {
        self.block(Fault::OneWay, Harm::Closed, vec![(from, to)])
    }

    /// Those of `one` and those of `other` do not reach each other; whoever is in neither reaches both.
    pub fn bridge(&self, one: &[IpAddr], other: &[IpAddr]) -> Block {
        self.block(Fault::Bridge, Harm::Closed, both_ways(one, other))
    }

    /// The links between `one` and `other` close and open again and again, both ways at once, each for a drawn time.
    pub fn flap(&self, one: &[IpAddr], other: &[IpAddr], closed: Range<Duration>, open: Range<Duration>) -> Block {
        self.tally().begun(Fault::Flapping);
        let (net, id, links) = (self.net.clone(), self.net.next_fault(), both_ways(one, other));
        net.set_flapping(id, true);
        let flapping = flap(self.clone(), id, links.clone(), closed, open);
        drop(madsim::task::spawn(flapping));
        Block { net, id, links }
    }

    /// New connections from `from` to `to` hang; established ones work.
    pub fn hang_connects(&self, from: IpAddr, to: IpAddr) -> Block {
        self.block(Fault::HangingConnect, Harm::ConnectsHang, vec![(from, to)])
    }

    /// One run of bytes in `one_in` between `one` and `other` is lost and sent again, 200 ms later, then 400 ms, and so
    /// on; what follows it waits. For all links of the world, see [`World::set_weather`].
    pub fn lose(&self, one: &[IpAddr], other: &[IpAddr], one_in: u32) -> Block {
        self.block(Fault::Loss, Harm::Loss(one_in), both_ways(one, other))
    }

    /// One run of bytes in `one_in` between `one` and `other` takes far longer, seconds now and then.
    pub fn delay(&self, one: &[IpAddr], other: &[IpAddr], one_in: u32) -> Block {
        self.block(Fault::LongDelay, Harm::LongDelay(one_in), both_ways(one, other))
    }

    /// Nothing sent from `from` arrives at `to` until the link heals; the other direction works.
    pub fn clog(&self, from: IpAddr, to: IpAddr) {
        let _until_healed = self.one_way(from, to);
    }

    /// New connections from `from` to `to` hang until the link heals; established ones work.
    pub fn hold_connects(&self, from: IpAddr, to: IpAddr) {
        let _until_healed = self.hang_connects(from, to);
    }

    /// Clogs every link between a node of `one` and a node of `other`, both ways, until they heal.
    pub fn partition(&self, one: &[IpAddr], other: &[IpAddr]) {
        let _until_healed = self.block(Fault::Isolation, Harm::Closed, both_ways(one, other));
    }

    /// Opens the link from `from` to `to` again, whatever harms it.
    pub fn heal(&self, from: IpAddr, to: IpAddr) {
        self.net.heal((from, to));
    }

    /// Heals every link.
    pub fn heal_all(&self) {
        self.net.heal_all();
    }

    /// Resets every connection between two nodes; what is under way is lost. New connections work.
    pub fn cut(&self, one: IpAddr, other: IpAddr) {
        self.net.cut(one, other);
    }

    /// The next run of bytes on each connection between two nodes is lost, and the connection is reset.
    pub fn cut_in_use(&self, one: IpAddr, other: IpAddr) {
        self.net.break_by(Fault::Reset, one, other);
    }

    /// The next run of bytes on each connection between two nodes is cut off in its middle: the reader gets the first
    /// part, then the end of file or a reset. The writer learns of it later.
    pub fn truncate(&self, one: IpAddr, other: IpAddr) {
        self.net.break_by(Fault::Truncation, one, other);
    }
}

/// Closes and opens `links` until fault number `id` is healed.
async fn flap(world: World, id: u64, links: Vec<LinkId>, closed: Range<Duration>, open: Range<Duration>) {
    let mut rng = world.rng();
    let mut draw = |range: &Range<Duration>| {
        if range.is_empty() { range.start } else { rng.random_range(range.clone()) }
    };
    while world.net.is_flapping(id) {
        world.net.harm(id, &links, Fault::Flapping, Harm::Closed);
        madsim::time::sleep(draw(&closed)).await;
        world.net.lift(id, &links);
        madsim::time::sleep(draw(&open)).await;
    }
}
