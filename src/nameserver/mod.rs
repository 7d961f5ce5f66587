//! The NameServer: stateless peers that tell clients where topics are.
mod group;
pub mod kv;
pub mod route_table;
