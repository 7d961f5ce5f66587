//! Pulls, offsets and single messages, asked of real brokers over loopback, frame by frame.
#![cfg(test)]

mod bad_sectors;
mod damage;
mod derived_damage;
mod expired;
mod exports;
#[path = "../harness/free_addr.rs"]
mod free_addr;
mod group;
mod hot_key;
mod offsets;
mod operator;
mod outcomes;
mod pulls;
mod rig;
mod stop;
mod subscriptions;
mod topics;
mod views;
