//! The simulated disk: it conforms, what changes it goes into the trace hash, and each of its faults does what it says.
#![cfg(test)]

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use openraft_rt::AsyncRuntime;
use quorumq_raft::runtime::{Runtime, Serial};
use quorumq_sim::disk::SimDisk;
use quorumq_sim::disk::atlas::{Atlas, Site};
use quorumq_sim::disk::rot::Part;
use quorumq_sim::runtime::{SimRng, SimRuntime};
use quorumq_sim::scenario::address;
use quorumq_sim::tally::{Counts, Effect, Fault};
use quorumq_sim::world::{Config, Node, World, run};
use quorumq_store::disk::{Disk, DiskFile};
use quorumq_store::suite;
use tokio::sync::oneshot;

const DIR: &str = "/store/commitlog";
const PAGE: u64 = 4096;

/// Runs `test` on an empty disk; what it returns, the trace hash, and the counts.
fn on_disk<T: Send + 'static>(seed: u64, test: fn(&World, &SimDisk) -> T) -> (T, u64, Counts) {
    let outcome = run(seed, Config::default(), move |world: World| async move {
        world.add_node(address(1));
        let disk = SimDisk::new(address(1), 1000);
        let value = test(&world, &disk);
        (value, world.tally().counts())
    });
    let outcome = outcome.unwrap();
    (outcome.value.0, outcome.hash, outcome.value.1)
}

/// A mount with one durable file of `pages` pages, each filled with its number + 1.
fn file(disk: &SimDisk, name: &str, pages: u64) -> (Arc<dyn Disk>, Arc<dyn DiskFile>) {
    let (mount, dir) = (disk.mount(), Path::new(DIR));
    mount.create_dir_all(dir).unwrap();
    let file = mount.create(&dir.join(name), pages * PAGE).unwrap();
    for page in 0..pages {
        file.write_at(page * PAGE, &[&[page as u8 + 1; PAGE as usize]]).unwrap();
    }
    file.sync_data().unwrap();
    mount.sync_dir(dir).unwrap();
    (mount, file)
}

/// A disk as the conformance suites want it. Its host needs no fault but those it is asked for.
struct SimMedium {
    disk: SimDisk,
    rng: Mutex<SimRng>,
}

impl SimMedium {
    fn new() -> Self {
        Self { disk: SimDisk::new(address(1), 0), rng: Mutex::new(SimRuntime::thread_rng()) }
    }
}

impl suite::Medium for SimMedium {
    fn fresh(&self) -> Box<dyn suite::Medium> {
        Box::new(Self::new())
    }
    fn mount(&self) -> Arc<dyn Disk> {
        self.disk.mount()
    }
    fn root(&self) -> PathBuf {
        PathBuf::from("/node")
    }
    fn power_loss(&self) -> bool {
        self.disk.lose_power(&mut self.rng.lock().unwrap_or_else(PoisonError::into_inner));
        true
    }
    fn kill(&self) {
        self.disk.kill();
    }
    fn freeze_after(&self, operations: u64) -> bool {
        self.disk.crash_after(operations);
        true
    }
    fn is_frozen(&self) -> bool {
        self.disk.is_frozen()
    }
    fn fail_sync(&self, skip: u64) -> bool {
        self.disk.fail_sync(skip);
        true
    }
}

fn conforms(seed: u64, checks: fn() -> Vec<suite::Check>) -> Counts {
    let outcome = run(seed, Config::default(), move |world: World| async move {
        world.add_node(address(1));
        (suite::run_all(&checks(), SimMedium::new), world.tally().counts())
    });
    let (result, counts) = outcome.unwrap().value;
    result.unwrap_or_else(|failures| panic!("seed {seed}: {failures}"));
    counts
}

#[test]
fn the_simulated_disk_conforms() {
    conforms(1, suite::disk::checks);
}

#[test]
fn the_log_conforms_on_the_simulated_disk() {
    conforms(1, suite::log::checks);
}

#[test]
fn the_log_withstands_crashes_of_the_simulated_disk() {
    let mut sum = Counts::default();
    for seed in 1..4 {
        sum.add(&conforms(seed, suite::crash::checks));
    }
    for effect in [Effect::PageLost, Effect::PageTorn, Effect::EntryLost] {
        assert!(sum.effect(effect) > 0, "no {}", effect.name());
    }
    for fault in [Fault::CrashPoint, Fault::PowerLoss, Fault::SyncError] {
        assert!(sum.fault(fault).felt > 0, "{} was never felt", fault.name());
    }
}

