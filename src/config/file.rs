//! What a configuration is read from: the file, the flags, the environment. The one place that reads them.

use std::net::Ipv4Addr;
use std::path::Path;

use super::address;
use super::error::{ConfigError, Problems};

/// Everything a configuration depends on; gathered once, so that resolving it is a pure function.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// Path (for messages) and text of the file.
    pub file: Option<(String, String)>,
    /// Key and value of each flag given.
    pub flags: Vec<(&'static str, String)>,
    /// NAMESRV_ADDR.
    pub namesrv_addr: Option<String>,
    /// HOME.
    pub home: Option<String>,
    /// First non-loopback IPv4 address of this machine.
    pub first_ipv4: Option<Ipv4Addr>,
}

impl Input {
    /// Reads the file at `path`, if one is given, and the environment.
    ///
    /// # Errors
    /// The file cannot be read or is not UTF-8.
    pub fn gather(path: Option<&Path>, flags: Vec<(&'static str, String)>) -> Result<Self, Problems> {
        let file = match path {
            Some(path) => Some((path.display().to_string(), read(path)?)),
            None => None,
        };
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        Ok(Self {
            file,
            flags,
            namesrv_addr: variable("NAMESRV_ADDR"),
            home: variable("HOME"),
            first_ipv4: address::first_ipv4(),
        })
    }
}

fn read(path: &Path) -> Result<String, Problems> {
    // Not through the disk seam: that is the store's, and opens for writing what an operator may have made read-only.
    let unreadable = |reason: String| ConfigError::Unreadable { path: path.display().to_string(), reason };
    let bytes = std::fs::read(path).map_err(|e| Problems(vec![unreadable(e.to_string())]))?;
    String::from_utf8(bytes).map_err(|e| Problems(vec![unreadable(e.to_string())]))
}
