//! What can be wrong with a configuration: each names the place, the key, the value and what is allowed.

use std::fmt;

/// Where a value was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A line of the configuration file.
    Line {
        /// As given with `-c`.
        path: String,
        /// Counted from 1.
        line: usize,
    },
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
    /// The file cannot be read or is not text.
    #[error("cannot read {path}: {reason}; give the path of a readable file with -c")]
    Unreadable {
        /// As given with `-c`.
        path: String,
        /// The host's words.
        reason: String,
    },
    /// A line is not in properties form.
    #[error("{path}:{line}: {reason}")]
    Syntax {
        /// As given with `-c`.
        path: String,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// Neither a setting of ours nor one of RocketMQ's.
    #[error("{place}: unknown key \"{key}\"{}", hint(nearest.as_deref()))]
    UnknownKey {
        /// Where it stands.
        place: Place,
        /// As written.
        key: String,
        /// The known key most like it.
        nearest: Option<String>,
    },
    /// A value outside what its setting allows.
    #[error("{place}: {key} = {value}: must be {allowed}")]
    Value {
        /// Where it stands.
        place: Place,
        /// The setting.
        key: &'static str,
        /// As written.
        value: String,
        /// What would do: a range, a list, a form.
        allowed: String,
    },
    /// A value that does not go with another setting's.
    #[error("{place}: {key} = {value}: {reason}")]
    Conflict {
        /// Where it stands.
        place: Place,
        /// The setting.
        key: &'static str,
        /// As written.
        value: String,
        /// The other setting, its value, and what would do.
        reason: String,
    },
    /// A setting that has no default here.
    #[error("{key} is not set: {reason}")]
    Missing {
        /// The setting.
        key: &'static str,
        /// Why it is needed, with an example.
        reason: String,
    },
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map(|name| format!("; did you mean \"{name}\"?")).unwrap_or_default()
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
