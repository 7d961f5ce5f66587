//! openraft's configuration.

use openraft::Config;
use quorumq_store::log_store::{FlushMode, LogStore};
use quorumq_store::mutant::{Mutant, planted};

use crate::node::Timing;

/// Of a node of `group` over `store`.
///
/// # Errors
/// Times that do not go together.
pub fn raft_config(
    group: &str,
    timing: Timing,
    store: &LogStore,
    flush: FlushMode,
) -> Result<Config, openraft::ConfigError> {
    Config {
        cluster_name: group.to_owned(),
        heartbeat_interval: timing.heartbeat_ms,
        election_timeout_min: timing.election_min_ms,
        election_timeout_max: timing.election_max_ms,
        // A restarted leader that resumes its term can write other entries under (term, index) pairs that
        // followers already hold.
        enable_leader_restore: Some(planted(Mutant::LeaderRestoreOn)),
        enable_pre_vote: Some(true),
        // Until it is proven; a node bars itself again at run time.
        enable_elect: !store.is_unproven() || planted(Mutant::UnprovenVotes),
        // A power loss may take back what a follower has acknowledged from its page cache.
        allow_log_reversion: Some(flush == FlushMode::Async),
        snapshot_policy: openraft::SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: 0,
        purge_batch_size: 1,
        install_snapshot_timeout: 60_000,
        replication_lag_threshold: 1000,
        max_payload_entries: 1024,
        ..Config::default()
    }
    .validate()
}
