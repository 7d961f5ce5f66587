//! The disk of a host: every change goes into the trace hash, and every fault of a disk can be had.
//!
//! [`SimDisk`] stands over a [`MemoryDisk`], the medium, which tells written from synced. A process works on a
//! [`SimDisk::mount`]; a kill or a loss of power makes mounts and open files of before inert. What a fault begins and
//! what it changes is counted in the run's tally; only for kills and losses of power the one who strikes counts the
//! beginning.

use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quorumq_store::disk::memory::Losses;
use quorumq_store::disk::{Disk, MemoryDisk};
use rand::RngExt;

use crate::runtime::SimRng;
use crate::runtime::net::Net;
use crate::tally::{Effect, Fault, Tally};
use crate::trace::hash_of_bytes;

pub mod atlas;
pub mod durable;
mod faults;
mod mount;
pub mod rot;

use faults::Fails;
use mount::Mount;

/// The disk of one host. It outlives the host's processes.
#[derive(Clone, Debug)]
pub struct SimDisk {
    medium: MemoryDisk,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    net: Arc<Net>,
    host: IpAddr,
    /// Bytes its users want to keep free: with less, they are told that it is full.
    reserve: u64,
    switches: Mutex<Switches>,
}

/// Faults that are switched on.
#[derive(Debug, Default)]
struct Switches {
    writes: Fails,
    syncs: Fails,
    full: bool,
}

impl SimDisk {
    /// An empty disk of the host `host`. `reserve` bytes free are what its users want to keep: less, and
    /// [`Disk::space`] makes them refuse. Only inside a run.
    #[must_use]
    pub fn new(host: IpAddr, reserve: u64) -> Self {
        let (net, switches) = (Net::current(), Mutex::default());
        Self { medium: MemoryDisk::new(), shared: Arc::new(Shared { net, host, reserve, switches }) }
    }

    /// The disk as a process that starts now finds it.
    #[must_use]
    pub fn mount(&self) -> Arc<dyn Disk> {
        Arc::new(Mount::new(self.clone(), self.medium.mount()))
    }

    /// What is on it, and what of that is durable.
    #[must_use]
    pub fn medium(&self) -> &MemoryDisk {
        &self.medium
    }

    fn tally(&self) -> &Tally {
        self.shared.net.tally()
    }

    fn switches(&self) -> MutexGuard<'_, Switches> {
        self.shared.switches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, what: &str, number: u64, bytes: &[u8]) {
        self.shared.net.record(self.shared.host, what, number, bytes);
    }

    fn begin(&self, fault: Fault, what: &str, number: u64) {
        self.tally().begun(fault);
        self.note(what, number, &[]);
    }

    /// The process ends; what it wrote stays, synced or not.
    pub fn kill(&self) {
        self.forget_onces();
        self.medium.kill();
    }

    /// The host loses power: each unsynced page is kept, dropped or torn, as drawn; unsynced entries are undone.
    pub fn lose_power(&self, rng: &mut SimRng) -> Losses {
        self.forget_onces();
        // A share of the losses spares much, another nearly nothing.
        let spared_of_8 = rng.random_range(0..=8);
        let losses = self.medium.lose_power(&mut || draw_kept(rng, spared_of_8));
        let Losses { pages_lost, pages_torn, entries } = losses;
        for (effect, times) in
            [(Effect::PageLost, pages_lost), (Effect::PageTorn, pages_torn), (Effect::EntryLost, entries)]
        {
            self.tally().effect(effect, times);
        }
        self.tally().felt(Fault::PowerLoss, pages_lost + pages_torn + entries);
        self.note("disk-power-loss", pages_lost, &[pages_torn.to_be_bytes(), entries.to_be_bytes()].concat());
        losses
    }

    fn forget_onces(&self) {
        let mut switches = self.switches();
        switches.writes.forget_once();
        switches.syncs.forget_once();
    }

    /// After `operations` more changes none is done: the process is about to end in the middle of them.
    pub fn crash_after(&self, operations: u64) {
        self.begin(Fault::CrashPoint, "disk-crash-point", operations);
        self.medium.freeze_after(operations);
    }

    /// Once the next file was created, and its directory not yet synced, no change is done any more.
    pub fn crash_at_create(&self) {
        self.begin(Fault::CrashPoint, "disk-crash-at-create", 0);
        self.medium.freeze_at_create();
    }

    /// Whether a crash point has come true in the life of this process.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.medium.is_frozen()
    }

    /// After `skip` more writes one fails, if this process does as many. A part of its bytes may be written.
    pub fn fail_write(&self, skip: u64) {
        self.begin(Fault::WriteError, "disk-fail-write", skip);
        self.switches().writes.once_after(skip);
    }

    /// One write in `one_in` fails until [`SimDisk::heal`].
    pub fn fail_writes(&self, one_in: u32) {
        self.begin(Fault::WriteError, "disk-fail-writes", one_in.into());
        self.switches().writes.at_rate(one_in);
    }

    /// After `skip` more syncs of files one fails, if this process does as many. What it should have made durable is
    /// read as written until power is lost, whatever syncs succeed later.
    pub fn fail_sync(&self, skip: u64) {
        self.begin(Fault::SyncError, "disk-fail-sync", skip);
        self.switches().syncs.once_after(skip);
    }

    /// One sync in `one_in` fails, as with [`SimDisk::fail_sync`], until [`SimDisk::heal`].
    pub fn fail_syncs(&self, one_in: u32) {
        self.begin(Fault::SyncError, "disk-fail-syncs", one_in.into());
        self.switches().syncs.at_rate(one_in);
    }

    /// Somebody else fills the volume: less than two reserves of room are left, as drawn.
    pub fn fill(&self, rng: &mut SimRng) {
        let room = rng.random_range(0..=self.shared.reserve * 2);
        self.begin(Fault::DiskFull, "disk-full", room);
        self.switches().full = true;
        self.medium.set_capacity(Some(self.medium.used() + room));
    }

    /// The room is there again.
    pub fn relieve(&self) {
        self.note("disk-relieved", 0, &[]);
        self.switches().full = false;
        self.medium.set_capacity(None);
    }

    /// Every job of the host's disk takes `factor` times as long.
    pub fn slow(&self, factor: u32) {
        self.begin(Fault::SlowDisk, "disk-slow", factor.into());
        self.shared.net.slow_disk(self.shared.host, factor);
    }

    /// The disk does nothing for a while; its jobs, those under way included, end after that.
    pub fn stall(&self, time: Duration) {
        self.begin(Fault::StalledDisk, "disk-stall", u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        self.shared.net.stall_disk(self.shared.host, time);
    }

    /// Ends every fault that lasts: errors, lack of room, slowness, a stall (jobs that wait for its end already wait on).
    /// What is damaged stays so.
    pub fn heal(&self) {
        self.relieve();
        *self.switches() = Switches::default();
        self.shared.net.heal_disk(self.shared.host);
    }

    /// The disk is replaced by an empty one.
    pub fn wipe(&self) {
        self.note("disk-wiped", 0, &[]);
        self.medium.wipe();
    }

    /// The number that stands for a file in the trace.
    fn number_of(path: &Path) -> u64 {
        hash_of_bytes(path.as_os_str().as_encoded_bytes())
    }
}

/// Which of the eight sectors of an unsynced page survive: all, none, a first part of them, or any.
fn draw_kept(rng: &mut SimRng, spared_of_8: u32) -> u8 {
    match rng.random_range(0..4) {
        0 => 0x7F >> rng.random_range(0..7),
        1 => rng.random(),
        _ if rng.random_range(0..8) < spared_of_8 => 0xFF,
        _ => 0,
    }
}
