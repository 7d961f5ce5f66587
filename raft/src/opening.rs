//! Opening a node's store.

use std::sync::{Arc, OnceLock, Weak};

use quorumq_store::StoreError;
use quorumq_store::consume_queue::ConsumeQueues;
use quorumq_store::disk::Disk;
use quorumq_store::identity::Identity;
use quorumq_store::index_file::IndexFiles;
use quorumq_store::log_store::{FlushMode, LogStore, OnInstall, Options};

use crate::fatal::told;
use crate::form::Desk;
use crate::node::StartError;
use crate::runtime::{Runtime, Serial};
use crate::state_machine::{OnFatal, Place};

/// Opens the store of a node, and gives it its disk thread.
///
/// # Errors
/// As [`LogStore::open`].
pub async fn open_store<R: Runtime>(
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
    let options = Options { mode: flush, on_install: Some(on_install), ..Options::default() };
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
