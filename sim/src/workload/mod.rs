//! What clients do: one kind of client a file, each through the product's own client.

use std::sync::Arc;
use std::time::Duration;

use quorumq::client::ClientOptions;
use tokio_util::sync::CancellationToken;

use crate::history::Ledger;
use crate::world::{Node, World};

/// A topic that clients use.
#[derive(Clone, Debug)]
pub struct Topic {
    /// Name.
    pub name: Arc<str>,
    /// Queues on each broker group.
    pub queues: u32,
}

/// One life of a client: what it needs to work.
#[derive(Clone, Debug)]
pub struct Client {
    /// The world; its clock stamps operations.
    pub world: World,
    /// Where it runs.
    pub host: Node,
    /// Its name, unlike that of any other life of any client.
    pub name: Arc<str>,
    /// How it finds its brokers.
    pub options: ClientOptions,
    /// Where its operations are written down.
    pub ledger: Ledger,
    /// The topics it uses.
    pub topics: Arc<[Topic]>,
    /// Longest pause between two operations.
    pub pause: Duration,
    /// Ends it in good order.
    pub stop: CancellationToken,
}
