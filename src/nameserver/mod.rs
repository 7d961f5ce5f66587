//! The NameServer: stateless peers that tell clients where topics are.
//!
//! The route table is a plain value that registrations change; [`server`] puts it on a port.

mod group;
mod handlers;
pub mod kv;
mod kv_store;
mod registry;
pub mod route_table;
pub mod server;

pub use server::{NameServer, NameServerError, NameServerOptions};

#[cfg(test)]
mod tests;
