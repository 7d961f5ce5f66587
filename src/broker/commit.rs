//! Consumer offset commits, gathered into one command per round.

use std::sync::Weak;

use quorumq_raft::runtime::Runtime;

use super::Broker;
use super::commander::CommandError;
use crate::machine::OffsetCommit;

/// Takes commits from handlers.
#[derive(Debug)]
pub struct Commits {}

/// What the committing task works with.
#[derive(Debug)]
pub struct Committing {}

impl Commits {
    pub fn new() -> (Self, Committing) {
        todo!()
    }
    /// Commits offsets and waits until they are applied. Leader only.
    pub async fn commit(&self, commits: Vec<OffsetCommit>) -> Result<(), CommandError> {
        let _ = commits;
        todo!()
    }
}

impl Committing {
    pub async fn run<R: Runtime>(self, broker: Weak<Broker<R>>) {
        let _ = broker;
        todo!()
    }
}
