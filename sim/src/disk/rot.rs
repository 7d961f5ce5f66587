//! Bit rot: a bit flips in what was durable, where the group can bear it.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use quorumq_store::index_file::{HEADER_LEN, INDEX_UNIT_LEN, SLOT_LEN};
use quorumq_store::{checkpoint, commit_log};
use rand::RngExt;

use super::SimDisk;
use super::atlas::{Atlas, Site};
use super::durable::committed_frames;
use crate::runtime::SimRng;
use crate::scenario::launch::INDEX_SIZES;
use crate::tally::Fault;

/// Bytes that a disk reads and writes as one.
const SECTOR: u64 = 512;

/// Directory of the ConsumeQueues below the store's.
const CONSUME_QUEUE: &str = "consumequeue";
/// Directory of the key index below the store's.
const INDEX: &str = "index";
/// Magic number, version and CRC of a recovery checkpoint.
const CHECKPOINT_HEAD: u64 = 12;
/// The hard state's file.
const HARD_STATE: &str = "hardstate";

/// What may rot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Full segments, all of which is durable below the synced mark, and of the last one what is committed and below the
    /// durable mark. A bit that flips behind that could not be told from a torn write, by no store that keeps no second
    /// copy, and nobody else need have what is not committed.
    CommitLog,
    /// Files of ConsumeQueues, their sums too.
    ConsumeQueue,
    /// Files of the key index: hashes and positions, in which a query notices what is wrong. What lies in times and links
    /// is only found by a scrub: RocketMQ's layout has no sum for them.
    Index,
    /// The newest recovery checkpoint, if there is an older one that a start can do with.
    Checkpoint,
    /// The hard state.
    HardState,
}

impl Part {
    /// Every part.
    pub const ALL: [Self; 5] = [Self::CommitLog, Self::ConsumeQueue, Self::Index, Self::Checkpoint, Self::HardState];
}

/// A bit that flipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// The byte in it.
    pub offset: u64,
    /// The bit in that, 0 to 7.
    pub bit: u8,
    /// What it hit.
    pub site: Site,
}

/// Where a bit may flip.
#[derive(Debug)]
struct Place {
    path: PathBuf,
    /// What it hits.
    site: Site,
    /// Bytes of the file that may be hit: those before this one.
    end: u64,
    /// And of these those for which this holds.
    is_open: fn(u64) -> bool,
}

impl Place {
    fn whole(path: PathBuf, site: Site) -> Self {
        Self { path, site, end: u64::MAX, is_open: |_| true }
    }
}

/// Whether a byte of an index file is in a unit's hash or position.
fn is_checked_by_queries(at: u64) -> bool {
    const UNITS: u64 = HEADER_LEN + SLOT_LEN * INDEX_SIZES.slots as u64;
    const CHECKED: u64 = 12;
    at >= UNITS && (at - UNITS) % INDEX_UNIT_LEN < CHECKED
}

impl SimDisk {
    /// Flips a bit in a synced page of a drawn file of `part`, if there is one whose loss the group can bear. It is in
    /// a byte that is not zero: of those that are, many hold nothing. `atlas` takes note of it.
    pub fn rot(&self, part: Part, atlas: &mut Atlas, rng: &mut SimRng) -> Option<Damage> {
        self.rot_one_of(self.places(part), atlas, rng)
    }

    /// As [`SimDisk::rot`], in the CommitLog from the segment that holds `from` on.
    pub fn rot_log_from(&self, from: u64, atlas: &mut Atlas, rng: &mut SimRng) -> Option<Damage> {
        let mut places = self.places(Part::CommitLog);
        places.retain(|place| matches!(&place.site, Site::CommitLog(range) if range.end > from));
        self.rot_one_of(places, atlas, rng)
    }

    fn rot_one_of(&self, mut places: Vec<Place>, atlas: &mut Atlas, rng: &mut SimRng) -> Option<Damage> {
        places.retain(|place| atlas.allows(self.shared.host, &place.site));
        while !places.is_empty() {
            let place = places.swap_remove(rng.random_range(0..places.len()));
            let Some(offset) = self.draw_byte(&place, rng) else { continue };
            let bit = rng.random_range(0..8);
            let Place { path, site, .. } = place;
            if atlas.strike(self.shared.host, site.clone()) && self.flip(&path, offset, bit) {
                return Some(Damage { path, offset, bit, site });
            }
        }
        None
    }

    /// Flips this bit, wherever it is. False: there is no such file.
    pub fn flip(&self, path: &Path, offset: u64, bit: u8) -> bool {
        let flips = self.medium.flip_bit(path, offset, bit).is_ok();
        if flips {
            self.tally().begun(Fault::BitRot);
            self.note("disk-rot", offset, path.as_os_str().as_encoded_bytes());
        }
        flips
    }

    /// Bytes that are wrong now and were not written over: path and offset.
    #[must_use]
    pub fn rotten(&self) -> Vec<(PathBuf, u64)> {
        self.medium.rotten()
    }

    /// Turns every flipped bit back, as if a sound copy had been brought. The atlas has to be told.
    pub fn mend(&self) {
        self.note("disk-mend", 0, &[]);
        self.medium.mend();
    }

