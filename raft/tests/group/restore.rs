//! Which recovery checkpoint a start takes.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use quorumq_raft::machine::Machine;
use quorumq_raft::runtime::tokio::Tokio;
use quorumq_raft::state_machine::{Place, Shell};
use quorumq_raft::types::Membership;
use quorumq_raft::wire::encode_membership;
use quorumq_store::checkpoint::Checkpoint;
use quorumq_store::disk::MemoryDisk;
use quorumq_store::frame::Kind;
use quorumq_store::identity::Identity;
use quorumq_store::log_store::{FlushMode, LogStore, NewEntry, SnapshotPosition};
use quorumq_store::{LogId, LogIndex, PhysicalOffset, Term};

use crate::common::{CONSTANTS, Counter};

fn id(term: u64, index: u64) -> LogId {
    LogId { term: Term(term), index: LogIndex(index) }
}

/// A node took entries of term 4 that were never committed. A later leader's snapshot ends with an entry of term 3; the
/// process ended when it had the checkpoint, and had not yet cut its log over.
#[test]
fn a_checkpoint_ahead_of_the_log_is_dropped_though_the_log_ends_with_a_later_term() {
    for (name, last) in [("behind the log's last index", id(3, 5)), ("in the place of another entry", id(3, 1))] {
        let (disk, dir) = (MemoryDisk::new().mount(), Path::new("/store"));
        let (cluster, group) = ("c".to_owned(), "g".to_owned());
        let identity = Identity { cluster, group, group_uuid: 1, node_id: 1, incarnation: 1, constants: CONSTANTS };
        identity.format(&*disk, dir).unwrap();
        let (store, _) = LogStore::open(Arc::clone(&disk), dir, CONSTANTS, FlushMode::Sync, Box::new(|| {})).unwrap();
        let entry = |index| NewEntry { id: id(4, index), kind: Kind::Records, body: Bytes::from_static(b"entry") };
        store.append((0..3).map(entry).collect(), Box::new(|result| result.unwrap())).unwrap();
        store.run_pending();
        let position = SnapshotPosition { last, next: PhysicalOffset(CONSTANTS.segment_size), chain: 7 };
        let membership = encode_membership(&Membership::default()).unwrap().into();
        let state = Counter { entries: last.index.0 + 1, ..Counter::default() }.encode();
        Checkpoint { position, membership_id: None, membership, state }.write(&*disk, dir).unwrap();
        let place = Place { disk: Arc::clone(&disk), dir: dir.to_owned(), reserve_bytes: 0 };
        let on_fatal = Arc::new(|why| panic!("{why}"));
        let fresh = || Ok(Counter::default());
        let shell = Shell::<Tokio, Counter>::open(fresh, store, place, Arc::new(|_| {}), on_fatal).unwrap();
        assert_eq!(shell.shared().read().entries, 0, "{name}");
        assert_eq!(Checkpoint::list(&*disk, dir).unwrap(), [], "{name}");
    }
}

/// It ended every start for good.
#[test]
fn a_damaged_checkpoint_is_dropped_and_the_log_is_applied_from_before_it() {
    let (medium, dir) = (MemoryDisk::new(), Path::new("/store"));
    let disk = medium.mount();
    let (cluster, group) = ("c".to_owned(), "g".to_owned());
    let identity = Identity { cluster, group, group_uuid: 1, node_id: 1, incarnation: 1, constants: CONSTANTS };
    identity.format(&*disk, dir).unwrap();
    let (store, _) = LogStore::open(Arc::clone(&disk), dir, CONSTANTS, FlushMode::Sync, Box::new(|| {})).unwrap();
    let body = Bytes::from(vec![0; CONSTANTS.max_entry as usize]);
    let entry = |index| NewEntry { id: id(4, index), kind: Kind::Records, body: body.clone() };
    store.append((0..4).map(entry).collect(), Box::new(|result| result.unwrap())).unwrap();
    store.run_pending();
    let next = PhysicalOffset(CONSTANTS.segment_size);
    let position = SnapshotPosition { last: id(4, 2), next, chain: 7 };
    let membership = encode_membership(&Membership::default()).unwrap().into();
    let state = Counter { entries: 3, ..Counter::default() }.encode();
    Checkpoint { position, membership_id: None, membership, state }.write(&*disk, dir).unwrap();
    let path = dir.join(quorumq_store::checkpoint::DIR).join(format!("{next:020}"));
    medium.flip_bit(&path, medium.content(&path).unwrap().len() as u64 - 1, 3).unwrap();

    let place = Place { disk: Arc::clone(&disk), dir: dir.to_owned(), reserve_bytes: 0 };
    let on_fatal = Arc::new(|why| panic!("{why}"));
    let fresh = || Ok(Counter::default());
    let shell = Shell::<Tokio, Counter>::open(fresh, store, place, Arc::new(|_| {}), on_fatal).unwrap();
    assert_eq!(shell.shared().read().entries, 0, "the log tells the rest");
    assert_eq!(Checkpoint::list(&*disk, dir).unwrap(), []);
}

/// The committed position becomes durable later than the checkpoint. A node that lost power in between said that it had
/// applied more than is committed, until a leader told it otherwise.
#[test]
fn what_a_checkpoint_has_applied_is_committed() {
    let (disk, dir) = (MemoryDisk::new().mount(), Path::new("/store"));
    let (cluster, group) = ("c".to_owned(), "g".to_owned());
    let identity = Identity { cluster, group, group_uuid: 1, node_id: 1, incarnation: 1, constants: CONSTANTS };
    identity.format(&*disk, dir).unwrap();
    let (store, _) = LogStore::open(Arc::clone(&disk), dir, CONSTANTS, FlushMode::Sync, Box::new(|| {})).unwrap();
    let len = CONSTANTS.max_entry as usize;
    let entry = |index| NewEntry { id: id(4, index), kind: Kind::Records, body: Bytes::from(vec![0; len]) };
    store.append((0..4).map(entry).collect(), Box::new(|result| result.unwrap())).unwrap();
    store.run_pending();
    let next = PhysicalOffset(CONSTANTS.segment_size);
    // Three of the largest entries fill a segment.
    let last = id(4, 2);
    let position = SnapshotPosition { last, next, chain: 7 };
    let membership = encode_membership(&Membership::default()).unwrap().into();
    let state = Counter { entries: last.index.0 + 1, ..Counter::default() }.encode();
    Checkpoint { position, membership_id: None, membership, state }.write(&*disk, dir).unwrap();
    assert_eq!(store.positions().committed, None);
    let place = Place { disk: Arc::clone(&disk), dir: dir.to_owned(), reserve_bytes: 0 };
    let on_fatal = Arc::new(|why| panic!("{why}"));
    let (fresh, opened) = (|| Ok(Counter::default()), Arc::clone(&store));
    let shell = Shell::<Tokio, Counter>::open(fresh, opened, place, Arc::new(|_| {}), on_fatal).unwrap();
    assert_eq!(shell.shared().read().entries, last.index.0 + 1);
    assert_eq!(store.positions().committed, Some(last));
}
