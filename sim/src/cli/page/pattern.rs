//! Families of faults, told apart by pattern as much as by colour: pages are printed, and not everybody sees colours.

use std::fmt::Write;

/// What a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Process,
    Power,
    Link,
    Stream,
    Clock,
    Disk,
    Members,
    Client,
    Other,
}

use Family::{Client, Clock, Disk, Link, Members, Other, Power, Process, Stream};

/// Family, its class in the style sheet, what the legend says, and the lines of its pattern in a square of 8.
const FAMILIES: &[(Family, &str, &str, &str)] = &[
    (Process, "process", "process: kill, pause, stop", "M-2 2 2 -2M0 8 8 0M6 10 10 6"),
    (Power, "power", "power loss", "M0 8 8 0M0 0 8 8"),
    (Link, "link", "link: isolation, one-way, flapping", "M-2 6 2 10M0 0 8 8M6 -2 10 2"),
    (Stream, "stream", "stream: loss, delay, reset", "M1 2h2M5 6h2"),
    (Clock, "clock", "clock", "M2 0v8M6 0v8"),
    (Disk, "disk", "disk", "M0 2h8M0 6h8"),
    (Members, "members", "members, transfer, purge", "M0 4h8M4 0v8"),
    (Client, "client", "clients, NameServers", "M0 6 4 2 8 6"),
    (Other, "other", "other", ""),
];

/// Faults by the beginning of their names; the longest that fits decides.
const FAULTS: &[(&str, Family)] = &[
    ("kill", Process),
    ("crash", Process),
    ("pause", Process),
    ("restart", Process),
    ("stop", Process),
    ("power", Power),
    ("page-cache", Power),
    ("isolation", Link),
    ("one-way", Link),
    ("bridge", Link),
    ("flapping", Link),
    ("hanging-connect", Link),
    ("loss", Stream),
    ("long-delay", Stream),
    ("reset", Stream),
    ("truncated-stream", Stream),
    ("short-write", Stream),
    ("clock", Clock),
    ("write-error", Disk),
    ("sync-error", Disk),
    ("disk", Disk),
    ("bit-rot", Disk),
    ("only-copy", Disk),
    ("slow-disk", Disk),
    ("stalled-disk", Disk),
    ("transfer", Members),
    ("add-learner", Members),
    ("promote", Members),
    ("remove", Members),
    ("replace", Members),
    ("wiped", Members),
    ("purge", Members),
    ("client", Client),
    ("nameserver", Client),
];

impl Family {
    /// The family of a fault, as its moment calls it.
    pub fn of(fault: &str) -> Self {
        let fitting = FAULTS.iter().filter(|(start, _)| fault.starts_with(start));
        fitting.max_by_key(|(start, _)| start.len()).map_or(Other, |(_, family)| *family)
    }

    /// Its class in the style sheet, and what its pattern's id ends with.
    pub fn class(self) -> &'static str {
        FAMILIES.iter().find(|(family, ..)| *family == self).map_or("other", |(_, class, ..)| class)
    }
}

/// The patterns, once in a page, for all its drawings.
pub fn definitions() -> String {
    let mut text = "<svg class=\"definitions\" width=\"0\" height=\"0\" aria-hidden=\"true\"><defs>\n".to_owned();
    for (_, class, _, path) in FAMILIES {
        let _ = writeln!(
            text,
            "<pattern id=\"p-{class}\" class=\"{class}\" width=\"8\" height=\"8\" patternUnits=\"userSpaceOnUse\">\
             <rect class=\"ground\" width=\"8\" height=\"8\"/><path class=\"line\" d=\"{path}\"/></pattern>"
        );
    }
    text.push_str(
        "<pattern id=\"p-down\" class=\"down\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\">\
         <path class=\"line\" d=\"M0 0 6 6M0 6 6 0\"/></pattern>\n</defs></svg>\n",
    );
    text
}

/// What the patterns mean.
pub fn legend() -> String {
    let mut text = "<ul class=\"legend\">\n".to_owned();
    let sample = |fill: &str, class: &str| {
        format!(
            "<svg width=\"28\" height=\"14\" aria-hidden=\"true\">\
             <rect class=\"bar {class}\" x=\"1\" y=\"1\" width=\"26\" height=\"12\"{fill}/></svg>"
        )
    };
    let _ = writeln!(text, "<li>{}leads its group</li>", sample("", "leads"));
    let _ = writeln!(text, "<li>{}process is gone</li>", sample(" fill=\"url(#p-down)\"", "gone"));
    for (_, class, what, _) in FAMILIES {
        let fill = format!(" fill=\"url(#p-{class})\"");
        let _ = writeln!(text, "<li>{}{what}</li>", sample(&fill, class));
    }
    text.push_str("<li><span class=\"marker\" aria-hidden=\"true\">◆</span>note</li>\n</ul>\n");
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use quorumq_sim::tally::Fault;

    use super::*;

    #[test]
    fn every_fault_has_a_family() {
        for fault in Fault::ALL {
            assert_ne!(Family::of(fault.name()), Other, "{}", fault.name());
        }
        assert_eq!(Family::of("truncated-stream of 10.0.0.1"), Stream);
        assert_eq!(Family::of("clock-jump by 3 s"), Clock);
        assert_eq!(Family::of("meteor"), Other);
    }

    #[test]
    fn no_two_families_share_a_pattern() {
        let patterns: BTreeSet<&str> = FAMILIES.iter().map(|(.., path)| *path).collect();
        assert_eq!(patterns.len(), FAMILIES.len());
    }
}
