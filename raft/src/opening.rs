//! From a directory to a consensus node that is about to run: store, machine, Raft. Where damage of the CommitLog shows on
//! the way, it is repaired and the way begun anew.

use std::sync::{Arc, OnceLock, Weak};

use openraft::Raft;
use quorumq_store::consume_queue::ConsumeQueues;
use quorumq_store::disk::Disk;
use quorumq_store::identity::Identity;
use quorumq_store::index_file::IndexFiles;
use quorumq_store::log_store::{FlushMode, LogStore, OnInstall, Options};
use quorumq_store::repair::corrupt_position;
use quorumq_store::{PhysicalOffset, StoreError, hard_state};
use tokio::sync::mpsc;

use crate::fatal::told;
use crate::form::{Desk, Start};
use crate::health::Bar;
use crate::log_storage::{LogStorage, finish};
use crate::machine::Machine;
use crate::node::{MakeMachine, Parts, StartError, Timing};
use crate::pace::{CatchUp, Pace};
use crate::peer::network::Network;
use crate::peer::peers::{OnLost, Peers};
use crate::peer::server::Processes;
use crate::raft_config::raft_config;
use crate::repair::Suspects;
use crate::repair::running::Mending;
use crate::repair::start::repair;
use crate::runtime::{Runtime, Serial};
use crate::service::{Core, Service};
use crate::state_machine::{OnFatal, Place, Shell};
use crate::types::NodeId;

/// What a node is made of.
pub struct Opening<R: Runtime, M: Machine> {
    place: Place,
    machine: Arc<MakeMachine<M>>,
    sink: crate::machine::EffectSink<M::Effect>,
    on_fatal: OnFatal,
    pub desk: Arc<Desk>,
    pub service: Arc<Service<R, M>>,
    pub start: Start,
    flush: FlushMode,
    timing: Timing,
    lost: mpsc::Sender<NodeId>,
}

impl<R: Runtime, M: Machine> Opening<R, M> {
    pub fn new(
        parts: Parts<M>,
        (desk, service): (Arc<Desk>, Arc<Service<R, M>>),
        start: Start,
        (flush, timing): (FlushMode, Timing),
        lost: mpsc::Sender<NodeId>,
    ) -> Self {
        let Parts { place, machine, sink, on_fatal, .. } = parts;
        Self { place, machine: Arc::new(machine), sink, on_fatal, desk, service, start, flush, timing, lost }
    }

    /// Where the store is, for people.
    pub fn dir(&self) -> String {
        self.place.dir.display().to_string()
    }

    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Opens the store. As long as its CommitLog is found damaged, `listen` is called and it is repaired.
    ///
    /// # Errors
    /// What [`LogStore::open`] answers, where no repair can help; the disk failed.
    pub async fn store(&self, identity: &Identity, mut listen: impl FnMut()) -> Result<Arc<LogStore>, StartError> {
        let mut before = None;
        loop {
            let e = match open_store::<R>(&self.place, identity, self.flush, &self.desk, &self.on_fatal).await {
                Err(StartError::Store(e)) => e,
                other => return other,
            };
            if is_hard_state(&e, &self.place) {
                return Err(StartError::HardStateLost(e));
            }
            let at = corrupt_position(&e);
            // Where the same place is corrupt once more, what was filled has not helped.
            if at.is_none() || at == before {
                return Err(e.into());
            }
            before = at;
            listen();
            if !repair(self, identity, &e).await? {
                return Err(e.into());
            }
        }
    }

    /// Opens all that stands on the store. Damage that only this meets, in what a start of the store does not read, is
    /// repaired like any other.
    ///
    /// # Errors
    /// A checkpoint or a log that cannot be read, a state the machine does not know.
    pub async fn core(&self, identity: &Identity, mut store: Arc<LogStore>) -> Result<Arc<Core<R, M>>, StartError> {
        let mut before = None;
        loop {
            let (e, at) = match self.core_on(identity, &store).await {
                Ok(core) => return Ok(core),
                Err(failed) => failed,
            };
            if at.is_none() || at == before {
                return Err(e);
            }
            before = at;
            finish(|done| {
                store.close(done);
                Ok(())
            })
            .await
            .map_err(|e| StartError::Raft(e.to_string()))?;
            drop(store);
            if !repair(self, identity, &e).await? {
                return Err(e);
            }
            store = self.store(identity, || {}).await?;
        }
    }

