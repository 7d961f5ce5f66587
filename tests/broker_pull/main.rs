//! Pulls, offsets and single messages, asked of real brokers over loopback, frame by frame.
#![cfg(test)]

mod damage;
mod derived_damage;
mod exports;
#[path = "../harness/free_addr.rs"]
mod free_addr;
mod group;
mod offsets;
mod operator;
mod outcomes;
mod pulls;
mod rig;
mod stop;
mod subscriptions;
mod views;
