//! What can be wrong with a configuration: each names the place, the key, the value and what is allowed.

use std::fmt;

/// Where a value was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A line of the configuration file, counted from 1.
    Line { path: String, line: usize },
    /// A flag of the command line.
    Flag(&'static str),
    /// An environment variable.
    Environment(&'static str),
    /// Worked out from other settings.
    Derived,
    /// The setting's default.
    Default,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Line { path, line } => write!(f, "{path}:{line}"),
            Place::Flag(flag) => write!(f, "--{flag}"),
            Place::Environment(name) => write!(f, "environment variable {name}"),
            Place::Derived => write!(f, "worked out"),
            Place::Default => write!(f, "default"),
        }
    }
}

/// One thing that is wrong with a configuration.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {path}: {reason}; give the path of a readable file with -c")]
    Unreadable { path: String, reason: String },
    #[error("{path}:{line}: {reason}")]
    Syntax { path: String, line: usize, reason: String },
    #[error("{place}: unknown key \"{key}\"{}", hint(nearest.as_deref()))]
    UnknownKey {
        place: Place,
        key: String,
        nearest: Option<String>,
    },
    #[error("{place}: {key} = {value}: must be {allowed}")]
    Value {
        place: Place,
        key: &'static str,
        value: String,
        allowed: String,
    },
    #[error("{place}: {key} = {value}: {reason}")]
    Conflict {
        place: Place,
        key: &'static str,
        value: String,
        reason: String,
    },
    #[error("{key} is not set: {reason}")]
    Missing { key: &'static str, reason: String },
}

fn hint(nearest: Option<&str>) -> String {
    nearest
        .map(|name| format!("; did you mean \"{name}\"?"))
        .unwrap_or_default()
}

/// Everything that is wrong with a configuration; never empty. Displays one problem a line.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Problems(pub Vec<ConfigError>);

/// Something to tell the operator that does not stop the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning(pub String);

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
