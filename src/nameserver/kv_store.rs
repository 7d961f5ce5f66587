//! The key-value configuration in memory and, where a file is configured, on disk: changed one at a time, and
//! visible once it is durable.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use quorumq_raft::runtime::Serial;

use super::kv::{KvConfig, KvError, KvFile};

/// Changes that may wait for the disk: more than an operator's script sends at a time.
const MAX_PENDING: usize = 256;

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub(super) enum ChangeError {
    #[error(transparent)]
    Kv(#[from] KvError),
    #[error("{limit} changes wait for the disk; try again")]
    Busy { limit: usize },
}

/// The configuration and the thread that writes it.
pub(super) struct KvStore {
    shared: Arc<Shared>,
    /// None without a file: changes then happen at once.
    writer: Option<Box<dyn Serial>>,
}

struct Shared {
    config: RwLock<KvConfig>,
    file: Option<KvFile>,
    pending: AtomicUsize,
}

impl KvStore {
    /// `config` is what `file` holds; `writer` runs its writes.
    pub(super) fn new(config: KvConfig, file: Option<(KvFile, Box<dyn Serial>)>) -> Self {
        let (file, writer) = file.unzip();
        let shared = Shared { config: RwLock::new(config), file, pending: AtomicUsize::new(0) };
        Self { shared: Arc::new(shared), writer }
    }

    pub(super) fn config(&self) -> RwLockReadGuard<'_, KvConfig> {
        self.shared.config.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes that have no answer yet.
    pub(super) fn pending(&self) -> usize {
        self.shared.pending.load(Ordering::SeqCst)
    }

    /// Makes a change and tells `done`, here or on the disk thread.
    pub(super) fn change(
        &self,
        change: impl FnOnce(&mut KvConfig) -> Result<(), KvError> + Send + 'static,
        done: impl FnOnce(Result<(), ChangeError>) + Send + 'static,
    ) {
        if self.pending() >= MAX_PENDING {
            return done(Err(ChangeError::Busy { limit: MAX_PENDING }));
        }
        self.shared.pending.fetch_add(1, Ordering::SeqCst);
        let shared = Arc::clone(&self.shared);
        let job = move || {
            let outcome = shared.apply(change);
            done(outcome.map_err(ChangeError::from));
            shared.pending.fetch_sub(1, Ordering::SeqCst);
        };
        match &self.writer {
            Some(writer) => writer.submit(Box::new(job)),
            None => job(),
        }
    }
}

impl Shared {
    fn apply(&self, change: impl FnOnce(&mut KvConfig) -> Result<(), KvError>) -> Result<(), KvError> {
        let Some(file) = &self.file else {
            return change(&mut self.config.write().unwrap_or_else(PoisonError::into_inner));
        };
        // The disk thread is the only writer, so nothing changes between the copy and the swap, and readers do not
        // wait for the disk.
        let mut config = self.config.read().unwrap_or_else(PoisonError::into_inner).clone();
        change(&mut config)?;
        file.save(&config)?;
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }
}
