//! A bit that flips in a file, behind its owner's back.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes of an index unit.
const INDEX_UNIT: u64 = 20;

/// A flipped bit, and the byte it was in.
#[derive(Debug)]
pub struct Flip {
    path: PathBuf,
    at: u64,
    sound: u8,
}

impl Flip {
    /// Flips a bit of the byte at `at`, or of the next one that is not zero.
    pub fn bit(path: &Path, at: u64) -> Self {
        let bytes = fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let from = usize::try_from(at).expect("an offset in a file");
        let found = bytes[from..].iter().position(|byte| *byte != 0).expect("a byte that is not zero");
        Self::here(path, at + found as u64)
    }

    /// Flips a bit of the CommitLog's byte at this position.
    pub fn in_log(store: &Path, segment: u64, position: u64) -> Self {
        let start = position / segment * segment;
        Self::here(&store.join("commitlog").join(format!("{start:020}")), position - start)
    }

    /// Flips a bit of the last unit of an index file.
    pub fn last_unit(path: &Path) -> Self {
        let bytes = fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let end = bytes.iter().rposition(|byte| *byte != 0).expect("a byte that is not zero") as u64;
        Self::here(path, end - end % INDEX_UNIT.min(end))
    }

    fn here(path: &Path, at: u64) -> Self {
        let file =
            File::options().read(true).write(true).open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).expect("a byte of the file");
        file.write_all_at(&[byte[0] ^ 0x10], at).expect("a byte that can be written");
        println!("a bit of byte {at} of {} flips", path.display());
        Self { path: path.to_owned(), at, sound: byte[0] }
    }

    /// Whether the byte is as it was.
    pub fn is_healed(&self) -> bool {
        let mut byte = [0];
        let read = File::open(&self.path).and_then(|file| file.read_exact_at(&mut byte, self.at));
        read.is_ok() && byte[0] == self.sound
    }
}

/// The file with the smallest name in a directory of a store, of those whose names are numbers.
pub fn first_file(store: &Path, dir: &str) -> PathBuf {
    let dir = store.join(dir);
    let names = fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let paths = names.map(|entry| entry.expect("an entry").path());
    let is_numbered = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()))
    };
    paths.filter(is_numbered).min().unwrap_or_else(|| panic!("{} holds no numbered file", dir.display()))
}