    /// The same, once. A failure comes with where in the CommitLog damage was met, if it was.
    async fn core_on(
        &self,
        identity: &Identity,
        store: &Arc<LogStore>,
    ) -> Result<Arc<Core<R, M>>, (StartError, Option<PhysicalOffset>)> {
        let (suspects, mut told) = Suspects::new();
        let raft = |e: String| StartError::Raft(e);
        let shell = self.shell(identity, store).await.map_err(|e| {
            let at = if let StartError::Store(e) = &e { corrupt_position(e) } else { None };
            (e, at)
        })?;
        let shared = shell.shared();
        let lost = self.lost.clone();
        let on_lost: OnLost = Arc::new(move |id| {
            // A full queue already holds news that this node has lost connections.
            let _ = lost.try_send(id);
        });
        let peers = Peers::<R>::new(self.desk.local(), on_lost);
        let config =
            raft_config(&identity.group, self.timing, store, self.flush).map_err(|e| (raft(e.to_string()), None))?;
        let pace = Arc::new(Pace::new(CatchUp::from_setting(self.timing.catch_up_bytes_per_second)));
        let log = LogStorage::with(Arc::clone(store), Arc::clone(&pace), suspects.clone());
        let id = identity.node_id;
        let started = Raft::new(id, Arc::new(config), Network::new(Arc::clone(&peers)), log, shell).await;
        let raft = started.map_err(|e| (raft(e.to_string()), told.try_recv().ok()))?;
        let core = Core {
            raft,
            shared,
            store: Arc::clone(store),
            peers,
            processes: Arc::new(Processes::default()),
            handler: OnceLock::new(),
            on_fatal: Arc::clone(&self.on_fatal),
            place: self.place.clone(),
            fitness: Arc::default(),
            pace,
            suspects,
            mending: Mending::new(told),
            id,
        };
        core.bar(Bar::Unproven, core.is_unproven());
        Ok(Arc::new(core))
    }

    async fn shell(&self, identity: &Identity, store: &Arc<LogStore>) -> Result<Shell<R, M>, StartError> {
        let (store, place, identity) = (Arc::clone(store), self.place.clone(), identity.clone());
        let (machine, sink, on_fatal) = (Arc::clone(&self.machine), self.sink.clone(), Arc::clone(&self.on_fatal));
        let opened = R::offload(move || Shell::<R, M>::open(|| machine(&identity), store, place, sink, on_fatal)).await;
        Ok(opened.map_err(|e| StartError::Raft(e.to_string()))??)
    }
}

fn is_hard_state(e: &StoreError, place: &Place) -> bool {
    let hard = hard_state::path(&place.dir);
    matches!(e, StoreError::Corrupt { path, .. } if *path == hard)
}

/// Opens the store of a node, and gives it its disk thread.
async fn open_store<R: Runtime>(
    place: &Place,
    identity: &Identity,
    flush: FlushMode,
    desk: &Desk,
    on_fatal: &OnFatal,
) -> Result<Arc<LogStore>, StartError> {
    let serial = R::serial("quorumq-disk");
    let cell: Arc<OnceLock<Weak<LogStore>>> = Arc::default();
    let (woken, on_fatal) = (Arc::clone(&cell), Arc::clone(on_fatal));
    let wake = Box::new(move || {
        if let Some(store) = woken.get().and_then(Weak::upgrade) {
            let on_fatal = Arc::clone(&on_fatal);
            serial.submit(Box::new(move || told(&on_fatal, "the disk thread", || store.run_pending())));
        }
    });
    let (place, constants) = (place.clone(), identity.constants);
    let derived = place.clone();
    let on_install: OnInstall = Arc::new(move || {
        ConsumeQueues::wipe(&*derived.disk, &derived.dir)?;
        IndexFiles::wipe(&*derived.disk, &derived.dir)
    });
    let usual = Options::default();
    // Of small segments (tests have them) some are read from files, as of large ones.
    let tail_bytes = usual.tail_bytes.min(2 * constants.segment_size);
    let options = Options { mode: flush, on_install: Some(on_install), tail_bytes, ..usual };
    let opened = R::offload(move || {
        let options = Options { boot_id: boot_id(&*place.disk, flush)?, ..options };
        LogStore::open(place.disk, &place.dir, constants, options, wake)
    });
    let opened = opened.await;
    let (store, recovered) = opened.map_err(|e| StartError::Raft(e.to_string()))??;
    // Nothing was queued yet: the cell is set before anyone else holds the store.
    let _ = cell.set(Arc::downgrade(&store));
    if let Some((at, bytes)) = recovered.torn_tail {
        tracing::info!(%at, bytes, "cut a torn tail off the log");
    }
    desk.set_store(&store);
    Ok(store)
}

/// Without it, a reboot cannot be told from a restart, which only ASYNC_FLUSH relies on.
fn boot_id(disk: &dyn Disk, flush: FlushMode) -> Result<Option<u128>, StoreError> {
    match disk.boot_id() {
        Ok(id) => Ok(id),
        Err(_) if flush == FlushMode::Sync => Ok(None),
        Err(source) => Err(StoreError::Io { verb: "read", path: "/proc/sys/kernel/random/boot_id".into(), source }),
    }
}
