//! `quorumq group recover`: a group that cannot elect a leader goes on with what is left.

use std::path::{Path, PathBuf};

use clap::Args;

use super::backend;
use super::error::CliError;
use super::output;
use crate::recover::Standing;

#[derive(Debug, Args)]
pub(super) struct RecoverArgs {
    /// Each stopped member's storePathRootDir. Give every member that is left: the longest log among them wins.
    #[arg(required = true, value_name = "DIR")]
    dirs: Vec<PathBuf>,
    /// Let them vote although acknowledged messages may be lost. Without it the command only says what may be.
    #[arg(long)]
    accept_loss: bool,
}

impl RecoverArgs {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let mut unproven = 0;
        // All of them are looked at before the first is changed.
        for dir in &self.dirs {
            let found = backend::store_standing(dir).await?;
            unproven += usize::from(found.unproven);
            output::line(told(dir, &found))?;
        }
        if unproven == 0 {
            return Ok(());
        }
        if !self.accept_loss {
            return Err(CliError::failed(
                "nothing was changed: acknowledged messages may be lost",
                "While a majority of the other members can run, start them instead: these catch up and vote again. If \
                 they never will, run it again with --accept-loss.",
            ));
        }
        for dir in &self.dirs {
            let now = backend::store_accept_loss(dir).await?;
            if now.unproven {
                let (id, end) = (now.identity.node_id, now.end);
                output::line(format!("node {id} votes with what it holds: {}, up to byte {end}", last(&now)))?;
            }
        }
        Ok(())
    }
}

fn told(dir: &Path, found: &Standing) -> String {
    let (group, id, dir) = (&found.identity.group, found.identity.node_id, dir.display());
    if !found.unproven {
        return format!("{dir}: node {id} of {group} has lost nothing it acknowledged; there is nothing to recover");
    }
    let committed = found.committed.map_or_else(|| "nothing".to_owned(), |id| format!("entry {id}"));
    format!(
        "{dir}: node {id} of {group} was running with ASYNC_FLUSH when its machine went down. It holds {} for certain, up \
         to byte {} of the CommitLog, and knows {committed} to be committed. What it acknowledged after that may be lost: \
         the messages of one flushIntervalCommitLog",
        last(found),
        found.end,
    )
}

fn last(standing: &Standing) -> String {
    standing.last.map_or_else(|| "no entry".to_owned(), |id| format!("entries up to {id}"))
}
