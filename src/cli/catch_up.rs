//! How far a member is with catching up: one line that changes on a terminal, plain lines elsewhere. On stderr.

use std::io::{IsTerminal, Write};

use indicatif::{BinaryBytes, ProgressBar, ProgressStyle};

use crate::broker::members::MemberStatus;

/// Tells of progress.
pub(super) struct CatchUpProgress {
    /// `None` where stderr is no terminal.
    bar: Option<ProgressBar>,
    /// The last line told.
    told: String,
    /// Most bytes it was seen to lack.
    most: u64,
}

impl CatchUpProgress {
    pub(super) fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            // A template that does not parse leaves the default.
            if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {wide_bar} {msg}") {
                bar.set_style(style);
            }
            bar
        });
        Self { bar, told: String::new(), most: 0 }
    }

    /// Tells what a member lacks, if that is news.
    pub(super) fn tell(&mut self, member: &MemberStatus) {
        let line = line(member);
        let bytes = member.bytes_behind.unwrap_or(0);
        self.most = self.most.max(bytes);
        match &self.bar {
            Some(bar) => {
                bar.set_length(self.most);
                bar.set_position(self.most - bytes);
                bar.set_message(line);
            }
            None if line != self.told => {
                // With stderr gone nobody wants to know.
                let _ = writeln!(std::io::stderr(), "{line}");
                self.told = line;
            }
            None => {}
        }
    }

    /// Takes the line off the terminal.
    pub(super) fn end(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

fn line(member: &MemberStatus) -> String {
    match (member.bytes_behind, member.lag) {
        (Some(bytes), Some(entries)) => {
            format!("node {}: {} and {entries} entries to go", member.id, BinaryBytes(bytes))
        }
        _ => format!("node {} does not say how far it is", member.id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_told_in_bytes_and_entries() {
        let lacks = |bytes_behind, lag| line(&MemberStatus { id: 4, bytes_behind, lag, ..MemberStatus::default() });
        assert_eq!(lacks(Some(3 << 19), Some(77)), "node 4: 1.50 MiB and 77 entries to go");
        assert_eq!(lacks(Some(0), Some(0)), "node 4: 0 B and 0 entries to go");
        assert_eq!(lacks(None, None), "node 4 does not say how far it is");
    }
}
