//! Who a store belongs to: written once when it is formatted, checked at every open and handshake.
//!
//! The file `identity` is text, one `key=value` a line, so that an operator can read it; its last line is the CRC-32
//! of the lines before. It is written last: a directory that has it holds a complete store.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use crate::disk::Disk;
use crate::error::At;
use crate::hard_state::{self, HardState, Mark, State};
use crate::{PhysicalOffset, StoreError, commit_log, frame};

/// Version of the identity file.
const VERSION: u32 = 1;
/// Longest identity file read; names are at most 255 bytes.
const MAX_FILE: u64 = 4096;
/// Longest cluster or group name, in bytes.
const MAX_NAME: usize = 255;

/// Constants that make the CommitLog's layout a function of its entries; fixed when the group is formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupConstants {
    /// Bytes of a segment file: RocketMQ's `mappedFileSizeCommitLog`, 1 GiB by default; a multiple of 4 KiB
    /// up to 2 GiB.
    pub segment_size: u64,
    /// Largest entry body in bytes, at most a quarter of a segment.
    pub max_entry: u32,
    /// Version of the frame layout.
    pub frame_version: u8,
    /// Feature level of the group.
    pub feature_level: u16,
}

impl GroupConstants {
    /// Whether the constants are within their ranges.
    ///
    /// # Errors
    /// `Contract`, naming the constant, its value and its range; `UnknownVersion` for the frame layout.
    pub fn check(&self) -> Result<(), StoreError> {
        let Self { segment_size, max_entry, frame_version, .. } = *self;
        if segment_size < 4096 || !segment_size.is_multiple_of(4096) || segment_size > 2 << 30 {
            return Err(StoreError::Contract(format!(
                "segment size {segment_size} is no multiple of 4096 up to 2 GiB"
            )));
        }
        if u64::from(max_entry) > segment_size / 4 {
            return Err(StoreError::Contract(format!("largest entry {max_entry} exceeds a quarter of {segment_size}")));
        }
        if frame_version != frame::VERSION {
            return Err(StoreError::UnknownVersion {
                what: "frame",
                path: PathBuf::from(commit_log::DIR),
                found: frame_version.into(),
                known: frame::VERSION.into(),
            });
        }
        Ok(())
    }
}

/// Who a store belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// RocketMQ's `brokerClusterName`.
    pub cluster: String,
    /// RocketMQ's `brokerName` (= dLegerGroup): the Raft group.
    pub group: String,
    /// Random id of the group, drawn when it was formed; the same on every member.
    pub group_uuid: u128,
    /// This member's node id, never reused.
    pub node_id: u64,
    /// Random number drawn when this store was formatted: tells a wiped store from the one before.
    pub incarnation: u64,
    /// The group's constants.
    pub constants: GroupConstants,
}

fn path(dir: &Path) -> PathBuf {
    dir.join("identity")
}

