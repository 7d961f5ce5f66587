//! `quorumq store verify`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use quorumq_store::LogId;
use serde_json::json;

use super::backend;
use super::error::CliError;
use super::output;
use crate::verify::VerifiedStore;

#[derive(Debug, Subcommand)]
pub(super) enum StoreCommand {
    /// Check every frame, record, checkpoint and ConsumeQueue of a store whose node is not running.
    Verify(VerifyArgs),
}

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// The node's storePathRootDir.
    dir: PathBuf,
    /// Apply the log up to this index only: members that stopped at different places have one digest there.
    #[arg(long, value_name = "INDEX")]
    until: Option<u64>,
    /// Print a JSON object.
    #[arg(long)]
    json: bool,
}

impl StoreCommand {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let StoreCommand::Verify(VerifyArgs { dir, until, json }) = self;
        let found = backend::store_verify(&dir, until).await?;
        output::line(if json { object(&found).to_string() } else { told(&found) })
    }
}

fn told(found: &VerifiedStore) -> String {
    let VerifiedStore { log, segments, records, checkpoints, queues, applied, digest } = found;
    let (group, node, first, end) = (&log.identity.group, log.identity.node_id, log.first, log.end);
    let mut text = format!(
        "group {group} node {node}: OK\n\
         CommitLog {first}..{end}: {segments} segments, {} entries, {records} records, every CRC and the chain close\n\
         {checkpoints} checkpoints stand for the state that the log makes\n\
         {} ConsumeQueues equal the ones rebuilt from the log: {} units, {} more not yet written\n",
        log.entries, queues.queues, queues.units, queues.unflushed
    );
    if let Some((what, path, offset)) = &log.torn_tail {
        let path = path.display();
        text += &format!("a crash left {what} in {path} at byte {offset}; the next start cuts it off\n");
    }
    text += &match applied {
        Some(LogId { term, index }) => format!("digest {digest:016x} at index {index} of term {term}"),
        None => "no entry is known committed".to_owned(),
    };
    text
}

fn object(found: &VerifiedStore) -> serde_json::Value {
    let VerifiedStore { log, segments, records, checkpoints, queues, applied, digest } = found;
    let id = |id: &Option<LogId>| id.map(|id| json!({ "term": id.term.0, "index": id.index.0 }));
    let torn = log.torn_tail.as_ref();
    json!({
        "ok": true,
        "cluster": log.identity.cluster,
        "group": log.identity.group,
        "node": log.identity.node_id,
        "first": log.first.0,
        "end": log.end.0,
        "segmentSize": log.identity.constants.segment_size,
        "segments": segments,
        "entries": log.entries,
        "records": records,
        "chain": format!("{:08x}", log.chain),
        "last": id(&log.last),
        "committed": id(&log.committed),
        "synced": log.synced.0,
        "tornTail": torn.map(|(what, path, offset)| json!({ "what": what, "file": path, "offset": offset })),
        "checkpoints": checkpoints,
        "queues": queues.queues,
        "units": queues.units,
        "unitsNotWritten": queues.unflushed,
        "applied": id(applied),
        "digest": format!("{digest:016x}"),
    })
}
