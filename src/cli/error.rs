//! What a command tells when it fails: one sentence what, one what to do.

use std::io::Write;
use std::process::ExitCode;

use crate::config::Problems;

/// Why a command ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// The configuration is wrong. Exit code 2.
    #[error("{0}")]
    Config(#[from] Problems),
    /// An argument is wrong in a way that the parser cannot see. Exit code 2.
    #[error("{what}")]
    Usage { what: String, hint: String },
    /// It did not work. Exit code 1.
    #[error("{what}")]
    Failed { what: String, hint: String },
    /// Whoever read our output has gone; there is no one left to tell. Exit code 0, as `head` expects.
    #[error("standard output is closed")]
    OutputClosed,
}

impl CliError {
    /// What failed and what to do about it.
    pub(crate) fn failed(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Failed {
            what: what.into(),
            hint: hint.into(),
        }
    }

    /// Which argument is wrong and what it should be.
    pub(crate) fn usage(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage {
            what: what.into(),
            hint: hint.into(),
        }
    }

    /// Tells it on stderr and answers the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        let (hint, code) = match self {
            Self::Config(_) => ("", 2),
            Self::Usage { hint, .. } => (hint.as_str(), 2),
            Self::Failed { hint, .. } => (hint.as_str(), 1),
            Self::OutputClosed => return ExitCode::SUCCESS,
        };
        let mut text = String::new();
        for line in self.to_string().lines() {
            text.push_str(&format!("error: {line}\n"));
        }
        if !hint.is_empty() {
            text.push_str(&format!("  {hint}\n"));
        }
        // With stderr gone too, the exit code has to do.
        let _ = std::io::stderr().write_all(text.as_bytes());
        ExitCode::from(code)
    }
}