impl Identity {
    /// Formats an empty directory as a member's store. Durable when it returns. A format that a crash interrupted
    /// is done anew.
    ///
    /// # Errors
    /// `Contract` if the directory holds a store, the constants are out of range or a name cannot be written down.
    pub fn format(&self, disk: &dyn Disk, dir: &Path) -> Result<(), StoreError> {
        self.constants.check()?;
        for name in [&self.cluster, &self.group] {
            if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
                return Err(StoreError::Contract(format!("{name:?} is no name of 1 to {MAX_NAME} printable bytes")));
            }
        }
        if Self::read(disk, dir)?.is_some() {
            return Err(StoreError::Contract(format!("{} already holds a store", dir.display())));
        }
        let log = dir.join(commit_log::DIR);
        disk.create_dir_all(&log).at("create", &log)?;
        let hard = hard_state::path(dir);
        let (path, temporary) = (path(dir), dir.join("identity.tmp"));
        for left_over in [&hard, &temporary] {
            if disk.exists(left_over).at("look for", left_over)? {
                disk.remove(left_over).at("remove", left_over)?;
            }
        }
        let state = State {
            chain: frame::genesis(self),
            mark: Mark { last: None, end: PhysicalOffset(0) },
            ..State::default()
        };
        HardState::create(disk, dir, state)?;
        let file = disk.create(&temporary, 0).at("create", &temporary)?;
        file.write_at(0, &[self.to_text().as_bytes()]).at("write", &temporary)?;
        file.sync_data().at("sync", &temporary)?;
        disk.rename(&temporary, &path).at("rename", &temporary)?;
        disk.sync_dir(dir).at("sync", dir)
    }

    /// Reads the identity of a formatted store; `None` if the directory is empty, missing or half formatted.
    ///
    /// # Errors
    /// `Unformatted` if it holds CommitLog files but no identity, `Corrupt` if the identity does not check.
    pub fn read(disk: &dyn Disk, dir: &Path) -> Result<Option<Self>, StoreError> {
        let path = path(dir);
        if !disk.exists(&path).at("look for", &path)? {
            let log = dir.join(commit_log::DIR);
            let foreign = !disk.list(&log).at("list", &log)?.is_empty();
            return if foreign { Err(StoreError::Unformatted { path: dir.to_owned() }) } else { Ok(None) };
        }
        let file = disk.open(&path).at("open", &path)?;
        let corrupt = || StoreError::Corrupt { what: "identity", path: path.clone(), offset: 0 };
        let len = file.len().at("look at", &path)?;
        if len > MAX_FILE {
            return Err(corrupt());
        }
        let mut bytes = vec![0; usize::try_from(len).map_err(|_| corrupt())?];
        file.read_at(0, &mut bytes).at("read", &path)?;
        let text = String::from_utf8(bytes).map_err(|_| corrupt())?;
        let (content, crc) = text.rsplit_once("crc=").ok_or_else(corrupt)?;
        if u32::from_str_radix(crc.trim_end(), 16) != Ok(crc32fast::hash(content.as_bytes())) {
            return Err(corrupt());
        }
        let found: u32 = value(content, "format").and_then(|v| v.parse().ok()).ok_or_else(corrupt)?;
        if found != VERSION {
            return Err(StoreError::UnknownVersion { what: "identity", path, found, known: VERSION });
        }
        Self::from_text(content).ok_or_else(corrupt).map(Some)
    }

    fn to_text(&self) -> String {
        let Self { cluster, group, group_uuid, node_id, incarnation, constants } = self;
        let GroupConstants { segment_size, max_entry, frame_version, feature_level } = constants;
        let mut text = format!(
            "format={VERSION}\ncluster={cluster}\ngroup={group}\ngroupUuid={group_uuid:032x}\nnodeId={node_id}\n\
             incarnation={incarnation:016x}\nsegmentSize={segment_size}\nmaxEntry={max_entry}\n\
             frameVersion={frame_version}\nfeatureLevel={feature_level}\n"
        );
        let crc = crc32fast::hash(text.as_bytes());
        // Writing to a String cannot fail.
        let _ = writeln!(text, "crc={crc:08x}");
        text
    }

    fn from_text(text: &str) -> Option<Self> {
        Some(Self {
            cluster: value(text, "cluster")?.to_owned(),
            group: value(text, "group")?.to_owned(),
            group_uuid: u128::from_str_radix(value(text, "groupUuid")?, 16).ok()?,
            node_id: value(text, "nodeId")?.parse().ok()?,
            incarnation: u64::from_str_radix(value(text, "incarnation")?, 16).ok()?,
            constants: GroupConstants {
                segment_size: value(text, "segmentSize")?.parse().ok()?,
                max_entry: value(text, "maxEntry")?.parse().ok()?,
                frame_version: value(text, "frameVersion")?.parse().ok()?,
                feature_level: value(text, "featureLevel")?.parse().ok()?,
            },
        })
    }
}

fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
}
