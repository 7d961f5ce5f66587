//! `quorumq store inspect`.

use quorumq_store::LogId;
use quorumq_store::hard_state::Intent;
use serde_json::json;

use crate::cli::output;
use crate::inspect::Inspected;

fn id(id: Option<LogId>) -> String {
    id.map_or_else(|| "none".to_owned(), |id| id.to_string())
}

fn intent(found: &Inspected) -> &'static str {
    match found.state.intent {
        None => "none",
        Some(Intent::Truncate { .. }) => "a truncation that a crash cut short",
        Some(Intent::Install(_)) => "the install of a snapshot that a crash cut short",
    }
}

pub(super) fn text(found: &Inspected) -> String {
    let (identity, state) = (&found.identity, &found.state);
    let constants = &identity.constants;
    let vote = state.vote.map_or_else(|| "none".to_owned(), |vote| format!("{vote:?}"));
    let facts = [
        ("group", format!("{} of cluster {}", identity.group, identity.cluster)),
        ("group uuid", format!("{:032x}", identity.group_uuid)),
        ("node", format!("{}, incarnation {:016x}", identity.node_id, identity.incarnation)),
        ("segment size", constants.segment_size.to_string()),
        ("largest entry", constants.max_entry.to_string()),
        ("versions", format!("frame {}, feature level {}", constants.frame_version, constants.feature_level)),
        ("vote", vote),
        ("committed", id(state.committed)),
        ("synced", format!("{} up to byte {}", id(state.mark.last), state.mark.end)),
        ("purged", format!("{}, the log begins at byte {}", id(state.purged), state.first)),
        ("under way", intent(found).to_owned()),
        (
            "abort file",
            if found.has_abort { "there: the node runs or did not stop cleanly" } else { "none" }.to_owned(),
        ),
        ("segments", listed(found.segments.iter().map(|start| format!("{:020}", start.0)))),
        ("index files", listed(found.index_files.iter().cloned())),
    ];
    let facts = facts.map(|(name, value)| [name.to_owned(), value]);
    let checkpoints = found.checkpoints.iter().map(|(start, read)| {
        let (last, bytes) = match read {
            Ok((last, bytes)) => (last.to_string(), bytes.to_string()),
            Err(why) => (why.clone(), "-".to_owned()),
        };
        [format!("{:020}", start.0), last, bytes]
    });
    let queues = found.queues.iter().map(|(topic, queues)| [topic.clone(), queues.to_string()]);
    [
        output::table(["OF THE STORE", ""], facts),
        output::table(["CHECKPOINT AT", "COVERS UP TO", "BYTES OF STATE"], checkpoints),
        output::table(["TOPIC", "QUEUES WITH MESSAGES"], queues),
    ]
    .join("\n\n")
}

/// First, last and number of a long list.
fn listed(names: impl ExactSizeIterator<Item = String> + Clone) -> String {
    match (names.clone().next(), names.clone().last(), names.len()) {
        (Some(first), Some(last), count) if count > 1 => format!("{count}, {first} to {last}"),
        (Some(first), ..) => first,
        _ => "none".to_owned(),
    }
}

pub(super) fn object(found: &Inspected) -> serde_json::Value {
    let (identity, state) = (&found.identity, &found.state);
    let id = |id: Option<LogId>| id.map(|id| json!({ "term": id.term.0, "index": id.index.0 }));
    let checkpoints = found.checkpoints.iter().map(|(start, read)| match read {
        Ok((last, bytes)) => json!({ "segment": start.0, "last": id(Some(*last)), "stateBytes": bytes }),
        Err(why) => json!({ "segment": start.0, "error": why }),
    });
    json!({
        "cluster": identity.cluster,
        "group": identity.group,
        "groupUuid": format!("{:032x}", identity.group_uuid),
        "node": identity.node_id,
        "incarnation": format!("{:016x}", identity.incarnation),
        "segmentSize": identity.constants.segment_size,
        "maxEntry": identity.constants.max_entry,
        "frameVersion": identity.constants.frame_version,
        "featureLevel": identity.constants.feature_level,
        "vote": state.vote.map(|vote| json!({
            "term": vote.term.0, "node": vote.node, "committed": vote.committed,
        })),
        "committed": id(state.committed),
        "synced": id(state.mark.last),
        "syncedEnd": state.mark.end.0,
        "purged": id(state.purged),
        "first": state.first.0,
        "intent": state.intent.map(|_| intent(found)),
        "abort": found.has_abort,
        "segments": found.segments.iter().map(|start| start.0).collect::<Vec<_>>(),
        "checkpoints": checkpoints.collect::<Vec<_>>(),
        "queues": found.queues.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
        "indexFiles": found.index_files,
    })
}
