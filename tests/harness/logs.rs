//! The CommitLog files of a group's members, compared byte for byte.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// A range of the CommitLog that was found equal on all members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Common {
    pub from: u64,
    pub to: u64,
    /// Files it reaches over.
    pub files: usize,
}

/// Compares the members' files from the latest of their starts up to `to`; panics where they differ.
pub fn compare(stores: &[&Path], to: u64) -> Common {
    let logs: Vec<_> = stores.iter().map(|store| files(store)).collect();
    let starts = logs.iter().map(|log| *log.keys().next().expect("a CommitLog file"));
    let from = starts.max().expect("members");
    let (first, others) = logs.split_first().expect("members");
    let mut compared = 0;
    for (start, bytes) in first.range(from..to) {
        let len = usize::try_from(to - start).unwrap_or(usize::MAX).min(bytes.len());
        for (log, store) in others.iter().zip(&stores[1..]) {
            let theirs = log.get(start).unwrap_or_else(|| panic!("{} has no file {start:020}", store.display()));
            let differs = bytes[..len].iter().zip(&theirs[..len]).position(|(a, b)| a != b);
            if let Some(at) = differs {
                panic!("{} differs from {} in {start:020} at {at}", store.display(), stores[0].display());
            }
        }
        compared += 1;
    }
    Common { from, to, files: compared }
}

/// Whether the CommitLog has these bytes, within one file.
pub fn contains(store: &Path, bytes: &[u8]) -> bool {
    // From the newest file on.
    files(store).values().rev().any(|file| file.windows(bytes.len()).any(|window| window == bytes))
}

fn files(store: &Path) -> BTreeMap<u64, Vec<u8>> {
    let dir = store.join("commitlog");
    let entries = fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut found = BTreeMap::new();
    for entry in entries {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if let Ok(start) = name.parse() {
            found.insert(start, fs::read(&path).expect("a CommitLog file can be read"));
        }
    }
    found
}