    /// Files of a part, and what damage in them hits.
    fn places(&self, part: Part) -> Vec<Place> {
        let is_in = |path: &Path, dir: &str| path.ancestors().skip(1).any(|above| above.ends_with(dir));
        let paths = self.medium.paths();
        match part {
            Part::CommitLog => self.segments(paths.into_iter().filter(|path| is_in(path, commit_log::DIR))),
            Part::ConsumeQueue | Part::Index => {
                let dir = if part == Part::Index { INDEX } else { CONSUME_QUEUE };
                let is_content = |path: &PathBuf| is_in(path, dir) && !is_hidden(path);
                let is_open = if part == Part::Index { is_checked_by_queries } else { |_| true };
                let place = |path| Place { is_open, ..Place::whole(path, Site::Derived) };
                paths.into_iter().filter(is_content).map(place).collect()
            }
            Part::Checkpoint => {
                let first =
                    paths.iter().filter(|path| is_in(path, commit_log::DIR)).filter_map(|path| segment_start(path));
                let first = first.min().unwrap_or(0);
                let mut files: Vec<_> = paths.iter().filter(|path| is_in(path, checkpoint::DIR)).collect();
                files.retain(|path| segment_start(path).is_some_and(|start| start >= first));
                files.sort();
                let newest = files.pop().filter(|_| !files.is_empty());
                // Without any a member is replaced, as without its hard state.
                // A version that no build knows is refused by name, as it may be a later one's: for an operator.
                let is_open = |at| at >= CHECKPOINT_HEAD;
                let place = |path: &PathBuf| Place { is_open, ..Place::whole(path.clone(), Site::HardState) };
                newest.into_iter().map(place).collect()
            }
            Part::HardState => {
                let files = paths.into_iter().filter(|path| path.ends_with(HARD_STATE));
                files.map(|path| Place::whole(path, Site::HardState)).collect()
            }
        }
    }

    /// Of the CommitLog's segments those behind which another one is begun, and of the last one what is committed.
    fn segments(&self, paths: impl Iterator<Item = PathBuf>) -> Vec<Place> {
        let mut segments: Vec<_> = paths.filter_map(|path| Some((segment_start(&path)?, path))).collect();
        let is_begun = |path: &Path| self.holds_something(path, 0..SECTOR).unwrap_or(false);
        while segments.pop_if(|(_, path)| !is_begun(path)).is_some() {}
        let last = segments.last().map(|(start, _)| *start);
        let place = |(start, path): (u64, PathBuf)| {
            let len = self.medium.content(&path).ok()?.len() as u64;
            let end = match Some(start) == last {
                true => {
                    committed_frames(&self.medium, path.parent()?.parent()?, start).last().map_or(0, |frame| frame.end)
                }
                false => len,
            };
            Some(Place { end, ..Place::whole(path, Site::CommitLog(start..start + len)) })
        };
        segments.into_iter().filter_map(place).collect()
    }

    /// A byte of a drawn sector that is durable and not zero.
    fn draw_byte(&self, Place { path, end, is_open, .. }: &Place, rng: &mut SimRng) -> Option<u64> {
        let pages = self.medium.clean_pages(path);
        let sectors = pages.into_iter().flat_map(|page| page.step_by(SECTOR as usize)).filter(|at| at < end);
        let filled: Vec<u64> =
            sectors.filter(|at| self.holds_something(path, *at..at + SECTOR).unwrap_or(false)).collect();
        let sector = *filled.get(rng.random_range(0..filled.len().max(1)))?;
        let bytes = self.medium.durable_range(path, sector..sector + SECTOR).ok()?;
        let written = (sector..*end).zip(&bytes).filter(|(at, byte)| **byte != 0 && is_open(*at)).map(|(at, _)| at);
        let written: Vec<u64> = written.collect();
        written.get(rng.random_range(0..written.len().max(1))).copied()
    }

    fn holds_something(&self, path: &Path, range: Range<u64>) -> io::Result<bool> {
        Ok(self.medium.durable_range(path, range)?.iter().any(|byte| *byte != 0))
    }

    /// Flipped bits that a node has to make good by itself: not those of the hard state, nor of recovery checkpoints, which
    /// only a start reads.
    #[must_use]
    pub fn damage(&self) -> Vec<(PathBuf, u64)> {
        let mut rotten = self.rotten();
        rotten.retain(|(path, _)| !path.ends_with(HARD_STATE) && !is_checkpoint(path));
        rotten
    }

    /// Whether a bit of the hard state is flipped.
    #[must_use]
    pub fn has_rotten_hard_state(&self) -> bool {
        self.rotten().iter().any(|(path, _)| path.ends_with(HARD_STATE))
    }

    /// Turns flipped bits back of what only a start reads, the hard state and recovery checkpoints.
    pub fn mend_what_starts_read(&self) {
        self.note("disk-mend", 1, &[]);
        self.medium.mend_where(|path| path.ends_with(HARD_STATE) || is_checkpoint(path));
    }
}

fn is_checkpoint(path: &Path) -> bool {
    path.parent().is_some_and(|dir| dir.ends_with(checkpoint::DIR))
}

/// Whether a file is no part of what is stored, as the version of the format.
fn is_hidden(path: &Path) -> bool {
    path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// The log offset at which a segment's file begins.
fn segment_start(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.parse().ok()
}
