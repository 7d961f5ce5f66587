//! Clients' sessions and registration, asked of real brokers over loopback, frame by frame.
#![cfg(test)]
#![cfg(test)]

#[path = "../harness/free_addr.rs"]
mod free_addr;
mod golden;
mod group;
mod leader;
mod one_node;
mod rig;
