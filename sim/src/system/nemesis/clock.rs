//! Wall clocks that are wrong.

use rand::RngExt;

use super::{Going, noted};
use crate::system::System;
use crate::tally::Fault;
use crate::world::ClockFault;

/// Begins one.
pub fn begin(fault: Fault, group: usize, system: &mut System) -> Option<Box<dyn Going>> {
    let at = system.groups[group].draw_member(&mut system.rng)?;
    let host = system.groups[group].seat(at).host().clone();
    noted(system, fault, host.ip());
    let ms = system.rng.random_range(-20_000..20_000);
    host.strike_clock(match fault {
        Fault::ClockSkew => ClockFault::Skew(ms / 10),
        Fault::ClockJump => ClockFault::Jump(ms),
        _ => ClockFault::Freeze,
    });
    Some(Box::new(Wrong { group, at }))
}

#[derive(Debug)]
struct Wrong {
    group: usize,
    at: usize,
}

impl Going for Wrong {
    fn end(self: Box<Self>, system: &mut System) {
        system.groups[self.group].seat(self.at).host().mend_clock();
    }
}