/// The trace hash of a run that does `work` on a file.
fn hash_of(work: fn(&SimDisk, &dyn Disk, &dyn DiskFile)) -> u64 {
    let outcome = run(1, Config::default(), move |world: World| async move {
        world.add_node(address(1));
        let disk = SimDisk::new(address(1), 1000);
        let (mount, file) = file(&disk, "0", 1);
        work(&disk, &*mount, &*file);
    });
    outcome.unwrap().hash
}

#[test]
fn writes_syncs_and_faults_show_in_the_trace_and_reads_do_not() {
    let base = hash_of(|_, _, _| ());
    assert_eq!(base, hash_of(|_, _, _| ()));
    let read = hash_of(|disk, mount, file| {
        file.read_at(0, &mut [0; 4]).unwrap();
        file.slice(0, 4).unwrap();
        assert_eq!(file.len().unwrap(), PAGE);
        assert_eq!(mount.list(Path::new(DIR)).unwrap(), ["0"]);
        assert!(disk.medium().is_durable(&Path::new(DIR).join("0"), 0..PAGE));
    });
    assert_eq!(base, read);
    let mut hashes = vec![
        base,
        hash_of(|_, _, file| file.write_at(8, &[b"ab", b"c"]).unwrap()),
        hash_of(|_, _, file| file.write_at(9, &[b"ab", b"c"]).unwrap()),
        hash_of(|_, _, file| file.write_at(8, &[b"ab", b"d"]).unwrap()),
        hash_of(|_, _, file| file.write_at(8, &[b"a", b"bc"]).unwrap()),
        hash_of(|_, mount, _| drop(mount.create(&Path::new(DIR).join("1"), 0).unwrap())),
        hash_of(|_, mount, _| drop(mount.create(&Path::new(DIR).join("2"), 0).unwrap())),
        hash_of(|_, _, file| file.sync_data().unwrap()),
        hash_of(|_, _, file| file.set_len(7).unwrap()),
        hash_of(|_, _, file| file.set_len(8).unwrap()),
        hash_of(|_, _, file| file.allocate(7).unwrap()),
        hash_of(|_, mount, _| mount.sync_dir(Path::new(DIR)).unwrap()),
        hash_of(|_, mount, _| mount.rename(&Path::new(DIR).join("0"), &Path::new(DIR).join("b")).unwrap()),
        hash_of(|_, mount, _| mount.remove(&Path::new(DIR).join("0")).unwrap()),
        hash_of(|_, mount, _| mount.remove_dir_all(Path::new(DIR)).unwrap()),
        hash_of(|disk, _, _| disk.fail_sync(0)),
        hash_of(|disk, _, _| disk.fail_write(0)),
        hash_of(|disk, _, _| disk.slow(3)),
        hash_of(|disk, _, _| disk.stall(Duration::from_secs(3))),
        hash_of(|disk, _, _| disk.relieve()),
        hash_of(|disk, _, _| disk.mend()),
    ];
    let all = hashes.len();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), all, "two different histories have one hash");
}

#[test]
fn one_file_written_for_another_shows_in_the_trace() {
    let two = |first: &'static str| {
        let outcome = run(1, Config::default(), move |world: World| async move {
            world.add_node(address(1));
            let disk = SimDisk::new(address(1), 0);
            let (mount, _) = file(&disk, "0", 1);
            file(&disk, "1", 1);
            mount.open(&Path::new(DIR).join(first)).unwrap().write_at(0, &[b"x"]).unwrap();
        });
        outcome.unwrap().hash
    };
    assert_ne!(two("0"), two("1"));
}

#[test]
fn a_power_loss_keeps_drops_and_tears_pages_as_drawn() {
    let (mut kept, mut sum) = (0, Counts::default());
    for seed in 1..20 {
        let (found, _, counts) = on_disk(seed, |world, disk| {
            let (mount, file) = file(disk, "0", 20);
            file.write_at(0, &[&[0xEE; 20 * PAGE as usize]]).unwrap();
            mount.create(&Path::new(DIR).join("unsynced"), 10).unwrap();
            disk.lose_power(&mut world.rng());
            assert!(file.write_at(0, &[b"late"]).is_err(), "a handle of before");
            disk.medium().content(&Path::new(DIR).join("0")).unwrap()
        });
        for (number, page) in found.chunks_exact(PAGE as usize).enumerate() {
            for sector in page.chunks_exact(512) {
                assert!([0xEE, number as u8 + 1].iter().any(|byte| *sector == [*byte; 512]), "torn below 512 bytes");
            }
            kept += u64::from(*page == [0xEE; PAGE as usize]);
        }
        assert_eq!(counts.effect(Effect::EntryLost), 1);
        sum.add(&counts);
    }
    let (lost, torn) = (sum.effect(Effect::PageLost), sum.effect(Effect::PageTorn));
    assert_eq!(kept + lost + torn, 19 * 20);
    assert!(kept > 30 && lost > 30 && torn > 30, "{kept} kept, {lost} lost, {torn} torn");
    assert_eq!(sum.fault(Fault::PowerLoss).felt, lost + torn + 19);
}

