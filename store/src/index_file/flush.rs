//! Flushing: what the disk thread writes while the machine goes on.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::IndexFiles;
use super::files::{Files, write_tables, write_units};
use super::filling::{Filling, IndexFile, Stored};
use super::layout::{Header, LEN};
use super::slots::Slots;
use crate::StoreError;

/// Units, tables and removals to be carried out by the disk thread.
#[derive(Debug)]
pub struct IndexFlush {
    files: Arc<Files>,
    /// Tells the index that this plan is still out.
    token: Arc<()>,
    removals: Vec<PathBuf>,
    parts: Vec<Part>,
    /// The complete segments once all of this is durable, if that is news.
    format: Option<(u64, String)>,
}

/// What one file gets.
#[derive(Debug)]
struct Part {
    file: Arc<IndexFile>,
    first: u32,
    units: Vec<u8>,
    tables: Option<(Header, Arc<Slots>)>,
}

impl Part {
    fn of(filling: &Filling, whole: bool) -> Option<Self> {
        let wants_tables = (filling.is_sealed || whole) && filling.tables_at != filling.header.next;
        if filling.pending.is_empty() && !wants_tables {
            return None;
        }
        Some(Self {
            file: filling.file.clone(),
            first: filling.written,
            units: filling.pending.as_flattened().to_vec(),
            tables: wants_tables.then(|| (filling.header, filling.slots.clone())),
        })
    }

    fn units(&self) -> u32 {
        (self.units.len() / LEN) as u32
    }

    fn write(&self, files: &Files) -> Result<(), StoreError> {
        let IndexFile { path, sizes, .. } = &*self.file;
        let file = files.writer(&self.file, self.first == 1)?;
        write_units(&*file, path, *sizes, self.first, &self.units)?;
        match &self.tables {
            Some((header, slots)) => write_tables(&*file, path, *sizes, header, slots),
            None => Ok(()),
        }
    }
}

impl IndexFiles {
    /// Whether a plan is out.
    pub fn has_plan_out(&self) -> bool {
        self.plan.strong_count() > 0
    }

    /// What a flush would write: every unit so far, slots and header of every file that is full or whose segment is, and
    /// every removal. With `whole`, for a clean stop, slots and header of the file being filled as well. At most one plan
    /// is out at a time; `None` if one is, or there is nothing to write, remove or sync. A plan that is dropped without
    /// [`IndexFiles::flushed`] (its write failed) is made again by the next call.
    pub fn plan_flush(&mut self, whole: bool) -> Option<IndexFlush> {
        if self.has_plan_out() {
            return None;
        }
        let removals = self.removals.clone();
        let parts: Vec<Part> = self.filling.iter().filter_map(|filling| Part::of(filling, whole)).collect();
        let is_news = self.files.format_version.load(Ordering::Acquire) < self.format_version;
        let is_idle = !is_news && !self.files.is_to_be_opened() && !self.files.has_unsynced();
        if parts.is_empty() && removals.is_empty() && is_idle {
            return None;
        }
        let format = is_news.then(|| (self.format_version, self.format().encode()));
        let token = Arc::new(());
        self.plan = Arc::downgrade(&token);
        Some(IndexFlush { files: self.files.clone(), token, removals, parts, format })
    }

    /// Tells that a plan was written: its units are read from files from now on. A plan of an index that was replaced
    /// since is ignored; whether it was not.
    pub fn flushed(&mut self, plan: IndexFlush) -> bool {
        if !std::ptr::eq(self.plan.as_ptr(), Arc::as_ptr(&plan.token)) {
            return false;
        }
        self.removals.drain(..plan.removals.len());
        for part in &plan.parts {
            // One that was dropped meanwhile goes with the next flush.
            let Some(filling) = self.filling.iter_mut().find(|filling| filling.file.serial == part.file.serial) else {
                continue;
            };
            filling.written(part.units());
            self.unflushed -= part.units() as usize;
            if let Some((header, _)) = &part.tables {
                filling.tables_at = header.next;
            }
        }
        while self.filling.front().is_some_and(Filling::is_stored) {
            let Some(Filling { file, header, .. }) = self.filling.pop_front() else { unreachable!("there is a front") };
            let Some(segment) = self.segments.get_mut(&file.segment) else { unreachable!("its segment is held") };
            segment.files.push(Stored { file, header });
        }
        true
    }
}

impl IndexFlush {
    /// Units it writes.
    pub fn units(&self) -> usize {
        self.parts.iter().map(|part| part.units() as usize).sum()
    }

    /// Carries out the plan's removals, then writes its files; with `sync`, makes them and all earlier plans durable, and
    /// then notes which segments are complete. Called on the disk thread, only for keys whose records are in the synced
    /// log if `sync` is set.
    ///
    /// # Errors
    /// `Io` if the disk fails. Nothing is lost: drop the plan, and the next one holds its units again. After a failed
    /// sync the process must end all the same.
    pub fn write(&self, sync: bool) -> Result<(), StoreError> {
        if self.files.check_alive().is_err() {
            return Ok(()); // A snapshot replaced the index this plan is of.
        }
        self.files.write_opened()?;
        // Removals come first: a file that begins in the same millisecond has the same path.
        self.removals.iter().try_for_each(|path| self.files.remove_file(path))?;
        self.parts.iter().try_for_each(|part| part.write(&self.files))?;
        if !sync {
            return Ok(());
        }
        self.files.sync()?;
        match &self.format {
            Some((version, text)) => self.files.write_format(*version, text),
            None => Ok(()),
        }
    }
}
