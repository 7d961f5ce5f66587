//! Looks into the store of a node, running or not: what it says of itself, and the frames and records of its log. Locks
//! nothing, changes nothing, and goes on where something is damaged; `verify` is the one that judges.

use std::ops::ControlFlow;
use std::path::Path;

use bytes::Bytes;
use quorumq_store::checkpoint::Checkpoint;
use quorumq_store::commit_log::dump::{Looked, look_at_segment, segments};
use quorumq_store::disk::Disk;
use quorumq_store::frame::{HEADER_LEN, Header, Kind};
use quorumq_store::hard_state::{self, State};
use quorumq_store::identity::Identity;
use quorumq_store::record::{Record, records};
use quorumq_store::{LogId, PhysicalOffset, StoreError};

/// The last entry that a recovery checkpoint covers and the bytes of its state, or why it cannot be read.
pub type FoundCheckpoint = Result<(LogId, usize), String>;

/// What a store says of itself.
#[derive(Clone, Debug)]
pub struct Inspected {
    /// Whose it is.
    pub identity: Identity,
    /// What its node must not forget.
    pub state: State,
    /// Whether its node runs, or ended without a clean stop: the file `abort` is there.
    pub has_abort: bool,
    /// Files of the CommitLog.
    pub segments: Vec<PhysicalOffset>,
    /// Recovery checkpoints, by their segment.
    pub checkpoints: Vec<(PhysicalOffset, FoundCheckpoint)>,
    /// Topics with a directory of ConsumeQueues, and how many queues each has.
    pub queues: Vec<(String, usize)>,
    /// Files of the key index.
    pub index_files: Vec<String>,
}

/// Reads what a store says of itself.
///
/// # Errors
/// `Unformatted`; `Corrupt` if identity or hard state are; `Io` if the disk fails.
pub fn inspect(disk: &dyn Disk, dir: &Path) -> Result<Inspected, StoreError> {
    let identity = Identity::read(disk, dir)?.ok_or_else(|| StoreError::Unformatted { path: dir.to_owned() })?;
    let checkpoint = |start: PhysicalOffset| {
        let read = Checkpoint::read(disk, dir, start).map(|found| (found.position.last, found.state.len()));
        (start, read.map_err(|e| e.to_string()))
    };
    let list = |path: &Path| {
        let names = disk.list(path).map_err(|source| StoreError::Io { verb: "list", path: path.to_owned(), source })?;
        Ok::<_, StoreError>(names.into_iter().filter(|name| !name.starts_with('.')).collect::<Vec<_>>())
    };
    let root = dir.join("consumequeue");
    let mut queues = Vec::new();
    for topic in list(&root)? {
        let count = list(&root.join(&topic))?.len();
        queues.push((topic, count));
    }
    let abort = dir.join("abort");
    let has_abort = disk.exists(&abort).map_err(|source| StoreError::Io { verb: "look for", path: abort, source })?;
    Ok(Inspected {
        state: hard_state::state_in(disk, dir)?,
        has_abort,
        segments: segments(disk, dir)?,
        checkpoints: Checkpoint::list(disk, dir)?.into_iter().map(checkpoint).collect(),
        queues,
        index_files: list(&dir.join("index"))?,
        identity,
    })
}

/// Which part of a log is wanted.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The first frame that ends behind this byte of the log.
    pub from: Option<PhysicalOffset>,
    /// Only records of this topic.
    pub topic: Option<String>,
    /// Only records of this queue.
    pub queue_id: Option<u32>,
    /// Only records with this UNIQ_KEY or word of KEYS.
    pub key: Option<String>,
    /// Most frames.
    pub max: usize,
}

impl Wanted {
    fn is_of_records(&self) -> bool {
        self.topic.is_some() || self.queue_id.is_some() || self.key.is_some()
    }

    fn is_met_by(&self, record: &Record<'_>) -> bool {
        let has_key = |wanted: &String| record.keys().any(|key| key == wanted.as_bytes());
        self.topic.as_ref().is_none_or(|topic| record.topic() == topic)
            && self.queue_id.is_none_or(|queue_id| record.queue_id() == queue_id)
            && self.key.as_ref().is_none_or(has_key)
    }
}

/// A frame that is shown.
#[derive(Clone, Debug)]
pub struct ShownFrame {
    /// Its header.
    pub header: Header,
    /// Whether its body's CRC matches.
    pub is_sound: bool,
    /// Its records, or those that are wanted.
    pub records: Vec<ShownRecord>,
}

/// A record that is shown.
#[derive(Clone, Debug)]
pub struct ShownRecord {
    /// Where it stands in the log: what clients call commitLogOffset.
    pub position: PhysicalOffset,
    /// Its bytes.
    pub bytes: Bytes,
}

/// What a dump shows.
#[derive(Clone, Debug, Default)]
pub struct Dump {
    /// Frames, in the log's order.
    pub frames: Vec<ShownFrame>,
    /// Where bytes stand that are no frame, and what they are, for each segment with such.
    pub flaws: Vec<(PhysicalOffset, &'static str)>,
}

/// Frames and records of a store's log.
///
/// # Errors
/// As [`inspect`].
pub fn dump(disk: &dyn Disk, dir: &Path, wanted: &Wanted) -> Result<Dump, StoreError> {
    let identity = Identity::read(disk, dir)?.ok_or_else(|| StoreError::Unformatted { path: dir.to_owned() })?;
    let size = identity.constants.segment_size;
    let from = wanted.from.unwrap_or_default();
    let mut dump = Dump::default();
    for start in segments(disk, dir)?.into_iter().filter(|start| start.0 + size > from.0) {
        look_at_segment(disk, dir, size, start, &mut |looked| dump.take(wanted, from, looked))?;
        if dump.frames.len() >= wanted.max {
            break;
        }
    }
    Ok(dump)
}

impl Dump {
    fn take(&mut self, wanted: &Wanted, from: PhysicalOffset, looked: Looked) -> ControlFlow<()> {
        match looked {
            Looked::Flaw { at, flaw } => {
                // Blank bytes are where the log ends, or a segment that was allocated ahead.
                if flaw != quorumq_store::frame::Flaw::Blank && at >= from {
                    self.flaws.push((at, flaw.what()));
                }
            }
            Looked::Frame { header, body } if header.end() > from => {
                let frame = shown(wanted, header, body);
                if !wanted.is_of_records() || !frame.records.is_empty() || !frame.is_sound {
                    self.frames.push(frame);
                }
            }
            Looked::Frame { .. } => {}
        }
        if self.frames.len() < wanted.max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }
}

fn shown(wanted: &Wanted, header: Header, body: Option<Bytes>) -> ShownFrame {
    let mut frame = ShownFrame { is_sound: body.is_some(), header, records: Vec::new() };
    let Some(body) = body.filter(|_| frame.header.kind == Kind::Records) else { return frame };
    let start = frame.header.position + HEADER_LEN;
    for (at, record) in records(&body) {
        // A sound body was checked when it was stored: what cannot be read ends the list.
        let Ok(record) = record else { break };
        if wanted.is_met_by(&record) {
            let bytes = body.slice(at..at + record.len());
            frame.records.push(ShownRecord { position: start + at as u64, bytes });
        }
    }
    frame
}