#[test]
fn a_kill_keeps_what_was_written_and_ends_handles() {
    on_disk(1, |_, disk| {
        let (mount, file) = file(disk, "0", 1);
        file.write_at(0, &[b"unsynced"]).unwrap();
        disk.kill();
        assert!(file.write_at(0, &[b"late"]).is_err() && mount.create(&Path::new(DIR).join("late"), 1).is_err());
        let found = disk.medium().content(&Path::new(DIR).join("0")).unwrap();
        assert_eq!(&found[..8], b"unsynced");
    });
}

#[test]
fn the_nth_write_fails_and_leaves_a_first_part_of_its_bytes() {
    for seed in 1..20 {
        let (_, _, counts) = on_disk(seed, |_, disk| {
            let (_, file) = file(disk, "0", 1);
            disk.fail_write(1);
            file.write_at(0, &[b"done"]).unwrap();
            assert_eq!(file.write_at(100, &[&[9; 30], &[9; 30]]).unwrap_err().raw_os_error(), Some(5));
            file.write_at(0, &[b"more"]).unwrap();
            let found = disk.medium().content(&Path::new(DIR).join("0")).unwrap();
            let written = found[100..].iter().take_while(|byte| **byte == 9).count();
            assert!(written <= 60 && found[100 + written..].iter().all(|byte| *byte == 1));
        });
        let struck = counts.fault(Fault::WriteError);
        assert_eq!((struck.begun, struck.felt), (1, 1));
    }
}

#[test]
fn a_failed_sync_loses_its_pages_at_the_next_power_loss() {
    let (_, _, counts) = on_disk(1, |world, disk| {
        let (_, file) = file(disk, "0", 1);
        file.write_at(0, &[b"gone"]).unwrap();
        disk.fail_sync(0);
        assert_eq!(file.sync_data().unwrap_err().raw_os_error(), Some(5));
        file.sync_data().unwrap();
        let path = Path::new(DIR).join("0");
        assert_eq!(&disk.medium().content(&path).unwrap()[..4], b"gone");
        let losses = disk.lose_power(&mut world.rng());
        assert_eq!((losses.pages_lost, losses.pages_torn), (1, 0));
        assert_eq!(disk.medium().content(&path).unwrap(), [1; PAGE as usize]);
    });
    assert_eq!(counts.fault(Fault::SyncError).felt, 1);
}

#[test]
fn errors_come_at_their_rate_until_the_disk_is_healed() {
    let (_, _, counts) = on_disk(1, |_, disk| {
        let (_, file) = file(disk, "0", 1);
        disk.fail_writes(4);
        disk.fail_syncs(4);
        let failed = (0..200).filter(|_| file.write_at(0, &[b"x"]).is_err()).count();
        let unsynced = (0..200).filter(|_| file.sync_data().is_err()).count();
        assert!((20..100).contains(&failed) && (20..100).contains(&unsynced), "{failed} and {unsynced} of 200");
        disk.heal();
        assert!((0..100).all(|_| file.write_at(0, &[b"x"]).is_ok() && file.sync_data().is_ok()));
    });
    assert!(counts.fault(Fault::WriteError).felt >= 20 && counts.fault(Fault::SyncError).felt >= 20);
}

#[test]
fn a_full_disk_says_so_fails_what_needs_room_and_is_relieved() {
    for seed in 1..10 {
        let (refused, _, counts) = on_disk(seed, |world, disk| {
            let (mount, file) = file(disk, "0", 1);
            disk.fill(&mut world.rng());
            let (path, room) = (Path::new(DIR).join("big"), mount.space(Path::new(DIR)).unwrap().available);
            assert!(room <= 2000);
            assert_eq!(mount.create(&path, room + 1).unwrap_err().kind(), ErrorKind::StorageFull);
            assert_eq!(file.allocate(PAGE + room + 1).unwrap_err().kind(), ErrorKind::StorageFull);
            file.write_at(0, &[b"within what is allocated"]).unwrap();
            mount.create(&path, room).unwrap();
            disk.relieve();
            file.allocate(1 << 30).unwrap();
            u64::from(room < 1000)
        });
        let struck = counts.fault(Fault::DiskFull);
        assert_eq!((struck.begun, struck.felt), (1, 2 + refused), "less room than the reserve is a refusal too");
    }
}

