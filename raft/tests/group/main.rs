//! A group of nodes in one process: elections, durability, truncation, purge, a lost leader, new members.
#![cfg(test)]

mod common;
mod durability;
mod leader_loss;
mod lease;
mod purge;
mod repair;
mod restore;
mod three_nodes;
mod truncation;
