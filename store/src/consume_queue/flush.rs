//! Flushing: what the disk thread writes while the machine goes on.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::files::{Files, Part, QueueFiles};
use super::unit::{LEN, UNITS_PER_FILE};
use super::{ConsumeQueues, HOT_UNITS, HOT_UNITS_TOTAL};
use crate::{QueueOffset, StoreError};

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

impl ConsumeQueues {
    /// Whether a plan is out.
    pub fn has_plan_out(&self) -> bool {
        self.plan.strong_count() > 0
    }

    /// What a flush would write: every unit and removal so far. At most one plan is out at a time; `None` if one is,
    /// or there is nothing to write, remove or sync. A plan that is dropped without [`ConsumeQueues::flushed`] (its
    /// write failed) is made again by the next call.
    pub fn plan_flush(&mut self) -> Option<FlushPlan> {
        if self.has_plan_out() {
            return None;
        }
        let removals = self.removals.clone();
        let runs: Vec<Run> = self.dirty.iter().filter_map(|&slot| self.run_of(slot)).collect();
        if runs.is_empty() && removals.is_empty() && !self.files.has_unsynced() {
            return None;
        }
        let token = Arc::new(());
        self.plan = Arc::downgrade(&token);
        Some(FlushPlan { files: self.files.clone(), token, removals, runs })
    }

    fn run_of(&self, slot: u32) -> Option<Run> {
        let queue = self.slots[slot as usize].as_ref()?;
        let unwritten = queue.tail.range((queue.written - queue.tail_start()) as usize..);
        let mut bytes = Vec::with_capacity(unwritten.len() * LEN);
        unwritten.for_each(|unit| bytes.extend_from_slice(&unit.to_bytes()));
        Some(Run { slot, queue: queue.files.clone(), first: queue.written, bytes })
    }

    /// Tells that a plan was written: its units are read from files from now on (a hot tail stays in memory). A plan of
    /// queues that were replaced since is ignored; whether it was not.
    pub fn flushed(&mut self, plan: FlushPlan) -> bool {
        if !std::ptr::eq(self.plan.as_ptr(), Arc::as_ptr(&plan.token)) {
            return false;
        }
        self.removals.drain(..plan.removals.len());
        for run in &plan.runs {
            let Some(queue) = self.slots[run.slot as usize].as_mut() else {
                continue;
            };
            if queue.files.serial != run.queue.serial {
                continue;
            }
            let units = run.bytes.len() / LEN;
            queue.written += units as u64;
            queue.is_dirty = queue.written < queue.next;
            self.unflushed -= units;
            self.hot_units += units;
            let flushed = (queue.written - queue.tail_start()) as usize;
            let cooled = flushed.saturating_sub(HOT_UNITS);
            queue.tail.drain(..cooled);
            self.hot_units -= cooled;
            if !queue.is_hot {
                queue.is_hot = true;
                self.hot.push_back(run.slot);
            }
        }
        let slots = &self.slots;
        self.dirty.retain(|slot| slots[*slot as usize].as_ref().is_some_and(|queue| queue.is_dirty));
        self.cool();
        true
    }

    /// Drops flushed units from memory until they are within [`HOT_UNITS_TOTAL`].
    fn cool(&mut self) {
        while self.hot_units > HOT_UNITS_TOTAL {
            let Some(slot) = self.hot.pop_front() else { unreachable!("flushed units are in hot queues") };
            let Some(queue) = self.slots[slot as usize].as_mut() else { unreachable!("a removed queue is not hot") };
            let flushed = (queue.written - queue.tail_start()) as usize;
            queue.tail.drain(..flushed);
            queue.tail.shrink_to(HOT_UNITS);
            queue.is_hot = false;
            self.hot_units -= flushed;
        }
    }
}

impl FlushPlan {
    /// What it writes: topic, queue id, offset of the first unit and the units' bytes, queue by queue.
    pub fn runs(&self) -> impl Iterator<Item = (&str, u32, QueueOffset, &[u8])> {
        self.runs.iter().map(|run| (&*run.queue.topic, run.queue.queue_id, QueueOffset(run.first), &run.bytes[..]))
    }

    /// Units it writes.
    pub fn units(&self) -> usize {
        self.runs.iter().map(|run| run.bytes.len() / LEN).sum()
    }

    /// About how many files it would sync: of units and of sums, those of earlier plans too.
    pub fn syncs(&self) -> usize {
        self.runs.len() * 2 + self.files.unsynced()
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
                (*from..*to).try_for_each(|file| {
                    self.files.remove_file(&queue.path(file, Part::Units))?;
                    self.files.remove_file(&queue.path(file, Part::Sums))
                })
            }
            Removal::File(path) => self.files.remove_file(path),
        }
    }

    fn write_run(&self, run: &Run) -> Result<(), StoreError> {
        let mut first = run.first;
        let mut rest = &run.bytes[..];
        while !rest.is_empty() {
            let room = (UNITS_PER_FILE - first % UNITS_PER_FILE) as usize * LEN;
            let (now, later) = rest.split_at(rest.len().min(room));
            self.files.write_units(&run.queue, first, now)?;
            first += (now.len() / LEN) as u64;
            rest = later;
        }
        Ok(())
    }
}
