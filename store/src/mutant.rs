//! Bugs that can be planted in a process, to show that the simulator finds them.
//!
//! Each is a line of wrong behaviour at the place where such a bug would sit, behind `planted(Mutant::…)`. A process has
//! one at most, chosen at its start. Without debug assertions there is none: `planted` is `false` while the compiler
//! looks at it, and neither a name nor a text of this file is in the binary.

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};

/// Makes the enum and its table out of one list: variant, name, what is wrong, who should see it.
macro_rules! mutants {
    ($($variant:ident $name:literal $about:literal [$($rule:literal),+])+) => {
        /// A bug that can be planted.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Mutant {
            $(#[doc = $about] $variant),+
        }

        impl Mutant {
            /// Every one; none without debug assertions.
            #[cfg(debug_assertions)]
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            #[cfg(debug_assertions)]
            const fn row(self) -> Row {
                match self {
                    $(Self::$variant => Row { name: $name, about: $about, expected: &[$($rule),+] }),+
                }
            }
        }
    };
}

/// What the table says of a mutant.
struct Row {
    name: &'static str,
    about: &'static str,
    expected: &'static [&'static str],
}

mutants! {
    // What a disk keeps (store).
    VoteNotSynced "vote-not-synced"
        "a vote is answered once it is written, not once it is synced"
        ["hard-state-monotonic", "one-leader-per-term"]
    TwoVotesInATerm "two-votes-in-a-term"
        "only votes for established leaders are saved: a granted vote is forgotten by a restart"
        ["hard-state-monotonic", "one-leader-per-term"]
    FrameCrcUnchecked "frame-crc-unchecked"
        "a frame's body is taken as it is read, whatever its CRC says"
        ["commit-logs-equal", "changed-message", "durable-quorum"]
    FailedSyncIgnored "failed-sync-ignored"
        "a sync that failed counts as one that did not, though the pages are gone"
        ["durable-quorum", "lost-write", "restart"]
    SyncedMarkAhead "synced-mark-ahead"
        "the synced mark is made durable before what it covers"
        ["restart"]
    GroupCommitAcksNextBatch "group-commit-acks-next-batch"
        "an append that comes while another is under way counts as synced with that"
        ["durable-quorum", "lost-write"]
    TornTailKept "torn-tail-kept"
        "a start keeps frames above the synced mark whose bodies were torn"
        ["commit-logs-equal", "changed-message", "restart"]
    TruncationOnlyInMemory "truncation-only-in-memory"
        "what a truncation drops stays in the files, and the hard state still counts on it"
        ["restart", "commit-logs-equal"]
    ChainNotCutBack "chain-not-cut-back"
        "after a truncation frames go on chaining to the one that was dropped"
        ["restart", "commit-logs-equal", "durable-quorum"]
    DirectorySyncSkippedAtRoll "directory-sync-skipped-at-roll"
        "a new segment's directory entry is not synced"
        ["restart", "durable-quorum", "lost-write"]
    SnapshotWithoutDirsync "snapshot-without-dirsync"
        "a recovery checkpoint's rename is not synced before the log relies on it"
        ["restart"]
    QueueChunkUnchecked "queue-chunk-unchecked"
        "units of a ConsumeQueue are taken as they are read, whatever their chunk's CRC says"
        ["consume-queues-equal", "skipped-message", "poll-skip", "liveness"]
    PurgePastCheckpoint "purge-past-checkpoint"
        "a purge drops every whole committed segment, not only those the checkpoint covers"
        ["positions-ordered", "lost-write", "unseen"]
    QuarantineServed "quarantine-served"
        "bytes that are known to be damaged are read all the same, and taken as they are"
        ["log-matching", "commit-logs-equal", "changed-message", "durable-quorum"]
    FillNotClosed "fill-not-closed"
        "a repair takes any sound frames, whether what stands behind them follows them or not"
        ["commit-logs-equal", "restart", "durable-quorum"]
    FillUnverified "fill-unverified"
        "a repair writes what another member sends, without a look at it"
        ["commit-logs-equal", "changed-message", "restart"]

    // What members agree on (raft).
    LeaderAcksBeforeSync "leader-acks-before-sync"
        "a leader counts itself for an entry's majority before its own sync"
        ["durable-quorum", "lost-write"]
    FollowerAcksBeforeSync "follower-acks-before-sync"
        "a follower acknowledges entries before its own sync"
        ["durable-quorum", "lost-write"]
    LeaderRestoreOn "leader-restore-on"
        "a restarted leader goes on in its term, though it may have lost entries its followers hold"
        ["log-matching", "commit-logs-equal", "lost-write"]
    WipedNodeVotes "wiped-node-votes"
        "a member whose disk was wiped comes back, empty, under its old id and votes"
        ["hard-state-monotonic", "leader-completeness", "lost-write"]
    UnprovenVotes "unproven-votes"
        "a node that lost what it had acknowledged from the page cache votes before it holds it again"
        ["leader-completeness", "lost-write"]
    ReadAboveCommitted "read-above-committed"
        "a start applies, and serves, its whole log, committed or not"
        ["digest", "aborted-read", "inconsistent-offset"]
    AppliedPositionNotRestored "applied-position-not-restored"
        "a start restores the state but not how far it goes, and applies the log once more"
        ["digest", "consume-queues-equal", "duplicate"]
    CheckpointAtApplied "checkpoint-at-applied"
        "a recovery checkpoint holds the state that is applied when it is written, not that at its place in the log"
        ["digest", "consume-queues-equal", "dense-offsets", "inconsistent-offset"]
    RebuildMixesLives "rebuild-mixes-lives"
        "units made again for a queue are taken from former lives of its topic too"
        ["consume-queues-equal", "dense-offsets", "inconsistent-offset"]
    ApplyDependsOnClock "apply-depends-on-clock"
        "each member stamps the messages it applies with its own clock"
        ["digest"]

    // What clients are told (the broker and the NameServer).
    UnknownCalledRefused "unknown-called-refused"
        "a send whose outcome nobody knows is answered as one that was refused"
        ["aborted-read", "duplicate"]
    ForwardedSendRepeated "forwarded-send-repeated"
        "a forwarded send whose outcome is unknown is sent once more to the next leader"
        ["duplicate"]
    QueueOffsetByLeader "queue-offset-by-leader"
        "messages carry the queue offset that the leader expected when it proposed them"
        ["inconsistent-offset", "dense-offsets"]
    BatchHalfStored "batch-half-stored"
        "the last message of a batch is acknowledged but not stored"
        ["batch-atomic", "lost-write"]
    StaleRead "stale-read"
        "any member answers reads as of what it has applied, whoever leads"
        ["stale-read", "consumer-offset"]
    LongPollSkips "long-poll-skips"
        "a pull that waited goes on at the newest message, not at the first it has not seen"
        ["poll-skip", "skipped-message", "unseen"]
    OffsetCommitOutsideLog "offset-commit-outside-log"
        "a consumer's offset is acknowledged while it is in the leader's memory only"
        ["consumer-offset"]
    OffsetsNotInSnapshot "offsets-not-in-snapshot"
        "recovery checkpoints and snapshots hold no consumer offsets"
        ["consumer-offsets-equal", "consumer-offset"]
    PurgeLeavesQueues "purge-leaves-queues"
        "a purge drops the log's segments, and queues still begin in them"
        ["lost-write", "liveness", "queue-ends"]
    KeyQueryUnconfirmed "key-query-unconfirmed"
        "a query by key is answered from what is applied here, however old"
        ["lost-key"]
    IndexTimesCut "index-times-cut"
        "a query by key takes the whole seconds of the index for the very times"
        ["lost-key"]
    ScrubTellsNobody "scrub-tells-nobody"
        "a pass over the CommitLog counts the damage it meets, and nothing repairs it"
        ["liveness"]
    RebuildForgotten "rebuild-forgotten"
        "damage of ConsumeQueues and key index is noted, and nothing makes it again"
        ["liveness", "unseen"]
    RouteTermFenceOff "route-term-fence-off"
        "a NameServer takes a leader's registration whatever its term"
        ["route-reaches-leader"]
}

