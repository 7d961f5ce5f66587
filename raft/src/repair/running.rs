//! Damage that a running node meets: nobody reads it until it is filled, and meanwhile the node does not lead.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use quorumq_store::PhysicalOffset;
use quorumq_store::repair::BadRange;
use tokio::sync::Mutex;

use super::{FillError, Told, fill_from};
use crate::health::Bar;
use crate::machine::Machine;
use crate::peer::message::LogHealth;
use crate::runtime::Runtime;
use crate::service::Core;

/// Pause after a round in which no member could help, doubled up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Stands for "none" among times and positions.
const NONE: u64 = u64::MAX;

/// How the log's repair and its scrub stand.
#[derive(Debug)]
pub struct Mending {
    /// Taken by the task that repairs.
    told: Mutex<Told>,
    filled_bytes: AtomicU64,
    scrubbed: AtomicU64,
    scrub_ended_ms: AtomicI64,
}

impl Mending {
    /// Nothing was found yet.
    pub fn new(told: Told) -> Self {
        Self {
            told: Mutex::new(told),
            filled_bytes: AtomicU64::default(),
            scrubbed: AtomicU64::new(NONE),
            scrub_ended_ms: AtomicI64::new(i64::MIN),
        }
    }

    /// Notes how far a pass over the log has come.
    pub fn scrubbed(&self, at: PhysicalOffset) {
        self.scrubbed.store(at.0, Ordering::Relaxed);
    }

    /// Notes that a pass has ended.
    pub fn scrub_ended(&self, now_ms: i64) {
        self.scrubbed.store(NONE, Ordering::Relaxed);
        self.scrub_ended_ms.store(now_ms, Ordering::Relaxed);
    }
}

impl<R: Runtime, M: Machine> Core<R, M> {
    /// How sound the log is.
    pub fn log_health(&self) -> LogHealth {
        let bad = self.store.quarantined();
        let scrubbed = self.mending.scrubbed.load(Ordering::Relaxed);
        let ended = self.mending.scrub_ended_ms.load(Ordering::Relaxed);
        LogHealth {
            bad_ranges: bad.len() as u64,
            bad_bytes: bad.iter().map(BadRange::len).sum(),
            filled_bytes: self.mending.filled_bytes.load(Ordering::Relaxed),
            scrubbed: (scrubbed != NONE).then_some(scrubbed),
            scrub_ended_ms: (ended != i64::MIN).then_some(ended),
        }
    }

    /// Quarantines what is bad at a place.
    async fn examine(&self, at: PhysicalOffset) -> Result<(), String> {
        let store = Arc::clone(&self.store);
        let found = R::offload(move || store.examine(at)).await.map_err(|e| e.to_string())?;
        if let Some(bad) = found.map_err(|e| e.to_string())? {
            self.impound(&bad).await;
        }
        Ok(())
    }

    /// Quarantines a bad range, and hands leadership over if it is news.
    pub async fn impound(&self, bad: &BadRange) {
        if !self.store.quarantine(bad) {
            return;
        }
        let BadRange { from, to, .. } = bad;
        tracing::warn!(%from, %to, "damage in the CommitLog: not read until it is filled from another member");
        let voters = self.members().into_iter().filter(|(_, _, voter)| *voter).count();
        if voters > 1 {
            self.bar(Bar::Damaged, true);
            if self.leads() {
                self.hand_over_to_a_healthy_one("its CommitLog is damaged", true).await;
            }
        }
    }

    /// Fills what is quarantined, as far as a member has it. Returns why it could not all be filled.
    async fn fill_quarantined(&self) -> Vec<String> {
        let (mut reasons, mut silent) = (Vec::new(), BTreeSet::new());
        let others: Vec<_> = self.members().into_iter().filter(|(id, ..)| *id != self.id).collect();
        for bad in self.store.quarantined() {
            if !self.store.holds(bad.from) {
                // Purged meanwhile.
                self.store.lift(&bad);
                continue;
            }
            for (id, member, _) in &others {
                if silent.contains(id) {
                    continue;
                }
                match fill_from(&self.peers, (*id, member), self.store.patch(bad.clone())).await {
                    Ok(filled) => {
                        let BadRange { from, to, .. } = &filled;
                        tracing::warn!(%from, %to, node = id, "damage in the CommitLog is filled");
                        self.mending.filled_bytes.fetch_add(filled.len(), Ordering::Relaxed);
                        self.store.lift(&filled);
                        break;
                    }
                    Err(FillError::Store(e)) if !e.is_full() && self.store.holds(bad.from) => {
                        (self.on_fatal)(format!("repair of the CommitLog: {e}"));
                        return reasons;
                    }
                    Err(e) => {
                        // Each range more would cost as long as the first.
                        silent.extend(matches!(e, FillError::Silent(..)).then_some(*id));
                        reasons.push(e.to_string());
                    }
                }
            }
        }
        reasons
    }
}

/// Repairs what readers and the scrub meet, as long as the node runs.
pub async fn keep_sound<R: Runtime, M: Machine>(core: Arc<Core<R, M>>) {
    let mut told = core.mending.told.lock().await;
    core.suspects.attend();
    let mut pause = FIRST_PAUSE;
    let mut is_told = false;
    loop {
        let is_sound = core.store.quarantined().is_empty();
        let suspect = match is_sound {
            true => told.recv().await,
            false => R::timeout(pause, told.recv()).await.unwrap_or(None),
        };
        if let Some(at) = suspect {
            if let Err(e) = core.examine(at).await {
                tracing::warn!(%at, "the CommitLog cannot be examined: {e}");
            }
            pause = FIRST_PAUSE;
        } else {
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        let reasons = core.fill_quarantined().await;
        if core.store.quarantined().is_empty() {
            is_told = false;
            if core.bar(Bar::Damaged, false) {
                tracing::info!("the CommitLog is sound again: this node may lead");
            }
        } else if !std::mem::replace(&mut is_told, true) {
            let reasons = if reasons.is_empty() { "there is no other member".to_owned() } else { reasons.join("; ") };
            tracing::error!("damage in the CommitLog stays quarantined until a member has a sound copy: {reasons}");
        }
    }
}
