use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use quorumq_raft::form::Start;
use quorumq_raft::node::{Node, Parts, Settings, Timing};
use quorumq_raft::outcome::Outcome;
use quorumq_raft::repair::scrub::Scrub;
use quorumq_raft::runtime::tokio::Tokio;
use quorumq_raft::state_machine::Place;
use quorumq_raft::types::Proposal;
use quorumq_store::disk::MemoryDisk;
use quorumq_store::disk::memory::Operation;
use quorumq_store::identity::GroupConstants;
use quorumq_store::log_store::FlushMode;
use quorumq_store::record::Draft;

use self::free_addr::free_addr;
use super::*;
use crate::kept::kept;
use crate::machine::{Command, CommandBatch, Reply, TopicConfig};

#[path = "../../tests/harness/free_addr.rs"]
mod free_addr;

const DIR: &str = "/store";
const CONSTANTS: GroupConstants =
    GroupConstants { segment_size: 16 << 10, max_entry: 4096, frame_version: 1, feature_level: 1 };

/// A group of one node.
struct Store {
    medium: MemoryDisk,
    node: Arc<Node<Tokio, Machine>>,
}

impl Store {
    async fn open(medium: MemoryDisk) -> Self {
        let addr = free_addr();
        let (disk, dir) = (medium.mount(), PathBuf::from(DIR));
        let start = Start::Bootstrap { peers: vec![addr], me: 0 };
        let (shelf, place) = (Arc::clone(&disk), Place { disk, dir, reserve_bytes: 0 });
        let settings = Settings {
            cluster: "DefaultCluster".to_owned(),
            group: "broker-a".to_owned(),
            listen: addr,
            client_addr: SocketAddr::from(([127, 0, 0, 1], 1)).to_string(),
            constants: CONSTANTS,
            flush: FlushMode::Sync,
            scrub: Scrub::default(),
            timing: Timing { heartbeat_ms: 20, election_min_ms: 60, election_max_ms: 100, ..Timing::default() },
            start,
        };
        let parts = Parts::<Machine> {
            place,
            machine: Box::new(move |identity| {
                Machine::new(Arc::clone(&shelf), Path::new(DIR), identity.constants.segment_size)
            }),
            sink: Arc::new(|_| {}),
            on_fatal: Arc::new(|why| panic!("{why}")),
            process: 1,
        };
        let node = Node::start(settings, parts).await.unwrap();
        let store = Self { medium, node };
        for _ in 0..1000 {
            if store.node.is_leader() && store.node.read_barrier().await.is_ok() {
                return store;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("no leader");
    }

    /// One with messages over several segments.
    async fn filled() -> Self {
        let store = Self::open(MemoryDisk::new()).await;
        store.run(Command::UpdateTopic { config: TopicConfig::new("T", 4, 4, 6), if_absent: false }).await;
        store.send(60).await;
        store
    }

    async fn propose(&self, kind: Kind, body: Bytes) -> Reply {
        let (tx, rx) = tokio::sync::oneshot::channel();
        self.node.propose(Proposal { kind, body }, move |outcome| drop(tx.send(outcome))).await;
        match rx.await.unwrap() {
            Outcome::Applied { reply, .. } => reply,
            other => panic!("{other:?}"),
        }
    }

    async fn run(&self, command: Command) {
        let batch = CommandBatch { time_ms: 1, commands: vec![command] };
        self.propose(Kind::Command, batch.encode().unwrap()).await;
    }

    /// Sends entries of three messages each.
    async fn send(&self, entries: usize) {
        for i in 0..entries {
            self.propose(Kind::Records, records_of(&[0, 1, i as u32 % 4])).await;
        }
    }

    async fn stop(self) -> MemoryDisk {
        self.node.shutdown().await;
        self.medium
    }
}

fn records_of(queues: &[u32]) -> Bytes {
    let host = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 10_911);
    let mut bytes = BytesMut::new();
    for queue_id in queues {
        let draft = Draft {
            queue_id: *queue_id,
            flag: 0,
            sys_flag: 0,
            born_timestamp_ms: 1,
            born_host: host,
            store_timestamp_ms: 2,
            store_host: host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: &[7; 300],
            topic: "T",
            properties: b"TAGS\x01t",
        };
        draft.encode(&mut bytes);
    }
    bytes.freeze()
}

fn check(medium: &MemoryDisk) -> Result<VerifiedStore, StoreError> {
    verify_store(&medium.mount(), Path::new(DIR), None)
}

/// The file and the byte that a check names.
fn named(medium: &MemoryDisk) -> (String, u64) {
    match check(medium) {
        Err(StoreError::Corrupt { path, offset, .. }) => (path.display().to_string(), offset),
        other => panic!("{other:?}"),
    }
}

fn names(medium: &MemoryDisk, dir: &str) -> Vec<PathBuf> {
    let dir = Path::new(DIR).join(dir);
    medium.mount().list(&dir).unwrap().into_iter().map(|name| dir.join(name)).collect()
}

#[tokio::test]
async fn a_sound_store_is_told_with_what_it_holds() {
    let store = Store::filled().await;
    let (digest, positions) = (store.node.machine().digest(), store.node.positions());
    let medium = store.stop().await;
    let before: Vec<_> = [Operation::Write, Operation::Sync, Operation::Allocate, Operation::Entry, Operation::SyncDir]
        .map(|operation| (operation, medium.count(operation)))
        .to_vec();
    let found = check(&medium).unwrap();
    for (operation, count) in before {
        assert_eq!(medium.count(operation), count, "{operation:?}");
    }
    assert_eq!((found.log.first, found.log.end), (PhysicalOffset(0), positions.end));
    assert_eq!(found.log.entries, positions.last.unwrap().index.0 + 1);
    assert!(found.segments >= 4, "{found:?}");
    assert_eq!(found.checkpoints, found.segments - 1);
    assert_eq!(found.records, 180);
    assert_eq!(found.queues.queues, 4);
    assert_eq!(found.queues.units + found.queues.unflushed, 180);
    assert!(found.queues.units > 100, "{found:?}");
    assert_eq!((found.applied, found.digest), (positions.last, digest));
    assert_eq!(found.log.torn_tail, None);
}

#[tokio::test]
async fn a_digest_can_be_had_at_an_earlier_index() {
    let store = Store::filled().await;
    let (digest, last) = (store.node.machine().digest(), store.node.positions().last.unwrap());
    store.send(20).await;
    let medium = store.stop().await;
    let disk = medium.mount();
    let found = verify_store(&disk, Path::new(DIR), Some(last.index)).unwrap();
    assert_eq!((found.applied, found.digest), (Some(last), digest));
    assert_ne!(verify_store(&disk, Path::new(DIR), None).unwrap().digest, digest);
}

#[tokio::test]
async fn a_store_in_use_is_refused() {
    let store = Store::filled().await;
    let refused = check(&store.medium).unwrap_err();
    assert!(matches!(refused, StoreError::Locked { .. }), "{refused}");
    let none = MemoryDisk::new();
    none.mount().create_dir_all(Path::new(DIR)).unwrap();
    assert!(matches!(check(&none), Err(StoreError::Unformatted { .. })));
    store.stop().await;
}

#[tokio::test]
async fn a_flipped_bit_anywhere_in_the_commit_log_is_named() {
    let medium = Store::filled().await.stop().await;
    let sound = check(&medium).unwrap();
    let size = CONSTANTS.segment_size;
    let mut frames = Vec::new();
    verify(&medium.mount(), Path::new(DIR), &mut |entry| {
        frames.push(entry.position.0);
        Ok(())
    })
    .unwrap();
    for (i, at) in (0..sound.log.end.0.next_multiple_of(size)).step_by(331).enumerate() {
        let (path, offset) = place(Path::new(DIR), size, PhysicalOffset(at));
        medium.flip_bit(&path, offset, i as u8 % 8).unwrap();
        let (file, byte) = named(&medium);
        assert_eq!(file, path.display().to_string(), "flipped {at}");
        // The frame that holds the byte (an entry's, or the filler behind the segment's last), or the byte itself.
        let frame = frames.iter().rfind(|frame| **frame <= at && **frame / size == at / size).unwrap();
        assert!((frame % size..=offset).contains(&byte), "flipped byte {offset}, named {byte}");
        medium.flip_bit(&path, offset, i as u8 % 8).unwrap();
    }
    check(&medium).unwrap();
}

#[tokio::test]
async fn a_flipped_bit_in_a_consume_queue_or_checkpoint_is_named() {
    let medium = Store::filled().await.stop().await;
    for queue in 0..4 {
        for path in names(&medium, &format!("consumequeue/T/{queue}")) {
            if path.extension().is_some() {
                medium.flip_bit(&path, queue, 2).unwrap();
                assert_eq!(named(&medium), (path.display().to_string(), 0));
                medium.flip_bit(&path, queue, 2).unwrap();
                continue;
            }
            for unit in [0, 3, 7] {
                let at = unit * 20 + queue;
                medium.flip_bit(&path, at, 3).unwrap();
                assert_eq!(named(&medium), (path.display().to_string(), unit * 20));
                medium.flip_bit(&path, at, 3).unwrap();
            }
        }
    }
    for path in names(&medium, "checkpoints") {
        medium.flip_bit(&path, 100, 0).unwrap();
        assert_eq!(named(&medium).0, path.display().to_string());
        medium.flip_bit(&path, 100, 0).unwrap();
    }
    check(&medium).unwrap();
}

#[tokio::test]
async fn a_consume_queue_of_another_log_is_named() {
    let medium = Store::filled().await.stop().await;
    let (a, b) = (names(&medium, "consumequeue/T/2").remove(0), names(&medium, "consumequeue/T/3").remove(0));
    let content = medium.content(&b).unwrap();
    medium.mount().open(&a).unwrap().write_at(0, &[&content]).unwrap();
    assert_eq!(named(&medium), (a.display().to_string(), 0));
}

#[tokio::test]
async fn a_checkpoint_of_another_state_is_named() {
    let medium = Store::filled().await.stop().await;
    let (disk, dir) = (medium.mount(), Path::new(DIR));
    let (first, second) = (PhysicalOffset(CONSTANTS.segment_size), PhysicalOffset(2 * CONSTANTS.segment_size));
    let mut forged = Checkpoint::read(&*disk, dir, second).unwrap();
    forged.state = Checkpoint::read(&*disk, dir, first).unwrap().state;
    forged.write(&*disk, dir).unwrap();
    assert_eq!(named(&medium), (Checkpoint::path(dir, second).display().to_string(), 0));
}

#[tokio::test]
async fn a_purged_log_is_rebuilt_from_the_snapshot_at_its_start() {
    let store = Store::filled().await;
    let boundary = 2 * CONSTANTS.segment_size;
    store.run(Command::PurgeTo { segment: boundary }).await;
    for _ in 0..1000 {
        store.node.retain();
        if store.node.positions().first.0 == boundary {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    store.send(10).await;
    let (digest, last) = (store.node.machine().digest(), store.node.positions().last);
    let medium = store.stop().await;
    let found = check(&medium).unwrap();
    assert_eq!(found.log.first.0, boundary);
    assert_eq!((found.applied, found.digest), (last, digest));
    assert_eq!(found.queues.units + found.queues.unflushed, found.records);
    assert!(found.records < 210, "{found:?}");
    medium.mount().remove(&Checkpoint::path(Path::new(DIR), PhysicalOffset(boundary))).unwrap();
    assert!(check(&medium).unwrap_err().to_string().contains("checkpoints"), "the snapshot is missing");
}

#[tokio::test]
async fn what_a_crash_left_behind_the_end_is_told_and_after_a_clean_stop_it_is_damage() {
    let store = Store::filled().await;
    let end = store.node.positions().end;
    let (path, offset) = place(Path::new(DIR), CONSTANTS.segment_size, end);
    store.medium.kill();
    let medium = store.medium.clone();
    medium.flip_bit(&path, offset + 10, 0).unwrap();
    let found = check(&medium).unwrap();
    assert_eq!(found.log.torn_tail.unwrap().2, offset + 10);
    // As if it had been stopped.
    medium.mount().remove(&Path::new(DIR).join("abort")).unwrap();
    assert_eq!(named(&medium), (path.display().to_string(), offset + 10));
}

#[tokio::test]
async fn what_is_kept_is_told_as_of_the_last_committed_entry_and_not_of_the_last_checkpoint() {
    let store = Store::filled().await;
    let mut config = TopicConfig::new("T", 4, 4, 6);
    config.attributes.insert("reserve.time".to_owned(), "100".to_owned());
    store.run(Command::UpdateTopic { config, if_absent: false }).await;
    let boundary = 2 * CONSTANTS.segment_size;
    store.run(Command::PurgeTo { segment: boundary }).await;
    let (segments, applied) = (store.node.machine().segments(), store.node.machine().applied());
    let medium = store.stop().await;
    let found = kept(&*medium.mount(), Path::new(DIR)).unwrap();
    assert_eq!((&found.segments, found.applied), (&segments, applied));
    assert_eq!(found.segments[0].start.0, boundary);
    assert_eq!(found.segments[0].reserved, Some(("T".to_owned(), 100)));
    let (path, offset) = place(Path::new(DIR), CONSTANTS.segment_size, found.segments[found.segments.len() - 1].start);
    medium.flip_bit(&path, offset + 60, 0).unwrap();
    let before = kept(&*medium.mount(), Path::new(DIR)).unwrap();
    assert!(before.applied < applied && before.applied.is_some(), "what is damaged ends it: {before:?}");
    assert!(before.segments.iter().all(|segment| segment.reserved.is_none()));
}
