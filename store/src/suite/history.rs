//! Random histories against a model: whatever happens, what was acknowledged is there, what was dropped stays dropped,
//! and the files are what any other member's files would be.

use std::collections::VecDeque;

use super::rig::{Rig, SMALL, body, entry, id, vote};
use super::{Failure, Medium, MemoryMedium, Numbers, Outcome, because, holds, same};
use crate::commit_log::verify::verify;
use crate::log_store::{FlushMode, Options, SnapshotPosition, Vote};
use crate::{LogId, LogIndex, StoreError};

/// What the log should hold: every entry of the group's life by index, and from where on it is held.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    /// Id and body length of entry 0, 1, 2, …
    entries: Vec<(LogId, usize)>,
    purged: Option<LogId>,
    vote: Option<Vote>,
}

impl Model {
    fn held_from(&self) -> usize {
        self.purged.map_or(0, |purged| purged.index.0 as usize + 1)
    }

    fn last(&self) -> Option<LogId> {
        self.entries.last().map(|(id, _)| *id)
    }

    fn apply(&mut self, op: &Change) {
        match op {
            Change::Append(new) => self.entries.extend(new),
            Change::Truncate(len) => self.entries.truncate(*len),
            Change::Purge(purged) => self.purged = Some(*purged),
            Change::Install(entries, at) => (self.entries, self.purged) = (entries.clone(), Some(at.last)),
            Change::Vote(vote) => self.vote = Some(*vote),
            Change::Sync(_) => {}
        }
    }
}

/// A queued operation.
#[derive(Clone, Debug)]
enum Change {
    Append(Vec<(LogId, usize)>),
    Truncate(usize),
    Purge(LogId),
    Install(Vec<(LogId, usize)>, SnapshotPosition),
    Vote(Vote),
    /// With the position that a restart must then at least know to be committed.
    Sync(Option<LogId>),
}

/// How a node goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Close,
    Kill,
    PowerLoss,
}

/// A node under a random history.
struct Node<'m> {
    medium: &'m dyn Medium,
    numbers: Numbers,
    mode: FlushMode,
    /// Bytes of entries kept in memory: with few, reads go to the files.
    tail_bytes: u64,
    rig: Option<Rig>,
    /// With every queued operation.
    now: Model,
    /// With every acknowledged one.
    acked: Model,
    /// With everything that must survive a power loss.
    synced: Model,
    /// Operations after `synced`, and how many of them are acknowledged.
    changes: VecDeque<Change>,
    acked_changes: usize,
    /// Entries the group has committed at these indexes: an append there brings no others.
    group: Vec<(LogId, usize)>,
    committed: Option<LogId>,
    /// What a restart must at least know to be committed.
    durable_committed: Option<LogId>,
    term: u64,
    /// Whether a sync is being made to fail.
    failing: bool,
    /// What was done, for a failure's report.
    trace: Vec<String>,
}

/// Runs one random history of `steps` steps on a medium.
///
/// # Errors
/// Names the step and what it found.
pub fn run(medium: &dyn Medium, seed: u64, steps: usize) -> Outcome {
    let mut numbers = Numbers(seed);
    let mode = if numbers.below(3) == 0 { FlushMode::Async } else { FlushMode::Sync };
    let mut node = Node {
        medium,
        numbers,
        mode,
        tail_bytes: [0, 3000, 16 << 20][(seed % 3) as usize],
        rig: None,
        now: Model::default(),
        acked: Model::default(),
        synced: Model::default(),
        changes: VecDeque::new(),
        acked_changes: 0,
        group: Vec::new(),
        committed: None,
        durable_committed: None,
        term: 1,
        failing: false,
        trace: Vec::new(),
    };
    node.rig = Some(because(node.open(), "open")?);
    for step in 0..steps {
        node.trace.push(format!("-- {step}"));
        node.step().map_err(|e| node.report(seed, &e))?;
    }
    node.finish().map_err(|e| node.report(seed, &e))
}

