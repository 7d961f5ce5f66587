//! Flushing: what the disk thread writes while the machine goes on.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::files::{Files, QueueFiles};
use super::unit::{LEN, UNITS_PER_FILE};
use crate::StoreError;

/// Units and removals to be carried out by the disk thread.
#[derive(Debug)]
pub struct FlushPlan {
    pub(super) files: Arc<Files>,
    /// Tells the queues that this plan is still out.
    pub(super) token: Arc<()>,
    pub(super) removals: Vec<Removal>,
    pub(super) runs: Vec<Run>,
}

/// What is to be removed.
#[derive(Clone, Debug)]
pub(super) enum Removal {
    /// The directory of a queue that was removed, or that no queue knows.
    Dir(PathBuf),
    /// Files [from, to) of a queue.
    Files { queue: Arc<QueueFiles>, from: u64, to: u64 },
    /// A file no queue knows.
    File(PathBuf),
}

/// Consecutive units of one queue.
#[derive(Debug)]
pub(super) struct Run {
    pub slot: u32,
    pub queue: Arc<QueueFiles>,
    pub first: u64,
    pub bytes: Vec<u8>,
}

impl FlushPlan {
    /// Units it writes.
    pub fn units(&self) -> usize {
        self.runs.iter().map(|run| run.bytes.len() / LEN).sum()
    }

    /// Carries out the plan's removals, then its runs; with `sync`, makes them and all earlier plans durable. Called on
    /// the disk thread, only for units whose records are in the synced log if `sync` is set.
    ///
    /// # Errors
    /// `Io` if the disk fails. Nothing is lost: drop the plan, and the next one holds its units again. After a failed
    /// sync the process must end all the same.
    pub fn write(&self, sync: bool) -> Result<(), StoreError> {
        if !self.files.alive.load(Ordering::Acquire) {
            return Ok(()); // A snapshot replaced the queues this plan is of.
        }
        self.files.write_format()?;
        // Removals come first: a topic deleted and created again has its new units at the same path.
        self.removals.iter().try_for_each(|removal| self.remove(removal))?;
        self.runs.iter().try_for_each(|run| self.write_run(run))?;
        if sync { self.files.sync() } else { Ok(()) }
    }

    fn remove(&self, removal: &Removal) -> Result<(), StoreError> {
        match removal {
            Removal::Dir(dir) => self.files.remove_queue_dir(dir),
            Removal::Files { queue, from, to } => {
                self.files.close_below(queue, *to);
                (*from..*to).try_for_each(|file| self.files.remove_file(&queue.file_path(file)))
            }
            Removal::File(path) => self.files.remove_file(path),
        }
    }

    fn write_run(&self, run: &Run) -> Result<(), StoreError> {
        let mut first = run.first;
        let mut rest = &run.bytes[..];
        while !rest.is_empty() {
            let (file, at) = (first / UNITS_PER_FILE, first % UNITS_PER_FILE);
            let room = (UNITS_PER_FILE - at) as usize * LEN;
            let (now, later) = rest.split_at(rest.len().min(room));
            self.files.write_units(&run.queue, file, at, now)?;
            first += (now.len() / LEN) as u64;
            rest = later;
        }
        Ok(())
    }
}
