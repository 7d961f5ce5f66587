//! Nodes: the machines of a world.

use std::future::Future;
use std::net::IpAddr;

use madsim::runtime::NodeHandle;
use madsim::task::{JoinHandle, NodeId};

use super::{ClockFault, Death, World};
use crate::tally::Fault;

/// One machine of the world: an address, a process, a wall clock.
#[derive(Clone, Debug)]
pub struct Node {
    world: World,
    ip: IpAddr,
    id: NodeId,
}

impl Node {
    pub(super) fn new(world: World, ip: IpAddr, id: NodeId) -> Self {
        Self { world, ip, id }
    }

    /// Its address.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    /// Starts a task on the node. All that the task spawns, binds and connects is the node's.
    ///
    /// # Panics
    /// If the node is down.
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        assert!(!self.is_down(), "the node {} is down: restart it first", self.ip);
        self.handle().spawn(future)
    }

    /// Ends the node's process or its power, at this moment. Its tasks never run again; what they hold is dropped
    /// before virtual time moves on, so after any sleep. What its disk forgets is the disk's business, to be done
    /// with no await in between.
    pub fn kill(&self, death: Death) {
        let fault = match death {
            Death::Crash => Fault::Kill,
            Death::PowerLoss => Fault::PowerLoss,
        };
        self.world.tally().begun(fault);
        self.kill_for(fault, death);
    }

    /// As [`Node::kill`], as a part of `fault`, which may end several nodes: who does it counts its beginning. Counted
    /// here as felt: connections that end, and until the node is up again, connects to it.
    pub fn kill_for(&self, fault: Fault, death: Death) {
        self.world.net.down(self.ip, fault, death);
        self.world.handle.kill(self.id);
    }

    /// Makes the node able to run tasks again. It runs nothing yet.
    pub fn restart(&self) {
        // First end what may still run, so that no old task sees the new life.
        if !self.is_down() {
            self.kill(Death::Crash);
        }
        self.world.handle.restart(self.id);
        self.world.net.up(self.ip);
    }

    /// Whether the node was killed and not restarted.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.world.handle.is_exit(self.id)
    }

    /// Stops the process where it is, as SIGSTOP does; its sockets stay.
    pub fn pause(&self) {
        self.world.net.pause(self.ip);
        self.world.handle.pause(self.id);
    }

    /// Lets a paused process go on.
    pub fn resume(&self) {
        self.world.net.resume(self.ip);
        self.world.handle.resume(self.id);
    }

    /// Something happens to the node's wall clock, on top of what has happened to it before. Timers are not affected.
    pub fn strike_clock(&self, fault: ClockFault) {
        self.world.net.strike_clock(self.ip, fault);
    }

    /// Sets the node's wall clock right.
    pub fn mend_clock(&self) {
        self.world.net.mend_clock(self.ip);
    }

    fn handle(&self) -> NodeHandle {
        match self.world.handle.get_node(self.id) {
            Some(handle) => handle,
            None => unreachable!("nodes are never removed"),
        }
    }
}
