//! Places of the CommitLog where a read met damage, told to the task that repairs it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use quorumq_store::repair::corrupt_position;
use quorumq_store::{PhysicalOffset, StoreError};
use tokio::sync::mpsc;

/// Most places that wait: reads meet what was left out again.
const MAX_WAITING: usize = 64;

/// Takes places from readers, without waiting.
#[derive(Clone, Debug)]
pub struct Suspects {
    places: mpsc::Sender<PhysicalOffset>,
    attended: Arc<AtomicBool>,
}

/// Where they arrive.
pub type Told = mpsc::Receiver<PhysicalOffset>;

impl Suspects {
    /// A queue of places.
    pub fn new() -> (Self, Told) {
        let (tx, rx) = mpsc::channel(MAX_WAITING);
        (Self { places: tx, attended: Arc::default() }, rx)
    }

    /// Whether somebody repairs what is told. Before, while a node starts, a read that waited would wait in vain.
    pub fn is_attended(&self) -> bool {
        self.attended.load(Ordering::Acquire)
    }

    /// From now on somebody does.
    pub fn attend(&self) {
        self.attended.store(true, Ordering::Release);
    }

    /// Tells where an error met damage in the CommitLog; nothing of other errors.
    pub fn tell(&self, e: &StoreError) {
        if let Some(at) = corrupt_position(e) {
            self.suspect(at);
        }
    }

    /// Tells of a place.
    pub fn suspect(&self, at: PhysicalOffset) {
        // A full queue keeps the task busy; who reads there again tells again.
        let _ = self.places.try_send(at);
    }
}

/// Whether a read failed because of damage in the CommitLog that is or will be repaired.
pub fn is_damage(e: &StoreError) -> bool {
    matches!(e, StoreError::Quarantined { .. }) || corrupt_position(e).is_some()
}
