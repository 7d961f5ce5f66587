//! Wall clocks that are wrong.

use rand::RngExt;

use super::{Going, noted};
use crate::system::System;
use crate::tally::Fault;

/// Begins one.
pub fn begin(fault: Fault, group: usize, system: &mut System) -> Option<Box<dyn Going>> {
    let at = system.groups[group].draw_member(&mut system.rng)?;
    let host = system.groups[group].seat(at).host().clone();
    noted(system, fault, host.ip());
    match fault {
        Fault::ClockSkew => host.set_clock_skew_ms(system.rng.random_range(-3_000..3_000)),
        _ => return None,
    }
    Some(Box::new(Wrong { group, at }))
}

#[derive(Debug)]
struct Wrong {
    group: usize,
    at: usize,
}

impl Going for Wrong {
    fn end(self: Box<Self>, system: &mut System) {
        system.groups[self.group].seat(self.at).host().set_clock_skew_ms(0);
    }
}