#[test]
fn nothing_is_done_after_a_crash_point() {
    let (_, _, counts) = on_disk(1, |_, disk| {
        let (mount, file) = file(disk, "0", 1);
        disk.crash_after(1);
        file.write_at(0, &[b"done"]).unwrap();
        assert!(!disk.is_frozen() || disk.medium().content(&Path::new(DIR).join("0")).unwrap().starts_with(b"done"));
        assert!(file.write_at(0, &[b"not!"]).is_err() && file.sync_data().is_err());
        assert!(mount.create(&Path::new(DIR).join("not"), 1).is_err());
        disk.kill();
        assert!(!disk.is_frozen() && disk.medium().paths().len() == 1);
        assert_eq!(&disk.medium().content(&Path::new(DIR).join("0")).unwrap()[..4], b"done");
    });
    let struck = counts.fault(Fault::CrashPoint);
    assert_eq!((struck.begun, struck.felt), (1, 3));
}

#[test]
fn rot_strikes_what_a_power_loss_would_leave_and_the_atlas_allows() {
    for seed in 1..20 {
        let (_, _, counts) = on_disk(seed, |world, disk| {
            let mut rng = world.rng();
            for start in [0, 2 * PAGE, 4 * PAGE] {
                file(disk, &format!("{start:020}"), 2);
            }
            // Allocated ahead, and blank.
            disk.mount().create(&Path::new(DIR).join(format!("{:020}", 6 * PAGE)), 2 * PAGE).unwrap();
            let mut atlas = Atlas::new();
            assert!(atlas.strike(address(2), Site::CommitLog(0..2 * PAGE)));
            let damage = disk.rot(Part::CommitLog, &mut atlas, &mut rng).unwrap();
            assert_eq!(damage.site, Site::CommitLog(2 * PAGE..4 * PAGE), "the last one holds nothing committed");
            assert!(damage.path.ends_with(format!("{:020}", 2 * PAGE)));
            assert_eq!(disk.rotten(), [(damage.path.clone(), damage.offset)]);
            let found = disk.medium().content(&damage.path).unwrap()[damage.offset as usize];
            assert_eq!(found, ((damage.offset / PAGE) as u8 + 1) ^ (1 << damage.bit));
            assert!(disk.rot(Part::HardState, &mut atlas, &mut rng).is_none(), "there is none");
            let (mount, mut byte) = (disk.mount(), [0]);
            let file = mount.open(&damage.path).unwrap();
            file.read_at(damage.offset, &mut byte).unwrap();
            file.slice(damage.offset, 1).unwrap();
            disk.mend();
            assert!(disk.rotten().is_empty());
            file.read_at(damage.offset, &mut byte).unwrap();
        });
        let struck = counts.fault(Fault::BitRot);
        assert_eq!((struck.begun, struck.felt), (1, 2));
    }
}

/// How long ten jobs take on the disk thread of `host`.
async fn ten_jobs(world: &World, host: &Node) -> Duration {
    let since = world.elapsed();
    let working = host.spawn(async {
        let (thread, (done, waiting)) = (SimRuntime::serial("disk"), oneshot::channel());
        (0..9).for_each(|_| thread.submit(Box::new(|| {})));
        thread.submit(Box::new(|| done.send(()).unwrap()));
        waiting.await.unwrap();
    });
    working.await.unwrap();
    world.elapsed() - since
}

#[test]
fn one_host_has_a_slow_disk_and_one_that_stalls_while_another_has_not() {
    let outcome = run(1, Config::default(), |world: World| async move {
        let hosts = [1, 2].map(|n| world.add_node(address(n)));
        let disk = SimDisk::new(address(1), 0);
        disk.slow(1000);
        assert!(ten_jobs(&world, &hosts[0]).await > Duration::from_millis(300));
        assert!(ten_jobs(&world, &hosts[1]).await < Duration::from_millis(250));
        disk.heal();
        assert!(ten_jobs(&world, &hosts[0]).await < Duration::from_millis(250));
        disk.stall(Duration::from_secs(7));
        let (stalled, other) = futures_util::join!(ten_jobs(&world, &hosts[0]), ten_jobs(&world, &hosts[1]));
        assert!((Duration::from_secs(7)..Duration::from_millis(7250)).contains(&stalled), "{stalled:?}");
        assert!(other < Duration::from_millis(250));
        assert!(ten_jobs(&world, &hosts[0]).await < Duration::from_millis(250), "it is over");
        world.tally().counts()
    });
    let counts = outcome.unwrap().value;
    let (slow, stalled) = (counts.fault(Fault::SlowDisk), counts.fault(Fault::StalledDisk));
    assert_eq!((slow.begun, slow.felt), (1, 10));
    assert_eq!((stalled.begun, stalled.felt), (1, 1), "the first job waited, the others behind it did not");
}
