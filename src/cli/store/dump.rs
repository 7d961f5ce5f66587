//! `quorumq store dump`.

use std::path::PathBuf;

use clap::Args;
use quorumq_store::PhysicalOffset;
use quorumq_store::record::Record;
use serde_json::json;

use crate::inspect::{Dump, ShownFrame, ShownRecord, Wanted};
use crate::protocol::properties::name;

#[derive(Debug, Args)]
pub(in crate::cli) struct DumpArgs {
    /// The node's storePathRootDir. The node may be running.
    pub dir: PathBuf,
    /// Begin with the frame at or around this byte of the log: an offset of `store inspect`, or a commitLogOffset.
    #[arg(long, value_name = "BYTE")]
    offset: Option<u64>,
    /// Only messages of this topic.
    #[arg(long)]
    topic: Option<String>,
    /// Only messages of this queue.
    #[arg(long, value_name = "ID")]
    queue: Option<u32>,
    /// Only messages with this unique key, or with this word among their keys.
    #[arg(long)]
    key: Option<String>,
    /// Most frames shown.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    max: u32,
    /// Print a JSON object a frame, a line each, bodies in hex.
    #[arg(long)]
    pub json: bool,
}

impl DumpArgs {
    pub(super) fn wanted(&self) -> Wanted {
        Wanted {
            from: self.offset.map(PhysicalOffset),
            topic: self.topic.clone(),
            queue_id: self.queue,
            key: self.key.clone(),
            max: self.max as usize,
        }
    }
}

pub(super) fn text(dump: &Dump) -> String {
    let mut lines = Vec::new();
    for frame in &dump.frames {
        let ShownFrame { header, is_sound, records } = frame;
        let flaw = if *is_sound { "" } else { "  BODY CORRUPT" };
        lines.push(format!(
            "{}  {:?}  {}  {} bytes  chain {:08x}  crc {:08x}{flaw}",
            header.position, header.kind, header.id, header.body_len, header.chain, header.body_crc
        ));
        lines.extend(records.iter().map(record_line));
    }
    lines.extend(dump.flaws.iter().map(|(at, what)| format!("{at}  no frame: {what}")));
    if lines.is_empty() {
        return "nothing of that kind in the log".to_owned();
    }
    lines.join("\n")
}

fn record_line(shown: &ShownRecord) -> String {
    let Ok(record) = Record::parse(&shown.bytes) else {
        return format!("    {}  not readable", shown.position);
    };
    let property = |key| record.property(key).unwrap_or("-").to_owned();
    format!(
        "    {}  {}/{}  {} bytes  stored {}  tag {}  keys {}  id {}",
        shown.position,
        record.topic(),
        record.queue_id(),
        record.len(),
        record.store_timestamp_ms(),
        property(name::TAGS),
        property(name::KEYS),
        property(name::UNIQ_KEY),
    )
}

/// A line a frame.
pub(super) fn lines(dump: &Dump) -> String {
    let frames = dump.frames.iter().map(|frame| {
        let ShownFrame { header, is_sound, records } = frame;
        json!({
            "position": header.position.0,
            "kind": format!("{:?}", header.kind),
            "term": header.id.term.0,
            "index": header.id.index.0,
            "bodyLength": header.body_len,
            "chain": format!("{:08x}", header.chain),
            "sound": is_sound,
            "records": records.iter().map(record_object).collect::<Vec<_>>(),
        })
    });
    let flaws = dump.flaws.iter().map(|(at, what)| json!({ "position": at.0, "flaw": what }));
    frames.chain(flaws).map(|object| object.to_string()).collect::<Vec<_>>().join("\n")
}

fn record_object(shown: &ShownRecord) -> serde_json::Value {
    let Ok(record) = Record::parse(&shown.bytes) else {
        return json!({ "position": shown.position.0, "readable": false });
    };
    json!({
        "position": shown.position.0,
        "topic": record.topic(),
        "queueId": record.queue_id(),
        "length": record.len(),
        "storeTimestamp": record.store_timestamp_ms(),
        "bornTimestamp": record.born_timestamp_ms(),
        "bornHost": record.born_host().to_string(),
        "storeHost": record.store_host().to_string(),
        "sysFlag": record.sys_flag(),
        "reconsumeTimes": record.reconsume_times(),
        "tags": record.property(name::TAGS),
        "keys": record.property(name::KEYS),
        "uniqKey": record.property(name::UNIQ_KEY),
        "bodyCrcMatches": record.body_crc_matches(),
        "body": record.body().iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
    })
}
