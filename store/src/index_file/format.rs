//! `index/.format`: the version, the sizes of new files, and which segments' files are complete.
//!
//! ```text
//! quorumq-index 1
//! sizes 5000000 20000000                                  slots and units of files that are begun from now on
//! segment 0 sizes 5000000 20000000 keys 7214325           every key of that segment is in its files, durably
//! …
//! crc 1f2e3d4c                                            CRC-32 of all before it
//! ```
//!
//! The count of keys says how many files a segment must have and how full each is: a file that is lost is missed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::layout::IndexSizes;
use crate::StoreError;
use crate::disk::Disk;
use crate::error::At;

/// Version of the layout below `index/`.
const VERSION: u32 = 1;
pub(super) const FORMAT_FILE: &str = ".format";
const FORMAT_WORD: &str = "quorumq-index";
/// More than any sound file has: a segment takes a line of some 60 bytes.
const MAX_LEN: u64 = 64 << 20;

/// What the files of one segment hold together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub sizes: IndexSizes,
    pub keys: u64,
}

impl Held {
    /// What header.next of each of the segment's files must be.
    pub fn nexts(self) -> impl Iterator<Item = u64> {
        let capacity = u64::from(self.sizes.capacity());
        (0..self.keys.div_ceil(capacity)).map(move |file| (self.keys - file * capacity).min(capacity) + 1)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Format {
    pub sizes: IndexSizes,
    /// Complete segments by their start.
    pub segments: BTreeMap<u64, Held>,
}

impl Format {
    pub fn encode(&self) -> String {
        let IndexSizes { slots, units } = self.sizes;
        let mut text = format!("{FORMAT_WORD} {VERSION}\nsizes {slots} {units}\n");
        for (segment, Held { sizes: IndexSizes { slots, units }, keys }) in &self.segments {
            // Writing to a String never fails.
            let _ = writeln!(text, "segment {segment} sizes {slots} {units} keys {keys}");
        }
        let crc = crc32fast::hash(text.as_bytes());
        let _ = writeln!(text, "crc {crc:08x}");
        text
    }

    /// `Ok(None)` if the text is damaged, the version if it is sound and not ours.
    fn decode(text: &str) -> Result<Option<Self>, u32> {
        let Some(body) = checked(text) else { return Ok(None) };
        let mut lines = body.lines();
        let version = lines.next().and_then(|line| line.strip_prefix(FORMAT_WORD)?.trim().parse().ok());
        match version {
            Some(VERSION) => {}
            Some(other) => return Err(other),
            None => return Ok(None),
        }
        let sizes = lines.next().and_then(|line| sizes(&mut line.strip_prefix("sizes ")?.split(' ')));
        let segments: Option<_> = lines.map(segment).collect();
        Ok(sizes.zip(segments).map(|(sizes, segments)| Self { sizes, segments }))
    }

    /// What stands below `root`; `None` if nothing does, or it is damaged.
    pub fn read(disk: &dyn Disk, root: &Path) -> Result<Option<Self>, StoreError> {
        let path = root.join(FORMAT_FILE);
        if !disk.exists(&path).at("stat", &path)? {
            return Ok(None);
        }
        let file = disk.open(&path).at("open", &path)?;
        let mut bytes = vec![0; file.len().at("stat", &path)?.min(MAX_LEN) as usize];
        file.read_at(0, &mut bytes).at("read", &path)?;
        let decoded = std::str::from_utf8(&bytes).map_or(Ok(None), Self::decode);
        decoded.map_err(|found| StoreError::UnknownVersion { what: "IndexFile", path, found, known: VERSION })
    }

    /// Puts a text in place, durably.
    pub fn write(disk: &dyn Disk, root: &Path, text: &str) -> Result<(), StoreError> {
        let path = root.join(FORMAT_FILE);
        let tmp: PathBuf = root.join(".format.tmp");
        disk.create_dir_all(root).at("create", root)?;
        if disk.exists(&tmp).at("stat", &tmp)? {
            disk.remove(&tmp).at("remove", &tmp)?;
        }
        let file = disk.create(&tmp, text.len() as u64).at("create", &tmp)?;
        file.write_at(0, &[text.as_bytes()]).at("write", &tmp)?;
        file.sync_data().at("sync", &tmp)?;
        disk.rename(&tmp, &path).at("rename", &tmp)?;
        disk.sync_dir(root).at("sync", root)
    }
}

/// The lines before the CRC, if it is theirs.
fn checked(text: &str) -> Option<&str> {
    let at = text.strip_suffix('\n')?.rfind('\n')? + 1;
    let (body, last) = text.split_at(at);
    let crc = u32::from_str_radix(last.trim_end().strip_prefix("crc ")?, 16).ok()?;
    (crc == crc32fast::hash(body.as_bytes())).then_some(body)
}

fn sizes<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<IndexSizes> {
    let sizes = IndexSizes { slots: words.next()?.parse().ok()?, units: words.next()?.parse().ok()? };
    sizes.is_sound().then_some(sizes)
}

fn segment(line: &str) -> Option<(u64, Held)> {
    let mut words = line.strip_prefix("segment ")?.split(' ');
    let start = words.next()?.parse().ok()?;
    words.next().filter(|word| *word == "sizes")?;
    let sizes = sizes(&mut words)?;
    words.next().filter(|word| *word == "keys")?;
    Some((start, Held { sizes, keys: words.next()?.parse().ok()? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_reads_back_and_a_damaged_one_is_none() {
        let sizes = IndexSizes { slots: 3, units: 5 };
        let held = |keys| Held { sizes, keys };
        let format = Format { sizes: IndexSizes::default(), segments: [(0, held(0)), (4096, held(9))].into() };
        let text = format.encode();
        assert_eq!(Format::decode(&text), Ok(Some(format)));
        assert!(text.starts_with("quorumq-index 1\nsizes 5000000 20000000\nsegment 0 sizes 3 5 keys 0\n"), "{text}");
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let damaged = String::from_utf8(bytes).unwrap();
            assert_eq!(Format::decode(&damaged), Ok(None), "{damaged}");
            assert_eq!(Format::decode(&text[..at]), Ok(None));
        }
        let newer = "quorumq-index 2\nwhatever\n";
        assert_eq!(Format::decode(&format!("{newer}crc {:08x}\n", crc32fast::hash(newer.as_bytes()))), Err(2));
    }

    #[test]
    fn the_count_of_keys_tells_how_full_each_file_is() {
        let sizes = IndexSizes { slots: 3, units: 5 };
        let nexts = |keys| Held { sizes, keys }.nexts().collect::<Vec<_>>();
        assert_eq!([nexts(0), nexts(1), nexts(4), nexts(9)], [vec![], vec![2], vec![5], vec![5, 5, 2]]);
    }
}
