//! `quorumq store verify`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::backend::{self, Verified};
use super::error::CliError;
use super::output;

#[derive(Debug, Subcommand)]
pub(super) enum StoreCommand {
    /// Check every frame, record and ConsumeQueue of a store whose node is not running.
    Verify(VerifyArgs),
}

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// The node's storePathRootDir.
    dir: PathBuf,
}

impl StoreCommand {
    pub(super) async fn run(self) -> Result<(), CliError> {
        match self {
            StoreCommand::Verify(args) => output::line(told(&backend::store_verify(&args.dir).await?)),
        }
    }
}

fn told(found: &Verified) -> String {
    let ((first, end), (digest, index)) = (found.range, found.digest);
    format!(
        "group {} node {}: OK\n\
         CommitLog {first}..{end}: {} segments, {} entries, {} records, every CRC and the chain close\n\
         {} ConsumeQueues equal the ones rebuilt from the log\n\
         digest {digest:016x} at index {index}",
        found.group, found.node, found.segments, found.entries, found.records, found.queues
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_store_is_told_with_its_range_and_digest() {
        let group = "g".to_owned();
        let range = (0, 4096);
        let found =
            Verified { group, node: 1, range, segments: 1, entries: 3, records: 2, queues: 1, digest: (255, 2) };
        assert!(told(&found).starts_with("group g node 1: OK\nCommitLog 0..4096: 1 segments, 3 entries, 2 records"));
        assert!(told(&found).ends_with("digest 00000000000000ff at index 2"));
    }
}
