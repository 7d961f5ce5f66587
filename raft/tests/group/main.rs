//! A group of nodes in one process: elections, catch-up, durability, truncation, purge, a lost leader, new members.
#![cfg(test)]

mod catch_up;
mod common;
mod durability;
mod full_disk;
mod leader_loss;
mod lease;
mod purge;
mod repair;
mod restore;
mod three_nodes;
mod truncation;
mod unproven;
