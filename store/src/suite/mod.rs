//! Conformance suites: lists of named checks that any [`Disk`], and the log on it, must pass. Run against the memory and
//! the real disk here, against the faulty disk in the simulator.

use std::fmt::{Debug, Display};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::disk::memory::Operation;
use crate::disk::{Disk, MemoryDisk, RealDisk};

pub mod crash;
pub mod disk;
pub mod history;
pub mod log;
pub mod rig;

/// Linux's number for an input/output error.
const EIO: i32 = 5;

/// Why a check failed.
pub type Failure = String;
/// What a check answers.
pub type Outcome = Result<(), Failure>;

/// A named check.
pub struct Check {
    pub name: &'static str,
    pub run: fn(&dyn Medium) -> Outcome,
}

/// What a disk's bytes live on: survives crashes of the node that uses it. Fresh and empty for each check.
pub trait Medium {
    /// Another one of the same sort, fresh and empty.
    fn fresh(&self) -> Box<dyn Medium>;
    /// A disk for the next node; those handed out before are of no use after a crash.
    fn mount(&self) -> Arc<dyn Disk>;
    /// An existing directory to work in.
    fn root(&self) -> PathBuf;
    /// Power loss: unsynced bytes and entries are gone. `false` if this medium cannot lose power; nothing happened then.
    fn power_loss(&self) -> bool;
    /// The node's process ends; written bytes stay.
    fn kill(&self);
    /// After `operations` more mutating operations every further one fails without effect, until the next crash.
    /// `false` if this medium cannot do that.
    fn freeze_after(&self, operations: u64) -> bool;
    /// Whether it has come to that.
    fn is_frozen(&self) -> bool;
    /// After `skip` more syncs of files, one fails and loses what it should have made durable; reads still see it until
    /// the power is lost. `false` if this medium cannot do that.
    fn fail_sync(&self, skip: u64) -> bool;
}

/// A medium in memory.
#[derive(Debug, Default)]
pub struct MemoryMedium {
    pub disk: MemoryDisk,
    /// Decides which unsynced sectors survive a power loss; none if there is no source of numbers.
    torn: Option<Mutex<Numbers>>,
}

impl MemoryMedium {
    /// A medium on which unsynced sectors survive a power loss at random.
    pub fn torn(seed: u64) -> Self {
        Self { disk: MemoryDisk::new(), torn: Some(Mutex::new(Numbers(seed))) }
    }
}

impl Medium for MemoryMedium {
    fn fresh(&self) -> Box<dyn Medium> {
        Box::new(match &self.torn {
            None => Self::default(),
            Some(numbers) => Self::torn(numbers.lock().unwrap_or_else(PoisonError::into_inner).draw()),
        })
    }

    fn mount(&self) -> Arc<dyn Disk> {
        self.disk.mount()
    }

    fn root(&self) -> PathBuf {
        PathBuf::from("/node")
    }

    fn power_loss(&self) -> bool {
        match &self.torn {
            None => self.disk.crash(),
            Some(numbers) => {
                let mut numbers = numbers.lock().unwrap_or_else(PoisonError::into_inner);
                // Of every four losses one keeps nothing, one keeps all, two keep half.
                let quarters = numbers.below(4);
                self.disk.crash_keeping(&mut || match quarters {
                    0 => false,
                    1 => true,
                    _ => numbers.below(2) == 0,
                });
            }
        }
        true
    }

    fn kill(&self) {
        self.disk.kill();
    }

    fn freeze_after(&self, operations: u64) -> bool {
        self.disk.freeze_after(operations);
        true
    }

    fn is_frozen(&self) -> bool {
        self.disk.is_frozen()
    }

    fn fail_sync(&self, skip: u64) -> bool {
        self.disk.fail(Operation::Sync, skip, EIO);
        true
    }
}

/// A directory of the machine's disk.
#[derive(Debug)]
pub struct RealMedium {
    root: PathBuf,
    /// Fresh media handed out below it.
    fresh: AtomicU32,
}

impl RealMedium {
    /// A medium below an empty directory, whose owner removes it.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), fresh: AtomicU32::new(0) }
    }
}

impl Medium for RealMedium {
    fn fresh(&self) -> Box<dyn Medium> {
        let number = self.fresh.fetch_add(1, Ordering::Relaxed);
        Box::new(Self::new(&self.root.join(format!("fresh-{number}"))))
    }

    fn mount(&self) -> Arc<dyn Disk> {
        RealDisk::new()
    }

    fn root(&self) -> PathBuf {
        self.root.join("node")
    }

    fn power_loss(&self) -> bool {
        false
    }

    fn kill(&self) {}

    fn freeze_after(&self, _operations: u64) -> bool {
        false
    }

    fn is_frozen(&self) -> bool {
        false
    }

    fn fail_sync(&self, _skip: u64) -> bool {
        false
    }
}

/// Names what went wrong.
pub fn because<T, E: Display>(result: Result<T, E>, what: &str) -> Result<T, Failure> {
    result.map_err(|e| format!("{what}: {e}"))
}

/// Fails unless two values are equal.
pub fn same<T: PartialEq + Debug>(got: T, want: T, what: &str) -> Outcome {
    if got == want { Ok(()) } else { Err(format!("{what}: got {got:?}, want {want:?}")) }
}

/// Fails unless a condition holds.
pub fn holds(condition: bool, what: &str) -> Outcome {
    if condition { Ok(()) } else { Err(what.to_owned()) }
}

/// Runs every check on a fresh medium each, and fails with the names of those that failed.
pub fn run_all<M: Medium>(checks: &[Check], mut fresh: impl FnMut() -> M) -> Outcome {
    let mut failures = Vec::new();
    for check in checks {
        if let Err(failure) = (check.run)(&fresh()) {
            failures.push(format!("{}: {failure}", check.name));
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
}

/// A small generator of repeatable numbers (SplitMix64), so that the checks need no other.
#[derive(Clone, Debug)]
pub struct Numbers(pub u64);

impl Numbers {
    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `n`, which is not 0.
    pub fn below(&mut self, n: u64) -> u64 {
        self.draw() % n
    }
}
