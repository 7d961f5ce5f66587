//! `quorumq store`: what the disk of a node holds.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use quorumq_store::LogId;
use serde_json::json;

use super::backend;
use super::error::CliError;
use super::output;
use crate::broker::retention::policy::Verdict;
use crate::verify::VerifiedStore;

mod dump;
mod inspect;

#[derive(Debug, Subcommand)]
pub(super) enum StoreCommand {
    /// Check every frame, record, checkpoint, ConsumeQueue and IndexFile of a store whose node is not running.
    Verify(VerifyArgs),
    /// Show what a store says of itself: whose it is, how far its log goes, what it holds.
    Inspect(InspectArgs),
    /// Show frames and records of a store's log, by offset, topic, queue or key.
    Dump(dump::DumpArgs),
    /// Say which CommitLog files retention would delete now, and why the others stay. The node may be running.
    Retention(RetentionArgs),
}

#[derive(Debug, Args)]
pub(super) struct InspectArgs {
    /// The node's storePathRootDir. The node may be running.
    dir: PathBuf,
    /// Print a JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct RetentionArgs {
    /// The node's storePathRootDir. Judged is the volume that it lies on; a leader judges by the one of all members with
    /// the least room. Its log is read as far as the store knows it committed.
    dir: PathBuf,
    /// Only say it. There is no other way: the leader of a running group deletes, on all members alike.
    #[arg(long, required = true)]
    dry_run: bool,
    /// The broker.conf with fileReservedTime, deleteWhen and the disk's settings; without one, their defaults hold.
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print a JSON array.
    #[arg(long)]
    json: bool,
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
        match self {
            Self::Verify(VerifyArgs { dir, until, json }) => {
                let found = backend::store_verify(&dir, until).await?;
                output::line(if json { object(&found).to_string() } else { told(&found) })
            }
            Self::Inspect(InspectArgs { dir, json }) => {
                let found = backend::store_inspect(&dir).await?;
                output::line(if json { inspect::object(&found).to_string() } else { inspect::text(&found) })
            }
            Self::Dump(args) => {
                let found = backend::store_dump(&args.dir, args.wanted()).await?;
                output::line(if args.json { dump::lines(&found) } else { dump::text(&found) })
            }
            Self::Retention(RetentionArgs { dir, dry_run: _, config, json }) => {
                let (verdicts, as_of) = backend::store_retention(&dir, config.as_deref()).await?;
                if json {
                    return output::line(retention_array(&verdicts).to_string());
                }
                let as_of = as_of.map_or_else(
                    || "no entry is known committed".to_owned(),
                    |(id, age)| format!("as of entry {} of term {}, {age} old", id.index, id.term),
                );
                output::line(format!("{}\n{as_of}", retention_table(&verdicts)))
            }
        }
    }
}

fn retention_table(verdicts: &[Verdict]) -> String {
    let row = |verdict: &Verdict| {
        let goes = if verdict.reason.goes() { "yes" } else { "no" };
        [format!("{:020}", verdict.start.0), goes.to_owned(), verdict.reason.to_string()]
    };
    output::table(["COMMITLOG FILE", "GOES", "WHY"], verdicts.iter().map(row))
}

fn retention_array(verdicts: &[Verdict]) -> serde_json::Value {
    let object = |verdict: &Verdict| {
        json!({
            "file": format!("{:020}", verdict.start.0),
            "goes": verdict.reason.goes(),
            "why": verdict.reason.to_string(),
        })
    };
    verdicts.iter().map(object).collect()
}

fn told(found: &VerifiedStore) -> String {
    let VerifiedStore { log, segments, records, checkpoints, queues, index, applied, digest } = found;
    let (group, node, first, end) = (&log.identity.group, log.identity.node_id, log.first, log.end);
    let mut text = format!(
        "group {group} node {node}: OK\n\
         CommitLog {first}..{end}: {segments} segments, {} entries, {records} records, every CRC and the chain close\n\
         {checkpoints} checkpoints stand for the state that the log makes\n\
         {} ConsumeQueues equal the ones rebuilt from the log: {} units, {} more not yet written\n\
         {} IndexFiles equal the ones rebuilt from the log: {} keys, {} more not yet written\n",
        log.entries, queues.queues, queues.units, queues.unflushed, index.files, index.keys, index.unflushed
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
    let VerifiedStore { log, segments, records, checkpoints, queues, index, applied, digest } = found;
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
        "indexFiles": index.files,
        "keys": index.keys,
        "keysNotWritten": index.unflushed,
        "applied": id(applied),
        "digest": format!("{digest:016x}"),
    })
}
