//! What a command tells when it fails: one sentence what, one what to do.

use std::io::Write;
use std::process::ExitCode;

use crate::client::ClientError;
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
        Self::Failed { what: what.into(), hint: hint.into() }
    }

    /// Which argument is wrong and what it should be.
    pub(crate) fn usage(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage { what: what.into(), hint: hint.into() }
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

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        let what = match &error {
            // Says itself whether it was sent.
            ClientError::NotSent(call) | ClientError::NoAnswer(call) => call.to_string(),
            ClientError::NoMember { group } if group.starts_with('(') => "no broker is registered".to_owned(),
            other => other.to_string(),
        };
        // Servers' remarks may go on with links and stack traces.
        let what = what.lines().next().unwrap_or_default();
        Self::failed(what, hint(&error))
    }
}

fn hint(error: &ClientError) -> String {
    match error {
        ClientError::Unknown { msg_id, .. } if !msg_id.is_empty() => {
            format!("It may be stored, under id {msg_id}: look before you send it again.")
        }
        ClientError::Unknown { .. } => "It may have been done: look before you try again.".to_owned(),
        ClientError::NoRoute { topic, .. } => {
            format!("Create it with: quorumq topic create {topic}, or name other NameServers with -n.")
        }
        ClientError::NotSent(_) | ClientError::NoAnswer(_) => {
            "Check that it runs and can be reached; -n or NAMESRV_ADDR names the NameServers.".to_owned()
        }
        ClientError::NoMember { .. } => "Start a broker, or name other NameServers with -n.".to_owned(),
        ClientError::Timeout(_) => "Look at the members with: quorumq group status.".to_owned(),
        ClientError::Refused { .. } | ClientError::Invalid { .. } => "Correct it and try again.".to_owned(),
        ClientError::BadAnswer { .. } => "Check that the port belongs to a broker or NameServer.".to_owned(),
        ClientError::Closed => "Run it again.".to_owned(),
    }
}