impl Node<'_> {
    fn open(&self) -> Result<Rig, StoreError> {
        let options = Options { mode: self.mode, tail_bytes: self.tail_bytes, ..Options::default() };
        Rig::open(self.medium, SMALL, options)
    }

    fn rig(&self) -> Result<&Rig, Failure> {
        self.rig.as_ref().ok_or_else(|| "the node is down".to_owned())
    }

    fn report(&self, seed: u64, failure: &str) -> Failure {
        let last = &self.trace[self.trace.len().saturating_sub(40)..];
        format!("seed {seed} ({:?}): {failure}\n  {}", self.mode, last.join("\n  "))
    }

    fn step(&mut self) -> Outcome {
        match self.numbers.below(100) {
            0..40 => self.append()?,
            40..62 => self.work()?,
            62..70 => self.truncate()?,
            70..80 => self.commit()?,
            80..83 => self.save_vote()?,
            83..87 => self.sync()?,
            87..91 => self.purge()?,
            91 => self.install()?,
            92 => self.restart(End::Close)?,
            93..95 => self.restart(End::Kill)?,
            95..97 => self.restart(End::PowerLoss)?,
            97 => self.fail_some_sync()?,
            _ => self.crash_at_some_operation()?,
        }
        self.check_entries()
    }

    /// Everything readable is what the model says.
    fn check_entries(&self) -> Outcome {
        let rig = self.rig()?;
        let positions = rig.log.positions();
        same(positions.purged, self.now.purged, "purged")?;
        same(positions.last, self.now.last().or(self.now.purged), "last")?;
        same(rig.log.vote(), self.now.vote, "vote")?;
        let from = self.now.held_from();
        let read = because(rig.log.entries(LogIndex(from as u64)..LogIndex(u64::MAX), u64::MAX), "read")?;
        same(read.len(), self.now.entries.len() - from, "entries held")?;
        for (entry, (id, len)) in read.iter().zip(&self.now.entries[from..]) {
            holds(entry.id == *id && entry.body == body(*id, *len), &format!("entry {id} differs: {}", entry.id))?;
        }
        Ok(())
    }

    fn queued(&mut self, change: Change) {
        if matches!(change, Change::Truncate(_) | Change::Install(..)) {
            // A sync before it cannot tell which log the committed position is of.
            for earlier in &mut self.changes {
                if let Change::Sync(committed) = earlier {
                    *committed = None;
                }
            }
        }
        self.trace.push(match &change {
            Change::Append(new) => {
                format!("append {:?}", new.iter().map(|(id, len)| format!("{id}:{len}")).collect::<Vec<_>>())
            }
            Change::Install(_, at) => format!("install {at:?}"),
            other => format!("{other:?}"),
        });
        self.now.apply(&change);
        self.changes.push_back(change);
    }

    fn append(&mut self) -> Outcome {
        if self.numbers.below(10) == 0 {
            self.term += 1;
        }
        let next = self.now.entries.len() as u64;
        let count = 1 + self.numbers.below(6);
        let mut new = Vec::new();
        for index in next..next + count {
            let of_group = self.group.get(index as usize).copied();
            new.push(of_group.unwrap_or_else(|| (id(self.term, index), self.length())));
        }
        let rig = self.rig()?;
        let entries = new.iter().map(|(id, len)| entry(*id, *len)).collect();
        because(rig.log.append(entries, rig.finished.done("append")), "append")?;
        self.queued(Change::Append(new));
        Ok(())
    }

    /// Lengths that leave exactly, almost and just no room for a filler come up often.
    fn length(&mut self) -> usize {
        match self.numbers.below(5) {
            0 => self.numbers.below(3) as usize,
            1 => 1024 - self.numbers.below(3) as usize,
            2 => [928, 929, 927, 880, 976][self.numbers.below(5) as usize],
            _ => self.numbers.below(1025) as usize,
        }
    }

    fn commit(&mut self) -> Outcome {
        let from = self.committed.map_or(0, |committed| committed.index.0 as usize);
        if from < self.now.entries.len() {
            let i = from + self.numbers.below((self.now.entries.len() - from) as u64) as usize;
            let committed = self.now.entries[i].0;
            self.committed = Some(committed);
            self.trace.push(format!("commit {committed}"));
            self.rig()?.log.save_committed(committed);
        }
        Ok(())
    }

    fn truncate(&mut self) -> Outcome {
        let from = self.committed.or(self.now.purged).map_or(0, |kept| kept.index.0 as usize + 1);
        let len = from + self.numbers.below((self.now.entries.len() - from) as u64 + 1) as usize;
        let last = len.checked_sub(1).map(|i| self.now.entries[i].0);
        let rig = self.rig()?;
        because(rig.log.truncate_after(last, rig.finished.done("truncate")), "truncate")?;
        self.term += 1;
        // With nothing to drop it only takes its place in the queue.
        let nothing = len == self.now.entries.len();
        self.queued(if nothing { Change::Append(Vec::new()) } else { Change::Truncate(len) });
        Ok(())
    }

    fn save_vote(&mut self) -> Outcome {
        self.term += 1;
        let vote = vote(self.term);
        let rig = self.rig()?;
        rig.log.save_vote(vote, rig.finished.done("vote"));
        self.queued(Change::Vote(vote));
        Ok(())
    }

    fn sync(&mut self) -> Outcome {
        if self.numbers.below(2) == 0 {
            return self.sync_in_background();
        }
        let rig = self.rig()?;
        rig.log.sync(rig.finished.done("sync"));
        self.queued(Change::Sync(self.committed));
        Ok(())
    }

    /// A sync beside the disk thread: it covers what was written, and that is what was acknowledged.
    fn sync_in_background(&mut self) -> Outcome {
        let Some(sync) = self.rig()?.log.begin_sync() else { return Ok(()) };
        self.trace.push(format!("{sync:?}"));
        because(sync.run(), "background sync")?;
        self.synced = self.acked.clone();
        self.changes.drain(..self.acked_changes);
        self.acked_changes = 0;
        Ok(())
    }

    fn purge(&mut self) -> Outcome {
        let from = self.now.held_from();
        let Some(committed) = self.committed.filter(|committed| committed.index.0 as usize >= from) else {
            return Ok(());
        };
        let i = from + self.numbers.below(committed.index.0 + 1 - from as u64) as usize;
        let upto = self.now.entries[i].0;
        let rig = self.rig()?;
        because(rig.log.purge(upto, rig.finished.done("purge")), "purge")?;
        let positions = rig.log.positions();
        holds(positions.purged <= Some(upto), "nothing above the asked entry may be purged")?;
        // A purge inside a segment only takes its place in the queue.
        let change = match positions.purged {
            Some(purged) if Some(purged) != self.now.purged => {
                same(rig.log.segments().first().copied(), Some(positions.first), "first segment")?;
                Change::Purge(purged)
            }
            _ => Change::Append(Vec::new()),
        };
        self.queued(change);
        Ok(())
    }

    /// The rest of the group went on: installs a position in its log.
    fn install(&mut self) -> Outcome {
        let kept = self.committed.map_or(0, |committed| committed.index.0 as usize + 1);
        let mut entries = self.now.entries[..kept].to_vec();
        entries.extend_from_slice(self.group.get(kept..).unwrap_or_default());
        self.term += 1;
        for _ in 0..5 + self.numbers.below(20) {
            entries.push((id(self.term, entries.len() as u64), self.length()));
        }
        let other = reference(&entries)?;
        let segments = other.log.segments();
        let Some(at) = segments.last().and_then(|start| other.log.snapshot_position(*start)) else {
            return Ok(());
        };
        if self.committed.is_some_and(|committed| committed.index >= at.last.index) {
            return Ok(());
        }
        // The segment's first entry decided where the segment starts: the group knows it to be committed.
        self.group = entries.clone();
        entries.truncate(at.last.index.0 as usize + 1);
        let rig = self.rig()?;
        rig.log.install(at, rig.finished.done("install"));
        self.committed = Some(at.last);
        self.queued(Change::Install(entries, at));
        // openraft asks for this purge right after an install.
        let rig = self.rig()?;
        because(rig.log.purge(at.last, rig.finished.done("purge")), "purge after install")?;
        self.queued(Change::Append(Vec::new()));
        Ok(())
    }

    /// Works off the FIFO. Fails if an operation failed although the disk did not.
    fn work(&mut self) -> Outcome {
        self.trace.push("work".to_owned());
        let rig = self.rig()?;
        rig.log.run_pending();
        let finished = rig.finished.take();
        for (name, result) in finished {
            if let Err(e) = result {
                return holds(self.failing || self.medium.is_frozen(), &format!("{name} failed: {e}"));
            }
            self.acknowledged()?;
        }
        let rig = self.rig()?;
        if !self.medium.is_frozen() {
            same(rig.log.positions().pending_bytes, 0, "pending bytes")?;
            same(self.acked_changes, self.changes.len(), "unfinished operations")?;
        }
        Ok(())
    }

    /// The next operation in the queue was acknowledged.
    fn acknowledged(&mut self) -> Outcome {
        let change =
            self.changes.get(self.acked_changes).cloned().ok_or("more operations finished than were queued")?;
        self.acked.apply(&change);
        self.acked_changes += 1;
        let durable = match change {
            Change::Append(_) | Change::Vote(_) => self.mode == FlushMode::Sync,
            Change::Sync(committed) => {
                self.durable_committed = committed.max(self.durable_committed);
                true
            }
            Change::Truncate(_) | Change::Purge(_) | Change::Install(..) => true,
        };
        if let Change::Install(_, at) = change {
            self.durable_committed = Some(at.last);
        }
        if durable {
            self.synced = self.acked.clone();
            self.changes.drain(..self.acked_changes);
            self.acked_changes = 0;
        }
        Ok(())
    }

    /// Every state a restart may find: the durable one and, in order, what each later operation makes of it.
    fn candidates(&self, end: End) -> Vec<Model> {
        let skip = if end == End::PowerLoss { 0 } else { self.acked_changes };
        let mut model = if end == End::PowerLoss { self.synced.clone() } else { self.acked.clone() };
        let mut candidates = vec![model.clone()];
        for change in self.changes.iter().skip(skip) {
            match change {
                // Of an append any part may have reached the disk.
                Change::Append(new) => {
                    for entry in new {
                        model.entries.push(*entry);
                        candidates.push(model.clone());
                    }
                }
                other => {
                    model.apply(other);
                    candidates.push(model.clone());
                }
            }
        }
        candidates
    }

    fn crash_at_some_operation(&mut self) -> Outcome {
        let operations = self.numbers.below(12);
        self.trace.push(format!("freeze after {operations} operations"));
        if !self.medium.freeze_after(operations) {
            return Ok(());
        }
        self.work()?;
        let end = if self.numbers.below(3) == 0 { End::Kill } else { End::PowerLoss };
        self.restart(end)
    }

    fn fail_some_sync(&mut self) -> Outcome {
        let skip = self.numbers.below(3);
        if !self.medium.fail_sync(skip) {
            return Ok(());
        }
        self.trace.push(format!("fail sync {skip}"));
        self.failing = true;
        self.work()?;
        self.failing = false;
        // The page cache still shows what the disk does not hold.
        let end = if self.numbers.below(2) == 0 { End::Kill } else { End::PowerLoss };
        self.restart(end)
    }

    fn restart(&mut self, end: End) -> Outcome {
        if end == End::Close {
            let rig = self.rig()?;
            rig.log.close(rig.finished.done("close"));
            self.queued(Change::Sync(self.committed));
            self.work()?;
        }
        let candidates = self.candidates(end);
        let dead = self.rig.take();
        match end {
            End::Close => {}
            End::Kill => self.medium.kill(),
            End::PowerLoss => {
                if !self.medium.power_loss() {
                    self.rig = dead;
                    return Ok(());
                }
                // Whatever the dead node still does must not reach the medium.
                if let Some(dead) = &dead {
                    dead.log.run_pending();
                }
            }
        }
        drop(dead);
        self.trace.push(format!("{end:?}"));
        let (rig, crashes) = self.reopen(end)?;
        if end != End::Close || crashes == 0 {
            same(rig.recovered.clean, end == End::Close, "clean")?;
        }
        self.adopt(&rig, candidates, end)?;
        self.rig = Some(rig);
        if self.numbers.below(4) == 0 { self.check_files() } else { Ok(()) }
    }

    /// Opens the store, with some crashes on the way.
    fn reopen(&mut self, end: End) -> Result<(Rig, usize), Failure> {
        let mut crashes = 0;
        while self.numbers.below(3) == 0 && self.medium.freeze_after(self.numbers.below(10)) {
            let opened = self.open();
            if opened.is_err() && !self.medium.is_frozen() {
                return because(opened, "open").map(|rig| (rig, crashes));
            }
            drop(opened);
            self.trace.push("crash while opening".to_owned());
            crashes += 1;
            // With ASYNC_FLUSH it matters for what may be lost how the node went down first.
            let kill = end == End::Kill && self.mode == FlushMode::Async;
            if kill || !self.medium.power_loss() {
                self.medium.kill();
            }
        }
        let (disk, dir) = (self.medium.mount(), self.medium.root());
        let verified = because(verify(&disk, &dir, &mut |_| Ok(())), "verify")?;
        let rig = because(self.open(), "open")?;
        if rig.recovered.installed.is_none() {
            same(rig.log.positions().last, verified.last, "last entry of open and verify")?;
        }
        Ok((rig, crashes))
    }

    /// Goes on with what the restart found, if it is one of the allowed states.
    fn adopt(&mut self, rig: &Rig, candidates: Vec<Model>, end: End) -> Outcome {
        let positions = rig.log.positions();
        let found = rig.all()?.iter().map(|entry| (entry.id, entry.body.len())).collect::<Vec<_>>();
        // With ASYNC_FLUSH a vote is durable while appends before it are not: the two are then judged apart.
        let apart = self.mode == FlushMode::Async && end == End::PowerLoss;
        let fits = |model: &Model, with_vote: bool| {
            model.purged == positions.purged
                && model.entries.get(model.held_from()..) == Some(&found[..])
                && (!with_vote || model.vote == rig.recovered.vote)
        };
        let Some(mut model) = candidates.iter().rev().find(|model| fits(model, !apart)).cloned() else {
            let want: Vec<_> = candidates.iter().map(|m| (m.purged, m.last(), m.vote)).collect();
            return Err(format!(
                "after {end:?} the log holds {found:?} behind {:?} with vote {:?}, none of {want:?}",
                positions.purged, rig.recovered.vote
            ));
        };
        if apart {
            let votes = candidates.iter().map(|model| model.vote).filter(|vote| *vote >= self.acked.vote);
            holds(votes.into_iter().any(|vote| vote == rig.recovered.vote), "an acknowledged vote was lost")?;
            model.vote = rig.recovered.vote;
        }
        let recovered = rig.recovered.committed;
        holds(recovered <= self.committed, "a restart must not invent commits")?;
        holds(recovered >= self.durable_committed.min(model.last()), "a durable committed position was lost")?;
        holds(recovered <= positions.last, "committed above the last entry")?;
        (self.committed, self.durable_committed) = (recovered, recovered);
        (self.now, self.acked, self.synced) = (model.clone(), model.clone(), model);
        self.changes.clear();
        self.acked_changes = 0;
        Ok(())
    }

    /// The files are those of a node that was only ever given these entries.
    fn check_files(&mut self) -> Outcome {
        self.work()?;
        let other = reference(&self.now.entries)?;
        let want = other.files()?;
        for (start, bytes) in self.rig()?.files()? {
            let Some((_, want)) = want.iter().find(|(s, _)| *s == start) else {
                // The log is empty behind a purge or snapshot that ends a segment.
                holds(bytes.iter().all(|b| *b == 0), &format!("segment {start} is not blank"))?;
                continue;
            };
            let differs = bytes.iter().zip(want).position(|(a, b)| a != b);
            if differs.is_some() {
                let held: Vec<_> = self.rig()?.all()?.iter().map(|e| (e.id, e.position, e.body.len())).collect();
                let want: Vec<_> = other.all()?.iter().map(|e| (e.id, e.position, e.body.len())).collect();
                return Err(format!("first differing byte of segment {start}: {differs:?}\n{held:?}\n{want:?}"));
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Outcome {
        self.check_files()?;
        self.restart(End::Close)?;
        self.check_entries()
    }
}

/// A node that was given these entries one by one and nothing else.
fn reference(entries: &[(LogId, usize)]) -> Result<Rig, Failure> {
    let rig = Rig::small(&MemoryMedium::default())?;
    for (id, len) in entries {
        because(rig.log.append(vec![entry(*id, *len)], rig.finished.done("append")), "append to reference")?;
    }
    rig.run()?;
    Ok(rig)
}
