//! The NameServer's key-value configuration (codes 100-102), kept in RocketMQ's `kvConfig.json`.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quorumq_store::disk::Disk;
use serde::{Deserialize, Serialize};

/// Namespace whose keys are topics and whose values say which queues of which broker an ordered topic has.
pub const ORDER_TOPIC_CONFIG: &str = "ORDER_TOPIC_CONFIG";

/// Entries over all namespaces: one per ordered topic is the common use.
pub const MAX_ENTRIES: usize = 10_000;

/// Longest namespace or key, in bytes: twice RocketMQ's longest topic name, with room.
pub const MAX_KEY: usize = 256;

/// Longest value, in bytes.
pub const MAX_VALUE: usize = 64 * 1024;

/// Largest file read: what the limits above can add up to stays below it for all sensible values.
const MAX_FILE: u64 = 1024 * 1024 * 1024;

/// Why the configuration cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum KvError {
    /// The disk answered an error. The configuration is unchanged.
    #[error("{verb} {}: {source}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// On which file.
        path: PathBuf,
        /// The host's answer.
        source: io::Error,
    },
    /// The file is no `kvConfig.json`.
    #[error("{} is no kvConfig.json ({detail}); repair it, or move it away to start with an empty one", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// A name or value is too long, or empty.
    #[error("{what} has {len} bytes; it may have {least} to {most}")]
    BadLength {
        /// Namespace, key or value.
        what: &'static str,
        /// Its length in bytes.
        len: usize,
        /// The shortest allowed.
        least: usize,
        /// The longest allowed.
        most: usize,
    },
    /// There are too many entries.
    #[error("{limit} entries are configured, which is the limit")]
    TooMany {
        /// [`MAX_ENTRIES`].
        limit: usize,
    },
}

/// Namespaces, each with keys and values. A plain value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvConfig {
    #[serde(rename = "configTable", default)]
    table: BTreeMap<String, BTreeMap<String, String>>,
}

impl KvConfig {
    /// The value of `key` in `namespace`.
    pub fn get(&self, namespace: &str, key: &str) -> Option<&str> {
        self.table.get(namespace)?.get(key).map(String::as_str)
    }

    /// All keys and values of `namespace`.
    pub fn namespace(&self, namespace: &str) -> Option<&BTreeMap<String, String>> {
        self.table.get(namespace)
    }

    /// Sets `key`.
    ///
    /// # Errors
    /// A limit is passed; nothing is changed.
    pub fn put(&mut self, namespace: &str, key: &str, value: &str) -> Result<(), KvError> {
        check_len("namespace", namespace, 1, MAX_KEY)?;
        check_len("key", key, 1, MAX_KEY)?;
        check_len("value", value, 0, MAX_VALUE)?;
        let entries: usize = self.table.values().map(BTreeMap::len).sum();
        if entries >= MAX_ENTRIES && self.get(namespace, key).is_none() {
            return Err(KvError::TooMany { limit: MAX_ENTRIES });
        }
        self.table.entry(namespace.to_owned()).or_default().insert(key.to_owned(), value.to_owned());
        Ok(())
    }

    /// Removes `key`; whether it was there.
    pub fn delete(&mut self, namespace: &str, key: &str) -> bool {
        self.table.get_mut(namespace).is_some_and(|keys| keys.remove(key).is_some())
    }
}

fn check_len(what: &'static str, text: &str, least: usize, most: usize) -> Result<(), KvError> {
    if text.len() < least || text.len() > most {
        return Err(KvError::BadLength { what, len: text.len(), least, most });
    }
    Ok(())
}

/// Where the configuration survives a restart. All calls block.
#[derive(Clone, Debug)]
pub struct KvFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

impl KvFile {
    /// The file `path` on `disk`; it need not exist.
    pub fn new(disk: Arc<dyn Disk>, path: PathBuf) -> Self {
        Self { disk, path }
    }

    /// Reads the configuration; an empty one if there is no file.
    ///
    /// # Errors
    /// The disk fails or the file makes no sense.
    pub fn load(&self) -> Result<KvConfig, KvError> {
        let path = &self.path;
        if !self.disk.exists(path).map_err(|source| io_error("look for", path, source))? {
            return Ok(KvConfig::default());
        }
        let bytes = self.read().map_err(|source| io_error("read", path, source))?;
        serde_json::from_slice(&bytes)
            .map_err(|error| KvError::Unreadable { path: path.clone(), detail: error.to_string() })
    }

    fn read(&self) -> io::Result<Vec<u8>> {
        let file = self.disk.open(&self.path)?;
        let len = file.len()?;
        if len > MAX_FILE {
            return Err(io::Error::other(format!("{len} bytes, over the limit of {MAX_FILE}")));
        }
        let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
        file.read_at(0, &mut bytes)?;
        Ok(bytes)
    }

    /// Replaces the file, atomically and durably.
    ///
    /// # Errors
    /// The disk fails; the old file is then still there.
    pub fn save(&self, config: &KvConfig) -> Result<(), KvError> {
        let bytes = serde_json::to_vec_pretty(config)
            .map_err(|error| io_error("encode", &self.path, io::Error::other(error)))?;
        // A bare file name lies in the working directory.
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let dir = parent.unwrap_or(Path::new("."));
        self.disk.create_dir_all(dir).map_err(|source| io_error("create", dir, source))?;
        let mut tmp = self.path.clone().into_os_string();
        tmp.push(".tmp");
        let tmp = PathBuf::from(tmp);
        self.write(&tmp, &bytes).map_err(|source| io_error("write", &tmp, source))?;
        self.disk.rename(&tmp, &self.path).map_err(|source| io_error("replace", &self.path, source))?;
        self.disk.sync_dir(dir).map_err(|source| io_error("sync", dir, source))
    }

    fn write(&self, tmp: &Path, bytes: &[u8]) -> io::Result<()> {
        if self.disk.exists(tmp)? {
            // Left by a crash in the middle of a save.
            self.disk.remove(tmp)?;
        }
        let file = self.disk.create(tmp, bytes.len() as u64)?;
        file.write_at(0, &[bytes])?;
        file.sync_data()
    }
}

fn io_error(verb: &'static str, path: &Path, source: io::Error) -> KvError {
    KvError::Io { verb, path: path.to_owned(), source }
}
