//! Clients' sessions and registration, asked of real brokers over loopback, frame by frame.
#![cfg(test)]
#![cfg(test)]

mod golden;
mod group;
mod leader;
mod one_node;
mod rig;