#[cfg(not(debug_assertions))]
impl Mutant {
    /// Every one; none without debug assertions.
    pub const ALL: &[Self] = &[];

    const fn row(self) -> Row {
        Row { name: "", about: "", expected: &[] }
    }
}

impl Mutant {
    /// Its name, in kebab case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// What is wrong, in a line.
    #[must_use]
    pub const fn about(self) -> &'static str {
        self.row().about
    }

    /// The rules of the simulator that should see it, the likeliest first.
    #[must_use]
    pub const fn expected(self) -> &'static [&'static str] {
        self.row().expected
    }

    /// The one of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|mutant| mutant.name() == name)
    }
}

impl fmt::Debug for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The planted one, as its number plus one; 0 for none.
static PLANTED: AtomicU8 = AtomicU8::new(0);

/// Plants a bug in this process.
///
/// # Panics
/// If one is planted already.
pub fn plant(mutant: Mutant) {
    let before = PLANTED.swap(mutant as u8 + 1, Ordering::Relaxed);
    assert_eq!(before, 0, "a process has one planted bug");
}

/// Whether that bug is planted here.
#[cfg(debug_assertions)]
#[inline]
#[must_use]
pub fn planted(mutant: Mutant) -> bool {
    PLANTED.load(Ordering::Relaxed) == mutant as u8 + 1
}

/// No bug is planted in a release.
#[cfg(not(debug_assertions))]
#[inline(always)]
#[must_use]
pub const fn planted(_: Mutant) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_kebab_case_and_read_back() {
        let names: BTreeSet<_> = Mutant::ALL.iter().map(|mutant| mutant.name()).collect();
        assert_eq!(names.len(), Mutant::ALL.len());
        for mutant in Mutant::ALL {
            let name = mutant.name();
            assert!(name.contains('-') && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{name}");
            assert_eq!(Mutant::parse(name), Some(*mutant));
            assert!(!mutant.about().is_empty() && !mutant.expected().is_empty(), "{name}");
        }
        assert_eq!(Mutant::parse("no-such-bug"), None);
    }

    #[test]
    fn nothing_is_planted_unless_asked() {
        assert!(Mutant::ALL.iter().all(|mutant| !planted(*mutant)));
    }
}
