//! Everything the commands ask of the rest of the product, in one place.

mod brokers;
mod cluster;
mod groups;
mod messages;
mod servers;
mod stores;
mod topics;

pub(crate) use brokers::{BrokerHandle, start_broker};
pub(crate) use groups::{
    group_add, group_catch_up, group_has, group_purge, group_ready, group_remove, group_status, group_transfer,
};
pub(crate) use messages::{Incoming, Outgoing, Receiver, Sender, Sent, Subscription, find};
pub(crate) use servers::{NameServerHandle, start_name_server};
pub(crate) use stores::{store_accept_loss, store_dump, store_inspect, store_retention, store_standing, store_verify};
pub(crate) use topics::{Found, RouteGroup, Topics};
